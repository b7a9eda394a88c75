//! A moment, to the millisecond, that nobody here can ask the system for.
//!
//! Milliseconds since the Unix epoch as an integer: the one form that PostgreSQL, SQLite, Redis
//! scripts and JSON all keep exactly. A [`Timestamp`] is a moment and a [`Duration`] a length;
//! the types do not mix.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as `iat` and `exp` want them (RFC 7519 `NumericDate`).
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Time passed since `earlier`; zero if `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Time left until `later`; zero once it has come.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    /// RFC 3339 in UTC, for people and JSON.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }
}

/// A wait as its judge sees it. Whoever only hears of it has another clock: to them the two moments
/// mean nothing, and the span between them everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it was judged.
    pub at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Wait {
    /// How long it is.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.until(self.until)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Whole seconds, rounded up and at least one: what `Retry-After` may promise.
#[must_use]
pub fn seconds_rounded_up(length: Duration) -> u64 {
    u64::try_from(length.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_promised_shorter_than_it_is() {
        assert_eq!(seconds_rounded_up(Duration::from_millis(1)), 1);
        assert_eq!(seconds_rounded_up(Duration::from_millis(1_000)), 1);
        assert_eq!(seconds_rounded_up(Duration::from_millis(1_001)), 2);
    }

    #[test]
    fn time_left_never_goes_below_zero() {
        let now = Timestamp::from_millis(5_000);

        assert_eq!(now.until(Timestamp::from_millis(4_000)), Duration::ZERO);
    }
}
