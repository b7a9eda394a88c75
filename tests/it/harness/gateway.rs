//! The whole gateway in this process, on stores of one test's own and a clock that the test moves.
//!
//! ```text
//!   BackEnd (embedded | shared) ─► Gateway::start ─► App on ports of its own
//!        │ removed after the test       │
//!        └──────────────────────────────┴─► Door (a tenant's routes), Inbox (what people receive)
//! ```
//!
//! Three tenants exist: `default` (profile `classic`), `strict` (`asvs-l1`, sending to Senegal) and
//! `other` (`classic`, at home on `login.other.test`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use guichet::actors::keyring::Keyring;
use guichet::app::{App, Keys, StartError, World};
use guichet::clock::Clock;
use guichet::config::{Argon2, Config};
use guichet::crypto::digest::MasterKey;
use guichet::crypto::seal::Sealer;
use guichet::delivery::console::ConsoleSender;
use guichet::domain::app::App as Application;
use guichet::domain::ids::{AppId, TenantId};
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::storage::{NewTenant, Storage, Target};
use guichet::tenant::{Directory, Tenants};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::client::{Call, Door};
use super::databases::{SETTINGS, TestDatabase, changed, make_tenant, new_tenant};
use super::inbox::Inbox;
use super::node::{PATIENCE, POLL};
use super::redis;

/// What people reach the gateway under; links in messages begin with it.
pub(crate) const PUBLIC_URL: &str = "http://login.guichet.test";

/// Everything is derived from or sealed under it.
pub(crate) const MASTER_KEY: [u8; 32] = [7; 32];
/// The root key of every gateway here.
pub(crate) const ROOT_KEY: &str = "gk_root_of-a-test";

/// Stores of one test's own.
pub(crate) struct BackEnd {
    database: TestDatabase,
    redis: Option<(String, String)>,
    folder: TempDir,
    clock: Clock,
}

impl BackEnd {
    /// SQLite and the in-process store.
    pub(crate) fn embedded() -> Self {
        Self {
            database: TestDatabase::sqlite(),
            redis: None,
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::system(),
        }
    }

    /// PostgreSQL and Redis, where there are such.
    pub(crate) async fn shared() -> Option<Self> {
        let url = redis::shared_url()?;
        let database = TestDatabase::postgres().await?;
        let folder = tempfile::tempdir().unwrap();
        Some(Self { database, redis: Some((url, redis::fresh_prefix())), folder, clock: Clock::system() })
    }

    /// With another clock for the gateway.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Tells one story on it, and takes everything away afterwards, whether or not it held.
    pub(crate) async fn run<F>(self, story: impl FnOnce(Gateway) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let storage = self.database.storage().await;
        tenants(&storage).await;
        storage.close().await;
        let gateway = Gateway::start(self.config(), self.database.target.clone(), self.clock.clone()).await;
        let outcome = tokio::spawn(story(gateway)).await;
        if let Some((url, prefix)) = &self.redis {
            redis::flush(url, prefix).await;
        }
        self.database.remove().await;
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure.into_panic());
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.http.listen.set_port(0);
        config.http.admin_listen.set_port(0);
        config.http.public_url = Some(PUBLIC_URL.parse().unwrap());
        config.data.dir = self.folder.path().to_owned();
        config.database.url = Some(match &self.database.target {
            Target::Postgres(url) => url.clone(),
            Target::Sqlite(path) => format!("sqlite:{}", path.display()).into(),
        });
        // Where tests put the servers of tenants' own.
        config.outbound.allow = vec!["127.0.0.0/8".parse().unwrap()];
        config.database.max_connections = NonZeroU32::new(6).unwrap();
        config.database.acquire_timeout = Duration::from_secs(8);
        if let Some((url, prefix)) = &self.redis {
            config.redis.url = Some(url.as_str().into());
            config.redis.key_prefix.clone_from(prefix);
            // Longer than in production: tests share few cores, and a late answer is no finding here.
            config.redis.response_timeout = Duration::from_secs(4);
            config.redis.connect_timeout = Duration::from_secs(4);
        }
        // The cheapest that is legal.
        config.crypto.argon2 = Argon2 { memory_kib: 12_288, iterations: 3, parallelism: 1 };
        config.crypto.hash_threads = NonZeroUsize::new(2);
        config.crypto.hash_max_wait = Duration::from_secs(7);
        config
    }
}

/// The settings of a tenant that words its messages itself.
const WORDED: &str = r#"{
    "public_url": "https://id.worded.test/",
    "templates": {
        "sign_in_code": {"fr": {"sms": "{{ tenant }} : votre code est {{ code }}."}},
        "verification": {"en": {"subject": "Welcome to {{ tenant }}", "text": "Hello,\n\n{{ link }}"}},
        "device_code": {"en": {"text": "{% for x in tenant %}{{ code }}{% endfor %}"}}
    }
}"#;

