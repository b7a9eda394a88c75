//! What an admin does on one node holds on the other.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PASSWORD, Person, log_in, registration};
use crate::delivery::mail_server::MailServer;
use crate::delivery::provider::{self, Provider};
use crate::harness::node::{Cluster, Node, PATIENCE, POLL, Settings, answer};

const ROOT_KEY: &str = "gk_root_of-a-cluster-long-enough";
const BEFORE: &str = "+221771234567";
const AFTER: &str = "+221771234568";

#[tokio::test(flavor = "multi_thread")]
async fn disable_ends_every_session_on_the_other_node() {
    let with_key = |_, settings: Settings| settings.with("GUICHET_ADMIN_KEY", ROOT_KEY);
    Cluster::run(with_key, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let signed_in = owner.log_in(other, PASSWORD).await.must_be(200);
        let (token, refresh) = (signed_in.text("token"), signed_in.text("refresh_token"));
        let id = signed_in.json["user"]["id"].as_str().unwrap();
        other.get("/api/auth/me", &token).await.must_be(200);

        let disable = one.admin(Method::POST, &format!("/admin/v1/tenants/default/users/{id}/disable"));
        answer(disable.bearer_auth(ROOT_KEY)).await.must_be(204);

        other.get("/api/auth/me", &token).await.must_be(401);
        other.post("/api/auth/refresh", &json!({ "refresh_token": refresh })).await.must_be(401);
        let refused = log_in(other, "awa@example.com", PASSWORD).await.must_be(403);
        assert_eq!(refused.code(), "account_disabled");
    })
    .await;
}

/// A tenant's delivery log as a node shows it, once it has that many rows, oldest first.
async fn log_of(node: &Node, key: &str, rows: usize) -> Vec<Value> {
    let shown = async || {
        let page = node.administer(Method::GET, "/tenants/acme/messages", key, &json!({})).await.must_be(200);
        page.json["items"].as_array().unwrap().clone()
    };
    let grown = async {
        while shown().await.len() < rows {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, grown).await.expect("the log grows that long");
    let mut log = shown().await;
    log.reverse();
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn own_senders_saved_on_one_node_carry_the_others_messages_a_second_later() {
    let settings = |_, settings: Settings| {
        settings.with("GUICHET_ADMIN_KEY", ROOT_KEY).with("GUICHET_OUTBOUND_ALLOW", "127.0.0.0/8")
    };
    Cluster::run(settings, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let (down, second) = (Provider::always(provider::answer(503, "{}")).await, Provider::start(take).await);
        let mail = MailServer::start(&["--login", "acme:s3cret"]);
        let made = json!({"slug": "acme", "profile": "classic"});
        one.administer(Method::POST, "/tenants", ROOT_KEY, &made).await.must_be(201);
        let key = json!({"role": "tenant-admin", "name": "its own"});
        let key = one.administer(Method::POST, "/tenants/acme/keys", ROOT_KEY, &key).await.must_be(201).text("key");
        // The other node knows the tenant, and has lines of it that lead to the platform's senders.
        let ask = async |phone: &str| other.post("/t/acme/auth/request-code", &json!({"phone": phone})).await;
        let known = async {
            while ask(BEFORE).await.status != 200 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("the tenant is known");
        other.message(BEFORE).await;
        let register = async |email: &str| other.post("/t/acme/api/auth/register", &registration(email)).await;
        register("before@example.com").await.must_be(201);
        other.message("before@example.com").await;
        let before = log_of(other, &key, 2).await;

        let sender = |name: &str, provider: &Provider| {
            json!({"kind": "http", "name": name, "url": provider.url(), "success": {"reference": "/id"},
                   "headers": {"Authorization": "Bearer of acme"}, "body": {"to": "{to}", "code": "{code}"}})
        };
        let senders = json!({
            "sms": {"mode": "own", "senders": [sender("first", &down), sender("second", &second)]},
            "email": {"mode": "own", "senders": [
                {"name": "own-mail", "host": "127.0.0.1", "port": mail.port, "security": "none", "username": "acme",
                 "password": "s3cret", "from": "Acme <no-reply@acme.test>"}]},
        });
        one.administer(Method::PATCH, "/tenants/acme/settings", &key, &senders).await.must_be(200);
        let saved = Instant::now();
        // Time is the promise here: what is asked for a second later is under the new settings.
        tokio::time::sleep_until(saved + Duration::from_secs(1)).await;
        let (code, registered) = tokio::join!(ask(AFTER), register("after@example.com"));

        code.must_be(200);
        registered.must_be(201);
        let log = log_of(other, &key, before.len() + 3).await.split_off(before.len());
        let told = |channel: &str| {
            let of = log.iter().filter(|row| row["channel"] == channel);
            of.map(|row| [&row["sender"], &row["attempt"], &row["state"]].map(Value::to_string)).collect::<Vec<_>>()
        };
        assert_eq!(told("sms"), [["\"first\"", "1", "\"temporary\""], ["\"second\"", "2", "\"accepted\""]]);
        assert_eq!(told("email"), [["\"own-mail\"", "1", "\"accepted\""]]);
        assert_eq!(down.only().header("authorization"), "Bearer of acme");
        assert_eq!(second.only().json()["to"], AFTER);
        assert_eq!(down.only().json(), second.only().json(), "one code");
        assert_eq!(mail.message().facts["recipients"], json!(["after@example.com"]));
        assert!(other.messages(AFTER).is_empty() && other.messages("after@example.com").is_empty());
        let code = json!({"phone": AFTER, "code": second.only().json()["code"]});
        one.post("/t/acme/auth/verify-code", &code).await.must_be(200);
        // Either node shows the same log.
        assert_eq!(log_of(one, &key, before.len() + 3).await.split_off(before.len()), log);
    })
    .await;
}

/// Takes a message; its name for it is the number.
fn take(asked: &provider::Asked) -> provider::Reply {
    provider::answer(200, &json!({"id": asked.json()["to"]}).to_string())
}
