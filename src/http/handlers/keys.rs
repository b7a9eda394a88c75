//! The tenant's public signing keys, and where its OAuth endpoints are.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, ORIGIN, VARY};
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::signing_key::JWKS_MAX_AGE;
use crate::http::gate::{self, Gate};
use crate::http::middleware::Lane;
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    Routes::new()
        .route(Method::GET, "/.well-known/jwks.json", jwks)
        .lane(Lane::Checks)
        .describe(
            Doc::new("oauth", "The keys that access tokens are signed with (RFC 7517)")
                .header("If-None-Match", "The `ETag` that is known already.")
                .answer_as::<KeySet>(200, "application/jwk-set+json", "All of them.")
                .empty(304, "The same as before."),
        )
        .route(Method::GET, "/.well-known/oauth-authorization-server", metadata)
        .lane(Lane::Checks)
        .describe(Doc::new("oauth", "Where the endpoints are (RFC 8414)").answer::<Metadata>(200, "There."))
}

/// A JWK set, which the keyring writes.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "stands for a document that is made elsewhere")]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// RFC 8414 §2.
#[derive(Serialize, JsonSchema)]
struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    jwks_uri: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    token_endpoint_auth_methods_supported: &'static [&'static str],
    introspection_endpoint_auth_methods_supported: &'static [&'static str],
    revocation_endpoint_auth_methods_supported: &'static [&'static str],
    grant_types_supported: [&'static str; 1],
    /// Required even where there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
}

/// `GET /.well-known/jwks.json` (RFC 7517 §8.5). A key is published for twice the time it may be
/// cached before it signs.
async fn jwks(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let keys = gate.sessions.public_keys(&tenant).await?;
    let is_known = request.header(&IF_NONE_MATCH).is_some_and(|known| matches_tag(known, &keys.etag));
    let reply = if is_known {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        Reply::typed(StatusCode::OK, "application/jwk-set+json", keys.document)
    };
    let etag = HeaderValue::try_from(keys.etag).map_err(|_| ProblemCode::Internal)?;
    Ok(cacheable(reply)?.with_header(ETAG, etag))
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414), under the tenant's path or before it.
async fn metadata(_gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let issuer = tenant.issuer();
    let secret = &["client_secret_basic", "client_secret_post"];
    let secret_or_none = &["client_secret_basic", "client_secret_post", "none"];
    let document = Metadata {
        issuer,
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        introspection_endpoint: format!("{issuer}/oauth/introspect"),
        revocation_endpoint: format!("{issuer}/oauth/revoke"),
        token_endpoint_auth_methods_supported: secret_or_none,
        introspection_endpoint_auth_methods_supported: secret,
        revocation_endpoint_auth_methods_supported: secret_or_none,
        grant_types_supported: ["refresh_token"],
        response_types_supported: [],
    };
    Ok(cacheable(Reply::json(StatusCode::OK, &document))?)
}

/// May be kept and shared, but not between pages of different origins: what one may read says so itself.
fn cacheable(reply: Reply) -> Result<Reply, ProblemCode> {
    let cache = format!("public, max-age={}, stale-while-revalidate=60", JWKS_MAX_AGE.as_secs());
    let cache = HeaderValue::try_from(cache).map_err(|_| ProblemCode::Internal)?;
    Ok(reply.with_header(CACHE_CONTROL, cache).with_header(VARY, HeaderValue::from_name(ORIGIN)))
}

/// Whether one of the tags is ours; the weak comparison of RFC 9110 §13.1.2.
fn matches_tag(known: &str, etag: &str) -> bool {
    known.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_found_in_any_list() {
        for (known, found) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false), ("a", false)]
        {
            assert_eq!(matches_tag(known, "\"a\""), found, "{known}");
        }
    }
}
