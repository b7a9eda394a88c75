//! The two engines behind one set of statements: pools, transactions, and the macros that run a
//! statement on whichever it is.
//!
//! SQLite has one writer at a time whatever we do, so its writes share a pool of one connection,
//! where they queue in order instead of polling a busy file; a transaction there begins IMMEDIATE,
//! so none ever has to upgrade half-way. Reads have connections of their own, which refuse to write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::error::StorageError;
use crate::secret::{ExposeSecret, SecretString};

/// How long SQLite waits for another process (a back-up, `guichet tenant`) to release the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An idle connection older than this is tried before use: a query on a dead one would fail, while a
/// ping before each would cost a third of the throughput.
const TRY_AFTER_IDLE: Duration = Duration::from_secs(1);

/// Which database to open.
#[derive(Debug, Clone)]
pub enum Target {
    /// `postgres://…`; secret because it may hold a password.
    Postgres(SecretString),
    /// A file, made (mode 0600) if it is missing.
    Sqlite(PathBuf),
}

/// How much of the database this process may use.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// Connections at most (SQLite: readers at most).
    pub max_connections: u32,
    /// How long a call waits for a connection before it is [`StorageError::Unavailable`].
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on one statement before giving up.
    pub statement_timeout: Duration,
}

/// One of a kind per engine: pools, connections, transactions, SQL texts.
#[derive(Debug, Clone)]
pub(super) enum Engine<P, S> {
    Postgres(P),
    Sqlite(S),
}

/// A statement the engines have to be told differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct SqlitePools {
    readers: SqlitePool,
    writer: SqlitePool,
}

/// The open pools of one engine.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pools: Engine<PgPool, SqlitePools>,
}

/// A transaction; dropped without [`Tx::commit`], it never happened.
pub(super) struct Tx(Engine<Transaction<'static, Postgres>, Transaction<'static, Sqlite>>);

/// Runs a statement and returns the number of rows it changed.
macro_rules! execute {
    ($on:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        match $on {
            $crate::storage::engine::Engine::Postgres(db) => {
                sqlx::query($sql)$(.bind($bind))*.execute(db).await.map(|done| done.rows_affected())
            }
            $crate::storage::engine::Engine::Sqlite(db) => {
                sqlx::query($sql)$(.bind($bind))*.execute(db).await.map(|done| done.rows_affected())
            }
        }
        .map_err($crate::storage::error::StorageError::from)
    };
}

/// Runs a statement and reads at most one row into `$row`.
macro_rules! fetch_optional {
    ($on:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        match $on {
            $crate::storage::engine::Engine::Postgres(db) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_optional(db).await
            }
            $crate::storage::engine::Engine::Sqlite(db) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_optional(db).await
            }
        }
        .map_err($crate::storage::error::StorageError::from)
    };
}

/// Runs a statement and reads all rows into `Vec<$row>`.
macro_rules! fetch_all {
    ($on:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        match $on {
            $crate::storage::engine::Engine::Postgres(db) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(db).await
            }
            $crate::storage::engine::Engine::Sqlite(db) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(db).await
            }
        }
        .map_err($crate::storage::error::StorageError::from)
    };
}

impl Database {
    pub(super) async fn open(target: &Target, settings: &PoolSettings) -> Result<Self, StorageError> {
        let pools = match target {
            Target::Postgres(url) => Engine::Postgres(open_postgres(url, settings).await?),
            Target::Sqlite(path) => Engine::Sqlite(open_sqlite(path, settings).await?),
        };
        Ok(Self { pools })
    }

    pub(super) async fn close(&self) {
        match &self.pools {
            Engine::Postgres(pool) => pool.close().await,
            Engine::Sqlite(pools) => {
                pools.readers.close().await;
                pools.writer.close().await;
            }
        }
    }

    /// For statements that change nothing.
    pub(super) const fn read(&self) -> Engine<&PgPool, &SqlitePool> {
        match &self.pools {
            Engine::Postgres(pool) => Engine::Postgres(pool),
            Engine::Sqlite(pools) => Engine::Sqlite(&pools.readers),
        }
    }

    /// For a single statement that changes something.
    pub(super) const fn write(&self) -> Engine<&PgPool, &SqlitePool> {
        match &self.pools {
            Engine::Postgres(pool) => Engine::Postgres(pool),
            Engine::Sqlite(pools) => Engine::Sqlite(&pools.writer),
        }
    }

