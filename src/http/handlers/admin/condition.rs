//! Changes on condition: a tenant and its settings carry one version, shown as `ETag`, and are changed
//! under `If-Match` only while it is the one that was looked at.

use http::HeaderValue;
use http::header::{ETAG, IF_MATCH};

use crate::actors::administration::Expected;
use crate::http::reply::Reply;
use crate::http::request::Request;

/// What the description says of `If-Match`.
pub(super) const EXPECTED: &str = "The `ETag` of what is to be replaced; 412 if it is no longer in force.";

/// The answer with the version that it shows.
pub(super) fn tagged(reply: Reply, version: u64) -> Reply {
    match HeaderValue::try_from(format!("\"{version}\"")) {
        Ok(tag) => reply.with_header(ETAG, tag),
        Err(_) => reply,
    }
}

/// What `If-Match` (RFC 9110 §13.1.1) says: a tag that is none of ours is met by no document.
pub(super) fn expected(request: &Request) -> Expected {
    let lines: Vec<_> = request.headers().get_all(IF_MATCH).iter().filter_map(|line| line.to_str().ok()).collect();
    let tags = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    if !request.headers().contains_key(IF_MATCH) || tags().any(|tag| tag == "*") {
        return Expected::Any;
    }
    let version = |tag: &str| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    Expected::OneOf(tags().filter_map(version).collect())
}
