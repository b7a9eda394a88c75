//! Random stories of two nodes, step by step against the pure `AttemptBook`.
//!
//! Whatever the order of crashes, idle hours and emptied stores, storage never lags behind in what
//! counts towards the hard stop: it is what a book is filled from.
//!
//! Waits are multiples of seven seconds and no span of the rules is one, so the milliseconds that
//! a call takes never decide a verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use guichet::domain::ids::{AccountId, AttemptId, DeviceId, TenantId};
use guichet::domain::lockout::{Admission, AttemptBook, AttemptOutcome, Counter, Lane, Lapsed, Lock, Settlement};
use guichet::domain::policy::LockoutPolicy;
use guichet::domain::time::Timestamp;
use guichet::ephemeral::{AttemptSubject, Reservation, Settle};
use proptest::prelude::*;

use super::stories::stories;
use super::{Nodes, assert_alike, policy, seed};

const SPAN: Duration = Duration::from_secs(1_803);
const OUTCOMES: [AttemptOutcome; 3] = [AttemptOutcome::Success, AttemptOutcome::Failure, AttemptOutcome::Returned];

#[derive(Debug, Clone)]
enum Step {
    Reserve { node: usize, lane: usize, reply_lost: bool },
    Settle { pick: usize, outcome: usize, reply_lost: bool },
    Crash { pick: usize },
    Clear { node: usize },
    Wait { sevens: u64 },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Failures and strangers weigh more, else a lock is rarely reached.
    let outcome = prop_oneof![1 => Just(0_usize), 6 => Just(1), 1 => Just(2)];
    let lane = prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    // Less than a lease or a little more; some of a lock; just past it.
    let sevens = prop_oneof![6 => 1..3_u64, 1 => 3..250_u64, 2 => 258..261_u64];
    let step = prop_oneof![
        12 => (0..2_usize, lane, prop::bool::weighted(0.2))
            .prop_map(|(node, lane, reply_lost)| Step::Reserve { node, lane, reply_lost }),
        10 => (any::<usize>(), outcome, prop::bool::weighted(0.2))
            .prop_map(|(pick, outcome, reply_lost)| Step::Settle { pick, outcome, reply_lost }),
        1 => any::<usize>().prop_map(|pick| Step::Crash { pick }),
        1 => (0..2_usize).prop_map(|node| Step::Clear { node }),
        4 => sevens.prop_map(|sevens| Step::Wait { sevens }),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the actor keeps in storage: counters as settlements told them.
#[derive(Debug, Clone, Default)]
struct Mirror {
    version: u64,
    counters: BTreeMap<Lane, Counter>,
}

/// One account's story.
struct World<'a> {
    nodes: &'a Nodes,
    tenant: TenantId,
    account: AccountId,
    policy: LockoutPolicy,
    model: AttemptBook,
    mirror: Mirror,
    /// Attempts in flight, with the node that holds them.
    open: Vec<(AttemptId, Lane, usize)>,
    /// Attempts that were in flight when the store was emptied.
    swept_away: Vec<(AttemptId, usize)>,
    /// Failures known to have been compared since the lane's last success.
    failures: BTreeMap<Lane, Vec<Timestamp>>,
    /// Locks that were announced.
    locks: BTreeMap<Lane, Lock>,
}

impl World<'_> {
    fn subject(&self) -> AttemptSubject {
        AttemptSubject::Account(self.account)
    }

    async fn warm(&mut self, node: usize) {
        // A book that nobody touched for long was swept: begin from storage, as after a flush. To
        // a node on Redis the account is also cold because it has not heard of the epoch yet.
        let idle = self.model.idle_after().is_none_or(|end| end <= self.nodes.clock.now());
        if idle && self.nodes.sweep_by_the_clock() {
            self.empty();
        }
        seed(self.nodes.node(node), self.tenant, self.subject(), self.mirror.version, &self.mirror.counters).await;
    }

    fn empty(&mut self) {
        let Mirror { version, counters } = self.mirror.clone();
        self.model = AttemptBook { version, counters, ..AttemptBook::default() };
    }

    async fn reserve(&mut self, node: usize, lane: Lane, reply_lost: bool) {
        let ask = self.nodes.ask(lane);
        let (store, subject) = (self.nodes.node(node), self.subject());
        let mut replies_lost = u32::from(reply_lost);
        loop {
            let now = self.nodes.clock.now();
            let Reservation::Decided(admission) =
                store.reserve_attempt(self.tenant, subject, &self.policy, &ask).await.unwrap()
            else {
                self.warm(node).await;
                continue;
            };
            let expected = self.model.reserve(&self.policy, &ask, now);
            assert_alike(&admission, &expected, "reserve");
            if replies_lost > 0 {
                replies_lost -= 1;
            } else if let Admission::Lapsed(lapsed) = admission {
                self.write_lapsed(node, lapsed).await;
            } else {
                self.admitted(&admission, &ask, node, now);
                return;
            }
        }
    }

    async fn write_lapsed(&mut self, node: usize, lapsed: Lapsed) {
        self.nodes.node(node).confirm_lapsed(self.tenant, self.subject(), lapsed.version).await.unwrap();
        self.model.confirm_lapsed(lapsed.version);
        for (lane, counter) in lapsed.counters {
            self.mirror(lane, counter, lapsed.version);
        }
    }

