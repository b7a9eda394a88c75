//! The front end: bytes of a socket in, a request with a known sender out, and an answer back.
//!
//! The life of one request, in the order in which it meets these files:
//!
//! ```text
//! server ──► middleware ──► router ──► handlers ──► reply | problem
//!   │            │             │           │
//!   │            │             │           └ decode (`request`), ask an actor, encode
//!   │            │             └ tenant prefix off, pattern and method, 404 / 405 / OPTIONS
//!   │            └ who sends (`peer`), request id, measure, harden, admit, deadline, panics
//!   └ one port for HTTP/1.1 and h2c; every wait has an end; drains on stop
//! ```
//!
//! - [`server`]: sockets, time limits of connections, graceful stop. Knows no route.
//! - [`middleware`]: what happens to every request, in one fixed order.
//! - [`peer`]: which address and scheme the client has, and which headers are believed.
//! - `cors`: which pages of other origins may read an answer.
//! - [`limited`]: whom limits count, and what they say in header fields.
//! - [`router`]: the whole API as one table that tests can walk.
//! - [`request`]: what a handler may ask: members, forms, bearer tokens, cookies.
//! - [`body`]: reading a body within its size and time, and naming the member that was wrong.
//! - [`reply`]: what a handler answers when it could do what was asked.
//! - [`problem`]: what it answers when it could not; the one table of refusals.
//! - [`openapi`]: what the table says of itself, for clients and generators.
//! - `holdings`: how many connections each peer, and how many places each tenant holds now.
//! - [`page`]: the few HTML pages that a person opens from a mail.
//! - [`gate`], [`desk`]: the doors that handlers of either listener knock on, and who gets so far.
//! - [`handlers`]: one file per resource: decode, ask, encode.
//! - [`grpc`]: token checks as Envoy asks for them, on the same port.
//!
//! Nothing in here decides about accounts, and nothing in here reaches a store.

pub mod body;
mod cors;
pub mod desk;
pub mod gate;
pub mod grpc;
pub mod handlers;
mod holdings;
pub mod limited;
pub mod middleware;
pub mod openapi;
pub mod page;
pub mod peer;
pub mod problem;
pub mod reply;
pub mod request;
pub mod router;
pub mod server;
