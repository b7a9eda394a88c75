//! Starting where it must not, and stopping without losing a request.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guichet::storage::Target;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HASH_QUEUE, number, registration};
use crate::harness::databases::TestDatabase;
use crate::harness::node::{Node, PATIENCE, Settings, answer, at_once};

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_than_the_databases_is_refused() {
    let settings = Settings::embedded();
    Node::spawn(&settings).await.kill9();
    let other = settings.clone().with("GUICHET_MASTER_KEY", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=");

    let ended = Node::try_spawn(&other).await.err().expect("it must not start");

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("another master key"), "{}", ended.stderr);
    assert!(ended.stderr.contains("GUICHET_MASTER_KEY"), "{}", ended.stderr);
    Node::spawn(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_embedded_database_is_refused_so_that_limits_stay_exact() {
    let settings = Settings::embedded();
    let first = Node::spawn(&settings).await;

    let ended = Node::try_spawn(&settings).await.err().expect("it must not start");

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("another guichet runs on"), "{}", ended.stderr);
    first.kill9();
    Node::spawn(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_counted_by_the_real_process() {
    let node = Node::spawn(&Settings::embedded()).await;
    let client = reqwest::Client::new();
    let ask =
        || client.post(format!("http://{}/api/auth/login", node.public())).header("x-forwarded-for", "203.0.113.9");
    let answers = at_once(100, |_| answer(ask().json(&json!({})))).await;
    assert!(answers.iter().any(|answer| answer.status == 429), "a log-in a second, and sixty at once");

    node.metric_becomes("guichet_limit_refusals_total", |refusals| refusals >= 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_database_wants_a_key_and_a_fresh_one_is_not_tied_to_one_node() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let settings = Settings::embedded().on(&database);

    let ended = Node::try_spawn(&settings.clone().without("GUICHET_MASTER_KEY")).await.err();

    let ended = ended.expect("it must not start");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("GUICHET_MASTER_KEY_FILE"), "{}", ended.stderr);
    Node::spawn(&settings).await.kill9();
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_of_a_shared_database_stays_while_a_node_runs() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let old = Settings::embedded().on(&database);
    let file = old.folder().join("new.key").display().to_string();
    let new = old.clone().without("GUICHET_MASTER_KEY").with("GUICHET_MASTER_KEY_FILE", &file);
    let rotate = |settings: &Settings, file: &str| settings.run(&["key", "rotate-master", "--to-file", file]);
    let refused = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    };
    let node = Node::spawn(&old).await;

    let said = refused(rotate(&old, &file));
    assert!(said.contains("nodes run on this database (1)"), "{said}");
    node.terminate();
    node.ended().await;
    let done = rotate(&old, &file);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let ended = Node::try_spawn(&old).await.err().expect("it must not start");
    assert!(ended.stderr.contains("another master key"), "{}", ended.stderr);
    Node::spawn(&new).await.kill9();
    let said = refused(rotate(&new, &format!("{file}.newer")));
    assert!(said.contains("one that was killed"), "{said}");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_master_key_was_rotated_behind_its_back_ends_by_itself() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let old = Settings::embedded().on(&database);
    let file = old.folder().join("new.key").display().to_string();
    let rotate = || old.run(&["key", "rotate-master", "--to-file", &file]);
    let node = Node::spawn(&old).await;
    assert!(!rotate().status.success());

    // As if it had been out of reach for longer than its lease; it may say between two tries that it runs.
    let lapse = "WITH lapsed AS (DELETE FROM meta WHERE name LIKE 'node/%' RETURNING 1) SELECT count(*) FROM lapsed";
    let rotated = async {
        loop {
            number(&database.target, lapse).await;
            if rotate().status.success() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, rotated).await.expect("the key is never rotated");

    let ended = node.ends().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("another master key"), "{}", ended.stderr);
    assert!(ended.stderr.contains("GUICHET_MASTER_KEY"), "{}", ended.stderr);
    // It took its presence along, and one with the new key runs.
    assert_eq!(number(&database.target, "SELECT count(*) FROM meta WHERE name LIKE 'node/%'").await, 0);
    Node::spawn(&old.without("GUICHET_MASTER_KEY").with("GUICHET_MASTER_KEY_FILE", &file)).await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_folder_is_missing_is_made_for_its_owner_alone() {
    let elsewhere = tempfile::tempdir().unwrap();
    let below = elsewhere.path().join("a/b");
    let keys = Settings::embedded().with("GUICHET_ADMIN_KEY", "gk_root_of-a-clean-folder-long-enough");
    let configured = keys.clone().with("DATABASE_URL", format!("sqlite:{}", below.join("guichet.db").display()));
    for settings in [keys, configured] {
        // Nothing else makes it: both keys are given.
        std::fs::remove_dir_all(settings.folder()).unwrap();

        Node::spawn(&settings).await;

        assert_eq!(mode(settings.folder()), 0o700);
    }
    assert_eq!(mode(&below), 0o700);
}

/// Who may look into it.
fn mode(folder: &Path) -> u32 {
    std::fs::metadata(folder).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_key_is_not_migrated() {
    let settings = Settings::embedded();
    Node::spawn(&settings).await.kill9();
    let Target::Sqlite(file) = settings.sqlite() else { unreachable!() };
    let mut link = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    // Migrating would do the last one again, and fail.
    let forget = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    sqlx::query(forget).execute(&mut link).await.unwrap();
    let other = settings.with("GUICHET_MASTER_KEY", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=");

    let ended = Node::try_spawn(&other).await.err().expect("it must not start");

    assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_database_is_told_with_its_cause_and_without_its_password() {
    let cases = [
        ("postgres://guichet:hush@127.0.0.1:1/guichet", "Connection refused"),
        ("postgres://guichet:hush@127.0.0.1:1/guichet?sslmode=nonsense", "nonsense"),
    ];
    for (url, cause) in cases {
        let settings = Settings::embedded().with("DATABASE_URL", url).with("GUICHET__DATABASE__ACQUIRE_TIMEOUT", "1s");

        let stderr = Node::try_spawn(&settings).await.err().expect("it must not start").stderr;

        assert!(stderr.contains(cause), "{stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_nobody_could_wait_for_is_named_with_the_other_problems() {
    let dear = Settings::embedded()
        .with("GUICHET__CRYPTO__ARGON2__ITERATIONS", "17")
        .with("GUICHET__CRYPTO__ARGON2__MEMORY_KIB", "262145");

    let ended = Node::try_spawn(&dear).await.err().expect("it must not start");

    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("crypto.argon2.iterations"), "{}", ended.stderr);
    assert!(ended.stderr.contains("crypto.argon2.memory_kib"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_requests_in_flight_and_exits_with_0() {
    let slow = Settings::embedded()
        .with("GUICHET__CRYPTO__HASH_THREADS", "1")
        .with("GUICHET__CRYPTO__ARGON2__ITERATIONS", "16")
        .with("GUICHET__CRYPTO__ARGON2__MEMORY_KIB", "38912")
        .with("GUICHET__HTTP__DRAIN_TIMEOUT", "30s");
    let node = Arc::new(Node::spawn(&slow).await);
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..4 {
        let node = Arc::clone(&node);
        asked.spawn(async move {
            node.post("/api/auth/register", &registration(&format!("p{n}@example.com"))).await.must_be(201);
        });
    }
    node.metric_becomes(HASH_QUEUE, |depth| depth >= 3.0).await;

    node.terminate();

    asked.join_all().await;
    let node = Arc::into_inner(node).unwrap();
    let public = node.public();
    assert_eq!(node.ended().await.code(), Some(0));
    assert!(TcpStream::connect(public).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_delay_the_exit() {
    let settings = Settings::embedded().with("GUICHET__HTTP__DRAIN_TIMEOUT", "10s");
    let node = Node::spawn(&settings).await;
    let mut silent = Vec::new();
    for n in 0..10 {
        let mut connection = TcpStream::connect(node.public()).await.unwrap();
        if n % 2 == 0 {
            // Kept alive after an answer.
            connection.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            connection.read_exact(&mut [0; 64]).await.unwrap();
        } else if n % 3 == 0 {
            connection.write_all(b"POST /api/auth/login HTT").await.unwrap();
        }
        silent.push(connection);
    }

    let told = Instant::now();
    node.terminate();

    assert_eq!(node.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}
