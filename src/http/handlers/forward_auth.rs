//! What API gateways ask before they let a request through.
//!
//! ```text
//!   client ─► gateway ─► /t/{slug}/forward-auth?audience=…  ─► 200 and who it is │ 401 │ 403
//!                └───────── on 200 only ─────────► app, with the X-Auth-… headers
//! ```
//!
//! Everything here that widens or narrows is fixed by whoever configures the gateway, in the address
//! it asks: of a parameter sent twice the first counts, so what a client may append changes nothing.
//!
//! | parameter | |
//! | --- | --- |
//! | `audience` | the token must be for it |
//! | `scope` | the token must have all of these, separated by spaces |
//! | `mode=strict` | never another status than 200, 401 and 403 (nginx makes 500 of them); the true one is in `X-Auth-Status` |
//! | `preflight=allow` | CORS preflights pass without identity, by the method of the request itself |
//! | `preflight=forwarded` | the same by `X-Forwarded-Method` from a trusted proxy: only for gateways that always set it |
//!
//! A tenant may limit the checks for each of its apps (`limits.forward-auth-app`, off unless set): for the app
//! whose `audience` is asked for, good token or not; where none is, for the app a good token is for. Beyond
//! it the answer is 429, under `mode=strict` 403 with `X-Auth-Status: 429`, and `Retry-After` on both.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::actors::tokens::{Identity, Needs, Verdict};
use crate::domain::limits::{LimitMode, LimitName};
use crate::http::gate::{self, FORWARD_AUTH, Gate, cookie_token};
use crate::http::limited;
use crate::http::middleware::Lane;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::{self, Request, split_tenant};
use crate::http::router::{Answer, Routes};
use crate::tenant::TenantContext;

static SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
static TENANT: HeaderName = HeaderName::from_static("x-auth-tenant");
static SESSION: HeaderName = HeaderName::from_static("x-auth-session");
static AUDIENCE: HeaderName = HeaderName::from_static("x-auth-audience");
static SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");

/// The status that `mode=strict` hides.
static STATUS: HeaderName = HeaderName::from_static("x-auth-status");

static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");

/// Whose request may pass without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preflight {
    /// Nobody's.
    Refused,
    /// A preflight's, by the request's own method.
    Own,
    /// A preflight's, by the method a trusted proxy tells.
    Forwarded,
}

/// What the gateway's address asks for.
#[derive(Default)]
struct Asked<'u> {
    audience: Option<Cow<'u, str>>,
    scope: Option<Cow<'u, str>>,
    mode: Option<Cow<'u, str>>,
    preflight: Option<Cow<'u, str>>,
}

impl<'u> Asked<'u> {
    fn of(uri: &'u Uri) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "audience" => &mut asked.audience,
                "scope" => &mut asked.scope,
                "mode" => &mut asked.mode,
                "preflight" => &mut asked.preflight,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        asked
    }

    fn preflight(&self) -> Preflight {
        match self.preflight.as_deref() {
            Some("allow") => Preflight::Own,
            Some("forwarded") => Preflight::Forwarded,
            _ => Preflight::Refused,
        }
    }

    fn is_strict(&self) -> bool {
        self.mode.as_deref() == Some("strict")
    }

    fn needs(&self) -> Needs<'_> {
        Needs { audience: self.audience.as_deref(), scope: self.scope.as_deref() }
    }
}

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new().any(FORWARD_AUTH, check).hot().lane(Lane::Checks).recall(recall).last_word(finish).describe(
        Doc::new("gateways", "Whether a request may pass, and whose it is")
            .about("Any method. The tenant is that of the path, else the default; never one that a client names.")
            .access(Access::Token)
            .query("audience", "The token must be for it.")
            .query("scope", "The token must have all of these, separated by spaces.")
            .query("mode", "`strict`: never another status than 200, 401 and 403; the true one is in `X-Auth-Status`.")
            .query("preflight", "`allow` or `forwarded`: CORS preflights pass without identity.")
            .empty(200, "It may; `X-Auth-Subject`, `-Tenant`, `-Session`, `-Audience` and `-Scope` say whose it is.")
            .problems(&[P::InsufficientScope, P::TooManyRequests]),
    )
}

