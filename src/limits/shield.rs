//! What this node knows of each bucket: what the store last said, and what is under way to it.
//!
//! A copy of the store's buckets that is never fuller than they are, so whatever does not fit here
//! does not fit there: the refusal is certain and costs no call.
//!
//! - Before the store is asked, a request is put into the copy; concurrent ones of one client
//!   therefore never ask for more than could fit. If the store then refuses, it is taken out again.
//! - What the store says is dated to the moment *before* it was asked. The copy drains at least as
//!   early as the original, and the other error, a wait told too short, is mended by adding the
//!   time the question took.
//! - A rate that was changed makes a copy of the old one void.
//!
//! `governor` keeps one quota for all of its keys and cannot take a request back, and quotas here
//! are each tenant's own, so the copy runs the same [`bucket`](crate::domain::limits::bucket) as
//! the judges do.
//!
//! Bounded: beyond the cap the longest unused copy goes, which only costs its client one more call.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::{Ask, Standing, standing};
use crate::domain::ids::TenantId;
use crate::domain::limits::bucket::{Bucket, Rate, Verdict};
use crate::domain::limits::{LimitName, LimitSubject};
use crate::domain::time::Timestamp;

/// Added to every wait: clocks of nodes and stores do not tick exactly alike.
pub(super) const MARGIN: Duration = Duration::from_millis(10);

const SHARDS: usize = 64;

/// Subjects of one limit that are shown at most.
const MOST_SHOWN: usize = 20;

type Key = (TenantId, &'static str, LimitSubject);

/// One bucket's copy.
struct Copy {
    name: LimitName,
    rate: Rate,
    bucket: Bucket,
    /// How long the last question took.
    lag: Duration,
    /// Requests refused since it was made.
    refused: u64,
}

/// Who is refused by one limit at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedNow {
    /// Which limit.
    pub name: LimitName,
    /// Requests of theirs that this node refused since each was last quiet.
    pub requests: u64,
    /// How many clients, apps or tenants they are.
    pub subjects: usize,
    /// The busiest of them: networks (/24, /64, /48), never addresses; apps by their id.
    pub shown: Vec<String>,
}

pub(super) struct Shield {
    shards: Vec<Mutex<LruCache<Key, Copy>>>,
    hasher: RandomState,
    most_per_shard: usize,
}

impl Shield {
    pub(super) fn new(most: usize) -> Self {
        // Unbounded, or each would take the memory of a full one at once; the cap is held here.
        let shard = || Mutex::new(LruCache::unbounded());
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::new(),
            most_per_shard: most.div_ceil(SHARDS),
        }
    }

    /// Puts a request into every copy, or says where it certainly does not fit.
    pub(super) fn reserve<'a>(
        &'a self,
        tenant: TenantId,
        asks: &'a [Ask],
        now: Timestamp,
    ) -> Result<UnderWay<'a>, Vec<Standing>> {
        let standings: Vec<_> = enforced(asks).map(|ask| self.look(tenant, ask, now, Bucket::filled)).collect();
        let under_way = UnderWay { shield: self, tenant, asks, standings, is_settled: false };
        if under_way.standings.iter().any(|standing| standing.over) {
            // Dropped here, it is taken out of the others again.
            return Err(under_way.standings.clone());
        }
        Ok(under_way)
    }

    /// Says where a request certainly does not fit, if it does not; nothing is put anywhere.
    pub(super) fn refuse(&self, tenant: TenantId, asks: &[Ask], now: Timestamp) -> Option<Vec<Standing>> {
        let standings: Vec<_> = enforced(asks).map(|ask| self.look(tenant, ask, now, |bucket, _| bucket)).collect();
        standings.iter().any(|standing| standing.over).then_some(standings)
    }

    /// Looks whether a request fits, and does that to the bucket if it does.
    fn look(&self, tenant: TenantId, ask: &Ask, now: Timestamp, fits: impl FnOnce(Bucket, Rate) -> Bucket) -> Standing {
        self.visit(tenant, ask, |copy| {
            let rate = copy.rate;
            copy.bucket = copy.bucket.drained(rate, now);
            let over = !copy.bucket.has_room(rate);
            if over {
                copy.refused += 1;
            } else {
                copy.bucket = fits(copy.bucket, rate);
            }
            standing(ask, copy.bucket, over, copy.lag)
        })
    }

    fn visit<R>(&self, tenant: TenantId, ask: &Ask, act: impl FnOnce(&mut Copy) -> R) -> R {
        let key = (tenant, ask.check.name, ask.check.subject);
        let fresh = || Copy {
            name: ask.name,
            rate: ask.check.rate,
            bucket: Bucket::default(),
            lag: Duration::ZERO,
            refused: 0,
        };
        let Some(shard) = self.shard(&key) else { return act(&mut fresh()) };
        let mut shard = shard;
        if shard.len() >= self.most_per_shard && !shard.contains(&key) {
            shard.pop_lru();
        }
        let copy = shard.get_or_insert_mut(key, fresh);
        if copy.rate != ask.check.rate {
            *copy = fresh();
        }
        act(copy)
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, LruCache<Key, Copy>>> {
        let index = usize::try_from(self.hasher.hash_one(key)).unwrap_or_default() % SHARDS;
        self.shards.get(index).map(locked)
    }

    /// Drops copies with nothing left in them, from the longest unused on.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            while shard.peek_lru().is_some_and(|(_, copy)| copy.bucket.drained(copy.rate, now).level == 0) {
                shard.pop_lru();
            }
        }
    }

    pub(super) fn refused_now(&self, tenant: TenantId, now: Timestamp) -> Vec<RefusedNow> {
        let mut by_name: BTreeMap<LimitName, Vec<(u64, LimitSubject)>> = BTreeMap::new();
        for shard in &self.shards {
            for ((whose, _, subject), copy) in locked(shard).iter() {
                let is_full = !copy.bucket.drained(copy.rate, now).has_room(copy.rate);
                if *whose == tenant && copy.refused > 0 && is_full {
                    by_name.entry(copy.name).or_default().push((copy.refused, *subject));
                }
            }
        }
        let told = by_name.into_iter().map(|(name, mut refused)| {
            refused.sort_unstable_by(|one, other| other.cmp(one));
            let mut shown: Vec<_> = refused.iter().map(|(_, subject)| subject.shown()).collect();
            shown.dedup();
            shown.truncate(MOST_SHOWN);
            let requests = refused.iter().map(|(requests, _)| requests).sum();
            RefusedNow { name, requests, subjects: refused.len(), shown }
        });
        told.collect()
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }
}

