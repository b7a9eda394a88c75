//! Delivery against real servers: what arrives, and what is known when nothing does.

// Tells clippy that the helpers are tests too.
#[cfg(test)]
mod certificate;
#[cfg(test)]
mod exim;
#[cfg(test)]
mod mail_server;
#[cfg(test)]
mod outbound;
#[cfg(test)]
mod own_senders;
#[cfg(test)]
mod provider;
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
