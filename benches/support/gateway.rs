//! `guichet serve` as a child process, on stores of its own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guichet::clock::Clock;
use guichet::domain::ids::TenantId;
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::ephemeral::redis::{RedisSettings, RedisStore};
use guichet::storage::{NewTenant, PoolSettings, Storage, Target};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, query};
use tempfile::TempDir;

/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Databases made for one run, and what tells the gateway of them.
pub(crate) struct Stores {
    pub(crate) name: &'static str,
    pub(crate) settings: Vec<(&'static str, String)>,
    folder: TempDir,
    shared: Option<Shared>,
}

struct Shared {
    database_url: String,
    database: String,
    own_url: String,
    redis_url: String,
    key_prefix: String,
}

impl Stores {
    /// SQLite and the in-process store, in a folder that goes with this value.
    pub(crate) fn embedded() -> Self {
        Self { name: "embedded", settings: Vec::new(), folder: tempfile::tempdir().unwrap(), shared: None }
    }

    /// A new database and a key prefix of its own on the servers that the environment names.
    pub(crate) async fn shared() -> Option<Self> {
        let database_url = variable("GUICHET_BENCH_DATABASE_URL")?;
        let redis_url = variable("GUICHET_BENCH_REDIS_URL")?;
        let database = format!("guichet_bench_{}", std::process::id());
        let mut admin = PgConnection::connect(&database_url).await.unwrap();
        query(AssertSqlSafe(format!("CREATE DATABASE {database}"))).execute(&mut admin).await.unwrap();
        let mut own = url::Url::parse(&database_url).unwrap();
        own.set_path(&database);
        let (key_prefix, own_url) = (database.clone(), own.to_string());
        let settings = vec![
            ("DATABASE_URL", own_url.clone()),
            ("REDIS_URL", redis_url.clone()),
            ("GUICHET__REDIS__KEY_PREFIX", key_prefix.clone()),
            ("GUICHET_MASTER_KEY", BASE64_STANDARD.encode(Entropy::system().bytes::<32>())),
        ];
        let shared = Some(Shared { database_url, database, own_url, redis_url, key_prefix });
        Some(Self { name: "PostgreSQL + Redis", settings, folder: tempfile::tempdir().unwrap(), shared })
    }

    /// The same with an ample tenant, for what measures nothing else; says so where no server is named.
    pub(crate) async fn shared_and_ample() -> Option<Self> {
        let stores = Self::shared().await;
        match &stores {
            Some(stores) => stores.make_ample_tenant().await,
            None => println!("PostgreSQL + Redis: not measured, no server was named"),
        }
        stores
    }

    /// The database that the gateway is told of.
    pub(crate) async fn open_storage(&self) -> Storage {
        let target = match &self.shared {
            Some(shared) => Target::Postgres(shared.own_url.clone().into()),
            None => Target::Sqlite(self.folder().join("guichet.db")),
        };
        let settings = PoolSettings { max_connections: 10, acquire_timeout: PATIENCE, statement_timeout: PATIENCE };
        Storage::open(&target, &settings).await.unwrap()
    }

    /// The address of the shared database made for this run.
    pub(crate) fn own_database(&self) -> Option<&str> {
        self.shared.as_ref().map(|shared| shared.own_url.as_str())
    }

    /// The Redis that the gateway is told of.
    pub(crate) async fn open_redis(&self) -> Option<RedisStore> {
        let shared = self.shared.as_ref()?;
        let settings = RedisSettings {
            url: shared.redis_url.clone().into(),
            cluster: false,
            key_prefix: shared.key_prefix.clone(),
            response_timeout: PATIENCE,
            connect_timeout: PATIENCE,
            wait_replicas: 0,
        };
        Some(RedisStore::connect(settings, Clock::system(), Entropy::system()).await.unwrap())
    }

