//! Counts password guesses against one account: the book behind *reserve → verify → settle*.
//!
//! An attempt takes its place in the book **before** anything is hashed, so that at most
//! `threshold` wrong guesses are ever compared per window, on however many nodes:
//!
//! ```text
//!            reserve: failures + in flight < threshold
//!   ┌──────┐ ─────────────────────────────────────────► ┌────────┐
//!   │ Open │                                            │ lease  │
//!   └──────┘ ◄───────────────────────────────────────── └────────┘
//!     ▲        settle: success (counter to zero),            │
//!     │                returned (as if never asked),         │ settle: failure that reaches
//!     │                failure (one more)                    │ the threshold, or a lease that
//!     │ now ≥ until                                          ▼ ran out (a crash counts)
//!     └────────────────────────────────────────────── ┌──────────────┐
//!                                                     │ Locked until │
//!                                                     └──────────────┘
//! ```
//!
//! Strangers share one counter; each known device has its own, so nobody can lock the owner's own
//! browser from afar. Refusals while locked neither count nor lengthen. The consecutive count
//! outlives windows and locks and ends in a hard stop (NIST 800-63B-4 §3.2.2).
//!
//! Whoever settles an attempt writes to storage what it led to. Nobody settles one that crashed, and
//! a book that nobody asks is forgotten with its count: so the next caller is told what has
//! [lapsed](Admission::Lapsed), and nothing is admitted until storage knows.
//!
//! The in-process store runs these functions under its lock; the Redis scripts are their twins,
//! and one contract plus one property test holds both to the same answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{AttemptId, DeviceId, OperationId};
use super::policy::LockoutPolicy;
use super::time::Timestamp;

/// How long the first verdict of an operation is remembered for a repeat.
pub const VERDICT_MEMORY: Duration = Duration::from_mins(1);

/// The longest window or lock that a policy may set.
const LONGEST_WINDOW: Duration = Duration::from_hours(24);

/// Whom a counter counts: everybody unknown together, or one trusted device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// All clients without a device token that the account knows.
    Strangers,
    /// One device that the account trusts.
    Device(DeviceId),
}

impl Lane {
    /// The text used in store keys and rows: `s`, or the device id.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::Strangers => "s".to_owned(),
            Self::Device(id) => id.to_string(),
        }
    }

    /// Reads [`Lane::label`] back.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        if label == "s" { Some(Self::Strangers) } else { label.parse().ok().map(Self::Device) }
    }
}

impl Serialize for Lane {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.label())
    }
}

impl<'de> Deserialize<'de> for Lane {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let label = String::deserialize(deserializer)?;
        Self::from_label(&label).ok_or_else(|| serde::de::Error::custom("not a lane"))
    }
}

/// One lock: from the failure that made it until it runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The attempt that made it; unique in storage, so one lock is announced once.
    pub id: AttemptId,
    /// When it ends.
    pub until: Timestamp,
    /// Made by an expired lease rather than a proven wrong password: nobody is mailed.
    pub lapsed: bool,
}

/// What is remembered of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counter {
    /// Failures in the current window.
    pub failures: u32,
    /// When the window ends and `failures` is forgotten; meaningless while `failures` is zero.
    pub window_ends: Timestamp,
    /// Failures since the last success, over all windows.
    pub consecutive: u32,
    /// The lock in force or just run out.
    pub lock: Option<Lock>,
}

impl Counter {
    /// Nothing to remember: the same as no counter at all.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && self.consecutive == 0 && self.lock.is_none()
    }

    /// What still holds at `now`: the lock if it lasts, the failures if their window does.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        if self.lock.is_some_and(|lock| lock.until <= now) {
            self.lock = None;
            self.failures = 0;
        }
        if self.lock.is_none() && self.window_ends <= now {
            self.failures = 0;
        }
        self
    }
}

/// A reserved attempt that has not been settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose counter it will move.
    pub lane: Lane,
    /// When it counts as a failure.
    pub expires: Timestamp,
}

/// What leases that ran out led to, for the mirror in storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lapsed {
    /// The lanes that they moved, as they stand now.
    pub counters: BTreeMap<Lane, Counter>,
    /// The book's version now.
    pub version: u64,
}

