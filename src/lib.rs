//! guichet: an actor-based, multi-tenant authentication gateway.

pub mod actors;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod delivery;
pub mod domain;
pub mod entropy;
pub mod ephemeral;
pub mod http;
pub mod secret;
pub mod storage;
pub mod telemetry;
pub mod tenant;
