//! The arithmetic of every limit: GCRA, exact in integers.
//!
//! A [`Bucket`] fills by each admitted request and drains at an even pace. One request weighs as
//! many units as the window has milliseconds, and every millisecond drains as many units as the
//! quota has requests, so that nothing is ever rounded: from empty, exactly the quota fits at
//! once, and over `t` milliseconds exactly `quota + ⌊t · quota / window⌋`.
//!
//! The in-process store and each node's own copy run these functions; the Redis script is their
//! twin, and one property test holds all to the same verdicts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// How much in which time; also how much at once after a quiet window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests, at least one, at most a million.
    pub requests: u32,
    /// The time they are for: whole milliseconds, at most a day.
    pub window: Duration,
}

impl Rate {
    /// What one request weighs.
    #[must_use]
    pub fn weight(self) -> u64 {
        u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// What a bucket holds.
    #[must_use]
    pub fn capacity(self) -> u64 {
        self.pace().saturating_mul(self.weight())
    }

    /// What a millisecond drains.
    fn pace(self) -> u64 {
        u64::from(self.requests).max(1)
    }

    /// Neither more at once nor faster than `other`.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.requests <= other.requests && self.pace() * other.weight() <= other.pace() * self.weight()
    }

    /// No faster than `ceiling`: fewer requests in the same window or, where it is too short for even one,
    /// one in a longer.
    #[must_use]
    pub fn capped(self, ceiling: Self) -> Self {
        let most = ceiling.pace().saturating_mul(self.weight()) / ceiling.weight();
        if most == 0 {
            return Self { requests: 1, window: Duration::from_millis(ceiling.weight().div_ceil(ceiling.pace())) };
        }
        Self { requests: self.requests.min(u32::try_from(most).unwrap_or(u32::MAX)), ..self }
    }

    /// Several of it at once, at most a million requests.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        Self { requests: self.requests.saturating_mul(factor).min(1_000_000), ..self }
    }

    /// A part of it, at least one request.
    #[must_use]
    pub fn divided_by(self, part: u32) -> Self {
        Self { requests: (self.requests / part.max(1)).max(1), ..self }
    }
}

/// How full a limit is for one subject. The default is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// In the units of its rate.
    pub level: u64,
    /// When it was that full.
    pub at: Timestamp,
}

impl Bucket {
    /// What is left in it at `now`. A clock that went back drains nothing, and a rate that shrank
    /// keeps nobody longer than its window.
    #[must_use]
    pub fn drained(self, rate: Rate, now: Timestamp) -> Self {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let level = self.level.min(rate.capacity()).saturating_sub(passed.saturating_mul(rate.pace()));
        Self { level, at: now }
    }

    /// Whether it was written by a clock that has gone back since. It must be written anew then, also where
    /// nothing is taken, or it would drain nothing until the clock has caught up.
    #[must_use]
    pub fn is_ahead(self, now: Timestamp) -> bool {
        self.at > now
    }

    /// Whether one more request fits.
    #[must_use]
    pub fn has_room(self, rate: Rate) -> bool {
        self.level.saturating_add(rate.weight()) <= rate.capacity()
    }

    /// One more request in it.
    #[must_use]
    pub fn filled(self, rate: Rate) -> Self {
        Self { level: self.level.saturating_add(rate.weight()), ..self }
    }

    /// One request fewer, as if it had never been.
    #[must_use]
    pub fn returned(self, rate: Rate) -> Self {
        Self { level: self.level.saturating_sub(rate.weight()), ..self }
    }

    /// Requests that fit now.
    #[must_use]
    pub fn remaining(self, rate: Rate) -> u64 {
        rate.capacity().saturating_sub(self.level) / rate.weight()
    }

    /// How long until one more fits than now; nothing if it is empty.
    #[must_use]
    pub fn more_in(self, rate: Rate) -> Duration {
        let wanted = (self.remaining(rate) + 1).saturating_mul(rate.weight());
        if self.level == 0 || wanted > rate.capacity() {
            return self.empty_in(rate);
        }
        let excess = self.level.saturating_sub(rate.capacity() - wanted);
        Duration::from_millis(excess.div_ceil(rate.pace()))
    }

    /// How long until nothing is left of it.
    #[must_use]
    pub fn empty_in(self, rate: Rate) -> Duration {
        Duration::from_millis(self.level.div_ceil(rate.pace()))
    }
}

/// One limit that a request is asked to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// How much.
    pub rate: Rate,
    /// Whether being over it refuses the request, or is only told.
    pub enforced: bool,
}

/// Where one limit stands after a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How full it is.
    pub level: u64,
    /// Whether the request did not fit.
    pub over: bool,
}

/// The answer to all limits of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether every enforced limit had room. If not, nothing was taken from any.
    pub admitted: bool,
    /// By limit, in the order asked.
    pub standings: Vec<Standing>,
}

