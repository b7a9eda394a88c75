//! Whose request is this? Decided once, before any actor or store sees it.
//!
//! [`resolve`] names the tenant from path, host or trusted header; [`directory`] turns the name
//! into a [`TenantContext`], the only thing below the front end that speaks for a tenant. It
//! cannot be built any other way, so no code path can act for a tenant that was not resolved. No
//! I/O happens here: `app` reads the rows and swaps the directory whole.

pub mod directory;
pub mod resolve;

use std::sync::Arc;

use crate::domain::app::App;
use crate::domain::ids::{AppId, TenantId};
use crate::domain::policy::Policy;
use crate::domain::settings::Settings;

pub use directory::{Directory, Tenants};
pub use resolve::Claim;

/// A resolved tenant: who it is and by which rules it lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TenantContext(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    id: TenantId,
    slug: Arc<str>,
    name: String,
    domains: Vec<String>,
    issuer: String,
    policy: Policy,
    settings: Settings,
    version: u64,
    apps: Vec<App>,
}

impl TenantContext {
    /// Its id, the first argument of every store call.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.0.id
    }

    /// Its short name in paths and tokens (`tid`).
    #[must_use]
    pub fn slug(&self) -> &Arc<str> {
        &self.0.slug
    }

    /// What people know it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The first of its own domains, to which SMS codes are bound.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.0.domains.first().map(String::as_str)
    }

    /// The token's `iss`, `{platform url}/t/{slug}`, whichever way the tenant was named.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// What links in messages begin with: its `public_url`, else its issuer, never a `Host` header.
    #[must_use]
    pub fn link_base(&self) -> &str {
        self.0.settings.public_url.as_deref().unwrap_or(&self.0.issuer).trim_end_matches('/')
    }

    /// Whether people reach it over https, which decides the names of cookies.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.issuer.starts_with("https://")
    }

    /// Its rules.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Host names that lead to it, in the order they were named.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.0.domains
    }

    /// Its own document, for what is no number: senders, templates. Numbers are in the [`policy`](Self::policy).
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The settings' version: what was made from an older one is stale.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Its applications, oldest first.
    #[must_use]
    pub fn apps(&self) -> &[App] {
        &self.0.apps
    }

    /// The application with that id.
    #[must_use]
    pub fn app(&self, id: AppId) -> Option<&App> {
        self.0.apps.iter().find(|app| app.id == id)
    }
}
