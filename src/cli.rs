//! The command line: reads arguments, loads the configuration, runs one command.
//!
//! Exit codes: 0 done, 1 could not, 2 the arguments or the configuration are wrong.

mod apply;

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::task::JoinHandle;

use crate::actors::administration::{Administration, Holder, master_key};
use crate::app::{self, App, Keys, StartError, World};
use crate::clock::Clock;
use crate::config::{Config, Overrides, Variables, keys};
use crate::crypto::digest::{Digests, MasterKey};
use crate::domain::contact::Region;
use crate::domain::ids::TenantId;
use crate::domain::locale::Locale;
use crate::domain::naming;
use crate::domain::policy::{Policy, Profile};
use crate::domain::settings::{Settings, SmsSettings, document};
use crate::domain::signing_key::Rotation;
use crate::entropy::Entropy;
use crate::secret::ExposeSecret as _;
use crate::storage::{KeyRotated, NewTenant, Storage, Tenant, TenantCreated};
use crate::telemetry;

/// An actor-based, multi-tenant authentication gateway.
#[derive(Debug, Parser)]
#[command(name = "guichet", version)]
struct Cli {
    /// Settings file (TOML); without it, defaults and the environment.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(ServeFlags),
    /// Bring the database schema to this version.
    Migrate,
    /// Check the settings and print what is in force, secrets hidden.
    CheckConfig,
    /// Make, change and look at tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Change what tokens are signed with, or what everything is sealed under.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Let another key sign, once everybody had time to read of it.
    Rotate {
        /// Whose, by its short name.
        #[arg(long, value_name = "SLUG")]
        tenant: String,
        /// Do not wait: tokens fail where others still hold the older keys and do not look again.
        #[arg(long)]
        now: bool,
        /// Somebody else may hold the key: do not wait, and let every key that signed before verify nothing
        /// any more, on all nodes within a second. People refresh; sessions survive.
        #[arg(long, conflicts_with = "now")]
        compromised: bool,
    },
    /// Seal every secret in the database under another master key. Refused while a node runs: stop all first.
    RotateMaster {
        /// The file of the new key (base64 of 32 bytes); made if it is not there.
        #[arg(long, value_name = "FILE")]
        to_file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ServeFlags {
    /// Address of the public listener.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the admin listener.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Where the SQLite file and generated keys live.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// Make a tenant.
    Create(TenantFlags),
    /// All tenants, a line each.
    List,
    /// One tenant and the rules in force.
    Show {
        /// Its short name.
        slug: String,
    },
    /// Make tenants what a file says.
    Apply {
        /// The file (TOML).
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Change settings of a tenant.
    Set {
        /// Its short name.
        slug: String,
        /// As `otp.sms.length=8`; `null` takes a setting back.
        #[arg(required = true, value_name = "PATH=VALUE")]
        settings: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct TenantFlags {
    /// Short name in paths and tokens: lower-case letters, digits and dashes.
    slug: String,
    /// What people know it by; the slug if not given.
    #[arg(long)]
    name: Option<String>,
    /// `classic` or `asvs-l1`.
    #[arg(long, default_value = "asvs-l1")]
    profile: Profile,
    /// A domain of its own; may be repeated, the first one binds SMS codes.
    #[arg(long = "domain")]
    domains: Vec<String>,
    /// Where national phone forms belong (two letters).
    #[arg(long)]
    region: Option<String>,
    /// Where text messages may go (two letters); may be repeated. Without it `classic` sends
    /// anywhere and `asvs-l1` nowhere.
    #[arg(long = "sms-region")]
    sms_regions: Vec<String>,
    /// `en` or `fr`.
    #[arg(long)]
    locale: Option<String>,
}

/// What stops a command, in words for the person at the terminal.
#[derive(Debug)]
enum Stop {
    Wrong(String),
    Failed(String),
}

impl Stop {
    fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(telemetry::causes(&error))
    }

    fn no_tenant(slug: &str) -> Self {
        Self::Failed(format!("no tenant `{slug}`"))
    }
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let (text, code) = match dispatch(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Wrong(text)) => (text, 2),
        Err(Stop::Failed(text)) => (text, 1),
    };
    let _stderr_closed = writeln!(std::io::stderr().lock(), "guichet: {text}");
    ExitCode::from(code)
}

fn dispatch(cli: Cli) -> Result<(), Stop> {
    let flags = match &cli.command {
        Command::Serve(flags) => {
            Overrides { listen: flags.listen, admin_listen: flags.admin_listen, data_dir: flags.data_dir.clone() }
        }
        _ => Overrides::default(),
    };
    let config = Config::load(cli.config.as_deref(), &Variables::of_process(), &flags)
        .map_err(|problems| Stop::Wrong(format!("the configuration cannot be used:\n{problems}")))?;
    telemetry::start_logging(&config.log.filter, config.log.format).map_err(Stop::failed)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Stop::failed)?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(_) => serve(&config).await,
            Command::Migrate => open(&config, true).await.map(drop),
            Command::CheckConfig => check_config(&config),
            Command::Tenant(command) => tenant(&config, command).await,
            Command::Key(KeyCommand::Rotate { tenant, now, compromised }) => {
                let rotation = match (now, compromised) {
                    (_, true) => Rotation::Compromised,
                    (true, false) => Rotation::Now,
                    (false, false) => Rotation::Announced,
                };
                rotate_key(&config, &tenant, rotation).await
            }
            Command::Key(KeyCommand::RotateMaster { to_file }) => rotate_master_key(&config, &to_file).await,
        }
    })
}