/// Asks all limits of one request, and takes from all or from none. A limit that only records
/// takes what fits.
pub fn judge(checks: &[Check], buckets: &mut [Bucket], now: Timestamp) -> Verdict {
    for (check, bucket) in checks.iter().zip(buckets.iter_mut()) {
        *bucket = bucket.drained(check.rate, now);
    }
    let admitted = checks.iter().zip(buckets.iter()).all(|(check, b)| !check.enforced || b.has_room(check.rate));
    let standings = checks.iter().zip(buckets).map(|(check, bucket)| {
        let over = !bucket.has_room(check.rate);
        if admitted && !over {
            *bucket = bucket.filled(check.rate);
        }
        Standing { level: bucket.level, over }
    });
    let standings = standings.collect();
    Verdict { admitted, standings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn rate(requests: u32, millis: u64) -> Rate {
        Rate { requests, window: Duration::from_millis(millis) }
    }

    fn after(millis: u64) -> Timestamp {
        T0 + Duration::from_millis(millis)
    }

    fn ask(bucket: &mut Bucket, rate: Rate, now: Timestamp) -> bool {
        judge(&[Check { rate, enforced: true }], std::slice::from_mut(bucket), now).admitted
    }

    fn rates() -> impl Strategy<Value = Rate> {
        (1..200_u32, prop_oneof![Just(1_000_u64), Just(60_000), 1..100_000_u64]).prop_map(|(n, w)| rate(n, w))
    }

    proptest! {
        #[test]
        fn the_first_burst_is_the_quota_exactly(rate in rates()) {
            let mut bucket = Bucket::default();
            let admitted = (0..rate.requests * 2).filter(|_| ask(&mut bucket, rate, T0)).count();
            prop_assert_eq!(admitted, usize::try_from(rate.requests).unwrap());
        }

        #[test]
        fn a_client_that_never_stops_gets_quota_plus_rate_times_time(rate in rates(), steps in prop::collection::vec(1..500_u64, 1..100)) {
            let (mut bucket, mut passed, mut admitted) = (Bucket::default(), 0, 0_u64);
            loop {
                if !ask(&mut bucket, rate, T0) { break; }
                admitted += 1;
            }
            for step in steps {
                passed += step;
                while ask(&mut bucket, rate, after(passed)) { admitted += 1; }
                let fair = u64::from(rate.requests) + passed * u64::from(rate.requests) / rate.weight();
                // Time beyond a full bucket is not saved up.
                prop_assert!(admitted <= fair);
                if step * u64::from(rate.requests) <= rate.weight() * u64::from(rate.requests) && passed <= rate.weight() {
                    prop_assert_eq!(admitted, fair);
                }
            }
        }

        #[test]
        fn waiting_exactly_as_told_is_enough_and_a_moment_less_is_not(rate in rates(), before in 0..100_000_u64) {
            let mut bucket = Bucket::default();
            for _ in 0..rate.requests { ask(&mut bucket, rate, after(before / 3)); }
            while ask(&mut bucket, rate, after(before)) {}
            let wait = bucket.more_in(rate);
            let (mut early, mut late) = (bucket, bucket);
            prop_assert!(!wait.is_zero());
            prop_assert!(!ask(&mut early, rate, after(before) + wait.checked_sub(Duration::from_millis(1)).unwrap()));
            prop_assert!(ask(&mut late, rate, after(before) + wait));
        }
    }

    #[test]
    fn a_refused_request_takes_from_none() {
        let (tight, wide) = (rate(1, 60_000), rate(100, 60_000));
        let checks = [Check { rate: wide, enforced: true }, Check { rate: tight, enforced: true }];
        let mut buckets = [Bucket::default(); 2];
        assert!(judge(&checks, &mut buckets, T0).admitted);

        for _ in 0..500 {
            let verdict = judge(&checks, &mut buckets, T0);
            assert_eq!((verdict.admitted, verdict.standings[0].over, verdict.standings[1].over), (false, false, true));
        }

        assert_eq!(buckets[0].remaining(wide), 99);
    }

    #[test]
    fn a_limit_that_records_admits_and_tells() {
        let checks = [Check { rate: rate(2, 1_000), enforced: false }];
        let mut buckets = [Bucket::default()];

        let over: Vec<_> = (0..4).map(|_| judge(&checks, &mut buckets, T0)).collect();

        assert!(over.iter().all(|verdict| verdict.admitted));
        assert_eq!(
            over.iter().map(|verdict| verdict.standings[0].over).collect::<Vec<_>>(),
            [false, false, true, true]
        );
    }

    #[test]
    fn a_clock_that_went_back_or_a_quota_that_shrank_keeps_nobody_longer_than_a_window() {
        let (wide, tight) = (rate(600, 60_000), rate(10, 60_000));
        let mut bucket = Bucket { level: wide.capacity(), at: after(3_600_000) };
        assert!(bucket.is_ahead(T0));
        assert!(!ask(&mut bucket, wide, T0));
        assert!(!bucket.is_ahead(T0));
        assert!(bucket.more_in(wide) <= wide.window);

        let bucket = bucket.drained(tight, T0);

        assert!(bucket.empty_in(tight) <= tight.window);
    }

    #[test]
    fn rates_are_compared_by_burst_and_by_pace() {
        let base = rate(60, 60_000);
        for (other, within) in [
            (rate(60, 60_000), true),
            (rate(10, 60_000), true),
            (rate(60, 59_999), false),
            (rate(61, 3_600_000), false),
            (rate(1, 1_000), true),
            (rate(2, 1_000), false),
        ] {
            assert_eq!(other.is_within(base), within, "{other:?}");
        }
        assert_eq!(rate(600, 60_000).capped(base), base);
        assert_eq!(rate(600, 1_000).capped(base), rate(1, 1_000));
        assert_eq!(rate(5, 60_000).capped(base), rate(5, 60_000));
        assert_eq!(rate(1, 1_000).capped(rate(10, 60_000)), rate(1, 6_000));
        assert_eq!(rate(9, 100).capped(rate(7, 60_000)), rate(1, 8_572));
        assert_eq!(rate(5, 60_000).divided_by(6), rate(1, 60_000));
    }

    #[test]
    fn the_biggest_legal_limit_stays_exact_in_a_double() {
        for (requests, seconds) in [(100_000, 86_400), (1_000_000, 3_600)] {
            // cjson writes fourteen digits.
            assert!(rate(requests, seconds * 1_000).capacity() < 100_000_000_000_000);
        }
    }
}
