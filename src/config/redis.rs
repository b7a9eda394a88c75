//! `[redis]`: what may expire — attempts, codes, limits, grants.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problems::Findings;
use super::values::{duration, secret};
use crate::secret::{ExposeSecret, SecretString};

/// Which Redis, and how long it is waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// `redis://…`, or `rediss://…` for TLS. Without it: a store inside the process, one node
    /// only. A secret, because it holds the password.
    #[serde(with = "secret")]
    pub url: Option<SecretString>,
    /// File that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// Is the URL a node of a Redis Cluster?
    pub cluster: bool,
    /// What every key begins with, so that installations can share a server.
    pub key_prefix: String,
    /// How long one script may take; then 503.
    #[serde(with = "duration")]
    pub response_timeout: Duration,
    /// How long a connection may take to open.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Replicas that must have an attempt before it is admitted (`WAIT`). 0: a fail-over may
    /// forget the attempts of its last moments.
    pub wait_replicas: u32,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            cluster: false,
            key_prefix: "guichet".to_owned(),
            response_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(200),
            wait_replicas: 0,
        }
    }
}

impl Redis {
    pub(super) fn check(&self, findings: &mut Findings) {
        let known_scheme =
            |url: &SecretString| ["redis://", "rediss://"].iter().any(|s| url.expose_secret().starts_with(s));
        match &self.url {
            Some(url) if !known_scheme(url) => findings.add("redis.url", "must begin with redis:// or rediss://"),
            None if self.cluster => findings.add("redis.cluster", "needs redis.url"),
            None if self.wait_replicas > 0 => findings.add("redis.wait_replicas", "needs redis.url"),
            _ => {}
        }
        // Braces mark the part of a key that decides its slot: ours, not the operator's.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if self.key_prefix.is_empty() || !self.key_prefix.chars().all(plain) {
            findings.add("redis.key_prefix", "must be letters, digits and any of - _ . :");
        }
    }
}
