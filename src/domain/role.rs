//! What the holder of an admin key may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Roles in rising order; a key makes no key above its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

    /// The role of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::TenantSupport, Self::TenantAdmin, Self::PlatformAdmin].into_iter().find(|role| role.as_str() == word)
    }
}
