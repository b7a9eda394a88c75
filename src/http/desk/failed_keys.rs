//! Who showed keys that are not good, and for how long no more of theirs are looked at.
//!
//! Kept by each node for itself: 256 random bits are not guessed anyway, so this is for the database's
//! sake, and for a root key that an operator chose badly. Behind a trusted proxy that names no client, the
//! proxy is the client: whoever fails there makes everybody there wait, which costs administrators a
//! minute and nobody else anything.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::domain::time::Timestamp;

/// Keys that are not good which one client may show within [`WINDOW`].
const MOST: usize = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// Clients that are remembered; beyond it the one that was quiet longest is forgotten.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A client's failures, oldest first.
pub(super) struct FailedKeys(Mutex<LruCache<String, Vec<Timestamp>>>);

impl Default for FailedKeys {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CLIENTS)))
    }
}

impl FailedKeys {
    /// When the client is next listened to, if not now.
    pub(super) fn refused_until(&self, client: &str, now: Timestamp) -> Option<Timestamp> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = clients.get(client)?;
        let oldest = *failures.len().checked_sub(MOST).and_then(|at| failures.get(at))?;
        Some(oldest + WINDOW).filter(|until| *until > now)
    }

    /// Takes note of a failure.
    pub(super) fn note(&self, client: String, now: Timestamp) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = clients.get_or_insert_mut(client, Vec::new);
        failures.retain(|failure| now.since(*failure) < WINDOW);
        failures.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn ten_failures_a_minute_are_looked_at() {
        let failed = FailedKeys::default();
        for second in 0..10 {
            assert_eq!(failed.refused_until("a", at(second)), None);
            failed.note("a".to_owned(), at(second));
        }

        assert_eq!(failed.refused_until("a", at(10)), Some(at(60)));
        assert_eq!(failed.refused_until("b", at(10)), None);
        assert_eq!(failed.refused_until("a", at(60)), None);
        failed.note("a".to_owned(), at(60));
        assert_eq!(failed.refused_until("a", at(60)), Some(at(61)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failed = FailedKeys::default();
        for n in 0..CLIENTS.get() + 10 {
            failed.note(n.to_string(), at(0));
        }

        assert_eq!(failed.0.lock().unwrap().len(), CLIENTS.get());
    }
}
