//! Buckets of limits for the in-process store: all of a tenant's under one lock, as all of them
//! stand in one slot of Redis, so that a request takes from all of its limits or from none.
//!
//! Bounded like the [shelf](super::shelf), and swept in the same small steps: a bucket goes once
//! it is empty. A full store refuses newcomers rather than forget a bucket that somebody filled.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LimitCheck;
use super::shelf::Full;
use crate::domain::ids::TenantId;
use crate::domain::limits::LimitSubject;
use crate::domain::limits::bucket::{Bucket, Check, Verdict, judge};
use crate::domain::time::Timestamp;

const SHARDS: usize = 64;

/// At least as many as one call may add, so that the dead never outnumber the living.
const SWEPT_PER_CALL: usize = 8;

type Key = (TenantId, &'static str, LimitSubject);

struct Entry {
    bucket: Bucket,
    empty_at: Timestamp,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// Every key of `entries` once, in the order in which they are looked at.
    round: VecDeque<Key>,
}

/// All buckets of a process.
pub(super) struct Buckets {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    held: AtomicUsize,
    most: usize,
}

impl Buckets {
    /// Room for `most` buckets, and a few more while several tenants come at once.
    pub(super) fn new(most: usize) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::new(), held: AtomicUsize::new(0), most }
    }

    /// Judges one request.
    pub(super) fn check(&self, tenant: TenantId, checks: &[LimitCheck], now: Timestamp) -> Result<Verdict, Full> {
        let mut shard = self.shard(tenant)?;
        let swept = shard.sweep(now);
        self.held.fetch_sub(swept, Ordering::Relaxed);

        let keys = || checks.iter().map(|check| (tenant, check.name, check.subject));
        let mut buckets: Vec<_> =
            keys().map(|key| shard.entries.get(&key).map_or_else(Bucket::default, |entry| entry.bucket)).collect();
        let rules: Vec<_> = checks.iter().map(|check| Check { rate: check.rate, enforced: check.enforced }).collect();
        let fresh = keys().filter(|key| !shard.entries.contains_key(key)).count();
        if self.held.load(Ordering::Relaxed) + fresh > self.most {
            return Err(Full);
        }
        let went_back = buckets.iter().any(|bucket| bucket.is_ahead(now));
        let verdict = judge(&rules, &mut buckets, now);
        if verdict.admitted || went_back {
            for ((key, bucket), rule) in keys().zip(buckets).zip(&rules) {
                let empty_at = now + bucket.empty_in(rule.rate);
                if shard.put(key, Entry { bucket, empty_at }) {
                    self.held.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(verdict)
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.held.fetch_sub(shard.entries.len(), Ordering::Relaxed);
            *shard = Shard::default();
        }
    }

    fn shard(&self, tenant: TenantId) -> Result<MutexGuard<'_, Shard>, Full> {
        let index = usize::try_from(self.hasher.hash_one(tenant)).unwrap_or_default() % SHARDS;
        Ok(self.shards.get(index).ok_or(Full)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// Whether it is a new one.
    fn put(&mut self, key: Key, entry: Entry) -> bool {
        let is_new = self.entries.insert(key, entry).is_none();
        if is_new {
            self.round.push_back(key);
        }
        is_new
    }

    /// How many went.
    fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.entries.len();
        for _ in 0..SWEPT_PER_CALL {
            let Some(key) = self.round.pop_front() else { break };
            if self.entries.get(&key).is_some_and(|entry| entry.empty_at > now) {
                self.round.push_back(key);
            } else {
                self.entries.remove(&key);
            }
        }
        before - self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::domain::limits::bucket::Rate;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const RATE: Rate = Rate { requests: 60, window: Duration::from_secs(60) };

    fn ask(buckets: &Buckets, client: u32, now: Timestamp) -> Result<bool, Full> {
        let subject = LimitSubject::client(Ipv4Addr::from_bits(client).into());
        let check = LimitCheck { name: "login-client", subject, rate: RATE, enforced: true };
        Ok(buckets.check(TenantId::random([1; 16]), &[check], now)?.admitted)
    }

    #[test]
    fn half_a_million_clients_leave_no_more_than_the_living() {
        let buckets = Buckets::new(100_000);
        // A thousand newcomers a second, each of whom is forgotten a second later.
        for client in 0..500_000_u32 {
            let now = T0 + Duration::from_millis(u64::from(client));
            assert_eq!(ask(&buckets, client, now), Ok(true), "{client}");
        }

        assert!(buckets.held.load(Ordering::Relaxed) < 2_000, "{:?}", buckets.held);
    }

    #[test]
    fn a_clock_that_went_back_keeps_nobody_longer_than_told() {
        let (buckets, later) = (Buckets::new(1_000), T0 + Duration::from_secs(3_600));
        while ask(&buckets, 7, later) == Ok(true) {}

        assert_eq!(ask(&buckets, 7, T0), Ok(false));
        assert_eq!(ask(&buckets, 7, T0 + Duration::from_secs(1)), Ok(true));
    }

    #[test]
    fn a_full_store_refuses_newcomers_and_keeps_what_it_knows() {
        let buckets = Buckets::new(1_000);
        for _ in 0..60 {
            assert_eq!(ask(&buckets, 7, T0), Ok(true));
        }
        for client in 1_000..3_000 {
            let _full_at_the_end = ask(&buckets, client, T0);
        }

        assert_eq!(ask(&buckets, 9_999, T0), Err(Full));
        assert_eq!(ask(&buckets, 7, T0), Ok(false));
        assert_eq!(ask(&buckets, 9_999, T0 + Duration::from_secs(2)), Ok(true), "the living made room");
        assert_eq!(ask(&buckets, 7, T0), Ok(false), "and the busiest is still known");
    }
}
