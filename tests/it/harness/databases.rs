//! A database of its own for every test, on every engine.
//!
//! SQLite always, in a temporary folder. PostgreSQL when `GUICHET_TEST_DATABASE_URL` names a server
//! (any database on it; the role must be allowed to create databases); with `CI=true` it must.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guichet::clock::Clock;
use guichet::domain::event::{Event, EventKind};
use guichet::domain::ids::TenantId;
use guichet::domain::policy::Profile;
use guichet::domain::settings::Settings;
use guichet::entropy::Entropy;
use guichet::secret::SecretString;
use guichet::storage::{NewTenant, PoolSettings, Storage, Target, TenantCreated};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// Pools small enough that a hundred tests fit one server.
pub(crate) const SETTINGS: PoolSettings = PoolSettings {
    max_connections: 8,
    acquire_timeout: Duration::from_secs(20),
    statement_timeout: Duration::from_secs(20),
};

/// An empty database, gone after [`TestDatabase::remove`].
pub(crate) struct TestDatabase {
    pub(crate) target: Target,
    server: Option<(PgConnectOptions, String)>,
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    /// A file that does not exist yet.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(folder.path().join("guichet.db"));
        Self { target, server: None, _folder: Some(folder) }
    }

    /// The one database of a server of the test's own, which takes it away with itself.
    pub(crate) fn on_own_server(url: String) -> Self {
        Self { target: Target::Postgres(SecretString::from(url)), server: None, _folder: None }
    }

    /// A fresh database on the test server, if there is one.
    pub(crate) async fn postgres() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = server()?;
        let name = format!("guichet_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        administer(&server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        administer(&server, format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let url = server.clone().database(&name).to_url_lossy();
        Some(Self {
            target: Target::Postgres(SecretString::from(url.to_string())),
            server: Some((server, name)),
            _folder: None,
        })
    }

    /// Opened and migrated.
    pub(crate) async fn storage(&self) -> Storage {
        let storage = Storage::open(&self.target, &SETTINGS).await.unwrap();
        storage.migrate().await.unwrap();
        storage
    }

    /// Takes the database away.
    pub(crate) async fn remove(self) {
        if let Some((server, name)) = self.server {
            administer(&server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }

    /// Runs one test on it, and removes it whether or not the test passed.
    pub(crate) async fn run<F>(self, test: impl FnOnce(Storage) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let storage = self.storage().await;
        let outcome = tokio::spawn(test(storage.clone())).await;
        storage.close().await;
        self.remove().await;
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

fn server() -> Option<PgConnectOptions> {
    #[expect(clippy::disallowed_methods, reason = "where the test server is can only come from outside")]
    let (url, ci) = (std::env::var("GUICHET_TEST_DATABASE_URL"), std::env::var("CI"));
    assert!(url.is_ok() || ci.as_deref() != Ok("true"), "CI must set GUICHET_TEST_DATABASE_URL");
    url.ok().map(|url| url.parse().unwrap())
}

async fn administer(server: &PgConnectOptions, statement: String) {
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes every `async fn(Storage)` named a test on each engine.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    $crate::harness::databases::TestDatabase::sqlite().run(super::$test).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    if let Some(database) = $crate::harness::databases::TestDatabase::postgres().await {
                        database.run(super::$test).await;
                    }
                }
            )*
        }
    };
}

pub(crate) use on_every_database;

/// A tenant to be made, with nothing set.
pub(crate) fn new_tenant(slug: &str, profile: Profile) -> NewTenant {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    NewTenant {
        id: TenantId::at(clock.now(), entropy.bytes()),
        slug: slug.to_owned(),
        name: slug.to_uppercase(),
        profile,
        settings: Settings::default(),
        domains: vec![],
        created_at: clock.now(),
    }
}

/// Makes it; its id.
pub(crate) async fn make_tenant(storage: &Storage, tenant: &NewTenant) -> TenantId {
    assert_eq!(storage.tenants().create(tenant).await.unwrap(), TenantCreated::Created);
    tenant.id
}

/// What the audit log says of a change that a test makes behind the gateway's back.
pub(crate) fn changed(tenant: TenantId) -> Event {
    let at = Clock::system().now();
    Event { tenant, account: None, kind: EventKind::AuthzChange, at, cause: None, key: None, subject: None }
}
