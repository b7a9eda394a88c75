//! What the public listener's handlers may ask: the doors of the actors, and nothing behind them.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderMap, ORIGIN, SET_COOKIE};
use http::{HeaderName, Method};
use url::Url;

use super::cors;
use super::handlers::hooks;
use super::limited;
use super::middleware::{Admitting, CrossOrigin, Hooks};
use super::problem::{Problem, ProblemCode};
use super::request::{self, Head, Request, split_tenant};
use crate::actors::accounts::{Accounts, Client};
use crate::actors::failure::Failure;
use crate::actors::senders::Receipts;
use crate::actors::sessions::{Caller, Sessions};
use crate::actors::tokens::Tokens;
use crate::clock::Clock;
use crate::domain::limits::{LimitName, LimitSubject};
use crate::limits::Limits;
use crate::tenant::{Claim, TenantContext, Tenants};

/// Names a tenant; believed from a trusted proxy only.
static X_TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// Where gateways ask about tokens.
pub const FORWARD_AUTH: &str = "/forward-auth";

/// Carries a device token; apps without a cookie jar send it.
static X_DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");

/// The doors that handlers knock on.
pub struct Gate {
    /// Stories about one account.
    pub accounts: Accounts,
    /// Tokens and sessions.
    pub sessions: Sessions,
    /// What access tokens are worth.
    pub tokens: Tokens,
    /// The tenants, for who does not wait until one is found.
    pub tenants: Tenants,
    /// What providers report.
    pub receipts: Receipts,
    /// The limit on token checks, for no route carries it.
    pub limits: Limits,
    /// The time, for how fresh a sign-in is.
    pub clock: Clock,
}

impl Gate {
    /// The person whose access token this is, from the `Authorization` header or, where the tenant has
    /// it so, from a browser's cookie. A cookie goes along with requests that other sites make, so to
    /// change anything by it the request must come from an origin that is known (RFC 6454).
    ///
    /// # Errors
    /// `missing_token`, `invalid_token`, `forbidden`, or what the stores may give.
    pub async fn caller(&self, tenant: &TenantContext, request: &Request) -> Result<Caller, Problem> {
        let token = if let Some(token) = request.bearer()? {
            token
        } else {
            let token = cookie_token(tenant, request.headers()).ok_or(ProblemCode::MissingToken)?;
            let only_reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
            if !only_reads && !request.header(&ORIGIN).is_some_and(|origin| is_own_origin(tenant, origin)) {
                return Err(Problem::from(ProblemCode::Forbidden)
                    .with_message("A cookie is taken from the tenant's own origins only."));
            }
            token
        };
        let caller = self.sessions.authenticate(tenant, token).await?;
        caller.ok_or_else(|| ProblemCode::InvalidToken.into())
    }
}

/// Finds the tenant of every public request before its handler runs, and asks its limits.
pub struct TenantOfRequest {
    /// All tenants.
    pub tenants: Tenants,
    /// All limits.
    pub limits: Limits,
}

impl TenantOfRequest {
    /// The tenant that a request names, or belongs to if it names none.
    fn tenant_of(&self, head: &Head<'_>) -> Option<TenantContext> {
        let (slug, path) = split_tenant(head.uri.path());
        let claim = Claim {
            path: slug.or_else(|| hooks::tenant_in_path(path)),
            host: head.host(),
            header: if head.origin.via_trusted_proxy { head.header(&X_TENANT) } else { None },
        };
        self.tenants.snapshot().resolve(&claim).cloned()
    }
}

impl Hooks for TenantOfRequest {
    fn before(&self, request: &mut Request) -> Result<(), Problem> {
        if request.path() == FORWARD_AUTH {
            let tenant = tenant_of_gateway(&self.tenants, request.tenant_in_path())?;
            request.set_tenant_slug(Arc::clone(tenant.slug()));
            request.set_extension(tenant);
            return Ok(());
        }
        let tenant = self.tenant_of(&request.head()).ok_or(ProblemCode::TenantNotFound)?;
        request.set_tenant_slug(Arc::clone(tenant.slug()));
        limited::believe_app(request, &tenant);
        request.set_extension(tenant);
        Ok(())
    }

