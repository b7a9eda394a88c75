//! `[outbound]`: where tenants' senders may connect to beyond the public internet.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::networks;

/// Exceptions of the outbound guard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Networks that senders may reach although they are private, on any port, also without TLS.
    /// Every tenant can then reach every service there.
    #[serde(with = "networks")]
    pub allow: Vec<IpNet>,
}
