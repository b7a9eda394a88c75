//! The tenant's public signing keys.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::http::gate::{self, Gate};
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;

/// `GET /.well-known/jwks.json` (RFC 7517 §8.5): may be cached for five minutes.
pub(super) async fn jwks(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let keys = gate.sessions.public_keys(&tenant).await?;
    let body = serde_json::to_vec(&json!({ "keys": keys })).map_err(|_| ProblemCode::Internal)?;
    let cache = HeaderValue::from_static("public, max-age=300, stale-while-revalidate=60");
    Ok(Reply::typed(StatusCode::OK, "application/jwk-set+json", Bytes::from(body)).with_header(CACHE_CONTROL, cache))
}
