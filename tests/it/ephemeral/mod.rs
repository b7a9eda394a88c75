//! One contract, every back end: two nodes on one store, in process and (where one is named) Redis.

pub(crate) mod attempts;
pub(crate) mod budget;
pub(crate) mod codes;
pub(crate) mod limits;
pub(crate) mod model_attempts;
pub(crate) mod model_codes;
pub(crate) mod model_limits;
mod outage;
mod stories;
pub(crate) mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guichet::clock::Clock;
use guichet::domain::ids::{AccountId, AttemptId, OperationId, TenantId};
use guichet::domain::lockout::{Admission, AttemptOutcome, Counter, Lane, Reserve, Settlement};
use guichet::domain::policy::{LockoutPolicy, Policy, Profile};
use guichet::entropy::Entropy;
use guichet::ephemeral::memory::MemoryStore;
use guichet::ephemeral::redis::{RedisSettings, RedisStore};
use guichet::ephemeral::{AttemptSubject, EphemeralStore, Reservation, Settle};

use crate::harness::redis;

/// Two nodes that share one store and one clock.
pub(crate) struct Nodes {
    one: Arc<dyn EphemeralStore>,
    other: Arc<dyn EphemeralStore>,
    clock: Clock,
    emptied: Emptied,
    drawn: Arc<AtomicU64>,
}

enum Emptied {
    Memory(MemoryStore),
    Redis { urls: Vec<String>, prefix: String },
}

impl Nodes {
    fn in_memory() -> Self {
        let clock = Clock::system();
        let store = MemoryStore::new(clock.clone(), Entropy::system());
        let (one, other) = (Arc::new(store.clone()), Arc::new(store.clone()));
        Self { one, other, clock, emptied: Emptied::Memory(store), drawn: Arc::default() }
    }

    pub(crate) async fn on_redis(url: String) -> Self {
        let (clock, prefix) = (Clock::system(), redis::fresh_prefix());
        let one = Arc::new(redis::store(&url, &prefix, &clock).await);
        let other = Arc::new(redis::store(&url, &prefix, &clock).await);
        Self { one, other, clock, emptied: Emptied::Redis { urls: vec![url], prefix }, drawn: Arc::default() }
    }

    /// On all the nodes of a Redis Cluster.
    pub(crate) async fn on_cluster(urls: &[String]) -> Self {
        let (clock, prefix) = (Clock::system(), redis::fresh_prefix());
        let settings = RedisSettings { cluster: true, ..redis::settings(&urls.join(","), &prefix) };
        let connect = || async {
            let node = RedisStore::connect(settings.clone(), clock.clone(), Entropy::system()).await.unwrap();
            Arc::new(node)
        };
        let (one, other) = (connect().await, connect().await);
        Self { one, other, clock, emptied: Emptied::Redis { urls: urls.to_vec(), prefix }, drawn: Arc::default() }
    }

    fn node(&self, index: usize) -> &dyn EphemeralStore {
        if index == 0 { self.one.as_ref() } else { self.other.as_ref() }
    }

    /// What `FLUSHALL` does.
    async fn flush(&self) {
        match &self.emptied {
            Emptied::Memory(store) => store.flush(),
            Emptied::Redis { urls, prefix } => {
                for url in urls {
                    redis::flush(url, prefix).await;
                }
            }
        }
    }

    /// Whether moving the clock lets idle books be swept; a TTL in Redis runs on real time.
    fn sweep_by_the_clock(&self) -> bool {
        matches!(self.emptied, Emptied::Memory(_))
    }

    /// Bytes for an id that no one else in this test has.
    fn draw(&self) -> [u8; 16] {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }

    fn operation(&self) -> OperationId {
        OperationId::random(self.draw())
    }

    /// An account whose book is seeded with nothing.
    async fn warm_account(&self) -> (TenantId, AttemptSubject) {
        self.warm(AttemptSubject::Account(AccountId::random(self.draw()))).await
    }

    /// A subject of a new tenant, seeded with nothing.
    async fn warm(&self, subject: AttemptSubject) -> (TenantId, AttemptSubject) {
        let tenant = TenantId::random(self.draw());
        seed(self.node(0), tenant, subject, 0, &BTreeMap::new()).await;
        self.other.epoch().await.unwrap();
        (tenant, subject)
    }

