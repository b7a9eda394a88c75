//! The limit on token checks, by app: exact where a tenant wants it, nothing where none does.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::refusals::scripts_run;
use crate::flows::{a_phone_person, minutes};
use crate::harness::client::{Answer, Call, Door};
use crate::harness::gateway::{Gateway, TestApp, on_every_back_end};
use crate::harness::node::{Cluster, at_once};
use crate::harness::redis::OwnRedis;

on_every_back_end!(
    an_app_over_its_limit_is_refused_and_no_other,
    a_check_without_an_audience_counts_for_the_app_that_the_token_is_for,
    what_is_only_recorded_passes,
);

const SHOP: &str = "https://shop.example.com";
const DESK: &str = "https://desk.example.com";

fn limit(mode: &str) -> serde_json::Value {
    json!({"sms": {"regions": ["SN"]}, "limits": {"forward-auth-app": {"quota": 3, "window": 60, "mode": mode}}})
}

/// A token of somebody for that app.
async fn token_for(door: Door<'_>, phone: &str, app: &TestApp) -> String {
    a_phone_person(door, phone, 6).await;
    // Past the cooldown.
    door.gateway().clock.advance(minutes(1));
    door.post("/auth/request-code", &json!({"phone": phone})).await.expect(200);
    let code = door.gateway().inbox.next(phone).await.code(6);
    let answer = json!({"phone": phone, "code": code, "client_id": app.id});
    door.post("/auth/verify-code", &answer).await.expect(200).word("token")
}

fn ask<'g>(door: Door<'g>, audience: &str, token: &str) -> Call<'g> {
    door.get(&format!("/forward-auth?audience={audience}")).bearer(token)
}

fn left(answer: &Answer) -> &str {
    answer.header("ratelimit").split(';').nth(1).unwrap()
}

async fn an_app_over_its_limit_is_refused_and_no_other(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &limit("enforce")).await;
    let (shop, desk) = (gateway.new_app("strict", SHOP, &[]).await, gateway.new_app("strict", DESK, &[]).await);
    let foreign = gateway.new_app("other", SHOP, &[]).await;
    let door = gateway.strict();
    let token = token_for(door, "+221771234501", &shop).await;
    let clerk = token_for(door, "+221771234502", &desk).await;
    let stranger = a_phone_person(gateway.other(), "+221771234503", 4).await;

    for fits in ["r=2", "r=1"] {
        assert_eq!(left(&ask(door, SHOP, &token).await.expect(200)), fits);
    }
    // A bad token costs as much as a good one.
    ask(door, SHOP, "gibberish").await.refused(401, "invalid_token");
    let refused = ask(door, SHOP, &token).await.refused(429, "too_many_requests");
    assert_eq!(refused["violated-policies"], json!(["forward-auth-app"]));
    assert_eq!(refused.header("ratelimit-policy"), "\"forward-auth-app\";q=3;w=60");
    for name in ["x-auth-subject", "x-auth-tenant", "x-auth-session"] {
        assert_eq!(refused.header(name), "");
    }
    ask(door, SHOP, "gibberish").await.refused(429, "too_many_requests");
    // What nginx can read, and the truth beside it.
    let strict = door.get(&format!("/forward-auth?audience={SHOP}&mode=strict")).bearer(&token).await.expect(403);
    assert_eq!((strict.header("x-auth-status"), &strict["code"]), ("429", &json!("too_many_requests")));
    assert!(strict.retry_after() <= 60);

    // Another app, nobody's audience, another tenant's app of the same audience: none of them is held up.
    ask(door, DESK, &clerk).await.expect(200);
    for _ in 0..5 {
        ask(door, "https://nobody.example.com", &token).await.refused(401, "invalid_token");
        gateway.other().get("/forward-auth").bearer(&stranger.access).await.expect(200);
        ask(gateway.other(), &foreign.audience, &stranger.access).await.refused(401, "invalid_token");
    }

    gateway.clock.advance(Duration::from_secs(refused.retry_after()));
    ask(door, SHOP, &token).await.expect(200);
    ask(door, SHOP, &token).await.refused(429, "too_many_requests");
}

