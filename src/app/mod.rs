//! The composition root: builds every part, starts them in order, stops them in reverse.
//!
//! ```text
//!   start: self-test ─► keys ─► hold ─► storage (master key, migrate, default tenant) ─► ephemeral (check)
//!          ─► tenants ─► actors ─► services ─► admin listener ─► public listener ─► ready
//!   stop:  not ready ─► listeners drain ─► services end ─► account actors finish ─► messages under way
//!          are sent ─► stores close
//! ```
//!
//! Nothing here decides anything about a request; everything here could fail, and says so in one
//! sentence an operator can act on.

mod actors;
mod listeners;
mod parts;
mod services;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use self::actors::Actors;
use self::listeners::Listeners;
use self::parts::Stores;
pub use self::parts::{Keys, default_tenant, hold, master_key, open_storage};
pub use self::services::PRESENCE;
use self::services::{Inside, Presence, Readiness, Services};
use crate::actors::administration::messages::Messages;
use crate::actors::administration::people::People;
use crate::actors::administration::{Administration, Parts};
use crate::actors::auditor::Auditor;
use crate::actors::credentials::Credentials;
use crate::actors::keyring::Keyring;
use crate::actors::tenant_source::TenantSource;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::keys::KeyFileError;
use crate::crypto;
use crate::crypto::digest::{Digests, MasterKey};
use crate::crypto::seal::Sealer;
use crate::delivery::console::ConsoleSender;
use crate::delivery::smtp;
use crate::delivery::template::Templates;
use crate::domain::settings::BadSetting;
use crate::entropy::Entropy;
use crate::ephemeral::EphemeralError;
use crate::http::desk::Desk;
use crate::secret::SecretString;
use crate::storage::{Storage, StorageError};
use crate::telemetry::Metrics;
use crate::tenant::Tenants;

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
    /// Several nodes can share PostgreSQL: a key that one of them made would shut out the others.
    #[error(
        "a database that several nodes can share needs a master key that they share: set GUICHET_MASTER_KEY \
         or GUICHET_MASTER_KEY_FILE (base64 of 32 bytes, as `openssl rand -base64 32` prints)"
    )]
    NoMasterKey,
    /// The database belongs to another master key.
    #[error(
        "this database was made with another master key: configure that one \
         (GUICHET_MASTER_KEY or GUICHET_MASTER_KEY_FILE); nothing was changed"
    )]
    OtherMasterKey,
    /// An embedded database belongs to one process: what it counts in memory is exact for that one only.
    #[error(
        "another guichet runs on {}: stop it, or give this one a folder of its own (GUICHET_DATA_DIR) or a \
         database that nodes can share (DATABASE_URL)", .0.display()
    )]
    InUse(PathBuf),
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
    /// Platform SMS providers: all that is wrong with them.
    #[error("{}", .0.iter().map(BadSetting::to_string).collect::<Vec<_>>().join("\n"))]
    Sms(Vec<BadSetting>),
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
    listeners: Listeners,
    readiness: Arc<Readiness>,
    actors: Actors,
    storage: Storage,
    presence: Option<Presence>,
    drain: Duration,
    _held: Option<File>,
}

