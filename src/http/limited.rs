//! Limits at the front door: who is counted, and what is said about it.
//!
//! An API gateway or a server-side front end that cannot be a trusted proxy may still say for whom
//! it asks: with an app's credential (`Authorization: Basic`, or [`X_GUICHET_APP`] where that
//! header holds something else) its [`X_GUICHET_CLIENT_ADDRESS`] is believed. Without a right
//! credential that header is nothing but bytes.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::gate;
use super::peer::ClientAddress;
use super::problem::Problem;
use super::request::{Head, Request};
use crate::domain::ids::AppId;
use crate::domain::limits::LimitName;
use crate::domain::time::seconds_rounded_up;
use crate::limits::wire::{self, Fields};
use crate::limits::{Caller, Decision, Limits, Refusal};
use crate::tenant::TenantContext;

/// The address of the person for whom an app asks.
pub static X_GUICHET_CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-guichet-client-address");

/// An app's credential, `id:secret`, where `Authorization` is taken.
pub static X_GUICHET_APP: HeaderName = HeaderName::from_static("x-guichet-app");

/// What is allowed, and what is left of it (draft-ietf-httpapi-ratelimit-headers-10).
static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The app that showed its credential with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppOfRequest(pub AppId);

/// Places the app whose credential the request bears, and believes what it says of its client. No
/// or a wrong credential changes nothing: whoever needs one refuses later.
pub(super) fn believe_app(request: &mut Request, tenant: &TenantContext) {
    let Some(app) = credential(&request.head()).and_then(|(id, secret)| proven(tenant, &id, &secret)) else { return };
    let stated = request.header(&X_GUICHET_CLIENT_ADDRESS).and_then(|text| text.trim().parse::<IpAddr>().ok());
    if let Some(address) = stated {
        request.set_client(ClientAddress::stated(address));
    }
    request.set_extension(AppOfRequest(app));
}

fn credential(head: &Head<'_>) -> Option<(String, String)> {
    let pair = head.header(&X_GUICHET_APP).map(str::to_owned).or_else(|| basic(head))?;
    pair.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// What `Authorization: Basic` holds (RFC 7617).
fn basic(head: &Head<'_>) -> Option<String> {
    let (scheme, credentials) = head.header(&AUTHORIZATION)?.split_once(' ')?;
    let encoded = scheme.eq_ignore_ascii_case("basic").then_some(credentials)?;
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

fn proven(tenant: &TenantContext, id: &str, secret: &str) -> Option<AppId> {
    let app = tenant.app(id.parse().ok()?)?;
    let shown = digest(&SHA256, secret.as_bytes());
    verify_slices_are_equal(shown.as_ref(), &app.secret_digest).ok().map(|()| app.id)
}

/// Asks the limits of a request's route.
///
/// # Errors
/// `too_many_requests`, with all it takes to come back at the right moment.
pub(super) async fn admit(
    limits: &Limits,
    request: &Request,
    names: &'static [LimitName],
) -> Result<HeaderMap, Problem> {
    let tenant = gate::tenant(request)?;
    let client = request.client().named();
    let app = request.extension::<AppOfRequest>().map(|app| app.0);
    decide(limits, &tenant, names, &Caller { client: client.map(|client| client.ip()), app }).await
}

/// What [`admit`] would refuse for certain, from this node's memory; nothing is taken. None where it is not
/// that simple: the client is unknown, or an app may speak for it.
pub(super) fn known_refusal(
    limits: &Limits,
    tenant: &TenantContext,
    head: &Head<'_>,
    names: &'static [LimitName],
) -> Option<Problem> {
    let client = head.origin.client.named().filter(|_| credential(head).is_none())?;
    let caller = Caller { client: Some(client.ip()), app: None };
    limits.known_refusal(tenant, names, &caller).map(|refusal| too_soon(&refusal))
}

/// Asks the limit on token checks for an app. No route carries it: only the gateway's address or the token
/// itself says which app that is.
///
/// # Errors
/// `too_many_requests`.
pub(super) async fn admit_check(limits: &Limits, tenant: &TenantContext, app: AppId) -> Result<HeaderMap, Problem> {
    decide(limits, tenant, &[LimitName::ForwardAuthApp], &Caller { client: None, app: Some(app) }).await
}

async fn decide(
    limits: &Limits,
    tenant: &TenantContext,
    names: &[LimitName],
    caller: &Caller,
) -> Result<HeaderMap, Problem> {
    match limits.check(tenant, names, caller).await {
        Decision::Admitted(standings) => Ok(wire::on_success(&standings).map_or_else(HeaderMap::new, headers)),
        Decision::Refused(refusal) => Err(too_soon(&refusal)),
    }
}

fn too_soon(refusal: &Refusal) -> Problem {
    let problem = Problem::too_soon(refusal.wait).with_member("violated-policies", wire::violated(refusal));
    problem.with_headers(wire::on_refusal(refusal).map_or_else(HeaderMap::new, headers))
}

/// What one is told who used up a quota that is no limit of a tenant's: `most` in a window, again after `wait`.
pub(super) fn used_up(name: &'static str, most: u32, window: Duration, wait: Duration) -> Problem {
    let (window, t) = (window.as_secs(), seconds_rounded_up(wait));
    let policy = format!("\"{name}\";q={most};w={window}");
    let fields = Fields { policy, state: format!("\"{name}\";r=0;t={t}") };
    Problem::too_soon(wait).with_member("violated-policies", vec![name]).with_headers(headers(fields))
}

/// As header fields.
pub(super) fn headers(fields: Fields) -> HeaderMap {
    let fields = [(&RATELIMIT_POLICY, fields.policy), (&RATELIMIT, fields.state)];
    let value = |(name, text): (&HeaderName, String)| Some((name.clone(), HeaderValue::try_from(text).ok()?));
    fields.into_iter().filter_map(value).collect()
}