/// Answer to a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// Go and compare; settle under the attempt's id.
    Admitted,
    /// Every remaining guess is in flight elsewhere: ask again shortly.
    Busy,
    /// Locked; nothing may be compared.
    Locked(Lock),
    /// Too many consecutive failures: only a reset (or, for a device, a new sign-in) helps.
    Stopped,
    /// Attempts that nobody ended have counted: write it down, [confirm](AttemptBook::confirm_lapsed)
    /// and ask again.
    Lapsed(Lapsed),
}

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptOutcome {
    /// The credential was right.
    Success,
    /// The credential was wrong.
    Failure,
    /// Nothing was compared; as if never asked.
    Returned,
}

/// Answer to a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// Written down. The counter as it now stands, for the mirror in storage.
    Settled {
        /// The lane's counter afterwards.
        counter: Counter,
        /// Grows with every change of the book, so that an older mirror never overwrites a newer.
        version: u64,
        /// Whether the counter differs from before; if not, there is nothing to mirror.
        changed: bool,
    },
    /// The lease had run out and was counted as a failure: no token may be issued.
    Void,
}

/// A lane after its lock was ended, for the mirror in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// The lane's counter now.
    pub counter: Counter,
    /// The book's version now.
    pub version: u64,
}

/// Everything remembered about guesses against one account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttemptBook {
    /// Grows with every change of a counter.
    pub version: u64,
    /// By lane; a clean counter is left out.
    pub counters: BTreeMap<Lane, Counter>,
    /// Attempts in flight.
    pub leases: BTreeMap<AttemptId, Lease>,
    /// Lanes that leases which ran out have moved, with the version of the last such move, until
    /// storage is known to have them.
    pub lapsed: BTreeMap<Lane, u64>,
    /// First verdicts, for repeats within [`VERDICT_MEMORY`].
    pub admissions: BTreeMap<OperationId, (Timestamp, Admission)>,
    /// Likewise for settlements.
    pub settlements: BTreeMap<OperationId, (Timestamp, Settlement)>,
}

/// One request for a place in the book.
#[derive(Debug, Clone, Copy)]
pub struct Reserve {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// The place, if granted.
    pub attempt: AttemptId,
    /// Whose counter.
    pub lane: Lane,
    /// How long until an unsettled attempt counts as a failure.
    pub lease: Duration,
}

impl AttemptBook {
    /// Takes a place for one attempt, or says why not.
    pub fn reserve(&mut self, policy: &LockoutPolicy, ask: &Reserve, now: Timestamp) -> Admission {
        self.sweep(policy, now);
        if let Some((_, first)) = self.admissions.get(&ask.operation) {
            return first.clone();
        }
        if let Some(lapsed) = self.lapsed() {
            return Admission::Lapsed(lapsed);
        }
        let counter = self.counters.get(&ask.lane).copied().unwrap_or_default().at(now);
        let in_flight = self.in_flight(ask.lane);
        if let Some(lock) = counter.lock {
            return Admission::Locked(lock);
        }
        if policy.hard_limit.is_some_and(|limit| counter.consecutive >= limit) {
            return Admission::Stopped;
        }
        let full = counter.failures + in_flight >= policy.threshold
            || policy.hard_limit.is_some_and(|limit| counter.consecutive + in_flight >= limit);
        if full {
            return Admission::Busy;
        }
        self.leases.insert(ask.attempt, Lease { lane: ask.lane, expires: now + ask.lease });
        self.admissions.insert(ask.operation, (now, Admission::Admitted));
        Admission::Admitted
    }

    /// Storage has what was told at `version`.
    pub fn confirm_lapsed(&mut self, version: u64) {
        self.lapsed.retain(|_, moved| *moved > version);
    }

