//! One integration binary: every test outside the units lives in a module of it.
#![cfg(test)]

mod config;
mod delivery;
mod http;
