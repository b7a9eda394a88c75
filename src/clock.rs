//! The only place that asks the system for the time of day.
//!
//! Everything else is handed a [`Timestamp`] or a [`Clock`]. A clock may carry a shift, zero
//! outside tests: tests advance it instead of sleeping, and the Redis scripts add the same shift
//! to the server's own `TIME`, so both stores travel together.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// The system's time of day plus a shift that only tests move. Clones share the shift.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_millis: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that shows the system's time.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands that far behind the system's. For tests that let it catch up.
    #[must_use]
    pub fn behind(by: Duration) -> Self {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self { shift_millis: Arc::new(AtomicI64::new(-millis)) }
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis.saturating_add(self.shift_millis()))
    }

    /// A moment on a scale of this process alone, which nobody sets and which never goes back: for
    /// the length of a wait that this node itself keeps.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let millis = i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis.saturating_add(self.shift_millis()))
    }

    /// Moves this clock and all its clones forward. For tests.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.shift_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Milliseconds this clock stands ahead of the system's: zero outside tests.
    #[must_use]
    pub fn shift_millis(&self) -> i64 {
        self.shift_millis.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_clock_travel_together() {
        let clock = Clock::system();
        let clone = clock.clone();
        let before = clock.now();

        clone.advance(Duration::from_secs(3_600));

        assert!(clock.now().since(before) >= Duration::from_secs(3_600));
    }
}
