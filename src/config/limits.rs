//! `[limits]`: the most that any tenant may allow itself.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::domain::limits::LimitName;

/// Ceilings above tenants' own limits: requests per minute and client or app, per second for
/// `tenant_total`. A tenant's limit over another window is held to the same pace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Log-ins a minute from one client.
    pub login_client: NonZeroU32,
    /// Codes and links asked for or answered in a minute by one client.
    pub code_client: NonZeroU32,
    /// Registrations a minute from one client.
    pub register_client: NonZeroU32,
    /// Refreshes a minute from one client.
    pub refresh_client: NonZeroU32,
    /// Other requests a minute from one client.
    pub api_client: NonZeroU32,
    /// Requests a second to one tenant. What it takes from the others when it is flooded.
    pub tenant_total: NonZeroU32,
    /// Introspections a minute by one app.
    pub introspect_app: NonZeroU32,
    /// Token checks a minute for one app.
    pub forward_auth_app: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self {
            login_client: count(6_000),
            code_client: count(6_000),
            register_client: count(6_000),
            refresh_client: count(12_000),
            api_client: count(60_000),
            tenant_total: count(20_000),
            introspect_app: count(600_000),
            forward_auth_app: count(600_000),
        }
    }
}

impl Limits {
    /// The ceilings by the name of the limit.
    #[must_use]
    pub fn by_name(&self) -> [(LimitName, u32); 8] {
        [
            (LimitName::LoginClient, self.login_client.get()),
            (LimitName::CodeClient, self.code_client.get()),
            (LimitName::RegisterClient, self.register_client.get()),
            (LimitName::RefreshClient, self.refresh_client.get()),
            (LimitName::ApiClient, self.api_client.get()),
            (LimitName::TenantTotal, self.tenant_total.get()),
            (LimitName::IntrospectApp, self.introspect_app.get()),
            (LimitName::ForwardAuthApp, self.forward_auth_app.get()),
        ]
    }
}