async fn a_check_without_an_audience_counts_for_the_app_that_the_token_is_for(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &limit("enforce")).await;
    let shop = gateway.new_app("strict", SHOP, &[]).await;
    let door = gateway.strict();
    let token = token_for(door, "+221771234501", &shop).await;
    let first_party = a_phone_person(door, "+221771234502", 6).await.access;

    for _ in 0..3 {
        door.get("/forward-auth").bearer(&token).await.expect(200);
        door.get("/forward-auth").bearer("gibberish").await.refused(401, "invalid_token");
    }
    door.get("/forward-auth").bearer(&token).await.refused(429, "too_many_requests");
    ask(door, SHOP, &token).await.refused(429, "too_many_requests");
    // No app's token: nobody's limit.
    for _ in 0..5 {
        let passed = door.get("/forward-auth").bearer(&first_party).await.expect(200);
        assert!(!passed.headers.contains_key("ratelimit"));
    }
}

async fn what_is_only_recorded_passes(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &limit("record")).await;
    let shop = gateway.new_app("strict", SHOP, &[]).await;
    let token = token_for(gateway.strict(), "+221771234501", &shop).await;

    for _ in 0..10 {
        ask(gateway.strict(), SHOP, &token).await.expect(200);
    }
}

const ROOT_KEY: &str = "gk_root_of-a-cluster-long-enough";

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_admit_exactly_as_many_checks_as_the_limit_says_and_ask_no_store_while_it_is_off() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    let (url, asked) = (redis.url(), redis.url());
    let with_key = |_, settings: crate::harness::node::Settings| settings.with("GUICHET_ADMIN_KEY", ROOT_KEY);
    Cluster::run_on(&url, with_key, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let body = json!({ "name": "Shop", "audience": SHOP });
        let app = one.administer(Method::POST, "/tenants/default/apps", ROOT_KEY, &body).await.must_be(201).text("id");
        let path = format!("/forward-auth?audience={SHOP}");
        let token = a_customer(one, &app).await;
        for node in [one, other] {
            node.get(&path, &token).await.must_be(200);
        }

        let before = scripts_run(&asked).await;
        for n in 0..200 {
            cluster.node(n).get(&path, &token).await.must_be(200);
        }
        // What the nodes ask for themselves comes now and then.
        let asked = scripts_run(&asked).await - before;
        assert!(asked < 20, "a limit that is off asked {asked} times");

        let limit = json!({ "limits": { "forward-auth-app": { "quota": 30, "window": 3600, "mode": "enforce" } } });
        one.administer(Method::PATCH, "/tenants/default/settings", ROOT_KEY, &limit).await.must_be(200);
        // In force on the other node as soon as it asks the store; a check that is refused early takes nothing.
        while !is_in_force(other).await {
            tokio::time::sleep(crate::harness::node::POLL).await;
        }
        let answers = at_once(100, |n| {
            let (cluster, token, path) = (Arc::clone(&cluster), token.clone(), path.clone());
            async move { cluster.node(n).get(&path, &token).await }
        })
        .await;

        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(passed, 30);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
    })
    .await;
}

/// Whether that node knows of the limit.
async fn is_in_force(node: &crate::harness::node::Node) -> bool {
    let limits = node.administer(Method::GET, "/tenants/default/limits", ROOT_KEY, &json!(null)).await.must_be(200);
    let mut limits = limits.json["limits"].as_array().unwrap().iter();
    limits.any(|limit| limit["name"] == "forward-auth-app" && limit["mode"] == "enforce")
}

/// A token of a new person for the app.
async fn a_customer(node: &crate::harness::node::Node, app: &str) -> String {
    let phone = "+221771234567";
    let code = crate::nodes::sms_code(node, phone).await;
    let proof = json!({ "phone": phone, "code": code, "client_id": app });
    let proof = node.post("/auth/verify-code", &proof).await.must_be(200).text("registration_token");
    let person =
        json!({ "phone": phone, "first_name": "A", "last_name": "D", "registration_token": proof, "client_id": app });
    node.post("/auth/register", &person).await.must_be(201).text("token")
}
