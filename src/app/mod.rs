//! The composition root: builds every part, starts them in order, stops them in reverse.
//!
//! ```text
//!   start: self-test ─► keys ─► storage (migrate, master key, default tenant) ─► ephemeral (check)
//!          ─► tenants ─► actors ─► services ─► admin listener ─► public listener ─► ready
//!   stop:  not ready ─► listeners drain ─► services end ─► account actors finish ─► messages under way
//!          are sent ─► stores close
//! ```
//!
//! Nothing here decides anything about a request; everything here could fail, and says so in one
//! sentence an operator can act on.

mod listeners;
mod parts;
mod services;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use self::parts::{Keys, default_tenant, open_storage};
use self::parts::{hasher, open_ephemeral, post_office};
use self::services::{Admin, Readiness, Services, TenantSource};
use crate::actors::accounts::{Accounts, Deps, RecordedLocks, Timings};
use crate::actors::auditor::Auditor;
use crate::actors::directory::{Bounds, Directory};
use crate::actors::keyring::Keyring;
use crate::actors::senders::Postman;
use crate::actors::sessions::Sessions;
use crate::actors::supervision::Tree;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::keys::KeyFileError;
use crate::crypto;
use crate::crypto::digest::Digests;
use crate::crypto::seal::Sealer;
use crate::delivery::console::ConsoleSender;
use crate::delivery::smtp;
use crate::domain::ids::NodeId;
use crate::entropy::Entropy;
use crate::ephemeral::EphemeralError;
use crate::http::gate::Gate;
use crate::http::server::Listening;
use crate::storage::{Birth, Storage, StorageError};
use crate::telemetry::Metrics;
use crate::tenant::Tenants;

