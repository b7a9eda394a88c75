//! `[tenants]`: the tenant of requests that name none.

use serde::{Deserialize, Serialize};

use super::problems::Findings;
use crate::domain::naming;

/// Which tenant stands in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tenants {
    /// Slug of the tenant of requests that name none by path, domain or header. Empty: such
    /// requests are 404 `tenant_not_found`. Ask [`Tenants::default_slug`].
    pub default: String,
}

impl Default for Tenants {
    fn default() -> Self {
        Self { default: "default".to_owned() }
    }
}

impl Tenants {
    /// The default tenant, if requests without one are served at all.
    #[must_use]
    pub fn default_slug(&self) -> Option<&str> {
        Some(self.default.as_str()).filter(|slug| !slug.is_empty())
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        if self.default_slug().is_some_and(|slug| !naming::is_slug(slug)) {
            findings.add("tenants.default", "must be at most 63 lower-case letters, digits and inner hyphens");
        }
    }
}