async fn tenants(storage: &Storage) {
    for (slug, profile, domains, settings) in [
        ("strict", Profile::AsvsL1, vec![], r#"{"sms":{"regions":["SN"]}}"#),
        ("other", Profile::Classic, vec!["login.other.test".to_owned()], "{}"),
        ("bare", Profile::AsvsL1, vec![], "{}"),
        ("worded", Profile::Classic, vec!["id.worded.test".to_owned()], WORDED),
    ] {
        let settings = serde_json::from_str(settings).unwrap();
        make_tenant(storage, &NewTenant { settings, domains, ..new_tenant(slug, profile) }).await;
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    app: App,
    config: Config,
    target: Target,
    clients: Mutex<HashMap<Ipv4Addr, reqwest::Client>>,
}

impl Gateway {
    async fn start(config: Config, target: Target, clock: Clock) -> Self {
        logs();
        let inbox = Inbox::default();
        let app = start(&config, &clock, &inbox).await;
        Self { clock, inbox, app, config, target, clients: Mutex::default() }
    }

    /// Stops as a deployment does, then starts on the same stores with other settings.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { clock, inbox, app, mut config, target, .. } = self;
        app.stop().await;
        change(&mut config);
        let app = start(&config, &clock, &inbox).await;
        Self { clock, inbox, app, config, target, clients: Mutex::default() }
    }

    /// Starts anew with other settings of a tenant in place.
    pub(crate) async fn with_settings(self, slug: &str, settings: &serde_json::Value) -> Self {
        let set = format!("UPDATE tenants SET settings = '{settings}', version = version + 1 WHERE slug = '{slug}'");
        match &self.target {
            Target::Sqlite(path) => {
                let mut link = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
                sqlx::query(AssertSqlSafe(set)).execute(&mut link).await.unwrap();
            }
            Target::Postgres(url) => {
                use guichet::secret::ExposeSecret as _;
                let mut link = PgConnection::connect(url.expose_secret()).await.unwrap();
                sqlx::query(AssertSqlSafe(set)).execute(&mut link).await.unwrap();
            }
        }
        self.restart(|_| ()).await
    }

    /// Waits until the audit log tells of an event that many times, and of no more.
    pub(crate) async fn audited(&self, kind: &str, times: usize) {
        let heard = async {
            loop {
                let rows = self.tables().await;
                let told = rows.iter().filter(|(table, row)| table == "audit" && row.contains(kind)).count();
                if told >= times {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), heard).await;
        assert_eq!(told, Ok(times), "{kind}");
    }

    /// Stops as a deployment does.
    pub(crate) async fn stop(self) {
        self.app.stop().await;
    }

    /// Is what may expire kept outside this process?
    pub(crate) fn has_redis(&self) -> bool {
        self.config.redis.url.is_some()
    }

    /// The default tenant (`classic`) under its bare paths.
    pub(crate) fn classic(&self) -> Door<'_> {
        Door::new(self, "")
    }

    /// The tenant with the profile `asvs-l1`.
    pub(crate) fn strict(&self) -> Door<'_> {
        Door::new(self, "/t/strict")
    }

    /// A second tenant with the profile `classic`.
    pub(crate) fn other(&self) -> Door<'_> {
        Door::new(self, "/t/other")
    }

    /// The tenant of that prefix, `/t/{slug}`.
    pub(crate) fn door(&self, prefix: &'static str) -> Door<'_> {
        Door::new(self, prefix)
    }

    /// The admin API; every call needs a key, such as [`ROOT_KEY`].
    pub(crate) fn admin(&self) -> Door<'_> {
        Door::admin(self)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.public)
    }

    /// Where the admin listener is.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.admin)
    }

    /// A client whose connections come from `address`.
    pub(crate) fn http(&self, address: Ipv4Addr) -> reqwest::Client {
        let mut clients = self.clients.lock().unwrap();
        let make = || {
            reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .redirect(reqwest::redirect::Policy::none())
                .local_address(IpAddr::V4(address))
                .build()
                .unwrap()
        };
        clients.entry(address).or_insert_with(make).clone()
    }

    /// Its storage, from outside.
    pub(crate) async fn storage(&self) -> Storage {
        Storage::open(&self.target, &SETTINGS).await.unwrap()
    }

    /// Makes a tenant with such settings and waits until it is served; its id.
    pub(crate) async fn new_tenant(
        &self,
        slug: &'static str,
        profile: Profile,
        settings: serde_json::Value,
    ) -> TenantId {
        let settings = serde_json::from_value(settings).unwrap();
        let tenant = NewTenant { settings, ..new_tenant(slug, profile) };
        let id = make_tenant(&self.storage().await, &tenant).await;
        let path = format!("/t/{slug}/.well-known/jwks.json");
        self.until(|| async { self.classic().get(&path).await.status == 200 }).await;
        id
    }

    /// Makes an application of a tenant and waits until it is known.
    pub(crate) async fn new_app(&self, slug: &str, audience: &str, origins: &[&str]) -> TestApp {
        let storage = self.storage().await;
        let tenant = storage.tenants().find_by_slug(slug).await.unwrap().unwrap();
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let secret = format!("secret/of+{audience}");
        let app = Application {
            id: AppId::at(clock.now(), entropy.bytes()),
            name: audience.to_owned(),
            audience: audience.to_owned(),
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            secret_digest: guichet::crypto::digest::token_digest(&secret),
            created_at: clock.now(),
        };
        storage.apps().create(tenant.id, &app, &changed(tenant.id)).await.unwrap();
        let app = TestApp { id: app.id.to_string(), secret, audience: app.audience };
        let path = format!("/t/{slug}/oauth/introspect");
        self.until(|| async { app.post(self.classic(), &path, &[("token", "x")]).await.status == 200 }).await;
        app
    }

    /// Takes every step that is due for signing keys, as another node of this installation would.
    pub(crate) async fn rotate_due_keys(&self) {
        let storage = self.storage().await;
        let tenants = Tenants::default();
        tenants.replace(Directory::new(storage.tenants().all().await.unwrap(), None, PUBLIC_URL));
        let sealer = Sealer::new(&MasterKey::from_bytes([7; 32]));
        let keyring = Keyring::new(storage, sealer, self.clock.clone(), Entropy::system());
        keyring.rotate_due(&tenants).await.unwrap();
    }

    /// Takes away every table that sessions, keys and people are in: whoever asks for them from now on
    /// fails.
    pub(crate) async fn break_storage(&self) {
        for table in ["revocations", "signing_keys", "refresh_tokens", "sessions", "accounts"] {
            self.execute(format!("ALTER TABLE {table} RENAME TO {table}_away")).await;
        }
    }

    /// Runs a statement from outside.
    pub(crate) async fn execute(&self, statement: String) {
        match &self.target {
            Target::Sqlite(path) => {
                let mut link = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
                sqlx::query(AssertSqlSafe(statement)).execute(&mut link).await.unwrap();
            }
            Target::Postgres(url) => {
                use guichet::secret::ExposeSecret as _;
                let mut link = PgConnection::connect(url.expose_secret()).await.unwrap();
                sqlx::query(AssertSqlSafe(statement)).execute(&mut link).await.unwrap();
            }
        }
    }

    /// Keeps whatever would be written to these tables waiting, until it is let go; reading goes on.
    pub(crate) async fn hold(&self, tables: &str) -> Held {
        match &self.target {
            Target::Sqlite(path) => {
                let mut link = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
                // One writer at a time, whatever the table.
                sqlx::query("BEGIN IMMEDIATE").execute(&mut link).await.unwrap();
                Held::Sqlite(link)
            }
            Target::Postgres(url) => {
                use guichet::secret::ExposeSecret as _;
                let mut link = PgConnection::connect(url.expose_secret()).await.unwrap();
                let lock = format!("LOCK TABLE {tables} IN EXCLUSIVE MODE");
                sqlx::query("BEGIN").execute(&mut link).await.unwrap();
                sqlx::query(AssertSqlSafe(lock)).execute(&mut link).await.unwrap();
                Held::Postgres(link)
            }
        }
    }

    /// Waits until that holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("it never comes to hold");
    }

    /// How many messages of one kind were ever written for somebody: exact as soon as the
    /// request is answered, since the row is written with the fact.
    pub(crate) async fn posted(&self, to: &str, kind: &str) -> usize {
        let rows = self.tables().await;
        let kind = format!("\"{kind}");
        let of = |row: &str| row.contains(to) && row.replace('\\', "").contains(&kind);
        rows.iter().filter(|(table, row)| table == "outbox" && of(row)).count()
    }

    /// What another process of this installation is told, such as a command of an operator.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        use guichet::secret::ExposeSecret as _;
        let url = self.config.database.url.as_ref().unwrap().expose_secret().to_owned();
        // Base64 of the bytes of `MASTER_KEY`.
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned();
        vec![("DATABASE_URL", url), ("GUICHET_MASTER_KEY", key)]
    }

    /// Every row of the database, as text with blobs in hexadecimal, beside its table's name.
    pub(crate) async fn tables(&self) -> Vec<(String, String)> {
        match &self.target {
            Target::Sqlite(path) => sqlite_rows(&format!("sqlite:{}", path.display())).await,
            Target::Postgres(url) => {
                use guichet::secret::ExposeSecret as _;
                postgres_rows(url.expose_secret()).await
            }
        }
    }

    /// Everything else that is kept: the embedded database's files, Redis' values.
    pub(crate) async fn kept_bytes(&self) -> Vec<u8> {
        let mut kept = Vec::new();
        if let Target::Sqlite(path) = &self.target {
            for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
                kept.extend(std::fs::read(file.unwrap().path()).unwrap());
            }
        }
        if let Some(url) = &self.config.redis.url {
            use guichet::secret::ExposeSecret as _;
            kept.extend(redis::values(url.expose_secret(), &self.config.redis.key_prefix).await);
        }
        kept
    }
}

