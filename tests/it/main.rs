//! The integration tests: one binary, one module per room.
#![cfg(test)]

mod config;
mod delivery;
mod ephemeral;
mod flows;
mod harness;
mod http;
mod routes;
mod storage;
