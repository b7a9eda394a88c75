//! Applies the embedded migrations; `migrations/README.md` says how they are written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlStr};

use super::engine::{Database, Engine, Text};
use super::error::StorageError;

static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| migrator(|text| text.postgres));
static SQLITE: LazyLock<Migrator> = LazyLock::new(|| migrator(|text| text.sqlite));

/// A change by its name, for either engine.
struct Twins {
    name: &'static str,
    text: Text,
}

macro_rules! twins {
    ($name:literal) => {
        Twins {
            name: $name,
            text: Text {
                postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
                sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            },
        }
    };
}

/// In the order of their numbers, which have no gaps.
const ALL: &[Twins] = &[
    twins!("0001_tenants"),
    twins!("0002_accounts"),
    twins!("0003_sessions"),
    twins!("0004_outbox"),
    twins!("0005_administration"),
    twins!("0006_deliveries"),
    twins!("0007_tenant_endings"),
    twins!("0008_signing_keys"),
    twins!("0009_audit_subject"),
    twins!("0010_devices_by_age"),
];

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

fn migrator(engine: impl Fn(&Text) -> &'static str) -> Migrator {
    let migrations = (1..).zip(ALL).map(|(version, Twins { name, text })| {
        let words = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').replace('_', " ");
        Migration::new(version, Cow::Owned(words), MigrationType::Simple, SqlStr::from_static(engine(text)), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_under_its_number() {
        for engine in ["postgres", "sqlite"] {
            let folder = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<_> = files.collect();
            files.sort_unstable();
            assert_eq!(files, ALL.iter().map(|twins| format!("{}.sql", twins.name)).collect::<Vec<_>>());
        }
        for (number, Twins { name, .. }) in (1..).zip(ALL) {
            assert!(name.starts_with(&format!("{number:04}_")), "{name}");
        }
    }
}