/// Tables that nothing is written to for now.
pub(crate) enum Held {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Held {
    pub(crate) async fn let_go(self) {
        match self {
            Self::Sqlite(mut link) => drop(sqlx::query("ROLLBACK").execute(&mut link).await.unwrap()),
            Self::Postgres(mut link) => drop(sqlx::query("ROLLBACK").execute(&mut link).await.unwrap()),
        }
    }
}

/// An application that knows its secret.
#[derive(Debug, Clone)]
pub(crate) struct TestApp {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) audience: String,
}

impl TestApp {
    /// A form, with the app's credentials in HTTP Basic (form-encoded, as RFC 6749 §2.3.1 has it).
    pub(crate) fn post<'g>(&self, door: Door<'g>, path: &str, form: &[(&str, &str)]) -> Call<'g> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(&self.id), encode(&self.secret));
        let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        door.form(path, form).header("authorization", &format!("Basic {pair}"))
    }
}

async fn start(config: &Config, clock: &Clock, inbox: &Inbox) -> App {
    let began = Instant::now();
    loop {
        let keys = Keys { master: MasterKey::from_bytes(MASTER_KEY), root: ROOT_KEY.into(), root_made_in: None };
        let console = ConsoleSender::new(inbox.clone()).unwrap();
        let world = World { clock: clock.clone(), entropy: Entropy::system(), console };
        // Large, and within every story otherwise.
        match Box::pin(App::start(config, keys, world)).await {
            // A process that another test is just starting holds all our open files for a moment, the lock too.
            Err(StartError::InUse(_)) if began.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
            started => return started.unwrap(),
        }
    }
}

