//! `[delivery]`: the outbox, and the senders that tenants without their own share; the SMS providers among
//! them are read by `sms`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problems::Findings;
use super::sms::SmsProviders;
use super::values::{duration, secret};
use crate::domain::contact::EmailAddress;
use crate::secret::SecretString;

/// How messages leave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Show messages on stdout when the platform has no sender of their kind? Whoever reads the
    /// output can then sign in as anyone. Unset: only while `http.listen` is loopback. Ask
    /// [`Config::console_sender`](super::Config::console_sender).
    pub console: Option<bool>,
    /// Withhold every text message of every tenant? The switch to throw while somebody pumps codes;
    /// people are answered as ever and receive nothing, mail goes on.
    pub sms_stopped: bool,
    /// The platform's mail server, for tenants whose mode is `platform`.
    pub smtp: Smtp,
    /// The platform's SMS providers, likewise, in the order in which they are tried.
    pub sms: Option<SmsProviders>,
    /// File that holds them instead, as JSON.
    pub sms_file: Option<PathBuf>,
    /// How long a message belongs to the node that took it; after a crash another waits this long.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How often the outbox is searched for messages that nobody holds.
    #[serde(with = "duration")]
    pub poll: Duration,
    /// Sends tried before a message is given up. A code is given up earlier, when it expires.
    pub max_attempts: NonZeroU32,
}

/// A mail server. Without a host there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Name or address of the server. Empty: no platform mail.
    pub host: String,
    /// Port. 587 goes with `starttls`, 465 with `tls`.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// Name to log in with; unset: no log-in.
    pub username: Option<String>,
    /// Its password.
    #[serde(with = "secret")]
    pub password: Option<SecretString>,
    /// File that holds the password instead.
    pub password_file: Option<PathBuf>,
    /// Address that mails come from.
    pub from: String,
    /// Address that answers go to, if another.
    pub reply_to: Option<String>,
    /// How long one mail may take, from connecting to acceptance.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// Protection of a connection to a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// In the clear; only for hosts in `outbound.allow`.
    None,
    /// Plain at first, then required to become TLS.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            console: None,
            sms_stopped: false,
            smtp: Smtp::default(),
            sms: None,
            sms_file: None,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            max_attempts: NonZeroU32::new(8).unwrap_or(NonZeroU32::MIN),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            security: Security::Starttls,
            username: None,
            password: None,
            password_file: None,
            from: String::new(),
            reply_to: None,
            timeout: Duration::from_secs(15),
        }
    }
}

impl Delivery {
    /// The platform's mail server, if one is configured.
    #[must_use]
    pub fn platform_smtp(&self) -> Option<&Smtp> {
        Some(&self.smtp).filter(|smtp| !smtp.host.is_empty())
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        if let Some(sms) = &self.sms {
            sms.check(findings);
        }
        if let Some(smtp) = self.platform_smtp() {
            smtp.check(findings);
        } else if !self.smtp.from.is_empty() || self.smtp.username.is_some() || self.smtp.password.is_some() {
            findings.add("delivery.smtp.host", "is missing");
        }
    }
}

impl Smtp {
    fn check(&self, findings: &mut Findings) {
        // Not cited: an address does not belong in a log.
        if EmailAddress::parse(&self.from).is_err() {
            findings.add("delivery.smtp.from", "must be an e-mail address, as \"no-reply@example.com\"");
        }
        if self.reply_to.as_ref().is_some_and(|address| EmailAddress::parse(address).is_err()) {
            findings.add("delivery.smtp.reply_to", "must be an e-mail address");
        }
        if self.port == 0 {
            findings.add("delivery.smtp.port", "must be from 1 to 65535");
        }
        match (&self.username, &self.password) {
            (Some(_), None) => findings.add("delivery.smtp.password", "is missing: delivery.smtp.username is set"),
            (None, Some(_)) => findings.add("delivery.smtp.username", "is missing: delivery.smtp.password is set"),
            _ => {}
        }
    }
}
