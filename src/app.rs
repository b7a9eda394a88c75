//! The composition root: builds every part, starts them in order, stops them in reverse.
//!
//! ```text
//!   start: self-test ─► keys ─► storage (migrate, master key, default tenant) ─► ephemeral (check)
//!          ─► tenants ─► actors ─► services ─► admin listener ─► public listener ─► ready
//!   stop:  not ready ─► listeners drain ─► account actors finish ─► services end ─► stores close
//! ```
//!
//! Nothing here decides anything about a request; everything here could fail, and says so in one
//! sentence an operator can act on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actors::accounts::{Accounts, Deps, RecordedLocks, Timings};
use crate::actors::auditor::Auditor;
use crate::actors::directory::{Bounds, Directory};
use crate::actors::hasher::{Hasher, HasherLimits};
use crate::actors::keyring::Keyring;
use crate::actors::senders::{Office, Postman, Renderer};
use crate::actors::sessions::Sessions;
use crate::actors::supervision::Tree;
use crate::actors::ticker;
use crate::clock::Clock;
use crate::config::keys::{KeyFileError, StoredKey};
use crate::config::{Config, Security, keys};
use crate::crypto;
use crate::crypto::digest::{Digests, MasterKey};
use crate::crypto::password_hash::{HashCost, PasswordHasher};
use crate::crypto::seal::Sealer;
use crate::delivery::console::ConsoleSender;
use crate::delivery::smtp::{self, SmtpLogin, SmtpSender, SmtpSettings};
use crate::delivery::template::Templates;
use crate::delivery::{AddressFilter, Sender};
use crate::domain::ids::{NodeId, TenantId};
use crate::domain::policy::{Profile, Settings};
use crate::entropy::Entropy;
use crate::ephemeral::memory::MemoryStore;
use crate::ephemeral::redis::{RedisSettings, RedisStore};
use crate::ephemeral::{EphemeralError, EphemeralStore};
use crate::http::body::BodyLimits;
use crate::http::gate::{Gate, TenantOfRequest};
use crate::http::handlers::{self, health};
use crate::http::middleware::{FrontEnd, NoHooks, RequestLimits, Surroundings};
use crate::http::peer::{ForwardedHeader, TrustedProxies};
use crate::http::router::Router;
use crate::http::server::{self, Listening, ServerLimits};
use crate::secret::SecretString;
use crate::storage::{Birth, NewTenant, PoolSettings, Storage, StorageError, Target};
use crate::telemetry::Metrics;
use crate::tenant::{self, Tenants};

/// How often tenants are re-read: a change is in force everywhere within a second.
const TENANT_POLL: Duration = Duration::from_millis(500);

/// How often the stores are asked whether they are there.
const HEALTH_POLL: Duration = Duration::from_millis(500);

/// How often locks that ran out are told, and how many at once.
const LOCK_POLL: Duration = Duration::from_secs(5);

/// How often what no longer matters is removed.
const SWEEP_POLL: Duration = Duration::from_secs(60);

/// Rows a background round touches at most.
const ROUND: u32 = 500;

/// Outbox rows taken over at once.
const CLAIM_BATCH: u32 = 64;

/// An attempt's lease outlives its deadline by this (DESIGN.md §5).
const LEASE_MARGIN: Duration = Duration::from_secs(2);

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

/// The keys of this installation.
pub struct Keys {
    /// Everything is derived from or sealed under it.
    pub master: MasterKey,
    /// The platform administrator's key.
    pub root: SecretString,
    /// The root key's file, if it was made in the data directory just now.
    pub root_made_in: Option<PathBuf>,
}

impl Keys {
    /// The configured keys, else those of the data directory, made at first start.
    ///
    /// # Errors
    /// [`StartError::Keys`], [`StartError::MasterKey`].
    pub fn load(config: &Config, entropy: &Entropy) -> Result<Self, StartError> {
        let master = match &config.crypto.master_key {
            Some(key) => key.clone(),
            None => keys::load_or_make_master_key(&config.data.dir, entropy)?.key,
        };
        let bytes = keys::master_key_bytes(&master).ok_or(StartError::MasterKey)?;
        let (root, root_made_in) = if let Some(key) = &config.admin.key {
            (key.clone(), None)
        } else {
            let StoredKey { key, path, made_now } = keys::load_or_make_root_key(&config.data.dir, entropy)?;
            (key, made_now.then_some(path))
        };
        Ok(Self { master: MasterKey::from_bytes(*bytes), root, root_made_in })
    }
}