/// An attempt's lease outlives its deadline by this.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// What each later step of stopping gets, however long the listeners took.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Why guichet does not start; each says what an operator can do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The crypto back end fails its known answers: a broken build.
    #[error("the self-test failed: {0}")]
    SelfTest(#[from] crypto::SelfTestError),
    /// The data directory's keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// A configured key is not of the right form.
    #[error("crypto.master_key must be base64 of exactly 32 bytes")]
    MasterKey,
    /// The database belongs to another master key.
    #[error(
        "this database was made with another master key: configure that one \
         (GUICHET_MASTER_KEY or GUICHET_MASTER_KEY_FILE); nothing was changed"
    )]
    OtherMasterKey,
    /// The database schema is older than this program and may not be migrated.
    #[error("the database schema is not current: run `guichet migrate`, or set database.migrate = true")]
    Schema,
    /// The database.
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    /// Redis.
    #[error("redis: {0}")]
    Ephemeral(#[from] EphemeralError),
    /// Built-in templates: a broken build.
    #[error("templates: {0}")]
    Templates(#[from] crate::delivery::template::TemplateError),
    /// Platform mail settings.
    #[error("delivery.smtp: {0}")]
    Smtp(#[from] smtp::SmtpSettingsError),
    /// An address that cannot be listened on, or a thread that could not be started.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
    /// The parts do not fit together: a bug.
    #[error("internal: {0}")]
    Internal(String),
}

/// What the world gives a process, and tests replace.
pub struct World {
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Where console messages go.
    pub console: ConsoleSender,
}

impl World {
    /// The real one.
    ///
    /// # Errors
    /// If the console writer's thread cannot be started.
    pub fn real() -> io::Result<Self> {
        Ok(Self { clock: Clock::system(), entropy: Entropy::system(), console: ConsoleSender::stdout()? })
    }
}

/// A running gateway.
pub struct App {
    /// Where the public listener is.
    pub public: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// What people reach it under.
    pub platform_url: String,
    stop: CancellationToken,
    listeners: [Listening; 2],
    readiness: Arc<Readiness>,
    accounts: Accounts,
    postman: Postman,
    auditor: tokio::task::JoinHandle<()>,
    tree: Tree,
    storage: Storage,
    drain: Duration,
}

impl App {
    /// Starts everything; when this returns, the public listener answers.
    ///
    /// # Errors
    /// [`StartError`]; what had started by then ends with the process.
    pub async fn start(config: &Config, keys: Keys, world: World) -> Result<Self, StartError> {
        crypto::self_test()?;
        let digests = Arc::new(Digests::new(&keys.master));
        let storage = open_storage(config, &digests, config.database.migrate).await?;
        if let Some(slug) = config.tenants.default_slug() {
            storage.tenants().ensure_default(&default_tenant(slug, &world.clock, &world.entropy)).await?;
        }
        let ephemeral = open_ephemeral(config, &world).await?;
        let tenants = Tenants::default();
        let tree = Tree::start(config.actors.supervisors.get()).await.map_err(internal)?;
        let (auditor, audit_writer) = Auditor::start(storage.clone());
        let keyring =
            Keyring::new(storage.clone(), Sealer::new(&keys.master), world.clock.clone(), world.entropy.clone());
        let node = NodeId::random(world.entropy.bytes());
        let postman = post_office(config, &world, &storage, &tenants, &digests, node, &tree)?;
        let birth = Birth { node, lease: config.delivery.lease };
        let sessions = Sessions {
            storage: storage.clone(),
            ephemeral: Arc::clone(&ephemeral),
            keyring: keyring.clone(),
            clock: world.clock.clone(),
            entropy: world.entropy.clone(),
            birth,
            deadline: config.actors.ask_timeout,
        };
        let deps = Deps {
            clock: world.clock.clone(),
            entropy: world.entropy.clone(),
            storage: storage.clone(),
            ephemeral: Arc::clone(&ephemeral),
            hasher: hasher(config, &world.entropy)?,
            digests,
            keyring,
            postman: postman.clone(),
            auditor,
            node,
            recorded_locks: RecordedLocks::default(),
            timings: Timings {
                ask: config.actors.ask_timeout,
                lease: config.actors.ask_timeout + LEASE_MARGIN,
                outbox_lease: config.delivery.lease,
            },
        };
        let bounds = Bounds {
            mailbox: u32::try_from(config.actors.mailbox.get()).unwrap_or(u32::MAX),
            residents: config.actors.max_resident,
            idle: config.actors.idle,
        };
        let supervisors = tree.accounts.clone();
        let accounts = Accounts::new(Arc::new(deps), |stories| Directory::new(stories, bounds, supervisors));

        let (readiness, metrics) = (Arc::new(Readiness::default()), Metrics::install());
        let gate = Gate { accounts: accounts.clone(), sessions, clock: world.clock.clone() };
        let admin = Admin {
            readiness: Arc::clone(&readiness),
            metrics: metrics.clone(),
            accounts: accounts.clone(),
            allow: config.admin.allow.clone(),
            root_key: keys.root,
        };
        let stop = CancellationToken::new();
        let directory = TenantSource {
            storage: storage.clone(),
            tenants,
            default: config.tenants.default_slug().map(str::to_owned),
        };
        directory.load(&config.http.platform_url(config.http.listen)).await?;
        let admin = listeners::admin(config, &world, admin, stop.clone()).await?;
        let public = listeners::public(config, &world, gate, directory.tenants.clone(), stop.clone()).await?;
        let platform_url = config.http.platform_url(public.address);
        directory.load(&platform_url).await?;

        let services = Services {
            clock: world.clock,
            storage: storage.clone(),
            ephemeral,
            postman: postman.clone(),
            directory,
            metrics,
            readiness: Arc::clone(&readiness),
        };
        services.check().await;
        services.start(&tree, config.delivery.poll, &platform_url).await.map_err(internal)?;
        Ok(Self {
            public: public.address,
            admin: admin.address,
            platform_url,
            stop,
            listeners: [public, admin],
            readiness,
            accounts,
            postman,
            auditor: audit_writer,
            tree,
            storage,
            drain: config.http.drain_timeout,
        })
    }

    /// Stops in reverse order; ends within the drain deadline and a little more.
    pub async fn stop(self) {
        let end = Instant::now() + self.drain;
        let left = || end.saturating_duration_since(Instant::now()).max(LAST_MOMENT);
        self.readiness.draining.store(true, Ordering::SeqCst);
        self.stop.cancel();
        for listener in self.listeners {
            let _ended = listener.finished.await;
        }
        // Before the postman is drained, or the next round would claim messages for it to begin.
        self.tree.stop_services(left()).await;
        self.accounts.drain(left()).await;
        self.postman.drain(left()).await;
        drop(self.accounts);
        self.tree.stop().await;
        // The writer ends when the last handle is dropped; a stuck store must not hold us.
        let _written = tokio::time::timeout(LAST_MOMENT, self.auditor).await;
        self.storage.close().await;
    }
}

fn internal(error: impl std::fmt::Display) -> StartError {
    StartError::Internal(error.to_string())
}
