//! Who showed keys that are not good, and for how long no more of theirs are looked at.
//!
//! ```text
//!   reserve ─► look the key up ─┬─ not good ─► failed: it counts for a minute
//!                               └─ good, or never told ─► given back
//! ```
//!
//! A key is looked at only while the failures of the last minute and the keys being looked at are fewer
//! than [`MOST`] together: of any number shown at once, as many are tried as of those shown one after
//! another. Beyond it a key waits until another is known, so good keys pass however many are shown at once.
//!
//! Kept by each node for itself: 256 random bits are not guessed anyway, so this is for the database's
//! sake, and for a root key that an operator chose badly. Behind a trusted proxy that names no client, the
//! proxy is the client: whoever fails there makes everybody there wait, which costs administrators a
//! minute and nobody else anything.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// Keys that are not good which one client may show within [`WINDOW`].
pub(super) const MOST: u32 = 10;

/// How long one counts.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Clients that are remembered; beyond it the one that was quiet longest is forgotten.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The clients that showed keys.
pub(super) struct FailedKeys(Mutex<LruCache<String, Arc<Guesser>>>);

impl Default for FailedKeys {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CLIENTS)))
    }
}

impl FailedKeys {
    /// Waits until one more key of the client's may be looked at.
    ///
    /// # Errors
    /// When it is next listened to, if it failed too often.
    pub(super) async fn reserve(&self, client: String, clock: &Clock) -> Result<Guess, Timestamp> {
        let by = self.guesser(client);
        loop {
            // Before the look: what is settled in between is not missed.
            let settled = by.settled.notified();
            let place = by.book().reserve(clock.now());
            match place {
                Place::Free => break,
                Place::Taken => settled.await,
                Place::Refused(until) => return Err(until),
            }
        }
        Ok(Guess(by))
    }

    fn guesser(&self, client: String) -> Arc<Guesser> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(clients.get_or_insert_mut(client, Arc::default))
    }
}

/// One client.
#[derive(Default)]
struct Guesser {
    book: Mutex<Book>,
    /// Wakes those that wait for a place, or for the news that there is none.
    settled: Notify,
}

impl Guesser {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Book {
    /// Oldest first.
    failures: Vec<Timestamp>,
    /// Keys being looked at: each may become a failure.
    pending: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    Taken,
    Refused(Timestamp),
}

impl Book {
    fn reserve(&mut self, now: Timestamp) -> Place {
        self.failures.retain(|failure| now.since(*failure) < WINDOW);
        match self.failures.first() {
            Some(oldest) if self.failures.len() >= MOST as usize => Place::Refused(*oldest + WINDOW),
            _ if self.failures.len() + self.pending >= MOST as usize => Place::Taken,
            _ => {
                self.pending += 1;
                Place::Free
            }
        }
    }
}

/// A key that is being looked at; given back when dropped.
pub(super) struct Guess(Arc<Guesser>);

impl Guess {
    /// It is not good.
    pub(super) fn failed(self, now: Timestamp) {
        let by = Arc::clone(&self.0);
        by.book().failures.push(now);
        drop(self);
        // Nobody's place may be left to wait for.
        by.settled.notify_waiters();
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        self.0.book().pending -= 1;
        self.0.settled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn ten_failures_a_minute_are_looked_at() {
        let mut book = Book::default();
        for second in 0..10 {
            assert_eq!(book.reserve(at(second)), Place::Free);
            book.pending -= 1;
            book.failures.push(at(second));
        }

        assert_eq!(book.reserve(at(10)), Place::Refused(at(60)));
        assert_eq!(book.reserve(at(60)), Place::Free, "the oldest counts no more");
        assert_eq!(book.reserve(at(60)), Place::Taken, "that one may fail as well");
        book.pending -= 1;
        book.failures.push(at(60));
        assert_eq!(book.reserve(at(60)), Place::Refused(at(61)));
    }

    #[tokio::test]
    async fn of_keys_shown_at_once_ten_are_looked_at_and_good_ones_follow_on_their_places() {
        let (failed, clock) = (Arc::new(FailedKeys::default()), Clock::system());
        let ask = || {
            let (failed, clock) = (Arc::clone(&failed), clock.clone());
            async move { failed.reserve("a".to_owned(), &clock).await }
        };
        let mut looked_at = Vec::new();
        for _ in 0..10 {
            looked_at.push(ask().await.ok().unwrap());
        }
        let mut waiting = JoinSet::new();
        for _ in 0..190 {
            let asked = ask();
            waiting.spawn(async move { asked.await.is_ok() });
        }
        tokio::task::yield_now().await;
        assert!(waiting.try_join_next().is_none(), "nothing is known yet");

        drop(looked_at.pop());
        let mut good = 0;
        while let Some(passed) = waiting.join_next().await {
            good += usize::from(passed.unwrap());
        }
        assert_eq!(good, 190);

        let asked = ask();
        looked_at.push(asked.await.ok().unwrap());
        for _ in 0..190 {
            let asked = ask();
            waiting.spawn(async move { asked.await.is_ok() });
        }
        tokio::task::yield_now().await;
        for guess in looked_at {
            guess.failed(clock.now());
        }
        while let Some(passed) = waiting.join_next().await {
            assert!(!passed.unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let (failed, clock) = (FailedKeys::default(), Clock::system());
        for n in 0..CLIENTS.get() + 10 {
            failed.reserve(n.to_string(), &clock).await.ok().unwrap().failed(clock.now());
        }

        assert_eq!(failed.0.lock().unwrap().len(), CLIENTS.get());
    }
}
