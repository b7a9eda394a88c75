//! `[database]`: what must survive.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problems::Findings;
use super::values::{duration, secret};
use crate::secret::{ExposeSecret, SecretString};

/// Which database, and how long it is waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://…` or `sqlite:…`. Without it: a SQLite file in the data directory, one node
    /// only. A secret, because it holds the password.
    #[serde(with = "secret")]
    pub url: Option<SecretString>,
    /// File that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// Connections of this node. Times the number of nodes it must stay below the server's limit.
    pub max_connections: NonZeroU32,
    /// How long a request waits for a free connection; then 503.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// How long one statement may run; then 503.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// Does `serve` bring the schema up to date? If not, it refuses to start on an old one.
    pub migrate: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            max_connections: NonZeroU32::new(16).unwrap_or(NonZeroU32::MIN),
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            migrate: true,
        }
    }
}

impl Database {
    /// May other nodes share this database? Then nothing of one node alone may be tied to it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.url.as_ref().is_some_and(|url| !url.expose_secret().starts_with("sqlite:"))
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        let Some(url) = &self.url else { return };
        let schemes = ["postgres://", "postgresql://", "sqlite:"];
        if !schemes.iter().any(|scheme| url.expose_secret().starts_with(scheme)) {
            findings.add("database.url", "must begin with postgres:// or sqlite:");
        }
    }
}
