//! What the public listener's handlers may ask: the doors of the actors, and nothing behind them.

use std::sync::Arc;

use http::HeaderName;

use super::handlers::hooks;
use super::middleware::Hooks;
use super::problem::{Problem, ProblemCode};
use super::request::Request;
use crate::actors::accounts::{Accounts, Client};
use crate::actors::failure::Failure;
use crate::actors::senders::Receipts;
use crate::actors::sessions::{Caller, Sessions};
use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::tenant::{Claim, TenantContext, Tenants};

/// Names a tenant; believed from a trusted proxy only.
static X_TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// Carries a device token; apps without a cookie jar send it.
static X_DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");

/// The doors that handlers knock on.
pub struct Gate {
    /// Stories about one account.
    pub accounts: Accounts,
    /// Tokens and sessions.
    pub sessions: Sessions,
    /// What providers report.
    pub receipts: Receipts,
    /// The time, for what is left of a wait.
    pub clock: Clock,
}

impl Gate {
    /// The person whose access token this is.
    ///
    /// # Errors
    /// `missing_token`, `invalid_token`, or what the stores may give.
    pub async fn caller(&self, tenant: &TenantContext, request: &Request) -> Result<Caller, Problem> {
        let token = request.bearer()?.ok_or(ProblemCode::MissingToken)?;
        let caller = self.sessions.authenticate(tenant, token).await?;
        caller.ok_or_else(|| ProblemCode::InvalidToken.into())
    }

    /// "Too soon": says when asking again will succeed. Never says whose limit it was.
    #[must_use]
    pub fn wait(&self, until: Timestamp) -> Problem {
        Problem::retry_after(ProblemCode::TooManyRequests, self.clock.now().until(until))
    }
}

/// Finds the tenant of every public request before its handler runs.
pub struct TenantOfRequest(pub Tenants);

impl Hooks for TenantOfRequest {
    fn before(&self, request: &mut Request) -> Result<(), Problem> {
        let header = if request.via_trusted_proxy() { request.header(&X_TENANT) } else { None };
        let path = request.tenant_in_path().or_else(|| hooks::tenant_in_path(request.path()));
        let claim = Claim { path, host: request.host(), header };
        let tenant = self.0.snapshot().resolve(&claim).cloned().ok_or(ProblemCode::TenantNotFound)?;
        request.set_tenant_slug(Arc::clone(tenant.slug()));
        request.set_extension(tenant);
        Ok(())
    }
}

/// The tenant that [`TenantOfRequest`] found.
///
/// # Errors
/// `tenant_not_found` on a listener that knows no tenants.
pub fn tenant(request: &Request) -> Result<TenantContext, Problem> {
    request.extension().cloned().ok_or_else(|| ProblemCode::TenantNotFound.into())
}

/// What the request tells of its client: the first of header and cookie that is present is its
/// device token, known or not.
#[must_use]
pub fn client(request: &Request, tenant: &TenantContext) -> Client {
    // A proxy that names no client must not make one client of everybody behind it.
    let address = Some(request.client()).filter(|client| !client.is_proxy());
    let token = request.header(&X_DEVICE_ID).or_else(|| request.cookie(&device_cookie(tenant)));
    Client {
        address_key: address.as_ref().map(super::peer::ClientAddress::key),
        address_prefix: address.as_ref().map(super::peer::ClientAddress::prefix),
        user_agent: request.user_agent().map(str::to_owned),
        device_token: token.map(|token| token.to_owned().into()),
        locale: request.accept_language(),
    }
}

/// The device cookie's name. Tenants may share a host, and `__Host-` forces `Path=/`, so the slug
/// is in the name (RFC 6265bis §4.1.3.2); browsers take the prefix over https only.
#[must_use]
pub fn device_cookie(tenant: &TenantContext) -> String {
    let prefix = if tenant.is_https() { "__Host-" } else { "" };
    format!("{prefix}guichet_device_{}", tenant.slug())
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let code = match failure {
            Failure::Busy => ProblemCode::AccountBusy,
            Failure::Overloaded => ProblemCode::Overloaded,
            Failure::Unavailable => ProblemCode::DependencyUnavailable,
            Failure::Internal => return ProblemCode::Internal.into(),
        };
        Self::retry_after(code, failure.retry_after())
    }
}
