//! The parts a gateway is built from, each made from its section of the configuration.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use super::{StartError, World, internal};
use crate::actors::budget::Budget;
use crate::actors::credentials::{Credentials, Place};
use crate::actors::hasher::{Hasher, HasherLimits};
use crate::actors::senders::{Maker, Offered, Office, Platform, Postman, Renderer, Transports};
use crate::actors::supervision::Tree;
use crate::clock::Clock;
use crate::config::keys::StoredKey;
use crate::config::{Config, Security, SmsProviders, Smtp, keys, make_folder};
use crate::crypto::digest::{Digests, MasterKey};
use crate::crypto::password_hash::{HashCost, PasswordHasher};
use crate::delivery::outbound::Guard;
use crate::delivery::smtp::{self, SmtpLogin, SmtpSender, SmtpSettings};
use crate::delivery::template::Templates;
use crate::delivery::{NoSender, Sender};
use crate::domain::ids::{NodeId, TenantId};
use crate::domain::policy::Profile;
use crate::domain::settings::{Settings, document};
use crate::entropy::Entropy;
use crate::ephemeral::memory::MemoryStore;
use crate::ephemeral::redis::{RedisSettings, RedisStore};
use crate::ephemeral::{EphemeralError, EphemeralStore};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{NewTenant, PoolSettings, Storage, StorageError, Target};
use crate::telemetry::causes;
use crate::tenant::Tenants;

/// How long a start waits for its stores.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two tries.
const PATIENCE_PAUSE: Duration = Duration::from_millis(250);

/// What the console takes for a line at most.
const CONSOLE_LIMIT: Duration = Duration::from_secs(10);

/// The keys of this installation.
pub struct Keys {
    /// Everything is derived from or sealed under it.
    pub master: MasterKey,
    /// The platform administrator's key.
    pub root: SecretString,
    /// The root key's file, if it was made in the data directory just now.
    pub root_made_in: Option<PathBuf>,
}

/// Characters of a root key that cannot hold 128 random bits in base64.
const GUESSABLE: usize = 22;

impl Keys {
    /// The configured keys, else those of the data directory, made at first start.
    ///
    /// # Errors
    /// As [`master_key`].
    pub fn load(config: &Config, entropy: &Entropy) -> Result<Self, StartError> {
        let master = master_key(config, entropy)?;
        let (root, root_made_in) = if let Some(key) = &config.admin.key {
            if key.expose_secret().len() < GUESSABLE {
                tracing::warn!("admin.key is short enough to be guessed: `openssl rand -hex 32` prints a better one");
            }
            (key.clone(), None)
        } else {
            let StoredKey { key, path, made_now } = keys::load_or_make_root_key(&config.data.dir, entropy)?;
            (key, made_now.then_some(path))
        };
        Ok(Self { master, root, root_made_in })
    }
}

/// The configured master key, else the data directory's, made there unless the database can be
/// shared.
///
/// # Errors
/// [`StartError::Keys`], [`StartError::MasterKey`], [`StartError::NoMasterKey`].
pub fn master_key(config: &Config, entropy: &Entropy) -> Result<MasterKey, StartError> {
    let dir = &config.data.dir;
    let key = match &config.crypto.master_key {
        Some(key) => key.clone(),
        None if config.database.is_shared() => keys::load_master_key(dir)?.ok_or(StartError::NoMasterKey)?,
        None => keys::load_or_make_master_key(dir, entropy)?.key,
    };
    let bytes = keys::master_key_bytes(&key).ok_or(StartError::MasterKey)?;
    Ok(MasterKey::from_bytes(*bytes))
}

/// Holds the data directory of an embedded database, made if there is none, until it is dropped, or the
/// process is gone.
///
/// # Errors
/// [`StartError::InUse`] if another process holds it; [`StartError::Io`].
pub fn hold(config: &Config) -> Result<Option<File>, StartError> {
    if config.database.is_shared() {
        return Ok(None);
    }
    let dir = &config.data.dir;
    make_folder(dir).map_err(|error| StartError::Io { what: format!("cannot make {}", dir.display()), error })?;
    let path = dir.join("guichet.lock");
    let failed = |error| StartError::Io { what: format!("cannot lock {}", path.display()), error };
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.clone())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What is kept: what must survive, and what may expire.
pub(super) struct Stores {
    pub(super) storage: Storage,
    pub(super) ephemeral: Arc<dyn EphemeralStore>,
}

impl Stores {
    /// Opens both and makes the default tenant, if there is to be one.
    pub(super) async fn open(config: &Config, digests: &Digests, world: &World) -> Result<Self, StartError> {
        let storage = open_storage(config, digests, config.database.migrate).await?;
        if let Some(slug) = config.tenants.default_slug() {
            storage.tenants().ensure_default(&default_tenant(slug, &world.clock, &world.entropy)).await?;
        }
        let ephemeral = open_ephemeral(config, world).await?;
        Ok(Self { storage, ephemeral })
    }
}

