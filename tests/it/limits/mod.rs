//! The limit engine: exact on any number of nodes, cheap when it refuses, honest in what it tells.

// The lints know a helper for a test's by this.
#![cfg(test)]

mod callers;
mod checks;
mod exact;
mod outage;
mod refusals;
mod routes;
mod spray;

use std::sync::Arc;

use guichet::clock::Clock;
use guichet::domain::ids::TenantId;
use guichet::domain::limits::{LimitKey, LimitName, LimitSubject};
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::ephemeral::memory::MemoryStore;
use guichet::ephemeral::{EphemeralStore, LimitCheck};
use guichet::limits::{Caller, Ceilings, Decision, Limits, Refusal};
use guichet::storage::Tenant;
use guichet::tenant::{Claim, Directory, TenantContext};

use crate::harness::node::Settings;
use crate::harness::redis;

const LOGIN: &[LimitName] = &[LimitName::LoginClient, LimitName::TenantTotal];
const API: &[LimitName] = &[LimitName::ApiClient, LimitName::TenantTotal];

/// Three nodes on one store.
pub(crate) struct Nodes {
    nodes: Vec<Limits>,
    clock: Clock,
}

impl Nodes {
    fn in_memory() -> Self {
        let clock = Clock::system();
        let store: Arc<dyn EphemeralStore> = Arc::new(MemoryStore::new(clock.clone(), Entropy::system()));
        Self::on(vec![Arc::clone(&store), Arc::clone(&store), store], clock)
    }

    async fn on_redis(url: &str) -> Self {
        let (clock, prefix) = (Clock::system(), redis::fresh_prefix());
        let mut stores: Vec<Arc<dyn EphemeralStore>> = Vec::new();
        for _ in 0..3 {
            stores.push(Arc::new(redis::store(url, &prefix, &clock).await));
        }
        Self::on(stores, clock)
    }

    fn on(stores: Vec<Arc<dyn EphemeralStore>>, clock: Clock) -> Self {
        let node = |store| Limits::new(store, clock.clone(), Ceilings::default());
        Self { nodes: stores.into_iter().map(node).collect(), clock }
    }

    /// The node for the `n`th of many requests.
    fn node(&self, n: usize) -> &Limits {
        &self.nodes[n % self.nodes.len()]
    }
}

/// A tenant with these limits in its settings.
fn tenant(limits: &str) -> TenantContext {
    tenant_with_id(TenantId::random(Entropy::system().bytes()), limits)
}

fn tenant_with_id(id: TenantId, limits: &str) -> TenantContext {
    let settings = serde_json::from_str(&format!(r#"{{"limits":{limits}}}"#)).unwrap();
    let row = Tenant {
        id,
        slug: "acme".to_owned(),
        name: "Acme".to_owned(),
        profile: Profile::Classic,
        settings,
        domains: vec![],
        apps: vec![],
        version: 1,
        created_at: Clock::system().now(),
    };
    let directory = Directory::new(vec![row], Some("acme"), "https://id.test");
    directory.resolve(&Claim::default()).unwrap().clone()
}

/// Somebody at that address.
fn caller(address: &str) -> Caller {
    Caller { client: Some(address.parse().unwrap()), app: None }
}

fn admitted(decision: &Decision) -> bool {
    matches!(decision, Decision::Admitted(_))
}

#[track_caller]
fn refusal(decision: Decision) -> Refusal {
    match decision {
        Decision::Refused(refusal) => refusal,
        Decision::Admitted(standings) => panic!("admitted: {standings:?}"),
    }
}

/// Runs each test on three nodes over either store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::limits::Nodes::in_memory()).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(url) = crate::harness::redis::shared_url() {
                    super::$test(crate::limits::Nodes::on_redis(&url).await).await;
                }
            })+
        }
    };
}
pub(crate) use on_every_store;

/// One tenant at two moments, with different limits.
fn versions(limits: [&str; 2]) -> (TenantContext, TenantContext) {
    let id = TenantId::random(Entropy::system().bytes());
    let [one, other] = limits.map(|limits| tenant_with_id(id, limits));
    (one, other)
}

/// What a node asks the store for such a request.
fn checks(tenant: &TenantContext, names: &[LimitName], caller: &Caller) -> Vec<LimitCheck> {
    let of = |name: &LimitName| {
        let subject = match name.key() {
            LimitKey::Tenant => LimitSubject::Tenant,
            _ => LimitSubject::client(caller.client.unwrap()),
        };
        LimitCheck { name: name.as_str(), subject, rate: tenant.policy().limits.get(*name).rate, enforced: true }
    };
    names.iter().map(of).collect()
}

/// As the settings are.
fn alike(_node: usize, settings: Settings) -> Settings {
    settings
}
