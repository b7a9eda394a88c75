//! What the measurements stand on: the real binary, what it sends, and a few figures.
//!
//! ```text
//!   bench ──HTTP──► guichet serve (a child process) ──stdout──► Mailbox (codes and links)
//! ```

#![allow(dead_code, reason = "each benchmark is a program of its own and uses its share of this")]

pub(crate) mod figures;
pub(crate) mod gateway;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod people;
pub(crate) mod plot;