    fn ask(&self, lane: Lane) -> Reserve {
        let attempt = AttemptId::random(self.draw());
        Reserve { operation: self.operation(), attempt, lane, lease: LEASE }
    }

    async fn reserve(&self, whose: (TenantId, AttemptSubject), lane: Lane) -> (AttemptId, Admission) {
        let ask = self.ask(lane);
        (ask.attempt, self.admission(whose, &ask).await)
    }

    /// Asks as an actor does, who writes down at once what lapsed.
    async fn admission(&self, (tenant, subject): (TenantId, AttemptSubject), ask: &Reserve) -> Admission {
        loop {
            match self.one.reserve_attempt(tenant, subject, &policy(), ask).await.unwrap() {
                Reservation::Decided(Admission::Lapsed(lapsed)) => {
                    self.other.confirm_lapsed(tenant, subject, lapsed.version).await.unwrap();
                }
                Reservation::Decided(admission) => return admission,
                Reservation::Cold => panic!("cold"),
            }
        }
    }

    async fn settle(
        &self,
        whose: (TenantId, AttemptSubject),
        attempt: AttemptId,
        outcome: AttemptOutcome,
    ) -> Settlement {
        let settle = Settle { operation: self.operation(), attempt, outcome };
        self.other.settle_attempt(whose.0, whose.1, &policy(), settle).await.unwrap()
    }

    async fn fail(&self, whose: (TenantId, AttemptSubject), lane: Lane) -> Counter {
        let (attempt, admission) = self.reserve(whose, lane).await;
        assert_eq!(admission, Admission::Admitted);
        match self.settle(whose, attempt, AttemptOutcome::Failure).await {
            Settlement::Settled { counter, .. } => counter,
            Settlement::Void => panic!("void"),
        }
    }
}

const LEASE: Duration = Duration::from_secs(12);
const MILLISECOND: Duration = Duration::from_millis(1);

fn policy() -> LockoutPolicy {
    Policy::of(Profile::Classic).lockout
}

/// The dance of a cold book, as its actor does it.
async fn seed(
    store: &dyn EphemeralStore,
    tenant: TenantId,
    subject: AttemptSubject,
    version: u64,
    counters: &BTreeMap<Lane, Counter>,
) {
    loop {
        let epoch = store.epoch().await.unwrap();
        store.seed_attempts(tenant, subject, &epoch, version, counters).await.unwrap();
        if store.epoch().await.unwrap() == epoch {
            return;
        }
    }
}

/// Equal but for moments, which may lie as far apart as two calls do.
fn assert_alike(got: &impl serde::Serialize, expected: &impl serde::Serialize, about: &str) {
    let (got, expected) = (serde_json::to_value(got).unwrap(), serde_json::to_value(expected).unwrap());
    assert!(alike(&got, &expected), "{about}: got {got}, expected {expected}");
}

fn alike(got: &serde_json::Value, expected: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (got, expected) {
        (Value::Number(got), Value::Number(expected)) => {
            let (got, expected) = (got.as_i64().unwrap(), expected.as_i64().unwrap());
            let moments = got > 1_000_000_000_000 && expected > 1_000_000_000_000;
            got == expected || moments && (got - expected).abs() < 1_000
        }
        (Value::Array(got), Value::Array(expected)) => {
            got.len() == expected.len() && got.iter().zip(expected).all(|(got, expected)| alike(got, expected))
        }
        (Value::Object(got), Value::Object(expected)) => {
            got.len() == expected.len()
                && got.iter().all(|(name, got)| expected.get(name).is_some_and(|expected| alike(got, expected)))
        }
        _ => got == expected,
    }
}

/// Runs each test on every back end, and lets the room of faults run them all on others.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        pub(crate) async fn all<F: Future<Output = crate::ephemeral::Nodes>>(on: impl Fn() -> F) {
            $($test(on().await).await;)+
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::ephemeral::Nodes::in_memory()).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(url) = crate::harness::redis::shared_url() {
                    super::$test(crate::ephemeral::Nodes::on_redis(url).await).await;
                }
            })+
        }
    };
}
pub(crate) use on_every_store;
