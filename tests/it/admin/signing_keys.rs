//! Signing keys over the admin API and from the command line: what is shown, decided, written down.

use std::process::Command;

use serde_json::{Value, json};

use super::key_of;
use crate::flows::{AWA, a_person, sign_in};
use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_rotation_is_announced_unless_it_is_urgent,
    the_audit_log_says_who_rotated_which_key_and_why,
    a_tenant_without_a_key_gets_its_first,
);

const KEYS: &str = "/tenants/strict/signing-keys";

async fn rotate(gateway: &Gateway, key: &str, body: Value) -> Answer {
    gateway.admin().post(&format!("{KEYS}/rotate"), &body).bearer(key).await
}

/// The tenant's keys by state, each state's first.
async fn keys(gateway: &Gateway) -> Value {
    let listed = gateway.admin().get(KEYS).bearer(ROOT_KEY).await.expect(200);
    let items = listed["items"].as_array().unwrap().iter();
    items
        .map(|key| (key["state"].as_str().unwrap().to_owned(), key["kid"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn signed_in(gateway: &Gateway) {
    let door = gateway.strict();
    sign_in(door, AWA, &a_person(door, AWA).await).await;
}

async fn a_rotation_is_announced_unless_it_is_urgent(gateway: Gateway) {
    signed_in(&gateway).await;
    let first = keys(&gateway).await["active"].clone();
    assert!(first.is_string());

    let announced = rotate(&gateway, ROOT_KEY, json!({})).await.expect(200);
    let again = rotate(&gateway, ROOT_KEY, json!({"rotation": "announced"})).await.expect(200);
    assert_eq!((&announced["kid"], &announced["signs_from"]), (&again["kid"], &again["signs_from"]));
    assert_eq!(keys(&gateway).await, json!({"active": first, "next": announced["kid"]}));
    let listed = gateway.admin().get(KEYS).bearer(ROOT_KEY).await.expect(200);
    assert_eq!((&listed["items"][0]["algorithm"], &listed["items"][0]["gone_from"]), (&json!("ES256"), &Value::Null));
    assert_eq!(listed["items"][1]["active_from"], announced["signs_from"]);
    assert!(!listed.text.contains("\"d\"") && !listed.text.contains("sealed"));

    let now = rotate(&gateway, ROOT_KEY, json!({"rotation": "now"})).await.expect(200);
    assert_eq!((&now["kid"], &now["gone"]), (&announced["kid"], &json!([])));
    assert_eq!(keys(&gateway).await, json!({"retiring": first, "active": now["kid"]}));

    let stolen = rotate(&gateway, ROOT_KEY, json!({"rotation": "compromised"})).await.expect(200);
    assert_eq!(stolen["gone"].as_array().unwrap().len(), 2);
    assert_eq!(keys(&gateway).await, json!({"active": stolen["kid"]}));

    let refused = rotate(&gateway, ROOT_KEY, json!({"rotation": "later"})).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["pointer"], "/rotation");
    rotate(&gateway, ROOT_KEY, json!({"compromised": true})).await.refused(400, "validation");
}

async fn the_audit_log_says_who_rotated_which_key_and_why(gateway: Gateway) {
    signed_in(&gateway).await;
    let first = keys(&gateway).await["active"].clone();
    let admin = key_of(&gateway, "strict", "tenant-admin").await;
    let made = gateway.admin().get("/tenants/strict/keys").bearer(&admin).await.expect(200)["items"][0]["id"].clone();

    let planned = rotate(&gateway, &admin, json!({})).await.expect(200);
    by_command(&gateway, "--now").await;
    let stolen = rotate(&gateway, ROOT_KEY, json!({"rotation": "compromised"})).await.expect(200);

    let log = gateway.admin().get("/tenants/strict/audit?kind=authz_admin").bearer(ROOT_KEY).await.expect(200);
    let told = |cause: &str, subject: &Value| {
        let entries = log["items"].as_array().unwrap().iter();
        let found: Vec<_> = entries.filter(|entry| entry["cause"] == cause && entry["subject"] == *subject).collect();
        assert_eq!(found.len(), 1, "{cause} of {subject}: {}", log.text);
        found[0]["key"].clone()
    };
    assert_eq!(told("key_announced", &planned["kid"]), made);
    assert_eq!(told("key_activated", &planned["kid"]), Value::Null);
    assert_eq!(told("key_compromised", &planned["kid"]), Value::Null);
    assert_eq!(told("key_compromised", &first), Value::Null);
    assert_eq!(told("key_activated", &stolen["kid"]), Value::Null);
    assert_eq!(log["items"].as_array().unwrap().len(), 5);
}

/// As an operator does, from another process.
async fn by_command(gateway: &Gateway, how: &'static str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guichet"));
    command.args(["key", "rotate", "--tenant", "strict", how]).env_clear().envs(gateway.environment());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn a_tenant_without_a_key_gets_its_first(gateway: Gateway) {
    gateway.new_tenant("fresh", guichet::domain::policy::Profile::AsvsL1, json!({})).await;
    // Its JWKS was looked at, which may make one: nobody signed with it yet.
    gateway.execute("DELETE FROM signing_keys".to_owned()).await;
    let path = "/tenants/fresh/signing-keys";

    let made = gateway.admin().post(&format!("{path}/rotate"), &json!({"rotation": "compromised"})).bearer(ROOT_KEY);
    let made = made.await.expect(200);

    assert_eq!(made["gone"], json!([]));
    let listed = gateway.admin().get(path).bearer(ROOT_KEY).await.expect(200);
    assert_eq!((&listed["items"][0]["kid"], &listed["items"][0]["state"]), (&made["kid"], &json!("active")));
    let published = gateway.door("/t/fresh").get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(published["keys"][0]["kid"], made["kid"]);
}
