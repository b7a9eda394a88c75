//! Signing keys that must be forgotten: by every node, within a second.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use super::tokens::{NEWS, refused_after};
use super::{PASSWORD, Person, number};
use crate::harness::node::{Answer, Cluster, Node, Settings, answer};

const ROOT_KEY: &str = "gk_root_of-a-cluster-long-enough";

fn with_key(_node: usize, settings: Settings) -> Settings {
    settings.with("GUICHET_ADMIN_KEY", ROOT_KEY)
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

async fn published(node: &Node) -> String {
    answer(node.request(Method::GET, "/.well-known/jwks.json")).await.must_be(200).json.to_string()
}

async fn refresh(node: &Node, token: &str) -> Answer {
    node.post("/api/auth/refresh", &json!({ "refresh_token": token })).await
}

type App = (String, String);

/// The credentials of an app that may introspect, once both nodes know it.
async fn an_app(one: &Node, other: &Node) -> App {
    let body = json!({ "name": "Shop", "audience": "https://shop.example.com" });
    let app = one.administer(Method::POST, "/tenants/default/apps", ROOT_KEY, &body).await.must_be(201);
    let app = (app.text("id"), app.text("secret"));
    let since = Instant::now();
    while introspect(other, &app, "x").await.status != 200 {
        assert!(since.elapsed() < NEWS, "the other node never hears of it");
    }
    app
}

async fn introspect(node: &Node, (id, secret): &App, token: &str) -> Answer {
    let asked = node.request(Method::POST, "/oauth/introspect").basic_auth(id, Some(secret)).form(&[("token", token)]);
    answer(asked).await
}

async fn is_active(node: &Node, app: &App, token: &str) -> bool {
    introspect(node, app, token).await.must_be(200).json["active"].as_bool().unwrap()
}

/// Whatever signed until now was stolen: the attacker holds tokens of it that look good.
async fn compromised(cluster: &Cluster, rotate: impl AsyncFnOnce(&Node)) {
    let [one, other] = &cluster.nodes;
    let owner = Person::register(one, "awa@example.com").await;
    let app = an_app(one, other).await;
    let first = owner.log_in(one, PASSWORD).await.must_be(200);
    // A key that was rotated out a moment ago signed as well.
    one.command(&["key", "rotate", "--tenant", "default", "--now"]);
    let mut second = refresh(one, &first.text("refresh_token")).await.must_be(200);
    while kid(&second.text("token")) == kid(&first.text("token")) {
        second = refresh(one, &second.text("refresh_token")).await.must_be(200);
    }
    let stolen = [first.text("token"), second.text("token")];
    for node in [one, other] {
        for token in &stolen {
            node.get("/forward-auth", token).await.must_be(200);
            node.get("/forward-auth", token).await.must_be(200);
            assert!(is_active(node, &app, token).await);
        }
    }

    rotate(one).await;

    let since = Instant::now();
    for node in [one, other] {
        for token in &stolen {
            refused_after(node, token).await;
        }
    }
    assert!(since.elapsed() < NEWS, "{:?}", since.elapsed());
    for node in [one, other] {
        let published = published(node).await;
        for token in &stolen {
            node.get("/api/auth/me", token).await.must_be(401);
            assert!(!is_active(node, &app, token).await);
            assert!(!published.contains(&kid(token)));
            let told =
                format!("SELECT count(*) FROM audit WHERE cause = 'key_compromised' AND subject = '{}'", kid(token));
            assert_eq!(number(&cluster.database, &told).await, 1);
        }
    }
    // Nobody is logged out.
    let refreshed = refresh(other, &second.text("refresh_token")).await.must_be(200);
    let fresh = refreshed.text("token");
    assert!(!stolen.iter().any(|token| kid(token) == kid(&fresh)));
    for node in [one, other] {
        node.get("/forward-auth", &fresh).await.must_be(200);
        assert!(published(node).await.contains(&kid(&fresh)));
    }
    let left = "SELECT count(*) FROM signing_keys WHERE state = 'gone' AND length(sealed_private) > 0";
    assert_eq!(number(&cluster.database, left).await, 0, "the stolen halves are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_stolen_verifies_nothing_on_any_node_once_the_command_has_said_so() {
    Cluster::run(with_key, |cluster| async move {
        compromised(&cluster, async |node| {
            let said = node.command(&["key", "rotate", "--tenant", "default", "--compromised"]);
            assert_eq!(said.matches("verifies nothing any more").count(), 2, "{said}");
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_stolen_verifies_nothing_on_any_node_once_an_admin_has_said_so() {
    Cluster::run(with_key, |cluster| async move {
        compromised(&cluster, async |node| {
            let body = json!({ "rotation": "compromised" });
            let path = "/tenants/default/signing-keys/rotate";
            let answer = node.administer(Method::POST, path, ROOT_KEY, &body).await.must_be(200);
            assert_eq!(answer.json["gone"].as_array().unwrap().len(), 2, "{answer:?}");
            assert!(published(node).await.contains(&answer.text("kid")), "in force before it is answered");
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_was_ended_takes_its_tokens_along_and_its_name_gives_them_back_to_nobody() {
    Cluster::run(with_key, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let acme = json!({ "slug": "acme", "profile": "classic" });
        one.administer(Method::POST, "/tenants", ROOT_KEY, &acme).await.must_be(201);
        let token = a_member_of_acme(one, "+221771234567").await;
        let since = Instant::now();
        while answer(other.request(Method::GET, "/t/acme/.well-known/jwks.json")).await.status != 200 {
            assert!(since.elapsed() < NEWS, "the other node never hears of it");
        }
        for node in [one, other] {
            node.get("/t/acme/forward-auth", &token).await.must_be(200);
            node.get("/t/acme/forward-auth?mode=strict", &token).await.must_be(200);
        }

        one.administer(Method::DELETE, "/tenants/acme", ROOT_KEY, &json!(null)).await.must_be(200);

        let since = Instant::now();
        for node in [one, other] {
            while node.get("/t/acme/forward-auth", &token).await.status != 404 {
                assert!(since.elapsed() < NEWS, "a token of nobody is good for {:?}", since.elapsed());
            }
            node.get("/t/acme/forward-auth?mode=strict", &token).await.must_be(403);
            node.get("/forward-auth", &token).await.must_be(401);
        }

        // Whoever takes the name next has other keys.
        one.administer(Method::POST, "/tenants", ROOT_KEY, &acme).await.must_be(201);
        let theirs = a_member_of_acme(one, "+221771234568").await;
        for node in [one, other] {
            while node.get("/t/acme/forward-auth", &theirs).await.status != 200 {
                assert!(since.elapsed() < crate::harness::node::PATIENCE, "the new tenant is never served");
            }
            node.get("/t/acme/forward-auth", &token).await.must_be(401);
        }
    })
    .await;
}

/// An access token of the tenant `acme`.
async fn a_member_of_acme(node: &Node, phone: &str) -> String {
    node.post("/t/acme/auth/request-code", &json!({ "phone": phone })).await.must_be(200);
    let proof = json!({ "phone": phone, "code": node.message(phone).await.code(4).unwrap() });
    let proof = node.post("/t/acme/auth/verify-code", &proof).await.must_be(200).text("registration_token");
    let person = json!({ "phone": phone, "first_name": "Awa", "last_name": "Diop", "registration_token": proof });
    node.post("/t/acme/auth/register", &person).await.must_be(201).text("token")
}
