//! The program as it runs: two nodes that must keep one promise, and crashes that must lose none.
//!
//! Each test is named after a promise of the design or after an attack on it.

mod administration;
mod attempts;
mod codes;
mod crash;
mod keys;
mod outage;
mod refusals;
mod start_stop;
mod tokens;

use guichet::secret::ExposeSecret as _;
use guichet::storage::Target;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::harness::node::{Answer, Message, Node, PATIENCE, POLL, Settings, answer};

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const VERIFICATIONS: &str = "guichet_password_verifications_total";
pub(crate) const COMPARISONS: &str = "guichet_code_comparisons_total";
pub(crate) const HASH_QUEUE: &str = "guichet_hash_queue_depth";

/// A person with a proven address and a device the account knows.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) email: String,
    device: String,
}

impl Person {
    /// Registers on `node` and opens the mailed link.
    pub(crate) async fn register(node: &Node, email: &str) -> Self {
        let registered = node.post("/api/auth/register", &registration(email)).await.must_be(201);
        verify_address(node, &node.message(email).await).await;
        Self { email: email.to_owned(), device: registered.text("device_token") }
    }

    /// A log-in from the device the account knows.
    pub(crate) async fn log_in(&self, node: &Node, password: &str) -> Answer {
        let body = json!({ "email": self.email, "password": password });
        answer(node.request(Method::POST, "/api/auth/login").header("x-device-id", &self.device).json(&body)).await
    }

    /// The same from nowhere known.
    pub(crate) async fn log_in_as_a_stranger(&self, node: &Node, password: &str) -> Answer {
        log_in(node, &self.email, password).await
    }

    /// Fires wrong passwords one after the other, each of them compared; the last answer.
    pub(crate) async fn wrong_passwords(&self, node: &Node, times: usize) -> Answer {
        for _ in 1..times {
            self.log_in_as_a_stranger(node, "wrong horse").await.must_be(400);
        }
        self.log_in_as_a_stranger(node, "wrong horse").await
    }
}

pub(crate) fn registration(email: &str) -> Value {
    json!({ "username": "Awa", "email": email, "password": PASSWORD, "phoneNumber": "123456789" })
}

pub(crate) async fn log_in(node: &Node, email: &str, password: &str) -> Answer {
    node.post("/api/auth/login", &json!({ "email": email, "password": password })).await
}

pub(crate) async fn verify_address(node: &Node, mail: &Message) {
    let link = mail.link().unwrap_or_else(|| panic!("a link in {}", mail.text));
    answer(node.request(Method::GET, &link)).await.must_be(200);
}

/// Asks for a code by SMS on `node` and reads it.
pub(crate) async fn sms_code(node: &Node, phone: &str) -> String {
    node.post("/auth/request-code", &json!({ "phone": phone })).await.must_be(200);
    node.message(phone).await.code(4).unwrap()
}

pub(crate) async fn answer_code(node: &Node, phone: &str, code: &str) -> Answer {
    node.post("/auth/verify-code", &json!({ "phone": phone, "code": code })).await
}

/// A code that is not this one.
pub(crate) fn wrong(code: &str) -> String {
    code.chars().map(|digit| if digit == '7' { '8' } else { '7' }).collect()
}

/// One number that storage knows, asked from outside the program.
pub(crate) async fn number(database: &Target, question: &str) -> i64 {
    let question = AssertSqlSafe(question.to_owned());
    match database {
        Target::Sqlite(path) => {
            let mut link = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            sqlx::query_scalar(question).fetch_one(&mut link).await.unwrap()
        }
        Target::Postgres(url) => {
            let options: sqlx::postgres::PgConnectOptions = url.expose_secret().parse().unwrap();
            let mut link = options.connect().await.unwrap();
            sqlx::query_scalar(question).fetch_one(&mut link).await.unwrap()
        }
    }
}

/// Waits until storage gives that number.
pub(crate) async fn number_becomes(database: &Target, question: &str, wanted: i64) {
    let becomes = async {
        while number(database, question).await != wanted {
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, becomes).await;
    assert!(waited.is_ok(), "{question} never becomes {wanted}");
}

/// Alert mails written for whatever account.
pub(crate) const ALERTS: &str = "SELECT count(*) FROM outbox WHERE CAST(content AS TEXT) LIKE '%account_locked%'";

/// As the settings are.
pub(crate) fn alike(_node: usize, settings: Settings) -> Settings {
    settings
}

/// Every answer's status, sorted.
pub(crate) fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}