fn print(text: &str) -> Result<(), Stop> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Stop::failed),
    }
}

async fn serve(config: &Config) -> Result<(), Stop> {
    let world = World::real().map_err(Stop::failed)?;
    let keys = Keys::load(config, &world.entropy).map_err(Stop::failed)?;
    let root = root_key_line(&keys);
    let app = App::start(config, keys, world).await.map_err(Stop::failed)?;
    print(&banner(config, &app, root.as_deref()))?;

    let ended = tokio::select! {
        () = until_told_to_stop() => Ok(()),
        () = app.outdated() => Err(Stop::failed(StartError::OtherMasterKey)),
    };
    tracing::info!("stopping: finishing what is under way");
    tokio::select! {
        () = app.stop() => {}
        () = until_told_to_stop() => tracing::warn!("told twice: leaving at once"),
    }
    ended
}

/// A root key made just now is shown on a terminal only; elsewhere its file is named.
fn root_key_line(keys: &Keys) -> Option<String> {
    let path = keys.root_made_in.as_ref()?;
    Some(if std::io::stdout().is_terminal() {
        format!("  root key  {}   (kept in {})", keys.root.expose_secret(), path.display())
    } else {
        format!("  root key  in {}", path.display())
    })
}

fn banner(config: &Config, app: &App, root: Option<&str>) -> String {
    let stores = match (&config.database.url, &config.redis.url) {
        (None, None) => format!("embedded: SQLite in {}, one node", config.data.dir.display()),
        (database, redis) => format!(
            "{} + {}",
            if database.is_some() { "configured database" } else { "SQLite" },
            if redis.is_some() { "Redis" } else { "in-process store, one node" }
        ),
    };
    let mut lines = vec![
        format!("guichet {}", env!("CARGO_PKG_VERSION")),
        format!("  public    http://{}", app.public),
        format!("  admin     http://{}", app.admin),
        format!("  stores    {stores}"),
    ];
    lines.extend(root.map(str::to_owned));
    lines.push("  try       curl -s -X POST -H 'Content-Type: application/json' \\".to_owned());
    lines.push(format!("              -d '{{\"phone\":\"+221771234567\"}}' http://{}/auth/request-code", app.public));
    lines.join("\n")
}

/// SIGTERM or Ctrl-C.
async fn until_told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn check_config(config: &Config) -> Result<(), Stop> {
    let shown = serde_json::to_string_pretty(config).map_err(Stop::failed)?;
    print(&shown)
}

