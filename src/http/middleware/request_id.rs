//! Every request has a name, and the client is told it.

use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::Surroundings;
use crate::clock::Clock;
use crate::http::peer::Origin;
use crate::http::request::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes names: UUIDv7 whose random part is drawn once and then counted on (RFC 9562 §6.2), since
/// fresh randomness for each would cost more than all else that a recalled answer does. They tell
/// requests apart and are no secret.
pub(super) struct RequestIds {
    clock: Clock,
    drawn: [u8; 6],
    count: AtomicU32,
}

impl RequestIds {
    pub(super) fn new(surroundings: &Surroundings) -> Self {
        let (clock, drawn) = (surroundings.clock.clone(), surroundings.entropy.bytes());
        Self { clock, drawn, count: AtomicU32::new(0) }
    }

    /// The name a trusted proxy gave, if it is a sane one, else a fresh one. A client's own is not
    /// taken over: it could make two requests look like one in the log.
    pub(super) fn of(&self, headers: &HeaderMap, origin: Origin) -> RequestId {
        let given = headers.get(X_REQUEST_ID).filter(|_| origin.via_trusted_proxy);
        let given = given.and_then(|value| RequestId::from_proxy(value.to_str().ok()?));
        given.unwrap_or_else(|| RequestId::new(self.fresh()))
    }

    /// A name of our own making.
    pub(super) fn fresh(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let mut tail = [0; 10];
        let (drawn, count) = tail.split_at_mut(self.drawn.len());
        drawn.copy_from_slice(&self.drawn);
        count.copy_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}

/// Tells the client.
pub(super) fn give_back(id: &str, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, value);
    }
}