    /// Ends an attempt with what became of it.
    pub fn settle(
        &mut self,
        policy: &LockoutPolicy,
        operation: OperationId,
        attempt: AttemptId,
        outcome: AttemptOutcome,
        now: Timestamp,
    ) -> Settlement {
        self.sweep(policy, now);
        if let Some((_, first)) = self.settlements.get(&operation) {
            return *first;
        }
        let Some(lease) = self.leases.remove(&attempt) else {
            return Settlement::Void;
        };
        let before = self.counters.get(&lease.lane).copied().unwrap_or_default();
        match outcome {
            AttemptOutcome::Success => {
                self.put(lease.lane, Counter { lock: before.at(now).lock, ..Counter::default() });
            }
            AttemptOutcome::Failure => self.fail(policy, lease.lane, attempt, false, now),
            AttemptOutcome::Returned => {}
        }
        let counter = self.counters.get(&lease.lane).copied().unwrap_or_default();
        let settlement = Settlement::Settled { counter, version: self.version, changed: counter != before };
        self.settlements.insert(operation, (now, settlement));
        settlement
    }

    /// Forgets every counter: a verified reset or an administrator's unlock. Attempts in flight
    /// stay in flight. Returns the new version.
    pub fn clear(&mut self, policy: &LockoutPolicy, now: Timestamp) -> u64 {
        // Else a lease that ran out before the reset would count as a failure after it.
        self.sweep(policy, now);
        self.counters.clear();
        self.lapsed.clear();
        self.version += 1;
        self.version
    }

    /// Ends the lock of one lane before its time: its owner says so. The consecutive count stays, so
    /// that no number of unlocked locks puts off the hard stop. Attempts in flight stay in flight.
    pub fn lift(&mut self, policy: &LockoutPolicy, lane: Lane, now: Timestamp) -> Lifted {
        self.sweep(policy, now);
        let counter = self.counters.get(&lane).copied().unwrap_or_default().at(now);
        self.put(lane, Counter { failures: 0, lock: None, ..counter });
        Lifted { counter: self.counters.get(&lane).copied().unwrap_or_default(), version: self.version }
    }

    /// When the book holds nothing worth keeping any more, if nobody asks again.
    #[must_use]
    pub fn idle_after(&self) -> Option<Timestamp> {
        let counters = self.counters.iter().map(|(lane, counter)| {
            let end = counter.lock.map_or(counter.window_ends, |lock| lock.until.max(counter.window_ends));
            if self.lapsed.contains_key(lane) { end + LONGEST_WINDOW } else { end }
        });
        // A lease that nobody settles is a failure yet to be counted, and must outlive itself as one.
        let leases = self.leases.values().map(|lease| lease.expires + LONGEST_WINDOW);
        let verdicts = self.admissions.values().map(|(at, _)| *at).chain(self.settlements.values().map(|(at, _)| *at));
        counters.chain(leases).chain(verdicts.map(|at| at + VERDICT_MEMORY)).max()
    }

    /// Counts leases that ran out as failures and forgets old verdicts.
    fn sweep(&mut self, policy: &LockoutPolicy, now: Timestamp) {
        let mut expired: Vec<_> =
            self.leases.iter().filter(|(_, l)| l.expires <= now).map(|(id, l)| (*id, *l)).collect();
        // In the order they ran out: an older failure must not move a window's end back.
        expired.sort_by_key(|(id, lease)| (lease.expires, *id));
        for (id, lease) in expired {
            self.leases.remove(&id);
            self.fail(policy, lease.lane, id, true, lease.expires);
            self.lapsed.insert(lease.lane, self.version);
        }
        self.admissions.retain(|_, (at, _)| *at + VERDICT_MEMORY > now);
        self.settlements.retain(|_, (at, _)| *at + VERDICT_MEMORY > now);
    }

    fn lapsed(&self) -> Option<Lapsed> {
        let now = |lane: &Lane| (*lane, self.counters.get(lane).copied().unwrap_or_default());
        let counters: BTreeMap<_, _> = self.lapsed.keys().map(now).collect();
        (!counters.is_empty()).then_some(Lapsed { counters, version: self.version })
    }

    fn in_flight(&self, lane: Lane) -> u32 {
        u32::try_from(self.leases.values().filter(|lease| lease.lane == lane).count()).unwrap_or(u32::MAX)
    }

