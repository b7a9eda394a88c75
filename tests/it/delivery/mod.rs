//! Delivery against real servers: what arrives, and what is known when nothing does.

// Tells clippy that the helpers are tests too.
#[cfg(test)]
mod mail_server;
#[cfg(test)]
mod smtp;
#[cfg(test)]
mod templates;