    /// Makes the default tenant before the gateway does, with ceilings that no measurement reaches: all
    /// is counted as ever, nothing is refused.
    pub(crate) async fn make_ample_tenant(&self) {
        let storage = self.open_storage().await;
        storage.migrate().await.unwrap();
        let settings = json!({
            "limits": { "tenant-total": { "quota": 1_000_000, "window": 1 } },
            "sms": { "budget": { "mode": "record", "ratio": { "percent": 0 } } },
        });
        let tenant = NewTenant {
            id: TenantId::random(Entropy::system().bytes()),
            slug: "default".to_owned(),
            name: "default".to_owned(),
            profile: Profile::Classic,
            settings: serde_json::from_value(settings).unwrap(),
            domains: Vec::new(),
            created_at: Clock::system().now(),
        };
        storage.tenants().create(&tenant).await.unwrap();
        storage.close().await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Removes what was made on shared servers; the gateway must have ended.
    pub(crate) async fn remove(self) {
        let Some(shared) = self.shared else { return };
        let mut admin = PgConnection::connect(&shared.database_url).await.unwrap();
        query(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", shared.database)))
            .execute(&mut admin)
            .await
            .unwrap();
        let client = redis::Client::open(shared.redis_url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}*", shared.key_prefix)).query_async(&mut connection).await.unwrap();
        for some in keys.chunks(1_000) {
            let () = redis::cmd("UNLINK").arg(some).query_async(&mut connection).await.unwrap();
        }
    }

    /// A command of the binary on these stores; nothing else of our environment reaches it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let binary = variable("GUICHET_BENCH_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_guichet").to_owned());
        let mut command = Command::new(binary);
        command.args(arguments).env_clear().env("RUST_LOG", "warn").env("GUICHET_DATA_DIR", self.folder());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes a tenant with the rules of every new tenant.
    pub(crate) fn make_tenant(&self, slug: &str) {
        let made = self.command(&["tenant", "create", slug]).stdout(Stdio::null()).status().unwrap();
        assert!(made.success(), "guichet tenant create {slug}");
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) mailbox: Arc<Mailbox>,
    child: Child,
    clients: AtomicU32,
}

impl Gateway {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(stores: &Stores) -> Self {
        let mut child = stores
            .command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("GUICHET_TRUSTED_PROXIES", "127.0.0.0/8")
            .env("GUICHET__DELIVERY__CONSOLE", "true")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the gateway ended before it listened");
            if let Some(("public", url)) = line.trim().split_once(char::is_whitespace) {
                break url.trim().to_owned();
            }
        };
        let mailbox = Arc::new(Mailbox::default());
        let fill = Arc::clone(&mailbox);
        std::thread::spawn(move || fill.read(stdout));
        Self { url, mailbox, child, clients: AtomicU32::new(0) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    /// A request as if from a client address that has asked nothing yet: what is measured is the
    /// route, not the limits per address.
    pub(crate) fn post(&self, http: &Client, path: &str, body: &serde_json::Value) -> RequestBuilder {
        self.as_new_client(http.post(format!("{}{path}", self.url)).json(body))
    }

    pub(crate) fn get(&self, http: &Client, path: &str) -> RequestBuilder {
        self.as_new_client(http.get(format!("{}{path}", self.url)))
    }

    fn as_new_client(&self, request: RequestBuilder) -> RequestBuilder {
        let [_, a, b, c] = self.clients.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        request.header("X-Forwarded-For", format!("10.{a}.{b}.{c}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The last message to each recipient, read from the console sender's lines.
#[derive(Default)]
pub(crate) struct Mailbox {
    letters: Mutex<HashMap<String, String>>,
    arrived: Condvar,
}

impl Mailbox {
    fn read(&self, stdout: BufReader<ChildStdout>) {
        for line in stdout.lines().map_while(Result::ok) {
            let Some((_, rest)) = line.split_once(" to=") else { continue };
            let Some((to, text)) = rest.split_once(" text=") else { continue };
            let text: String = serde_json::from_str(text).unwrap();
            self.letters.lock().unwrap().insert(to.to_owned(), text);
            self.arrived.notify_all();
        }
    }

    /// Takes the message to `to`, waiting for it.
    pub(crate) fn take(&self, to: &str) -> String {
        let letters = self.letters.lock().unwrap();
        let missing = |letters: &mut HashMap<String, String>| !letters.contains_key(to);
        let (mut letters, _) = self.arrived.wait_timeout_while(letters, PATIENCE, missing).unwrap();
        letters.remove(to).unwrap_or_else(|| panic!("nothing came to {to}"))
    }

    /// The code in the message to `to`: its first group of digits.
    pub(crate) fn code(&self, to: &str) -> String {
        let text = self.take(to);
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect()
    }

    /// The token of the link in the message to `to`: what follows the last slash of its line.
    pub(crate) fn link_token(&self, to: &str) -> String {
        let text = self.take(to);
        let link = text.lines().find(|line| line.starts_with("http")).unwrap();
        link.rsplit('/').next().unwrap().to_owned()
    }
}

/// A client without limits of its own; `user_agent` tells people's devices from strangers.
pub(crate) fn http(user_agent: &str) -> Client {
    Client::builder().no_proxy().user_agent(user_agent).timeout(PATIENCE).build().unwrap()
}