    fn mirror(&mut self, lane: Lane, counter: Counter, version: u64) {
        if version < self.mirror.version {
            return;
        }
        self.mirror.version = version;
        self.mirror.counters.insert(lane, counter);
        self.mirror.counters.retain(|_, counter| !counter.is_clean());
        if let Some(lock) = counter.lock {
            self.locks.insert(lane, lock);
        }
    }

    fn admitted(
        &mut self,
        admission: &Admission,
        ask: &guichet::domain::lockout::Reserve,
        node: usize,
        now: Timestamp,
    ) {
        if let Some(lock) = self.locks.get(&ask.lane).filter(|lock| lock.until > now) {
            assert_eq!(*admission, Admission::Locked(*lock), "a lock is never lost");
        }
        if *admission == Admission::Admitted {
            self.open.push((ask.attempt, ask.lane, node));
        }
    }

    async fn settle(&mut self, pick: usize, outcome: AttemptOutcome, reply_lost: bool) {
        // Apart from the model: whether this call also counts leases that ran out depends on whether
        // its node has heard of the new epoch. Who asks next is told of them in either case.
        if let Some((attempt, node)) = self.swept_away.pop() {
            let settle = Settle { operation: self.nodes.operation(), attempt, outcome };
            let store = self.nodes.node(node);
            let settled = store.settle_attempt(self.tenant, self.subject(), &self.policy, settle).await.unwrap();
            assert_eq!(settled, Settlement::Void);
            return;
        }
        if self.open.is_empty() {
            return;
        }
        let (attempt, lane, node) = self.open.swap_remove(pick % self.open.len());
        let operation = self.nodes.operation();
        let settle = Settle { operation, attempt, outcome };
        for _ in 0..if reply_lost { 2 } else { 1 } {
            let now = self.nodes.clock.now();
            let store = self.nodes.node(node);
            let settled = store.settle_attempt(self.tenant, self.subject(), &self.policy, settle).await.unwrap();
            let expected = self.model.settle(&self.policy, operation, attempt, outcome, now);
            assert_alike(&settled, &expected, "settle");
            self.settled(settled, outcome, lane, now);
        }
        if let Some(times) = self.failures.get(&lane) {
            for first in times {
                let within = times.iter().filter(|at| **at >= *first && **at < *first + self.policy.window).count();
                assert!(within <= self.policy.threshold as usize, "more than the threshold was compared");
            }
        }
    }

    fn settled(&mut self, settled: Settlement, outcome: AttemptOutcome, lane: Lane, now: Timestamp) {
        let Settlement::Settled { counter, version, changed } = settled else { return };
        if changed && version > self.mirror.version {
            self.mirror(lane, counter, version);
            match outcome {
                AttemptOutcome::Success => drop(self.failures.remove(&lane)),
                AttemptOutcome::Failure => self.failures.entry(lane).or_default().push(now),
                AttemptOutcome::Returned => {}
            }
        }
    }

    async fn clear(&mut self, node: usize) {
        let store = self.nodes.node(node);
        let version = loop {
            match store.clear_attempts(self.tenant, self.subject(), &self.policy).await.unwrap() {
                Some(version) => break version,
                None => self.warm(node).await,
            }
        };
        let now = self.nodes.clock.now();
        assert_eq!(version, self.model.clear(&self.policy, now));
        self.mirror = Mirror { version, counters: BTreeMap::new() };
        self.failures.clear();
        self.locks.clear();
    }

    async fn take(&mut self, step: Step) {
        let lanes = [Lane::Strangers, Lane::Device(DeviceId::random([1; 16]))];
        match step {
            Step::Reserve { node, lane, reply_lost } => self.reserve(node, lanes[lane], reply_lost).await,
            Step::Settle { pick, outcome, reply_lost } => self.settle(pick, OUTCOMES[outcome], reply_lost).await,
            Step::Crash { pick } if !self.open.is_empty() => drop(self.open.swap_remove(pick % self.open.len())),
            Step::Crash { .. } => {}
            Step::Clear { node } => self.clear(node).await,
            Step::Wait { sevens } => self.nodes.clock.advance(Duration::from_secs(7 * sevens)),
            Step::Flush => {
                self.nodes.flush().await;
                self.empty();
                self.swept_away.extend(self.open.drain(..).map(|(attempt, _, node)| (attempt, node)));
            }
        }
        self.storage_knows_every_failure();
    }

    /// But for those of crashed attempts that nobody has been told of yet, who then admits nobody.
    fn storage_knows_every_failure(&self) {
        for (lane, counter) in &self.model.counters {
            if !self.model.lapsed.contains_key(lane) {
                let known = self.mirror.counters.get(lane).map_or(0, |known| known.consecutive);
                assert_eq!(known, counter.consecutive, "{lane:?}");
            }
        }
    }
}

async fn story(nodes: &Nodes, steps: Vec<Step>) {
    let policy = LockoutPolicy { threshold: 3, window: SPAN, duration: SPAN, hard_limit: Some(5), ..policy() };
    let mut world = World {
        nodes,
        tenant: TenantId::random(nodes.draw()),
        account: AccountId::random(nodes.draw()),
        policy,
        model: AttemptBook::default(),
        mirror: Mirror::default(),
        open: Vec::new(),
        swept_away: Vec::new(),
        failures: BTreeMap::new(),
        locks: BTreeMap::new(),
    };
    for step in steps {
        world.take(step).await;
    }
}

stories!(in_process: 256, on_redis: 256);
