//! Values that must never be printed: passwords, keys, tokens, provider credentials.
//!
//! A thin name over the `secrecy` crate, so that the rest of the house has one word for it:
//! `Debug` shows `[REDACTED]`, memory is wiped on drop, and reading takes a visible
//! [`ExposeSecret::expose_secret`] call that a reviewer can search for.

pub use secrecy::{ExposeSecret, SecretSlice, SecretString};
