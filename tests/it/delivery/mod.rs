//! Delivery against real servers: what arrives, and what is known when nothing does.

// Tells clippy that the helpers are tests too.
#[cfg(test)]
pub(crate) mod certificate;
#[cfg(test)]
mod exim;
#[cfg(test)]
pub(crate) mod mail_server;
#[cfg(test)]
pub(crate) mod outbound;
#[cfg(test)]
mod own_senders;
mod platform_sms;
#[cfg(test)]
pub(crate) mod provider;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod sending_node;
#[cfg(test)]
mod sms;
#[cfg(test)]
mod smtp;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod vendors;