    fn fail(&mut self, policy: &LockoutPolicy, lane: Lane, attempt: AttemptId, lapsed: bool, now: Timestamp) {
        let mut counter = self.counters.get(&lane).copied().unwrap_or_default().at(now);
        // From the last failure, not the first: else four guesses could end one window and four begin the next.
        counter.window_ends = now + policy.window;
        counter.failures += 1;
        counter.consecutive += 1;
        if counter.lock.is_none() && counter.failures >= policy.threshold {
            counter.lock = Some(Lock { id: attempt, until: now + policy.duration, lapsed });
        }
        self.put(lane, counter);
    }

    fn put(&mut self, lane: Lane, counter: Counter) {
        let before = if counter.is_clean() { self.counters.remove(&lane) } else { self.counters.insert(lane, counter) };
        if before.unwrap_or_default() != counter {
            self.version += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::policy::{Policy, Profile};

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const LEASE: Duration = Duration::from_secs(12);

    fn policy() -> LockoutPolicy {
        Policy::of(Profile::Classic).lockout
    }

    fn attempt(n: u8) -> AttemptId {
        AttemptId::random([n; 16])
    }

    fn operation(n: u16) -> OperationId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        OperationId::random(bytes)
    }

    fn reserve(book: &mut AttemptBook, n: u8, lane: Lane, now: Timestamp) -> Admission {
        let ask = Reserve { operation: operation(n.into()), attempt: attempt(n), lane, lease: LEASE };
        reserve_told(book, &policy(), &ask, now)
    }

    /// As an actor does it.
    fn reserve_told(book: &mut AttemptBook, policy: &LockoutPolicy, ask: &Reserve, now: Timestamp) -> Admission {
        match book.reserve(policy, ask, now) {
            Admission::Lapsed(lapsed) => {
                book.confirm_lapsed(lapsed.version);
                book.reserve(policy, ask, now)
            }
            admission => admission,
        }
    }

    fn settle(book: &mut AttemptBook, n: u8, outcome: AttemptOutcome, now: Timestamp) -> Settlement {
        book.settle(&policy(), operation(1_000 + u16::from(n)), attempt(n), outcome, now)
    }

    fn fail(book: &mut AttemptBook, n: u8, lane: Lane, now: Timestamp) -> Settlement {
        assert_eq!(reserve(book, n, lane, now), Admission::Admitted);
        settle(book, n, AttemptOutcome::Failure, now)
    }

    #[test]
    fn the_fifth_failure_locks_for_the_duration_and_not_a_moment_longer() {
        let mut book = AttemptBook::default();
        for n in 1..=4 {
            fail(&mut book, n, Lane::Strangers, T0);
        }

        let Settlement::Settled { counter, .. } = fail(&mut book, 5, Lane::Strangers, T0) else { panic!("void") };

        let lock = counter.lock.unwrap();
        assert_eq!((lock.id, lock.until, lock.lapsed), (attempt(5), T0 + policy().duration, false));
        let last = T0 + policy().duration - Duration::from_millis(1);
        assert_eq!(reserve(&mut book, 6, Lane::Strangers, last), Admission::Locked(lock));
        assert_eq!(reserve(&mut book, 7, Lane::Strangers, T0 + policy().duration), Admission::Admitted);
    }

    #[test]
    fn a_lifted_lock_gives_a_new_window_but_does_not_put_off_the_hard_stop() {
        let strict = LockoutPolicy { hard_limit: Some(10), ..policy() };
        let mut book = AttemptBook::default();
        let device = Lane::Device(DeviceId::random([9; 16]));
        fail(&mut book, 100, device, T0);
        for n in 0..10 {
            if n == 5 {
                let lifted = book.lift(&strict, Lane::Strangers, T0);
                assert_eq!((lifted.counter.lock, lifted.counter.failures, lifted.counter.consecutive), (None, 0, 5));
            }
            fail(&mut book, n, Lane::Strangers, T0);
        }

        book.lift(&strict, Lane::Strangers, T0);

        let ask = Reserve { operation: operation(99), attempt: attempt(99), lane: Lane::Strangers, lease: LEASE };
        assert_eq!(book.reserve(&strict, &ask, T0), Admission::Stopped);
        assert_eq!(book.counters[&device].failures, 1);
    }

    #[test]
    fn refusals_while_locked_neither_count_nor_lengthen() {
        let mut book = AttemptBook::default();
        for n in 1..=5 {
            fail(&mut book, n, Lane::Strangers, T0);
        }
        let before = book.clone();

        for n in 10..60 {
            assert!(matches!(reserve(&mut book, n, Lane::Strangers, T0), Admission::Locked(_)));
        }

        assert_eq!(book, before);
    }

    #[test]
    fn strangers_cannot_lock_a_known_device_nor_its_success_free_them() {
        let mut book = AttemptBook::default();
        let device = Lane::Device(DeviceId::random([9; 16]));
        for n in 1..=5 {
            fail(&mut book, n, Lane::Strangers, T0);
        }

        assert_eq!(reserve(&mut book, 6, device, T0), Admission::Admitted);
        settle(&mut book, 6, AttemptOutcome::Success, T0);

        assert!(matches!(reserve(&mut book, 7, Lane::Strangers, T0), Admission::Locked(_)));
    }

    #[test]
    fn places_in_flight_bound_the_guesses_that_can_be_compared() {
        let mut book = AttemptBook::default();
        for n in 1..=5 {
            assert_eq!(reserve(&mut book, n, Lane::Strangers, T0), Admission::Admitted);
        }

        assert_eq!(reserve(&mut book, 6, Lane::Strangers, T0), Admission::Busy);
        settle(&mut book, 1, AttemptOutcome::Returned, T0);
        assert_eq!(reserve(&mut book, 7, Lane::Strangers, T0), Admission::Admitted);
    }

    #[test]
    fn a_lease_that_runs_out_counts_as_a_failure_and_voids_its_settlement() {
        let mut book = AttemptBook::default();
        reserve(&mut book, 1, Lane::Strangers, T0);

        assert_eq!(settle(&mut book, 1, AttemptOutcome::Success, T0 + LEASE), Settlement::Void);
        assert_eq!(book.counters[&Lane::Strangers].failures, 1);
    }

    #[test]
    fn a_lock_made_by_expired_leases_alone_is_marked() {
        let mut book = AttemptBook::default();
        for n in 1..=5 {
            reserve(&mut book, n, Lane::Strangers, T0);
        }

        let Admission::Locked(lock) = reserve(&mut book, 6, Lane::Strangers, T0 + LEASE) else { panic!("not locked") };

        assert!(lock.lapsed);
        assert_eq!(lock.until, T0 + LEASE + policy().duration);
    }

    #[test]
    fn nothing_is_admitted_until_storage_knows_of_attempts_that_nobody_ended() {
        let mut book = AttemptBook::default();
        let device = Lane::Device(DeviceId::random([9; 16]));
        reserve(&mut book, 1, Lane::Strangers, T0);
        let later = T0 + LEASE;
        let ask = Reserve { operation: operation(2), attempt: attempt(2), lane: device, lease: LEASE };

        let Admission::Lapsed(first) = book.reserve(&policy(), &ask, later) else { panic!("not told") };
        let Admission::Lapsed(again) = book.reserve(&policy(), &ask, later) else { panic!("told once only") };
        assert_eq!((first.counters[&Lane::Strangers].consecutive, first.counters.len()), (1, 1));
        assert_eq!(first, again);
        assert!(book.idle_after().unwrap() > later + policy().window + policy().window, "storage may be away");

        book.confirm_lapsed(first.version - 1);
        assert!(matches!(book.reserve(&policy(), &ask, later), Admission::Lapsed(_)), "an older one is not enough");
        book.confirm_lapsed(first.version);
        assert_eq!(book.reserve(&policy(), &ask, later), Admission::Admitted);
    }

    #[test]
    fn a_repeated_call_gets_the_first_verdict() {
        let mut book = AttemptBook::default();
        assert_eq!(reserve(&mut book, 1, Lane::Strangers, T0), Admission::Admitted);
        let first = settle(&mut book, 1, AttemptOutcome::Failure, T0);

        assert_eq!(settle(&mut book, 1, AttemptOutcome::Failure, T0), first);
        assert_eq!(reserve(&mut book, 1, Lane::Strangers, T0), Admission::Admitted);
        assert_eq!(book.counters[&Lane::Strangers].failures, 1);
        assert!(book.leases.is_empty());
    }

    #[test]
    fn failures_are_forgotten_with_their_window_but_the_streak_is_not() {
        let mut book = AttemptBook::default();
        for n in 1..=4 {
            fail(&mut book, n, Lane::Strangers, T0);
        }

        fail(&mut book, 5, Lane::Strangers, T0 + policy().window);

        let counter = book.counters[&Lane::Strangers];
        assert_eq!((counter.failures, counter.consecutive, counter.lock), (1, 5, None));
    }

    #[test]
    fn the_hard_stop_outlasts_every_lock_until_a_reset() {
        let mut book = AttemptBook::default();
        let strict = LockoutPolicy { hard_limit: Some(10), ..policy() };
        let mut now = T0;
        for n in 0..10_u8 {
            let ask =
                Reserve { operation: operation(n.into()), attempt: attempt(n), lane: Lane::Strangers, lease: LEASE };
            assert_eq!(book.reserve(&strict, &ask, now), Admission::Admitted, "{n}");
            book.settle(&strict, operation(500 + u16::from(n)), attempt(n), AttemptOutcome::Failure, now);
            if n == 4 {
                now = now + strict.duration;
            }
        }
        now = now + strict.duration;

        let ask = Reserve { operation: operation(90), attempt: attempt(90), lane: Lane::Strangers, lease: LEASE };
        assert_eq!(book.reserve(&strict, &ask, now), Admission::Stopped);
        book.clear(&strict, now);
        assert_eq!(book.reserve(&strict, &ask, now), Admission::Admitted);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve { lane: u8 },
        Settle { pick: usize, outcome: u8 },
        Wait { seconds: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..2_u8).prop_map(|lane| Step::Reserve { lane }),
            4 => (any::<usize>(), 0..3_u8).prop_map(|(pick, outcome)| Step::Settle { pick, outcome }),
            2 => (0..2_000_u64).prop_map(|seconds| Step::Wait { seconds }),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn never_more_than_the_threshold_is_compared_between_two_successes_in_a_window(steps in steps()) {
            let (mut book, policy, mut now) = (AttemptBook::default(), policy(), T0);
            let lanes = [Lane::Strangers, Lane::Device(DeviceId::random([1; 16]))];
            let mut open: Vec<(AttemptId, Lane)> = Vec::new();
            let mut failures: BTreeMap<Lane, Vec<Timestamp>> = BTreeMap::new();
            for (n, step) in steps.into_iter().enumerate() {
                let n = u16::try_from(n).unwrap();
                match step {
                    Step::Wait { seconds } => now = now + Duration::from_secs(seconds),
                    Step::Reserve { lane } => {
                        let mut bytes = [7; 16];
                        bytes[..2].copy_from_slice(&n.to_be_bytes());
                        let (id, lane) = (AttemptId::random(bytes), lanes[usize::from(lane)]);
                        let ask = Reserve { operation: operation(n), attempt: id, lane, lease: LEASE };
                        if reserve_told(&mut book, &policy, &ask, now) == Admission::Admitted {
                            open.push((id, lane));
                        }
                    }
                    Step::Settle { pick, outcome } if !open.is_empty() => {
                        let (id, lane) = open.swap_remove(pick % open.len());
                        let outcome = [AttemptOutcome::Success, AttemptOutcome::Failure, AttemptOutcome::Returned][usize::from(outcome)];
                        let settled = book.settle(&policy, operation(10_000 + n), id, outcome, now);
                        match (outcome, settled) {
                            (AttemptOutcome::Success, Settlement::Settled { .. }) => { failures.remove(&lane); }
                            (AttemptOutcome::Failure, Settlement::Settled { .. }) => failures.entry(lane).or_default().push(now),
                            _ => {}
                        }
                    }
                    Step::Settle { .. } => {}
                }
                for times in failures.values() {
                    for first in times {
                        let within = times.iter().filter(|t| **t >= *first && **t < *first + policy.window).count();
                        prop_assert!(within <= policy.threshold as usize);
                    }
                }
            }
        }
    }
}
