//! The integration tests: one binary, one folder per room.
//!
//! `cfg(test)` says to the lints what the compiler knows: all of this is test code.

#[cfg(test)]
mod ephemeral;
#[cfg(test)]
mod harness;
