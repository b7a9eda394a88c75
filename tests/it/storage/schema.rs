//! Migrations, twin schemas, the file's mode, and a database that goes away and comes back.

use std::collections::BTreeSet;
use std::path::Path;

use guichet::secret::{ExposeSecret, SecretString};
use guichet::storage::{PoolSettings, Storage, StorageError, Target};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{T0, a_tenant, an_account, id, new_tenant, open, race, session};
use crate::harness::databases::{SETTINGS, TestDatabase, on_every_database};

async fn a_migrated_schema_is_current_and_migrates_again_without_effect(storage: Storage) {
    a_tenant(&storage, "one").await;

    storage.migrate().await.unwrap();

    assert!(storage.schema_is_current().await.unwrap());
    assert_eq!(storage.tenants().all().await.unwrap().len(), 1);
    storage.ping().await.unwrap();
}

on_every_database!(a_migrated_schema_is_current_and_migrates_again_without_effect);

async fn ten_migrators_all_end_well(database: TestDatabase) {
    let target = database.target.clone();
    assert!(!Storage::open(&target, &SETTINGS).await.unwrap().schema_is_current().await.unwrap());

    let migrated = race(
        10,
        move |_| {
            let target = target.clone();
            async move {
                let storage = Storage::open(&target, &SETTINGS).await?;
                storage.migrate().await?;
                storage.schema_is_current().await
            }
        },
        |outcome: &Result<bool, StorageError>| *outcome.as_ref().unwrap(),
    )
    .await;

    assert_eq!(migrated, 10);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_migrators_of_a_file_all_end_well() {
    ten_migrators_all_end_well(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_migrators_of_a_server_all_end_well() {
    if let Some(database) = TestDatabase::postgres().await {
        ten_migrators_all_end_well(database).await;
    }
}

#[test]
fn every_migration_has_its_twin() {
    let names = |folder: &str| -> BTreeSet<_> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };

    assert_eq!(names("postgres"), names("sqlite"));
    assert!(!names("sqlite").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_schemas_have_the_same_tables_and_columns() {
    let Some(server) = TestDatabase::postgres().await else { return };
    let file = TestDatabase::sqlite();
    let storages = [server.storage().await, file.storage().await];
    let (Target::Postgres(url), Target::Sqlite(path)) = (&server.target, &file.target) else { panic!("swapped") };
    let columns = "SELECT table_name::text, column_name::text FROM information_schema.columns
                    WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    let on_server: BTreeSet<(String, String)> =
        sqlx::query_as(columns).fetch_all(&mut connection).await.unwrap().into_iter().collect();
    connection.close().await.unwrap();
    let columns = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
                    WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
    let in_file: BTreeSet<(String, String)> =
        sqlx::query_as(columns).fetch_all(&mut connection).await.unwrap().into_iter().collect();

    assert_eq!(on_server, in_file);
    // Whatever bears a tenant's id goes when the tenant does.
    let of_tenants: BTreeSet<_> =
        in_file.iter().filter(|(_, column)| column == "tenant_id").map(|(table, _)| table.as_str()).collect();
    let purged = storages[1].tenant_end().finish(id()).await.unwrap();
    assert_eq!(of_tenants, purged.keys().copied().collect());
    assert!(in_file.len() > 50);
    for storage in storages {
        storage.close().await;
    }
    server.remove().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::sqlite();
    let storage = database.storage().await;
    a_tenant(&storage, "one").await;
    let Target::Sqlite(path) = &database.target else { panic!("not a file") };

    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// What was answered is in the file: a second process reads it while the first still holds it open.
#[tokio::test]
async fn what_was_answered_survives_the_process() {
    let database = TestDatabase::sqlite();
    let killed = database.storage().await;
    let tenant = a_tenant(&killed, "one").await;

    let next = Storage::open(&database.target, &SETTINGS).await.unwrap();

    assert_eq!(next.tenants().find_by_slug("one").await.unwrap().unwrap().id, tenant);
}

/// `guichet tenant set` beside a running `serve`: a transaction that reads first must not fail to write.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_file_take_turns() {
    let database = TestDatabase::sqlite();
    let one = database.storage().await;
    let other = Storage::open(&database.target, &SETTINGS).await.unwrap();
    let tenant = a_tenant(&one, "one").await;
    let account = an_account(&one, tenant, "awa@example.com").await;

    let opened = race(
        40,
        move |n| {
            let storage = if n % 2 == 0 { one.clone() } else { other.clone() };
            let session = session(&account, T0);
            async move { open(&storage, &session, None).await }
        },
        |_| true,
    )
    .await;

    assert_eq!(opened, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_told_and_replaced() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let storage = database.storage().await;
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let Target::Postgres(url) = &database.target else { panic!("not a server") };
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    sqlx::query(others).execute(&mut connection).await.unwrap();

    // Each dead connection costs at most one call, so a pool's worth of calls is enough.
    let mut answered = false;
    for n in 0..=SETTINGS.max_connections {
        match storage.tenants().create(&new_tenant(&format!("tenant-{n}"))).await {
            Ok(_) => answered = true,
            Err(error) => assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}"),
        }
    }

    assert!(answered);
    connection.close().await.unwrap();
    storage.close().await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let nobody = Target::Postgres(SecretString::from("postgres://guichet@127.0.0.1:1/guichet".to_owned()));
    let hasty = PoolSettings { acquire_timeout: std::time::Duration::from_millis(500), ..SETTINGS };

    let refused = Storage::open(&nobody, &hasty).await;

    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
}