impl App {
    /// Starts everything; when this returns, the public listener answers.
    ///
    /// # Errors
    /// [`StartError`]; what had started by then ends with the process.
    pub async fn start(config: &Config, keys: Keys, world: World) -> Result<Self, StartError> {
        crypto::self_test()?;
        // Before anything keeps a handle: one made earlier counts for nobody.
        let metrics = Metrics::install();
        let digests = Arc::new(Digests::new(&keys.master));
        let fingerprint = digests.fingerprint().to_owned();
        let held = hold(config)?;
        let stores = Stores::open(config, &digests, &world).await?;
        let tenants = Tenants::default();
        let actors = Actors::start(config, &keys.master, digests, &world, &stores, &tenants).await?;
        let readiness = Arc::new(Readiness::default());
        let presence = config.database.is_shared().then(|| Presence {
            storage: stores.storage.clone(),
            node: actors.sessions.birth.node,
            fingerprint,
            readiness: Arc::clone(&readiness),
        });
        if let Some(presence) = &presence
            && !presence.enter().await?
        {
            return Err(StartError::OtherMasterKey);
        }

        let entered = presence.clone();
        let started = async {
            // No request may find the tenants missing; where they are reached is known only once bound.
            let url = config.http.platform_url(config.http.listen);
            let directory =
                TenantSource::new(stores.storage.clone(), tenants.clone(), config.tenants.default_slug(), url);
            directory.load().await?;
            let administration = Administration::new(Parts {
                storage: stores.storage.clone(),
                source: directory.clone(),
                maker: actors.maker.clone(),
                templates: Templates::new()?,
                auditor: actors.auditor.clone(),
                keyring: actors.keyring.clone(),
                clock: world.clock.clone(),
                entropy: world.entropy.clone(),
                root_key: keys.root.clone(),
            });
            let inside = Inside {
                readiness: Arc::clone(&readiness),
                metrics: metrics.clone(),
                accounts: actors.accounts.clone(),
                revocations: actors.revocations.clone(),
                clock: world.clock.clone(),
                allow: config.admin.allow.clone(),
                root_key: keys.root,
            };
            let desk = desk(&stores, &actors, administration, inside, &world.clock);
            let listeners = Listeners::open(config, &world, &actors, desk, tenants).await?;
            let platform_url = config.http.platform_url(listeners.public.address);
            directory.move_to(platform_url.clone()).await?;

            let services = Services {
                clock: world.clock,
                storage: stores.storage.clone(),
                ephemeral: stores.ephemeral,
                accounts: actors.accounts.clone(),
                postman: actors.postman.clone(),
                limits: actors.limits.clone(),
                keyring: actors.keyring.clone(),
                revocations: actors.revocations.clone(),
                directory,
                metrics,
                readiness: Arc::clone(&readiness),
                presence: presence.clone(),
            };
            services.check().await;
            services.start(&actors.tree, config.delivery.poll).await.map_err(internal)?;
            let (public, admin) = (listeners.public.address, listeners.admin.address);
            let (storage, drain) = (stores.storage, config.http.drain_timeout);
            Ok(Self {
                public,
                admin,
                platform_url,
                listeners,
                readiness,
                actors,
                storage,
                presence,
                drain,
                _held: held,
            })
        };
        let started: Result<Self, StartError> = started.await;
        if let (Err(_), Some(presence)) = (&started, entered) {
            // Nobody may wait for a node that never ran.
            let _left = tokio::time::timeout(LAST_MOMENT, presence.leave()).await;
        }
        started
    }

    /// Ends when this node must not run any more: another master key is in force.
    pub async fn outdated(&self) {
        self.readiness.outdated.cancelled().await;
    }

    /// Stops in reverse order; ends within the drain deadline and a little more.
    pub async fn stop(self) {
        let end = Instant::now() + self.drain;
        let left = || end.saturating_duration_since(Instant::now()).max(LAST_MOMENT);
        self.readiness.draining.store(true, Ordering::SeqCst);
        self.listeners.drained().await;
        let Actors { tree, accounts, sessions, postman, hearing, auditor, audit_writer, .. } = self.actors;
        drop((sessions, hearing, auditor));
        // Before the postman is drained, or the next round would claim messages for it to begin.
        tree.stop_services(left()).await;
        accounts.drain(left()).await;
        postman.drain(left()).await;
        drop(accounts);
        tree.stop().await;
        // The writer ends when the last handle is dropped; a stuck store must not hold us.
        let _written = tokio::time::timeout(LAST_MOMENT, audit_writer).await;
        if let Some(presence) = self.presence {
            // Otherwise it ends by itself.
            let _left = tokio::time::timeout(LAST_MOMENT, presence.leave()).await;
        }
        self.storage.close().await;
    }
}

/// What the admin listener's handlers may ask.
fn desk(stores: &Stores, actors: &Actors, administration: Administration, inside: Inside, clock: &Clock) -> Desk {
    let people = People {
        accounts: actors.accounts.clone(),
        sessions: actors.sessions.clone(),
        storage: stores.storage.clone(),
        clock: clock.clone(),
        birth: actors.sessions.birth,
    };
    let messages = Messages {
        storage: stores.storage.clone(),
        postman: actors.postman.clone(),
        digests: Arc::clone(&actors.sessions.digests),
        administration,
    };
    Desk::new(people, messages, actors.limits.clone(), Arc::new(inside), clock.clone())
}

/// What admins may ask, without a gateway around it: for commands. The handle ends when it is dropped
/// and its last audit line is written.
///
/// # Errors
/// [`StartError`] if the built-in texts are broken.
pub fn administration(
    config: &Config,
    master: &MasterKey,
    storage: Storage,
) -> Result<(Administration, JoinHandle<()>), StartError> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let url = config.http.platform_url(config.http.listen);
    let source = TenantSource::new(storage.clone(), Tenants::default(), config.tenants.default_slug(), url);
    let (auditor, written) = Auditor::start(storage.clone());
    let credentials = Credentials::new(Sealer::new(master), clock.clone(), entropy.clone());
    let keyring = Keyring::new(storage.clone(), Sealer::new(master), clock.clone(), entropy.clone());
    let parts = Parts {
        storage,
        source,
        maker: parts::maker(config, credentials, clock.clone()),
        templates: Templates::new()?,
        auditor,
        keyring,
        clock,
        entropy,
        // No key is asked of whoever can read the master key.
        root_key: SecretString::default(),
    };
    Ok((Administration::new(parts), written))
}

fn internal(error: impl std::fmt::Display) -> StartError {
    StartError::Internal(error.to_string())
}