/// Opens storage, brings it up to date, and makes sure it belongs to this master key.
///
/// # Errors
/// [`StartError`].
pub async fn open_storage(config: &Config, digests: &Digests, migrate: bool) -> Result<Storage, StartError> {
    let database = &config.database;
    let settings = PoolSettings {
        max_connections: database.max_connections.get(),
        acquire_timeout: database.acquire_timeout,
        statement_timeout: database.statement_timeout,
    };
    let storage = Storage::open(&target(config), &settings).await?;
    if migrate {
        storage.migrate().await?;
    } else if !storage.schema_is_current().await? {
        return Err(StartError::Schema);
    }
    if !storage.meta().confirm_master_key(digests.fingerprint()).await? {
        return Err(StartError::OtherMasterKey);
    }
    Ok(storage)
}

fn target(config: &Config) -> Target {
    use crate::secret::ExposeSecret as _;
    match &config.database.url {
        None => Target::Sqlite(config.data.dir.join("guichet.db")),
        Some(url) => match url.expose_secret().strip_prefix("sqlite:") {
            Some(path) => Target::Sqlite(PathBuf::from(path.trim_start_matches("//"))),
            None => Target::Postgres(url.clone()),
        },
    }
}

async fn open_ephemeral(config: &Config, world: &World) -> Result<Arc<dyn EphemeralStore>, StartError> {
    let store: Arc<dyn EphemeralStore> = match &config.redis.url {
        None => Arc::new(MemoryStore::new(world.clock.clone(), world.entropy.clone())),
        Some(url) => {
            let settings = RedisSettings {
                url: url.clone(),
                cluster: config.redis.cluster,
                key_prefix: config.redis.key_prefix.clone(),
                response_timeout: config.redis.response_timeout,
                connect_timeout: config.redis.connect_timeout,
                wait_replicas: config.redis.wait_replicas,
            };
            Arc::new(RedisStore::connect(settings, world.clock.clone(), world.entropy.clone()).await?)
        }
    };
    store.check().await?;
    Ok(store)
}