async fn sqlite_rows(url: &str) -> Vec<(String, String)> {
    let mut link = SqliteConnection::connect(url).await.unwrap();
    let tables: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table'").fetch_all(&mut link).await.unwrap();
    let mut rows = Vec::new();
    for (table,) in tables {
        let columns: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM pragma_table_info($1)").bind(&table).fetch_all(&mut link).await.unwrap();
        let columns: Vec<_> = columns.iter().map(|(name,)| format!("quote(\"{name}\")")).collect();
        let query = format!("SELECT {} FROM \"{table}\"", columns.join(" || ' ' || "));
        let found: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut link).await.unwrap();
        rows.extend(found.into_iter().map(|(row,)| (table.clone(), row)));
    }
    rows
}

async fn postgres_rows(url: &str) -> Vec<(String, String)> {
    let mut link = PgConnection::connect(url).await.unwrap();
    let tables: Vec<(String,)> =
        sqlx::query_as("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
            .fetch_all(&mut link)
            .await
            .unwrap();
    let mut rows = Vec::new();
    for (table,) in tables {
        let query = format!("SELECT to_jsonb(t)::text FROM \"{table}\" t");
        let found: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut link).await.unwrap();
        rows.extend(found.into_iter().map(|(row,)| (table.clone(), row)));
    }
    rows
}

/// Everything that any gateway of this process logs, at its most talkative.
pub(crate) fn logs() -> Arc<Mutex<Vec<u8>>> {
    static LINES: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Lines(Arc::clone(&lines));
        tracing_subscriber::fmt()
            .with_env_filter("guichet=trace,sqlx=debug,ractor=debug,hyper=debug,redis=debug")
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .init();
        lines
    });
    Arc::clone(lines)
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes every `async fn(Gateway)` named a test on each back end.
macro_rules! on_every_back_end {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    $crate::harness::gateway::BackEnd::embedded().run(super::$test).await;
                }
            )*
        }

        mod shared {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    if let Some(back_end) = $crate::harness::gateway::BackEnd::shared().await {
                        back_end.run(super::$test).await;
                    }
                }
            )*
        }
    };
}

pub(crate) use on_every_back_end;
