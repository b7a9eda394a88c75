//! What runs beside the requests: recurring services, and what the node knows of its own health.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::actors::accounts::Accounts;
use crate::actors::keyring::Keyring;
use crate::actors::senders::Postman;
use crate::actors::supervision::Tree;
use crate::actors::tenant_source::TenantSource;
use crate::actors::ticker;
use crate::actors::tokens::Revocations;
use crate::clock::Clock;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::NodeId;
use crate::ephemeral::EphemeralStore;
use crate::http::handlers::health;
use crate::limits::Limits;
use crate::secret::SecretString;
use crate::storage::{Storage, StorageError, SweepPace};
use crate::telemetry::Metrics;

/// How often tenants are re-read: a change is in force everywhere within a second.
const TENANT_POLL: Duration = Duration::from_millis(500);

/// How often ended sessions and changed signing keys are read: every node knows of either within a
/// second.
const TOKEN_POLL: Duration = Duration::from_millis(500);

/// How often signing keys whose time has come are looked for.
const KEY_POLL: Duration = Duration::from_secs(30);

/// How often the stores are asked whether they are there.
const HEALTH_POLL: Duration = Duration::from_millis(500);

/// What a store has to answer within to count as there: a connection that swallows everything gives
/// no error by itself.
const PING_DEADLINE: Duration = Duration::from_secs(1);

/// For how long a node counts as running after it last said so, and how often it does.
pub const PRESENCE: Duration = Duration::from_secs(30);
const PRESENCE_POLL: Duration = Duration::from_secs(10);

/// How often locks that ran out are told, and how many at once.
const LOCK_POLL: Duration = Duration::from_secs(5);

/// How often what was compared is told to the store, and idle buckets are forgotten.
const LIMITS_POLL: Duration = Duration::from_secs(5);

/// How often samples of histograms are folded, whether or not anybody reads them.
const METRICS_POLL: Duration = Duration::from_secs(5);

/// How often what no longer matters is removed, and how: within less than a ticker's round may take.
const SWEEP_POLL: Duration = Duration::from_secs(60);
const SWEEP_PACE: SweepPace =
    SweepPace { limit: ROUND, pause: Duration::from_millis(50), patience: Duration::from_secs(20) };

/// Rows a background round touches at most.
const ROUND: u32 = 500;

/// Whether this node should be sent requests.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    pub(super) storage: AtomicBool,
    pub(super) ephemeral: AtomicBool,
    pub(super) draining: AtomicBool,
    /// Another master key is in force: what is stored opens no more, and what is sealed here is lost.
    pub(super) outdated: CancellationToken,
}

/// This node, as a database that several can share knows of it.
#[derive(Clone)]
pub(super) struct Presence {
    pub(super) storage: Storage,
    pub(super) node: NodeId,
    /// Of the master key it runs with.
    pub(super) fingerprint: String,
    pub(super) readiness: Arc<Readiness>,
}

impl Presence {
    /// `false` if another master key is in force: it must not run.
    pub(super) async fn enter(&self) -> Result<bool, StorageError> {
        self.storage.nodes().enter(self.node, &self.fingerprint, PRESENCE).await
    }

    /// Only a node that could not say for a while that it runs finds another master key here.
    async fn renew(&self) -> Result<(), StorageError> {
        let is_in_force = self.storage.nodes().renew(self.node, &self.fingerprint, PRESENCE).await?;
        if !is_in_force {
            self.readiness.outdated.cancel();
        }
        Ok(())
    }

    pub(super) async fn leave(&self) -> Result<(), StorageError> {
        self.storage.nodes().leave(self.node).await
    }
}

/// What this node knows of itself.
pub(super) struct Inside {
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Metrics,
    pub(super) accounts: Accounts,
    pub(super) revocations: Revocations,
    pub(super) clock: Clock,
    pub(super) allow: Vec<IpNet>,
    pub(super) root_key: SecretString,
}

impl health::Health for Inside {
    fn waiting_for(&self) -> Vec<&'static str> {
        let parts = [
            (self.readiness.storage.load(Ordering::SeqCst), "storage"),
            (self.readiness.ephemeral.load(Ordering::SeqCst), "ephemeral"),
            (!self.readiness.draining.load(Ordering::SeqCst), "draining"),
            (!self.readiness.outdated.is_cancelled(), "master_key"),
        ];
        parts.into_iter().filter(|(good, _)| !good).map(|(_, part)| part).collect()
    }

    fn render_metrics(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "actors are bounded far below 2^52")]
        metrics::gauge!(crate::telemetry::RESIDENT_ACCOUNTS).set(self.accounts.resident() as f64);
        metrics::gauge!(crate::telemetry::REVOCATION_AGE_SECONDS)
            .set(self.revocations.age(self.clock.now()).as_secs_f64());
        self.metrics.render()
    }

    fn metrics_allow(&self) -> &[IpNet] {
        &self.allow
    }

    fn root_key(&self) -> &SecretString {
        &self.root_key
    }
}