    /// For several statements that happen together or not at all.
    pub(super) async fn begin(&self) -> Result<Tx, StorageError> {
        Ok(Tx(match &self.pools {
            Engine::Postgres(pool) => Engine::Postgres(pool.begin().await?),
            Engine::Sqlite(pools) => Engine::Sqlite(pools.writer.begin_with("BEGIN IMMEDIATE").await?),
        }))
    }

    /// This engine's wording of a statement.
    pub(super) const fn pick(&self, text: Text) -> &'static str {
        match self.pools {
            Engine::Postgres(_) => text.postgres,
            Engine::Sqlite(_) => text.sqlite,
        }
    }

    /// A connection outside the pool and without its statement time-out, for migrations.
    pub(super) async fn connect_alone(&self) -> Result<Engine<PgConnection, SqliteConnection>, StorageError> {
        Ok(match &self.pools {
            Engine::Postgres(pool) => Engine::Postgres(PgConnection::connect_with(&pool.connect_options()).await?),
            Engine::Sqlite(pools) => {
                Engine::Sqlite(SqliteConnection::connect_with(&pools.writer.connect_options()).await?)
            }
        })
    }
}

impl Tx {
    /// Where the next statement runs.
    pub(super) fn on(&mut self) -> Engine<&mut PgConnection, &mut SqliteConnection> {
        match &mut self.0 {
            Engine::Postgres(tx) => Engine::Postgres(&mut **tx),
            Engine::Sqlite(tx) => Engine::Sqlite(&mut **tx),
        }
    }

    /// This engine's wording of a statement.
    pub(super) const fn pick(&self, text: Text) -> &'static str {
        match self.0 {
            Engine::Postgres(_) => text.postgres,
            Engine::Sqlite(_) => text.sqlite,
        }
    }

    /// Makes it so.
    pub(super) async fn commit(self) -> Result<(), StorageError> {
        match self.0 {
            Engine::Postgres(tx) => tx.commit().await?,
            Engine::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

async fn open_postgres(url: &SecretString, settings: &PoolSettings) -> Result<PgPool, StorageError> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    // A statement rather than a start-up parameter: poolers such as PgBouncer refuse the latter. One that
    // cannot follow prepared statements wants `statement-cache-capacity=0` in the URL.
    let set_timeout = format!("SET statement_timeout = {}", settings.statement_timeout.as_millis());
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRY_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            let set_timeout = set_timeout.clone();
            Box::pin(async move {
                // Safe: a number of ours is all that is put into the text.
                sqlx::query(sqlx::AssertSqlSafe(set_timeout)).execute(connection).await.map(drop)
            })
        })
        .connect_with(options.clone())
        .await;
    match pool {
        Err(sqlx::Error::PoolTimedOut) => Err(why_not(&options, settings.acquire_timeout).await),
        opened => Ok(opened?),
    }
}

/// The pool tries until its time-out and then forgets why; one more try tells.
async fn why_not(options: &PgConnectOptions, patience: Duration) -> StorageError {
    match tokio::time::timeout(patience, PgConnection::connect_with(options)).await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut.into(),
    }
}

async fn open_sqlite(path: &Path, settings: &PoolSettings) -> Result<SqlitePools, StorageError> {
    make_private(path).map_err(|error| StorageError::Internal(Box::new(error)))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would survive a killed process but not a power cut, after which a used reset link or
        // a spent refresh token would be good again. FULL keeps what PostgreSQL keeps: all that was
        // answered.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool = || SqlitePoolOptions::new().acquire_timeout(settings.acquire_timeout).test_before_acquire(false);
    let writer = pool().max_connections(1).connect_with(options.clone()).await?;
    let readers = pool().max_connections(settings.max_connections).connect_with(options.pragma("query_only", "ON"));
    Ok(SqlitePools { readers: readers.await?, writer })
}

/// Makes the file, and the folder if it is missing, readable by its owner alone; SQLite gives its `-wal` and
/// `-shm` the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        let mut make = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
        make.recursive(true).create(folder)?;
    }
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = open.mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
    }
    #[cfg(not(unix))]
    open.open(path).map(drop)
}