fn locked(shard: &Mutex<LruCache<Key, Copy>>) -> MutexGuard<'_, LruCache<Key, Copy>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enforced(asks: &[Ask]) -> impl Iterator<Item = &Ask> {
    asks.iter().filter(|ask| ask.check.enforced)
}

/// A request that was put into every copy. Dropped without a verdict (its client left) it is taken
/// out again: whether the store counted it is not known here.
pub(super) struct UnderWay<'a> {
    shield: &'a Shield,
    tenant: TenantId,
    asks: &'a [Ask],
    standings: Vec<Standing>,
    is_settled: bool,
}

impl UnderWay<'_> {
    /// The store's verdict, asked for at `asked_at` and given `lag` later.
    pub(super) fn learn(mut self, verdict: &Verdict, asked_at: Timestamp, lag: Duration) {
        self.is_settled = true;
        let told = self.asks.iter().zip(&verdict.standings).filter(|(ask, _)| ask.check.enforced);
        for (ask, told) in told {
            self.shield.visit(self.tenant, ask, |copy| {
                if !verdict.admitted {
                    copy.bucket = copy.bucket.returned(copy.rate);
                    copy.refused += u64::from(told.over);
                }
                // As full as the fuller of the two: others may be under way from here, or counted there.
                let known = Bucket { level: told.level, at: asked_at }.drained(copy.rate, copy.bucket.at.max(asked_at));
                if known.level > copy.bucket.drained(copy.rate, known.at).level {
                    copy.bucket = known;
                }
                copy.lag = lag;
            });
        }
    }

    /// No verdict is to be had: the copies are all there is.
    pub(super) fn keep(mut self) -> Vec<Standing> {
        self.is_settled = true;
        std::mem::take(&mut self.standings)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        for (ask, standing) in enforced(self.asks).zip(&self.standings) {
            if !standing.over {
                self.shield.visit(self.tenant, ask, |copy| copy.bucket = copy.bucket.returned(copy.rate));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ephemeral::LimitCheck;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const RATE: Rate = Rate { requests: 60, window: Duration::from_secs(60) };

    fn ask(client: u32) -> [Ask; 1] {
        let subject = LimitSubject::client(Ipv4Addr::from_bits(client).into());
        let name = LimitName::LoginClient;
        [Ask { name, check: LimitCheck { name: name.as_str(), subject, rate: RATE, enforced: true } }]
    }

    fn take(shield: &Shield, client: u32) -> bool {
        shield.reserve(TenantId::random([1; 16]), &ask(client), T0).is_ok_and(|under_way| !under_way.keep().is_empty())
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_forgets_nobody_who_keeps_asking() {
        let shield = Shield::new(10_000);
        for _ in 0..60 {
            assert!(take(&shield, 7));
        }
        for client in 1_000..400_000 {
            assert!(take(&shield, client));
            if client % 500 == 0 {
                assert!(!take(&shield, 7), "forgotten at {client}");
            }
        }
        assert!(shield.held() <= 10_000 + SHARDS, "{}", shield.held());

        shield.sweep(T0 + Duration::from_secs(60));

        assert_eq!(shield.held(), 0);
    }

    #[test]
    fn a_request_refused_for_one_limit_is_taken_out_of_the_others() {
        let (shield, [client]) = (Shield::new(100), ask(7));
        let once = LimitCheck { name: "tenant-total", rate: Rate { requests: 1, ..RATE }, ..client.check };
        let both = [client, Ask { name: LimitName::TenantTotal, check: once }];
        for n in 0..200 {
            let taken = shield.reserve(TenantId::random([1; 16]), &both, T0).map(|under_way| drop(under_way.keep()));
            assert_eq!(taken.is_ok(), n == 0);
        }

        assert!((1..60).all(|_| take(&shield, 7)) && !take(&shield, 7));
    }

    #[test]
    fn looking_for_a_certain_refusal_takes_nothing() {
        let (shield, asks, tenant) = (Shield::new(100), ask(7), TenantId::random([1; 16]));
        for _ in 0..60 {
            assert_eq!(shield.refuse(tenant, &asks, T0), None);
            assert!(take(&shield, 7));
        }

        let refused = shield.refuse(tenant, &asks, T0).unwrap();

        assert_eq!(Err(refused), shield.reserve(tenant, &asks, T0).map(drop));
        assert_eq!(shield.refused_now(tenant, T0)[0].requests, 2);
    }

    #[test]
    fn a_request_whose_client_left_is_taken_out_again() {
        let (shield, asks) = (Shield::new(100), ask(7));
        for _ in 0..200 {
            drop(shield.reserve(TenantId::random([1; 16]), &asks, T0).unwrap_or_else(|_| panic!("full")));
        }
    }
}