/// `ANY /forward-auth`: 200 with who it is; 401 with a challenge; 403 `insufficient_scope`; 429 where the
/// tenant limits its apps' checks; 503 while revocations are unknown.
pub(in crate::http) async fn check(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let asked = Asked::of(request.uri());
    if is_preflight(&request, asked.preflight()) {
        return Ok(Reply::empty(StatusCode::OK).no_store());
    }
    let token = token(&tenant, request.headers(), request.uri())?.ok_or(ProblemCode::MissingToken)?;
    // Before anything is checked, if the app is known by then.
    let told = admit(&gate, &tenant, asked.audience.as_deref().into_iter()).await?;
    match gate.tokens.check(&tenant, token, asked.needs()).await? {
        Verdict::Good(genuine) => {
            let told = match &asked.audience {
                Some(_) => told,
                None => admit(&gate, &tenant, genuine.claims.aud.iter()).await?,
            };
            let identity = genuine.identity.as_ref().ok_or(ProblemCode::Internal)?;
            Ok(granted(identity).with_headers(told))
        }
        Verdict::Invalid => Err(ProblemCode::InvalidToken.into()),
        Verdict::InsufficientScope => Err(Problem::insufficient_scope(asked.scope.as_deref().unwrap_or_default())),
    }
}

/// Counts a check for the first app that one of these audiences belongs to, where the tenant wants that.
async fn admit(
    gate: &Gate,
    tenant: &TenantContext,
    mut audiences: impl Iterator<Item = &str>,
) -> Result<HeaderMap, Problem> {
    if !is_limited(tenant) {
        return Ok(HeaderMap::new());
    }
    match audiences.find_map(|audience| tenant.apps().iter().find(|app| app.audience == audience)) {
        Some(app) => limited::admit_check(&gate.limits, tenant, app.id).await,
        None => Ok(HeaderMap::new()),
    }
}

/// Whether token checks are counted at all; a look into memory.
fn is_limited(tenant: &TenantContext) -> bool {
    tenant.policy().limits.get(LimitName::ForwardAuthApp).mode != LimitMode::Off
}

/// A token seen before that is still good: answered at once, whole. Everything else is [`check`]'s, and so is
/// whatever must be counted.
fn recall(gate: &Gate, uri: &Uri, headers: &HeaderMap) -> Option<Reply> {
    let tenant = gate::tenant_of_gateway(&gate.tenants, split_tenant(uri.path()).0).ok()?;
    if is_limited(&tenant) {
        return None;
    }
    // Only looked for, not looked at: what is no token is not among those seen before.
    let token = match request::bearer_as_sent(headers).ok()? {
        Some(token) if request::query(uri, "access_token").is_none() => token,
        Some(_) => return None,
        None => cookie_token(&tenant, headers)?.as_bytes(),
    };
    let asked = Asked::of(uri);
    match gate.tokens.recall(&tenant, token, asked.needs())? {
        Verdict::Good(genuine) => genuine.identity.as_ref().map(|identity| in_mode(&asked, granted(identity))),
        Verdict::Invalid | Verdict::InsufficientScope => None,
    }
}

/// Every identity header stands on every answer, empty where it says nothing: what a client sent under
/// its name is overwritten. Under `mode=strict` the status is one that every gateway knows.
pub(in crate::http) fn finish(uri: &Uri, mut reply: Reply) -> Reply {
    for name in [&SUBJECT, &TENANT, &SESSION, &AUDIENCE, &SCOPE] {
        reply.headers_mut().entry(name).or_insert(HeaderValue::from_static(""));
    }
    in_mode(&Asked::of(uri), reply)
}

fn in_mode(asked: &Asked<'_>, mut reply: Reply) -> Reply {
    if !asked.is_strict() {
        return reply;
    }
    let truth = reply.status();
    let shown = match truth {
        StatusCode::OK | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => truth,
        // A token that cannot be read: the challenge says so.
        StatusCode::BAD_REQUEST => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    reply.headers_mut().insert(&STATUS, HeaderValue::from(truth.as_u16()));
    reply.with_status(shown)
}

/// The token of the request; a bearer token goes before a cookie, good or not.
fn token<'h>(tenant: &TenantContext, headers: &'h HeaderMap, uri: &Uri) -> Result<Option<&'h str>, Problem> {
    Ok(request::bearer(headers, uri)?.or_else(|| cookie_token(tenant, headers)))
}

fn granted(identity: &Identity) -> Reply {
    Reply::empty(StatusCode::OK)
        .no_store()
        .with_header(SUBJECT.clone(), identity.subject.clone())
        .with_header(TENANT.clone(), identity.tenant.clone())
        .with_header(SESSION.clone(), identity.session.clone())
        .with_header(AUDIENCE.clone(), identity.audience.clone())
        .with_header(SCOPE.clone(), identity.scope.clone())
}

/// Whether this is a CORS preflight (Fetch §3.2.2) that may pass.
fn is_preflight(request: &Request, allowed: Preflight) -> bool {
    let is_options = match allowed {
        Preflight::Refused => false,
        Preflight::Own => request.method() == Method::OPTIONS,
        Preflight::Forwarded => {
            let mut told = request.headers().get_all(&X_FORWARDED_METHOD).iter();
            let told = (told.next(), told.next());
            request.via_trusted_proxy() && matches!(told, (Some(method), None) if method == "OPTIONS")
        }
    };
    is_options
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