    fn admit<'a>(&'a self, request: &'a Request, limits: &'static [LimitName]) -> Admitting<'a> {
        Box::pin(limited::admit(&self.limits, request, limits))
    }

    fn known_refusal(&self, head: &Head<'_>, limits: &'static [LimitName]) -> Option<Problem> {
        limited::known_refusal(&self.limits, &self.tenant_of(head)?, head, limits)
    }

    fn cross_origin(&self, asked: &CrossOrigin, headers: &mut HeaderMap) {
        let claim = Claim { path: asked.tenant_slug.as_deref(), ..Claim::default() };
        if let (Some(_), Some(tenant)) = (claim.path, self.tenants.snapshot().resolve(&claim)) {
            cors::tell(tenant, asked, headers);
            if tenant.policy().tokens.cookie && !asked.origin.to_str().is_ok_and(|text| is_own_origin(tenant, text)) {
                keep_from_jar(&token_cookie(tenant), headers);
            }
        }
    }
}

/// Lets another site's page put nobody's token into a browser: its sign-in would be used unawares.
fn keep_from_jar(name: &str, headers: &mut HeaderMap) {
    let others = headers.get_all(SET_COOKIE).iter().filter(|line| !line.as_bytes().starts_with(name.as_bytes()));
    let others: Vec<_> = others.cloned().collect();
    headers.remove(SET_COOKIE);
    for line in others {
        headers.append(SET_COOKIE, line);
    }
}

/// Whose tokens a gateway asks about: path or default. What its clients may set (`Host`, `X-Tenant`,
/// forwarded headers) must not choose whose tokens are good.
///
/// # Errors
/// `tenant_not_found`.
pub(super) fn tenant_of_gateway(tenants: &Tenants, in_path: Option<&str>) -> Result<TenantContext, Problem> {
    let claim = Claim { path: in_path, ..Claim::default() };
    tenants.snapshot().resolve(&claim).cloned().ok_or_else(|| ProblemCode::TenantNotFound.into())
}

/// The tenant that [`TenantOfRequest`] found.
///
/// # Errors
/// `tenant_not_found` on a listener that knows no tenants.
pub fn tenant(request: &Request) -> Result<TenantContext, Problem> {
    request.extension().cloned().ok_or_else(|| ProblemCode::TenantNotFound.into())
}

/// What the request tells of its client: the first of header and cookie that is present is its
/// device token, known or not, text or not.
#[must_use]
pub fn client(request: &Request, tenant: &TenantContext) -> Client {
    let address = request.client().named();
    let token = request.header_lossy(&X_DEVICE_ID).or_else(|| request.cookie(&device_cookie(tenant)));
    Client {
        address_key: address.as_ref().map(super::peer::ClientAddress::key),
        limited_as: address.as_ref().map(|address| LimitSubject::client(address.ip())),
        address_prefix: address.as_ref().map(super::peer::ClientAddress::prefix),
        user_agent: request.user_agent().map(Cow::into_owned),
        device_token: token.map(|token| token.into_owned().into()),
        locale: request.accept_language(),
        app: None,
    }
}

/// The access token's cookie, named as [`device_cookie`] is.
#[must_use]
pub fn token_cookie(tenant: &TenantContext) -> String {
    let prefix = if tenant.is_https() { "__Host-" } else { "" };
    format!("{prefix}guichet_token_{}", tenant.slug())
}

/// The access token in a browser's cookie, where the tenant has it so.
pub(super) fn cookie_token<'h>(tenant: &TenantContext, headers: &'h HeaderMap) -> Option<&'h str> {
    if !tenant.policy().tokens.cookie {
        return None;
    }
    let token = request::cookie(headers, &token_cookie(tenant))?;
    std::str::from_utf8(token).ok().filter(|token| !token.is_empty())
}

/// Whether a page of that origin may use the person's cookie: one of the tenant's apps, its public
/// URL, or the platform's own.
fn is_own_origin(tenant: &TenantContext, origin: &str) -> bool {
    let of_url = |url: &str| Url::parse(url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    tenant.apps().iter().flat_map(|app| &app.origins).any(|own| own == origin)
        || of_url(tenant.issuer())
        || tenant.settings().public_url.as_deref().is_some_and(of_url)
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