/// Opens storage, makes sure it belongs to this master key, and brings it up to date.
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
    let target = target(config);
    let open = || Storage::open(&target, &settings);
    let storage = patiently("the database", |e| matches!(e, StorageError::Unavailable(_)), open).await?;
    // Before anything is changed; on a database that was never migrated no key is kept yet.
    if storage.meta().has_other_master_key(digests.fingerprint()).await? {
        return Err(StartError::OtherMasterKey);
    }
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
            let connect = || RedisStore::connect(settings.clone(), world.clock.clone(), world.entropy.clone());
            Arc::new(patiently("redis", |e| matches!(e, EphemeralError::Unavailable(_)), connect).await?)
        }
    };
    patiently("redis", |e| matches!(e, EphemeralError::Unavailable(_)), || store.check()).await?;
    Ok(store)
}

/// Tries again for a while: at a start of everything at once, a store may be a little later.
async fn patiently<T, E: std::error::Error, F: Future<Output = Result<T, E>>>(
    what: &'static str,
    passes: impl Fn(&E) -> bool,
    attempt: impl Fn() -> F,
) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if passes(&error) && Instant::now() < deadline => {
                tracing::warn!(error = causes(&error), "{what} does not answer yet; trying again");
                tokio::time::sleep(PATIENCE_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
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

pub(super) fn hasher(config: &Config, entropy: &Entropy) -> Result<Hasher, StartError> {
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

/// Makes the senders of tenants' own.
pub(super) fn maker(config: &Config, credentials: Credentials, clock: Clock) -> Maker {
    Maker { credentials, guard: Guard::new(config.outbound.allow.clone()), clock }
}

/// What the post office is made of besides its own.
pub(super) struct Postal<'a> {
    pub(super) stores: &'a Stores,
    pub(super) tenants: &'a Tenants,
    pub(super) digests: &'a Arc<Digests>,
    pub(super) maker: Maker,
    pub(super) budget: Budget,
    pub(super) node: NodeId,
    pub(super) tree: &'a Tree,
}

pub(super) fn post_office(config: &Config, world: &World, postal: Postal<'_>) -> Result<Postman, StartError> {
    let platform = platform(config, world, &postal.maker.credentials)?;
    let transports = Transports { platform, maker: postal.maker, digests: Arc::clone(postal.digests) };
    let (digests, tenants) = (Arc::clone(postal.digests), postal.tenants.clone());
    let office = Office {
        storage: postal.stores.storage.clone(),
        ephemeral: Arc::clone(&postal.stores.ephemeral),
        renderer: Renderer { digests, templates: Templates::new()?, tenants },
        transports,
        budget: postal.budget,
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        node: postal.node,
        lease: config.delivery.lease,
        max_attempts: config.delivery.max_attempts.get(),
        under_way: TaskTracker::new(),
    };
    Ok(Postman::new(Arc::new(office), postal.tree.senders.clone()))
}

/// What tenants without senders of their own share.
fn platform(config: &Config, world: &World, credentials: &Credentials) -> Result<Platform, StartError> {
    let last_resort = || {
        // Without leave, codes must not land in a terminal's or a journal's history.
        let (name, transport): (&str, Arc<dyn Sender>) = if config.console_sender() {
            ("console", Arc::new(world.console.clone()))
        } else {
            ("none", Arc::new(NoSender))
        };
        Offered { name: name.to_owned(), transport, limit: CONSOLE_LIMIT }
    };
    if !config.console_sender() {
        if config.delivery.sms.is_none() {
            tracing::warn!("no SMS sender is configured and the console is off: codes by SMS cannot leave");
        }
        if config.delivery.platform_smtp().is_none() {
            tracing::warn!("no mail server is configured and the console is off: mails cannot leave");
        }
    }
    let email = match config.delivery.platform_smtp() {
        None => last_resort(),
        Some(smtp) => {
            let transport = platform_mail(smtp, &config.outbound.allow, world)?;
            Offered { name: "platform".to_owned(), transport, limit: smtp.timeout }
        }
    };
    let sms = match &config.delivery.sms {
        Some(providers) => platform_sms(providers, &config.outbound.allow, world, credentials)?,
        None => vec![last_resort()],
    };
    Ok(Platform { email: vec![email], sms })
}

/// The operator's own SMS providers.
fn platform_sms(
    providers: &SmsProviders,
    allow: &[IpNet],
    world: &World,
    credentials: &Credentials,
) -> Result<Vec<Offered>, StartError> {
    // Sealed as no tenant's, and opened again at once: made as tenants' own senders are.
    let whose = TenantId::random([0; 16]);
    let seal = |place: document::Place<'_>, plain: &str| {
        let document::Place { channel, sender, member } = place;
        credentials.seal(&Place { tenant: whose, channel, sender, member }, &plain.to_owned().into()).ok()
    };
    // As the operator's mail server: the guard is for tenants' hosts.
    let guard = Guard::for_operator(allow.to_vec());
    let maker = Maker { credentials: credentials.clone(), guard, clock: world.clock.clone() };
    let providers = providers.read(seal).map_err(StartError::Sms)?;
    maker.offered(whose, &providers).map_err(|bad| StartError::Sms(SmsProviders::by_key(bad)))
}

/// The operator's own mail server.
fn platform_mail(settings: &Smtp, allow: &[IpNet], world: &World) -> Result<Arc<dyn Sender>, StartError> {
    // Its host may stand anywhere, as the guard is for tenants' hosts.
    let guard = Guard::for_operator(allow.to_vec());
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
    Ok(Arc::new(SmtpSender::new(settings, world.clock.clone(), guard)?))
}
