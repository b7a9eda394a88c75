//! Which pages of other origins may read an answer (CORS, Fetch standard §3.2).
//!
//! The exact origins of the tenant's apps may, whatever the answer is: a page that cannot read a
//! refusal cannot wait as it is told to. Any other origin gets no header at all, so that a browser
//! keeps the answer from it. Credentials are allowed only where the tenant keeps tokens in a cookie.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use super::middleware::CrossOrigin;
use crate::tenant::TenantContext;

/// What a page needs beside the body: when to come back, why it was refused, what to quote to support.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-Id");

/// What a page may send beside the headers that are always allowed. No credential of an app: those have
/// no place in a browser.
const ALLOWED: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, X-Device-Id, X-Request-Id");

/// For how long a browser need not ask again; an origin that was taken away is refused the answers
/// themselves at once.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Adds what the page's browser must be told to an answer.
pub(super) fn tell(tenant: &TenantContext, asked: &CrossOrigin, headers: &mut HeaderMap) {
    if !tenant.apps().iter().flat_map(|app| &app.origins).any(|origin| asked.origin == origin.as_str()) {
        return;
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, asked.origin.clone());
    headers.insert(VARY, HeaderValue::from_name(ORIGIN));
    if tenant.policy().tokens.cookie {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if asked.method != Method::OPTIONS || asked.requested_method.is_none() {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    } else if let Some(methods) = headers.get(ALLOW).cloned() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
}