async fn open(config: &Config, migrate: bool) -> Result<Storage, Stop> {
    let master = app::master_key(config, &Entropy::system()).map_err(Stop::failed)?;
    // Boxed: every command's future would hold its stack frame otherwise.
    Box::pin(app::open_storage(config, &Digests::new(&master), migrate)).await.map_err(Stop::failed)
}

async fn tenant(config: &Config, command: TenantCommand) -> Result<(), Stop> {
    let storage = open(config, config.database.migrate).await?;
    match command {
        TenantCommand::Create(flags) => create_tenant(&storage, flags).await,
        TenantCommand::List => {
            for tenant in storage.tenants().all().await.map_err(Stop::failed)? {
                print(&format!("{}\t{}\t{}", tenant.slug, tenant.profile.as_str(), tenant.name))?;
            }
            Ok(())
        }
        TenantCommand::Show { slug } => {
            let tenant = find_tenant(&storage, &slug).await?;
            print(&show_tenant(&tenant)?)
        }
        TenantCommand::Apply { file, dry_run } => {
            let (administration, written) = administration(config, storage)?;
            let applied = apply::apply(&administration, &file, dry_run).await;
            drop(administration);
            let _written = written.await;
            applied
        }
        TenantCommand::Set { slug, settings } => {
            let (administration, written) = administration(config, storage)?;
            let set = apply::set(&administration, &slug, &settings).await;
            drop(administration);
            let _written = written.await;
            set
        }
    }
}

async fn rotate_key(config: &Config, slug: &str, rotation: Rotation) -> Result<(), Stop> {
    let storage = open(config, config.database.migrate).await?;
    let tenant = find_tenant(&storage, slug).await?;
    let (administration, written) = administration(config, storage)?;
    let rotated = administration.rotate_key(&Holder::ROOT, tenant.id, rotation).await;
    drop(administration);
    let _written = written.await;
    let rotated = rotated.map_err(apply::refused)?;
    for kid in &rotated.gone {
        print(&format!("{kid} verifies nothing any more"))?;
    }
    print(&format!("{} signs for tenant {slug} from {} on", rotated.kid, rotated.signs_from.to_rfc3339()))
}

async fn find_tenant(storage: &Storage, slug: &str) -> Result<Tenant, Stop> {
    let found = storage.tenants().find_by_slug(slug).await.map_err(Stop::failed)?;
    found.ok_or_else(|| Stop::no_tenant(slug))
}

fn administration(config: &Config, storage: Storage) -> Result<(Administration, JoinHandle<()>), Stop> {
    let master = app::master_key(config, &Entropy::system()).map_err(Stop::failed)?;
    app::administration(config, &master, storage).map_err(Stop::failed)
}

/// One transaction, whatever happens to this process. Nodes that ran meanwhile would go on with what they
/// have opened, could open nothing else, and would seal under a key that is over: so none may run. An
/// embedded database is held, a shared one knows its nodes.
async fn rotate_master_key(config: &Config, to_file: &Path) -> Result<(), Stop> {
    let entropy = Entropy::system();
    let old = app::master_key(config, &entropy).map_err(Stop::failed)?;
    let storage = open(config, config.database.migrate).await?;
    let _held = app::hold(config).map_err(Stop::failed)?;
    let stored = keys::load_or_make_master_key_file(to_file, &entropy).map_err(Stop::failed)?;
    let bytes = keys::master_key_bytes(&stored.key).ok_or_else(|| Stop::Wrong("not a master key".to_owned()))?;
    let new = MasterKey::from_bytes(*bytes);
    if Digests::new(&old).fingerprint() == Digests::new(&new).fingerprint() {
        return Err(Stop::Wrong(format!("{} holds the master key in use", to_file.display())));
    }
    // Ciphers of both keys are held across it.
    let done = Box::pin(master_key::rotate(&storage, &old, &new)).await.map_err(Stop::failed)?;
    let done = match done {
        KeyRotated::Done(done) => done,
        KeyRotated::OtherKey => {
            return Err(Stop::Failed("another master key took its place meanwhile".to_owned()));
        }
        KeyRotated::InUse(nodes) => {
            return Err(Stop::Failed(format!(
                "nodes run on this database ({nodes}): stop every one first; one that was killed counts for {} \
                 seconds more; nothing was changed",
                app::PRESENCE.as_secs()
            )));
        }
    };
    print(&format!(
        "sealed anew: {} settings documents, {} signing keys\n\
         start every node with GUICHET_MASTER_KEY_FILE={} from now on; keep the old key for older back-ups\n\
         what the old key only derived has ended: codes and links under way, registration tokens, the trust in \
         browsers known by their User-Agent alone, and the delivery log",
        done.documents,
        done.signing_keys,
        to_file.display()
    ))
}

