//! What the holder of an admin key may do.

use serde::{Deserialize, Serialize};

/// Roles in rising order; a key makes no key above its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads one tenant, unlocks, ends sessions.
    TenantSupport,
    /// Everything of one tenant but its slug, profile and domains.
    TenantAdmin,
    /// Everything; the root key alone.
    PlatformAdmin,
}

impl Role {
    /// The word of the admin API and of storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantSupport => "tenant-support",
            Self::TenantAdmin => "tenant-admin",
            Self::PlatformAdmin => "platform-admin",
        }
    }
}
