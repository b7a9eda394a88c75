//! The imperative shell: order, I/O and supervision around the pure rules.
//!
//! A request arrives as a typed command, meets the actor of its account, and leaves as an
//! outcome. What must hold on two nodes and through a crash is held by the stores' conditional
//! writes; an actor is a cache with an order, never the safety net.
//!
//! - [`supervision`]: the tree, and what happens when an actor fails
//! - [`ask`]: the one way to call an actor; [`directory`]: finding, bounding and releasing them
//! - [`accounts`]: the stories told to account actors (log-in, codes, registration, links)
//! - [`sessions`]: bearer and refresh tokens; no mailbox, because storage alone decides there
//! - [`tokens`]: what an access token is worth, from memory; which sessions have ended
//! - [`administration`]: what admins may ask; [`tenant_source`]: rows into the tenant directory
//! - [`hasher`]: argon2id threads, fair between tenants
//! - [`budget`]: what messages may cost, asked before one is written
//! - [`senders`]: outbox rows on their way to people, one actor per tenant and channel
//! - [`keyring`], [`credentials`], [`auditor`], [`ticker`]: signing keys, senders' credentials, the audit
//!   log, recurring services
//!
//! Rules: nobody is named (the registry is global to the process); every wait has a deadline;
//! refusals travel in replies; asks go down (`accounts` → `hasher`, `keyring`), never back up.

pub mod accounts;
pub mod administration;
pub mod ask;
pub mod auditor;
pub mod budget;
pub mod credentials;
pub mod directory;
pub mod failure;
pub mod hasher;
pub mod keyring;
pub mod senders;
pub mod sessions;
pub mod supervision;
pub mod tenant_source;
pub mod ticker;
pub mod tokens;
