//! `kill -9` right after an answer: what was answered is still true after the restart.

use guichet::secret::ExposeSecret as _;
use guichet::storage::Target;
use sqlx::ConnectOptions as _;

use super::{ALERTS, PASSWORD, Person, log_in, number, number_becomes, registration, verify_address};
use crate::harness::databases::TestDatabase;
use crate::harness::node::{Node, Settings};
use crate::harness::redis;

/// An outbox lease that a test can wait for.
fn short_leases(settings: Settings) -> Settings {
    settings.with("GUICHET__DELIVERY__LEASE", "500ms").with("GUICHET__DELIVERY__POLL", "100ms")
}

/// A platform mail server where nobody listens.
fn dead_mail_server(settings: Settings) -> Settings {
    let settings = settings.with("GUICHET_OUTBOUND_ALLOW", "127.0.0.0/8");
    let settings = settings.with("GUICHET__DELIVERY__SMTP__HOST", "127.0.0.1");
    let settings =
        settings.with("GUICHET__DELIVERY__SMTP__PORT", "1").with("GUICHET__DELIVERY__SMTP__SECURITY", "none");
    settings.with("GUICHET__DELIVERY__SMTP__FROM", "no-reply@example.com")
}

async fn the_account_the_lock_and_the_trusted_device_survive(settings: Settings, database: Target) {
    let node = Node::spawn(&settings).await;
    let registered = node.post("/api/auth/register", &registration("awa@example.com")).await.must_be(201);
    let owner = Person { email: "awa@example.com".to_owned(), device: registered.text("device_token") };
    let mail = node.message("awa@example.com").await;
    node.kill9();

    let node = Node::spawn(&settings).await;
    assert_eq!(log_in(&node, "awa@example.com", PASSWORD).await.code(), "email_not_verified");
    verify_address(&node, &mail).await;
    node.kill9();

    let node = Node::spawn(&settings).await;
    let token = owner.log_in(&node, PASSWORD).await.must_be(200).text("token");
    owner.wrong_passwords(&node, 5).await.must_be(403);
    node.kill9();

    let node = Node::spawn(&settings).await;
    owner.log_in_as_a_stranger(&node, PASSWORD).await.must_be(403);
    owner.log_in(&node, PASSWORD).await.must_be(200);
    node.get("/api/auth/me", &token).await.must_be(200);
    assert_eq!(number(&database, ALERTS).await, 1);
}

async fn a_mail_that_was_promised_is_sent_once_by_the_next_process(settings: Settings, database: Target) {
    let node = Node::spawn(&dead_mail_server(settings.clone())).await;
    node.post("/api/auth/register", &registration("awa@example.com")).await.must_be(201);
    node.kill9();

    let node = Node::spawn(&settings).await;
    let mail = node.message("awa@example.com").await;
    verify_address(&node, &mail).await;
    number_becomes(&database, "SELECT count(*) FROM outbox WHERE state = 'sent'", 1).await;
    node.kill9();

    let node = Node::spawn(&settings).await;
    // What comes after it has been through the same line.
    node.post("/api/auth/register", &registration("second@example.com")).await.must_be(201);
    node.message("second@example.com").await;
    assert_eq!(node.messages("awa@example.com").len(), 0);
}

async fn a_code_that_outlived_itself_is_never_sent(settings: Settings, database: Target) {
    let node = Node::spawn(&settings).await;
    let owner = Person::register(&node, "awa@example.com").await;
    node.kill9();
    let node = Node::spawn(&dead_mail_server(settings.clone())).await;
    let asked = owner.log_in_as_a_stranger(&node, PASSWORD).await.must_be(200);
    assert_eq!(asked.json["otp_required"], true, "{asked:?}");
    node.kill9();
    execute(&database, "UPDATE outbox SET not_after = created_at + 1 WHERE state = 'queued'").await;

    let node = Node::spawn(&settings).await;

    number_becomes(&database, "SELECT count(*) FROM outbox WHERE state = 'expired'", 1).await;
    node.post("/api/auth/register", &registration("second@example.com")).await.must_be(201);
    node.message("second@example.com").await;
    assert_eq!(node.messages("awa@example.com").len(), 0);
}

/// Changes one row behind the program's back.
async fn execute(database: &Target, statement: &'static str) {
    let changed = match database {
        Target::Sqlite(path) => {
            let mut link = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            sqlx::query(statement).execute(&mut link).await.unwrap().rows_affected()
        }
        Target::Postgres(url) => {
            let options: sqlx::postgres::PgConnectOptions = url.expose_secret().parse().unwrap();
            let mut link = options.connect().await.unwrap();
            sqlx::query(statement).execute(&mut link).await.unwrap().rows_affected()
        }
    };
    assert_eq!(changed, 1);
}

async fn embedded<F: Future<Output = ()>>(test: impl FnOnce(Settings, Target) -> F) {
    let settings = short_leases(Settings::embedded());
    let database = settings.sqlite();
    test(settings, database).await;
}

async fn on_postgres_and_redis<F>(test: impl FnOnce(Settings, Target) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (Some(database), Some(url)) = (TestDatabase::postgres().await, redis::shared_url()) else { return };
    let settings = short_leases(Settings::embedded()).on(&database).with("REDIS_URL", url);
    let settings = settings.with("GUICHET__REDIS__KEY_PREFIX", redis::fresh_prefix());
    let outcome = tokio::spawn(test(settings, database.target.clone())).await;
    database.remove().await;
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure.into_panic());
    }
}

macro_rules! embedded_and_with_back_ends {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::embedded(super::$test).await;
                }
            )*
        }

        mod postgres_and_redis {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::on_postgres_and_redis(super::$test).await;
                }
            )*
        }
    };
}

embedded_and_with_back_ends! {
    the_account_the_lock_and_the_trusted_device_survive,
    a_mail_that_was_promised_is_sent_once_by_the_next_process,
    a_code_that_outlived_itself_is_never_sent,
}
