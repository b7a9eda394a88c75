//! What tests of several rooms stand on.

pub(crate) mod client;
pub(crate) mod databases;
pub(crate) mod gateway;
pub(crate) mod inbox;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod switch;
pub(crate) mod tools;
