//! x
mod delivery;
