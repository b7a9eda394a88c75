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

/// A port that nobody listens on; a moment later somebody may.
pub(crate) fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
