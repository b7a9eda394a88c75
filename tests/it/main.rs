//! The integration tests: one binary, one module per room.
#![cfg(test)]

mod actors;
mod admin;
mod architecture;
mod config;
mod delivery;
mod ephemeral;
mod flows;
mod harness;
mod http;
mod nodes;
mod routes;
mod storage;
