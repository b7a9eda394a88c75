//! `[admin]`: who may use the admin listener.

use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::problems::Findings;
use super::values::{networks, secret};
use crate::secret::{ExposeSecret, SecretString};

/// The root key, and who may read the metrics without it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The root key: platform administrator of every tenant. Without it one is made at the first
    /// start and kept in the data directory (see [`keys`](super::keys)).
    #[serde(with = "secret")]
    pub key: Option<SecretString>,
    /// File that holds the root key instead.
    pub key_file: Option<PathBuf>,
    /// Peers that may read `/metrics` and `/docs` without a key.
    #[serde(with = "networks")]
    pub allow: Vec<IpNet>,
}

impl Default for Admin {
    fn default() -> Self {
        let v4 = Ipv4Net::new(std::net::Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::from);
        let v6 = Ipv6Net::new(std::net::Ipv6Addr::LOCALHOST, 128).map(IpNet::from);
        Self { key: None, key_file: None, allow: [v4, v6].into_iter().flatten().collect() }
    }
}

impl Admin {
    pub(super) fn check(&self, findings: &mut Findings) {
        let travels = |key: &SecretString| key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        if !self.key.as_ref().is_none_or(travels) {
            findings.add("admin.key", "must be printable ASCII without spaces: it travels in a header");
        }
    }
}