async fn create_tenant(storage: &Storage, flags: TenantFlags) -> Result<(), Stop> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let listed: Result<Vec<Region>, _> = flags.sms_regions.iter().map(|region| region.parse()).collect();
    let listed = listed.map_err(|error| wrong("--sms-region", error))?;
    let settings = Settings {
        sms: SmsSettings { regions: Some(listed).filter(|listed| !listed.is_empty()), ..SmsSettings::default() },
        region: flags.region.map(|region| region.parse()).transpose().map_err(|error| wrong("--region", error))?,
        locale: flags.locale.map(|tag| locale(&tag)).transpose()?,
        ..Settings::default()
    };
    if !naming::is_slug(&flags.slug) {
        return Err(wrong("slug", "1 to 63 lower-case letters, digits and inner dashes"));
    }
    Policy::with(flags.profile, &settings)
        .map_err(|bad| Stop::Wrong(bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let tenant = NewTenant {
        id: TenantId::at(clock.now(), entropy.bytes()),
        name: flags.name.unwrap_or_else(|| flags.slug.clone()),
        slug: flags.slug,
        profile: flags.profile,
        settings,
        domains: flags.domains.iter().map(|domain| check_domain(domain)).collect::<Result<_, _>>()?,
        created_at: clock.now(),
    };
    match storage.tenants().create(&tenant).await.map_err(Stop::failed)? {
        TenantCreated::Created => {
            print(&format!("made tenant {}: its routes are under /t/{}", tenant.slug, tenant.slug))
        }
        TenantCreated::SlugTaken => Err(Stop::Failed(format!("there is a tenant `{}` already", tenant.slug))),
        TenantCreated::DomainTaken => Err(Stop::Failed("one of the domains belongs to another tenant".to_owned())),
    }
}

fn show_tenant(tenant: &Tenant) -> Result<String, Stop> {
    let policy = Policy::with(tenant.profile, &tenant.settings).unwrap_or_else(|_| Policy::of(tenant.profile));
    let shown = serde_json::json!({
        "slug": tenant.slug,
        "name": tenant.name,
        "profile": tenant.profile,
        "domains": tenant.domains,
        "settings": document::shown(&tenant.settings),
        "created_at": tenant.created_at.to_rfc3339(),
        "in_force": {
            "sms_code": { "length": policy.sms_code.length, "ttl": policy.sms_code.ttl.as_secs(), "tries": policy.sms_code.tries },
            "email_code": { "length": policy.email_code.length, "ttl": policy.email_code.ttl.as_secs(), "tries": policy.email_code.tries },
            "lockout": { "threshold": policy.lockout.threshold, "duration": policy.lockout.duration.as_secs(), "hard_limit": policy.lockout.hard_limit },
            "password": { "min_length": policy.password.min_length, "refuse_common": policy.password.refuse_common },
            "access_ttl": policy.tokens.access_ttl.as_secs(),
        },
    });
    serde_json::to_string_pretty(&shown).map_err(Stop::failed)
}

fn wrong(what: &str, error: impl std::fmt::Display) -> Stop {
    Stop::Wrong(format!("{what}: {error}"))
}

fn locale(tag: &str) -> Result<Locale, Stop> {
    Locale::from_tag(tag).ok_or_else(|| wrong("--locale", "expected `en` or `fr`"))
}

/// A bare host name, as a `Host` header shows it.
fn check_domain(domain: &str) -> Result<String, Stop> {
    naming::domain(domain).ok_or_else(|| wrong("--domain", "not a full host name"))
}
