//! The integration tests: one binary, one module per room.
#![cfg(test)]

mod actors;
mod admin;
mod architecture;
mod clients;
mod config;
mod delivery;
mod description;
mod ephemeral;
mod faults;
mod flows;
mod gateways;
mod harness;
mod http;
mod limits;
mod load_kit;
mod nodes;
mod routes;
mod storage;
