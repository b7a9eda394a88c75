//! A snapshot of all tenants, read without a lock and swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{Facts, TenantContext};
use crate::domain::ids::TenantId;
use crate::domain::policy::Policy;
use crate::storage::Tenant;

/// All tenants at one moment.
#[derive(Debug, Default)]
pub struct Directory {
    by_slug: HashMap<String, TenantContext>,
    by_id: HashMap<TenantId, TenantContext>,
    slug_of_host: HashMap<String, String>,
    default: Option<String>,
}

impl Directory {
    /// Builds the snapshot; `platform_url` begins every issuer.
    ///
    /// A tenant whose stored settings no longer pass (a floor was raised) lives by its profile's
    /// defaults, which are never laxer, and the log says so.
    #[must_use]
    pub fn new(tenants: Vec<Tenant>, default: Option<&str>, platform_url: &str) -> Self {
        let mut directory = Self { default: default.map(str::to_owned), ..Self::default() };
        for tenant in tenants {
            let policy = Policy::with(tenant.profile, &tenant.settings).unwrap_or_else(|bad| {
                let paths: Vec<_> = bad.iter().map(|setting| setting.path.as_ref()).collect();
                tracing::warn!(
                    tenant.slug = tenant.slug,
                    ?paths,
                    "stored settings are out of range: using the profile's"
                );
                Policy::of(tenant.profile)
            });
            for domain in &tenant.domains {
                directory.slug_of_host.insert(domain.to_ascii_lowercase(), tenant.slug.clone());
            }
            let facts = Facts {
                id: tenant.id,
                slug: tenant.slug.as_str().into(),
                name: tenant.name,
                domains: tenant.domains,
                issuer: format!("{platform_url}/t/{}", tenant.slug),
                policy,
                settings: tenant.settings,
                version: tenant.version,
                apps: tenant.apps,
            };
            let context = TenantContext(Arc::new(facts));
            directory.by_id.insert(tenant.id, context.clone());
            directory.by_slug.insert(tenant.slug, context);
        }
        directory
    }

    pub(super) fn by_slug(&self, slug: &str) -> Option<&TenantContext> {
        self.by_slug.get(slug)
    }

    pub(super) fn by_host(&self, host: &str) -> Option<&TenantContext> {
        if self.slug_of_host.is_empty() {
            return None;
        }
        let slug = self.slug_of_host.get(host.trim_end_matches('.').to_ascii_lowercase().as_str())?;
        self.by_slug(slug)
    }

    pub(super) fn default_tenant(&self) -> Option<&TenantContext> {
        self.by_slug(self.default.as_deref()?)
    }

    /// The tenant with that id, for work that starts from a stored row.
    #[must_use]
    pub fn by_id(&self, id: TenantId) -> Option<&TenantContext> {
        self.by_id.get(&id)
    }
}

/// The current directory, shared by everybody. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tenants(Arc<ArcSwap<Directory>>);

impl Tenants {
    /// The snapshot of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Directory>> {
        self.0.load()
    }

    /// Puts another snapshot in place; requests under way keep theirs.
    pub fn replace(&self, directory: Directory) {
        self.0.store(Arc::new(directory));
    }
}
