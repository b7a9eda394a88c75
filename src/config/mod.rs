//! Every setting of the process: what it is called, what it defaults to, what is refused.
//!
//! ```text
//! defaults < TOML file < environment < flags ──► one value per key ──► Config ──► check
//! ```
//!
//! One file per section; `layers` turns each source into `key path → value`, `load` lays them
//! over one another and collects *all* [`Problems`] before it gives up, each with its key path
//! and, if it came from there, the variable's name. Nothing else in the program reads the
//! environment: [`Variables`] is handed in, so tests never touch the process. Settings of a
//! *tenant* (its senders, limits, templates) are not here: they live in storage and change
//! without a restart.
//!
//! # To add a setting
//!
//! 1. Add the field to its section's struct, with a doc comment that says meaning, unit and
//!    consequence, and its value to the section's `Default`. Let the type refuse what is illegal
//!    ([`NonZeroUsize`](std::num::NonZeroUsize), `values::duration`, an enum); what needs two fields to
//!    judge goes into the section's `check`.
//! 2. A secret is an `Option<SecretString>` (with `values::secret`) and has a sibling `…_file`: the
//!    pair is what makes it one. Its value is then never cited in a problem, and
//!    reading the file is already done.
//! 3. Describe it in `config/guichet.toml`, default commented out. `tests/it/config/reference.rs`
//!    fails until name, default and variable stand there.
//!
//! A section's key path and its variable follow from the field's name:
//! `http.listen` is `GUICHET__HTTP__LISTEN`. Short names are listed in [`variables`].

mod actors;
mod admin;
mod crypto;
mod data;
mod database;
mod delivery;
mod documents;
mod http;
pub mod keys;
mod layers;
mod limits;
mod load;
mod log;
mod outbound;
mod problems;
mod redis;
mod sms;
mod tenants;
mod values;
pub mod variables;

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use actors::Actors;
pub use admin::Admin;
pub use crypto::{Argon2, Crypto};
pub use data::{Data, make_folder};
pub use database::Database;
pub use delivery::{Delivery, Security, Smtp};
pub use documents::document;
pub use http::Http;
pub use layers::defaults;
pub use limits::Limits;
pub use load::Overrides;
pub use log::Log;
pub use outbound::Outbound;
pub use problems::{Problem, Problems};
pub use redis::Redis;
pub use sms::SmsProviders;
pub use tenants::Tenants;
pub use variables::Variables;

use problems::Findings;

/// Every setting of the process. `Default` is what runs when nothing is configured: embedded,
/// on loopback, keys made in the data directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The two listeners and what a client may ask of them.
    pub http: Http,
    /// Who may use the admin listener.
    pub admin: Admin,
    /// Where embedded data and generated keys live.
    pub data: Data,
    /// What must survive.
    pub database: Database,
    /// What may expire.
    pub redis: Redis,
    /// Keys and password hashing.
    pub crypto: Crypto,
    /// How many accounts are resident and how long one is waited for.
    pub actors: Actors,
    /// The outbox and the platform's own senders.
    pub delivery: Delivery,
    /// The tenant of requests that name none.
    pub tenants: Tenants,
    /// The most that any tenant may allow itself.
    pub limits: Limits,
    /// Where tenants' senders may connect to beyond the public internet.
    pub outbound: Outbound,
    /// What is logged and how.
    pub log: Log,
}

impl Config {
    /// Reads the settings: defaults, then `path`, then `variables`, then `flags`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: Option<&Path>, variables: &Variables, flags: &Overrides) -> Result<Self, Problems> {
        load::load(path, variables, flags)
    }

    /// Are messages shown on the console? As `delivery.console` says, and unless it says
    /// anything: only while the public listener is loopback, where no stranger can ask for one.
    #[must_use]
    pub fn console_sender(&self) -> bool {
        self.delivery.console.unwrap_or(self.http.listen.ip().is_loopback())
    }

    fn check(&self, findings: &mut Findings) {
        self.http.check(findings);
        self.admin.check(findings);
        self.data.check(findings);
        self.database.check(findings);
        self.redis.check(findings);
        self.crypto.check(findings);
        self.delivery.check(findings);
        self.tenants.check(findings);
        self.log.check(findings);
        self.check_senders(findings);
        self.check_deadlines(findings);
    }

    fn check_senders(&self, findings: &mut Findings) {
        if !self.console_sender() && self.delivery.platform_smtp().is_none() && self.delivery.sms.is_none() {
            findings.add(
                "delivery.console",
                format!(
                    "no way to send a message: http.listen is {}, where the console sender is {}; configure \
                     [delivery.smtp] or [[delivery.sms]], or set delivery.console = true",
                    self.http.listen,
                    if self.delivery.console.is_some() { "switched off" } else { "off by default" },
                ),
            );
        }
        let Some(smtp) = self.delivery.platform_smtp() else { return };
        let permitted = match smtp.host.parse::<IpAddr>() {
            Ok(address) => self.outbound.allow.iter().any(|network| network.contains(&address)),
            // A name is judged by the outbound guard when it is resolved.
            Err(_) => !self.outbound.allow.is_empty(),
        };
        if smtp.security == Security::None && !permitted {
            findings.add("delivery.smtp.security", "\"none\" is only for hosts in outbound.allow");
        }
    }

    /// An inner wait that outlives the outer one would always end as the wrong answer.
    fn check_deadlines(&self, findings: &mut Findings) {
        if self.actors.ask_timeout >= self.http.request_timeout {
            findings.add("actors.ask_timeout", "must be shorter than http.request_timeout");
        }
        if self.crypto.hash_max_wait >= self.actors.ask_timeout {
            findings.add("crypto.hash_max_wait", "must be shorter than actors.ask_timeout");
        }
    }
}
