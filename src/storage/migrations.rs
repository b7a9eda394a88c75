//! Applies the embedded migrations; `migrations/README.md` says how they are written.

use std::collections::BTreeSet;

use sqlx::Connection;
use sqlx::migrate::Migrator;

use super::engine::{Database, Engine, Text};
use super::error::StorageError;

static POSTGRES: Migrator = embedded(sqlx::migrate!("migrations/postgres"));
static SQLITE: Migrator = embedded(sqlx::migrate!("migrations/sqlite"));

/// No rows if nothing was ever migrated: asking the table itself would be an error then.
const TABLE: Text = Text {
    postgres: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')",
    sqlite: "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'",
};

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";

/// Applies what is missing.
pub(super) async fn run(db: &Database) -> Result<(), StorageError> {
    match db.connect_alone().await? {
        Engine::Postgres(mut connection) => {
            // Takes an advisory lock, which must outwait any statement time-out: hence the lone connection.
            POSTGRES.run_direct(None, &mut connection, false).await?;
            connection.close().await?;
        }
        Engine::Sqlite(mut connection) => {
            // Has no advisory locks: the write lock on the file does instead.
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            SQLITE.run_direct(None, &mut *tx, false).await?;
            tx.commit().await?;
            connection.close().await?;
        }
    }
    Ok(())
}

/// Whether everything embedded here has been applied. A newer schema counts as current: migrations
/// expand before they contract, so an older binary goes on working during a rolling update.
pub(super) async fn all_applied(db: &Database) -> Result<bool, StorageError> {
    let table = fetch_optional!(db.read(), (i64,), db.pick(TABLE))?;
    if table.is_none_or(|(count,)| count == 0) {
        return Ok(false);
    }
    let applied: BTreeSet<i64> =
        fetch_all!(db.read(), (i64,), APPLIED)?.into_iter().map(|(version,)| version).collect();
    let migrator = match db.read() {
        Engine::Postgres(_) => &POSTGRES,
        Engine::Sqlite(_) => &SQLITE,
    };
    Ok(migrator.iter().all(|migration| applied.contains(&migration.version)))
}

const fn embedded(mut migrator: Migrator) -> Migrator {
    migrator.ignore_missing = true;
    migrator
}