/// The tenant that exists from the first start on any back end.
#[must_use]
pub fn default_tenant(slug: &str, clock: &Clock, entropy: &Entropy) -> NewTenant {
    NewTenant {
        id: TenantId::at(clock.now(), entropy.bytes()),
        slug: slug.to_owned(),
        name: "Guichet".to_owned(),
        profile: Profile::Classic,
        settings: Settings::default(),
        domains: Vec::new(),
        created_at: clock.now(),
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

        let readiness = Arc::new(Readiness::default());
        let gate = Gate { accounts: accounts.clone(), sessions, clock: world.clock.clone() };
        let admin = Admin {
            readiness: Arc::clone(&readiness),
            metrics: Metrics::install(),
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
        let admin = listen_admin(config, &world, admin, stop.clone()).await?;
        let public = listen_public(config, &world, gate, directory.tenants.clone(), stop.clone()).await?;
        let platform_url = config.http.platform_url(public.address);
        directory.load(&platform_url).await?;

        let services = Services {
            clock: world.clock,
            storage: storage.clone(),
            ephemeral,
            postman: postman.clone(),
            directory,
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
        self.readiness.draining.store(true, Ordering::SeqCst);
        self.stop.cancel();
        for listener in self.listeners {
            let _ended = listener.finished.await;
        }
        self.accounts.drain(self.drain).await;
        self.postman.drain(self.drain).await;
        drop(self.accounts);
        self.tree.stop().await;
        // The writer ends when the last handle is dropped; a stuck store must not hold us.
        let _written = tokio::time::timeout(Duration::from_secs(1), self.auditor).await;
        self.storage.close().await;
    }
}

fn internal(error: impl std::fmt::Display) -> StartError {
    StartError::Internal(error.to_string())
}

fn hasher(config: &Config, entropy: &Entropy) -> Result<Hasher, StartError> {
    let argon2 = &config.crypto.argon2;
    let cost = HashCost::new(argon2.memory_kib, argon2.iterations, argon2.parallelism).map_err(internal)?;
    let passwords = PasswordHasher::new(cost, entropy).map_err(internal)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let limits = HasherLimits {
        threads: config.crypto.hash_threads.map_or(cores, std::num::NonZero::get),
        queue: config.crypto.hash_queue.get(),
        max_wait: config.crypto.hash_max_wait,
    };
    Hasher::start(passwords, limits, entropy.clone())
        .map_err(|error| StartError::Io { what: "hashing threads".to_owned(), error })
}

fn post_office(
    config: &Config,
    world: &World,
    storage: &Storage,
    tenants: &Tenants,
    digests: &Arc<Digests>,
    node: NodeId,
    tree: &Tree,
) -> Result<Postman, StartError> {
    let console: Arc<dyn Sender> = Arc::new(world.console.clone());
    let email: Arc<dyn Sender> = match config.delivery.platform_smtp() {
        None => Arc::clone(&console),
        Some(settings) => {
            let login = settings.username.clone().zip(settings.password.clone());
            let settings = SmtpSettings {
                host: settings.host.clone(),
                port: settings.port,
                security: match settings.security {
                    Security::None => smtp::Security::None,
                    Security::Starttls => smtp::Security::StartTls,
                    Security::Tls => smtp::Security::Tls,
                },
                login: login.map(|(username, password)| SmtpLogin { username, password }),
                from: settings.from.clone(),
                reply_to: settings.reply_to.clone(),
                timeout: settings.timeout,
                extra_roots: None,
            };
            // The operator's own server may stand anywhere; the guard is for tenants' hosts.
            let anywhere: AddressFilter = Arc::new(|_| true);
            Arc::new(SmtpSender::new(settings, world.clock.clone(), anywhere)?)
        }
    };
    let renderer = Renderer { digests: Arc::clone(digests), templates: Templates::new()?, tenants: tenants.clone() };
    let office = Office {
        storage: storage.clone(),
        renderer,
        email,
        sms: console,
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        node,
        lease: config.delivery.lease,
        max_attempts: config.delivery.max_attempts.get(),
        under_way: TaskTracker::new(),
    };
    Ok(Postman::new(Arc::new(office), tree.senders.clone()))
}

/// Whether this node should be sent requests.
#[derive(Debug, Default)]
struct Readiness {
    storage: AtomicBool,
    ephemeral: AtomicBool,
    draining: AtomicBool,
}

/// What the admin listener's handlers may ask.
struct Admin {
    readiness: Arc<Readiness>,
    metrics: Metrics,
    accounts: Accounts,
    allow: Vec<IpNet>,
    root_key: SecretString,
}

impl health::Health for Admin {
    fn waiting_for(&self) -> Vec<&'static str> {
        let parts = [
            (self.readiness.storage.load(Ordering::SeqCst), "storage"),
            (self.readiness.ephemeral.load(Ordering::SeqCst), "ephemeral"),
            (!self.readiness.draining.load(Ordering::SeqCst), "draining"),
        ];
        parts.into_iter().filter(|(good, _)| !good).map(|(_, part)| part).collect()
    }

    fn render_metrics(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "actors are bounded far below 2^52")]
        metrics::gauge!(crate::telemetry::RESIDENT_ACCOUNTS).set(self.accounts.resident() as f64);
        self.metrics.render()
    }

    fn metrics_allow(&self) -> &[IpNet] {
        &self.allow
    }

    fn root_key(&self) -> &SecretString {
        &self.root_key
    }
}

/// Where the tenant snapshot comes from.
#[derive(Clone)]
struct TenantSource {
    storage: Storage,
    tenants: Tenants,
    default: Option<String>,
}

