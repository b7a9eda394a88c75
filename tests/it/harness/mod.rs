//! What tests of several rooms stand on.

pub(crate) mod databases;
pub(crate) mod node;
pub(crate) mod redis;
