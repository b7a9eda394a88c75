//! Every request has a name, and the client is told it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Surroundings;
use crate::http::peer::Origin;
use crate::http::request::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name a trusted proxy gave, if it is a sane one, else a fresh UUIDv7. A client's own is not
/// taken over: it could make two requests look like one in the log.
pub(super) fn of(headers: &HeaderMap, origin: Origin, surroundings: &Surroundings) -> RequestId {
    let given = headers.get(X_REQUEST_ID).filter(|_| origin.via_trusted_proxy);
    given.and_then(|value| RequestId::from_proxy(value.to_str().ok()?)).unwrap_or_else(|| fresh(surroundings))
}

/// A name of our own making.
pub(super) fn fresh(surroundings: &Surroundings) -> RequestId {
    let millis = u64::try_from(surroundings.clock.now().as_millis()).unwrap_or(0);
    let bytes = surroundings.entropy.bytes::<10>();
    RequestId::new(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
}

/// Tells the client.
pub(super) fn give_back(id: &RequestId, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, value);
    }
}