/// What runs in the background of every node.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) clock: Clock,
    pub(super) storage: Storage,
    pub(super) ephemeral: Arc<dyn EphemeralStore>,
    pub(super) accounts: Accounts,
    pub(super) postman: Postman,
    pub(super) limits: Limits,
    pub(super) keyring: Keyring,
    pub(super) revocations: Revocations,
    pub(super) directory: TenantSource,
    pub(super) metrics: Metrics,
    pub(super) readiness: Arc<Readiness>,
    /// None on an embedded database, which is held instead.
    pub(super) presence: Option<Presence>,
}

impl Services {
    pub(super) async fn start(self, tree: &Tree, outbox_poll: Duration) -> Result<(), ractor::SpawnErr> {
        let supervisor = &tree.services;
        let this = self.clone();
        ticker::every(supervisor, "health", HEALTH_POLL, move || {
            let this = this.clone();
            async move {
                this.check().await;
                Ok::<_, Infallible>(())
            }
        })
        .await?;
        let directory = self.directory.clone();
        ticker::every(supervisor, "tenants", TENANT_POLL, move || {
            let directory = directory.clone();
            async move { directory.refresh().await }
        })
        .await?;
        let revocations = self.revocations.clone();
        ticker::every(supervisor, "revocations", TOKEN_POLL, move || {
            let revocations = revocations.clone();
            async move { revocations.refresh().await }
        })
        .await?;
        let (keyring, tenants) = (self.keyring.clone(), self.directory.tenants().clone());
        ticker::every(supervisor, "keys", TOKEN_POLL, move || {
            let (keyring, tenants) = (keyring.clone(), tenants.clone());
            async move { keyring.refresh(&tenants).await }
        })
        .await?;
        let (keyring, tenants) = (self.keyring.clone(), self.directory.tenants().clone());
        ticker::every(supervisor, "key rotation", KEY_POLL, move || {
            let (keyring, tenants) = (keyring.clone(), tenants.clone());
            async move { keyring.rotate_due(&tenants).await }
        })
        .await?;
        let actors = self.accounts.directory().clone();
        ticker::every(supervisor, "passivation", actors.passivation_pause(), move || {
            let actors = actors.clone();
            async move {
                actors.passivate().await;
                Ok::<_, Infallible>(())
            }
        })
        .await?;
        if let Some(presence) = self.presence.clone() {
            ticker::every(supervisor, "presence", PRESENCE_POLL, move || {
                let presence = presence.clone();
                async move { presence.renew().await }
            })
            .await?;
        }
        let postman = self.postman.clone();
        ticker::every(supervisor, "outbox", outbox_poll, move || {
            let postman = postman.clone();
            async move { postman.claim().await }
        })
        .await?;
        let this = self.clone();
        ticker::every(supervisor, "locks", LOCK_POLL, move || {
            let this = this.clone();
            async move { this.storage.attempts().expire_locks(this.clock.now(), ROUND).await.map(drop) }
        })
        .await?;
        let this = self.clone();
        ticker::every(supervisor, "limits", LIMITS_POLL, move || {
            let this = this.clone();
            async move { this.watch_limits().await }
        })
        .await?;
        let (metrics, postman) = (self.metrics.clone(), self.postman.clone());
        ticker::every(supervisor, "metrics", METRICS_POLL, move || {
            metrics.upkeep();
            let postman = postman.clone();
            async move { postman.publish_depth().await }
        })
        .await?;
        ticker::every(supervisor, "sweep", SWEEP_POLL, move || {
            let this = self.clone();
            async move { this.storage.housekeeping().sweep_backlog(this.clock.now(), &SWEEP_PACE).await.map(drop) }
        })
        .await
    }

    /// Sweeps what is remembered of limits, and tells what this node compared; an attack that is
    /// news to all nodes goes into its tenant's audit log.
    async fn watch_limits(&self) -> Result<(), StorageError> {
        self.limits.sweep();
        let attacked = self.limits.tell_compared().await;
        let directory = self.directory.tenants().snapshot();
        for tenant in attacked.iter().filter_map(|id| directory.by_id(*id)) {
            let slug = tenant.slug();
            tracing::warn!(tenant.slug = &**slug, "passwords are tried over many accounts: strangers are held back");
        }
        drop(directory);
        let (kind, at) = (EventKind::AuthnSprayDetected, self.clock.now());
        let event = |tenant| Event { tenant, account: None, kind, at, cause: None, key: None, subject: None };
        let events: Vec<_> = attacked.into_iter().map(event).collect();
        if events.is_empty() { Ok(()) } else { self.storage.audit().record(&events).await }
    }

    /// Asks both stores whether they are there.
    pub(super) async fn check(&self) {
        let (storage, ephemeral) = tokio::join!(answers(self.storage.ping()), answers(self.ephemeral.ping()));
        self.readiness.storage.store(storage, Ordering::SeqCst);
        self.readiness.ephemeral.store(ephemeral, Ordering::SeqCst);
    }
}

async fn answers<E>(ping: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(PING_DEADLINE, ping).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_swallows_the_question_is_not_there() {
        assert!(answers(async { Ok::<_, Infallible>(()) }).await);
        assert!(!answers(async { Err(()) }).await);
        assert!(!answers(std::future::pending::<Result<(), Infallible>>()).await);
    }
}