impl TenantSource {
    async fn load(&self, platform_url: &str) -> Result<(), StorageError> {
        let tenants = self.storage.tenants().all().await?;
        self.tenants.replace(tenant::Directory::new(tenants, self.default.as_deref(), platform_url));
        Ok(())
    }
}

/// What runs in the background of every node.
#[derive(Clone)]
struct Services {
    clock: Clock,
    storage: Storage,
    ephemeral: Arc<dyn EphemeralStore>,
    postman: Postman,
    directory: TenantSource,
    readiness: Arc<Readiness>,
}

impl Services {
    async fn start(self, tree: &Tree, outbox_poll: Duration, platform_url: &str) -> Result<(), ractor::SpawnErr> {
        let supervisor = &tree.services;
        let this = self.clone();
        ticker::every(supervisor, "health", HEALTH_POLL, move || {
            let this = this.clone();
            async move {
                this.check().await;
                Ok::<_, std::convert::Infallible>(())
            }
        })
        .await?;
        let (directory, url) = (self.directory.clone(), platform_url.to_owned());
        ticker::every(supervisor, "tenants", TENANT_POLL, move || {
            let (directory, url) = (directory.clone(), url.clone());
            async move { directory.load(&url).await }
        })
        .await?;
        let postman = self.postman.clone();
        ticker::every(supervisor, "outbox", outbox_poll, move || {
            let postman = postman.clone();
            async move { postman.claim(CLAIM_BATCH).await }
        })
        .await?;
        let this = self.clone();
        ticker::every(supervisor, "locks", LOCK_POLL, move || {
            let this = this.clone();
            async move { this.storage.attempts().expire_locks(this.clock.now(), ROUND).await.map(drop) }
        })
        .await?;
        ticker::every(supervisor, "sweep", SWEEP_POLL, move || {
            let this = self.clone();
            async move { this.storage.housekeeping().sweep(this.clock.now(), ROUND).await.map(drop) }
        })
        .await
    }

    /// Asks both stores whether they are there.
    async fn check(&self) {
        self.readiness.storage.store(self.storage.ping().await.is_ok(), Ordering::SeqCst);
        self.readiness.ephemeral.store(self.ephemeral.ping().await.is_ok(), Ordering::SeqCst);
    }
}

async fn listen_public(
    config: &Config,
    world: &World,
    gate: Gate,
    tenants: Tenants,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let router = Router::new(handlers::public()).map_err(internal)?;
    let front =
        FrontEnd::new(router, Arc::new(gate), TenantOfRequest(tenants), requests(config), surroundings(config, world));
    listen(config.http.listen, front, config, stop).await
}

async fn listen_admin(
    config: &Config,
    world: &World,
    admin: Admin,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let router = Router::new(health::routes()).map_err(internal)?;
    let front = FrontEnd::new(router, Arc::new(admin), NoHooks, requests(config), surroundings(config, world));
    listen(config.http.admin_listen, front, config, stop).await
}

async fn listen<S: Send + Sync + 'static>(
    address: SocketAddr,
    front: FrontEnd<S>,
    config: &Config,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let http = &config.http;
    let limits = ServerLimits {
        max_connections: http.max_connections.get(),
        header_timeout: http.header_timeout,
        idle_timeout: http.idle_timeout,
        drain_timeout: http.drain_timeout,
        head_limit: http.head_limit_bytes.get(),
    };
    server::start(address, front, limits, stop)
        .await
        .map_err(|error| StartError::Io { what: format!("cannot listen on {address}"), error })
}

fn requests(config: &Config) -> RequestLimits {
    let http = &config.http;
    RequestLimits {
        max_in_flight: http.max_in_flight.get(),
        request_timeout: http.request_timeout,
        body: BodyLimits { bytes: http.body_limit_bytes.get(), time: http.body_timeout },
    }
}

fn surroundings(config: &Config, world: &World) -> Surroundings {
    Surroundings {
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        proxies: TrustedProxies::new(config.http.trusted_proxies.clone(), ForwardedHeader::XForwardedFor),
    }
}
