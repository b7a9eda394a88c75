//! OAuth clients that discover, refresh, introspect and revoke.

use serde_json::{Value, json};

use super::{AUDIENCE, SECRET, World, sign_up};
use crate::harness::tools::Tools;

#[tokio::test(flavor = "multi_thread")]
async fn authlib_finds_and_uses_every_endpoint() {
    walk("authlib_endpoints.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_finds_and_uses_every_endpoint() {
    walk("openid_client.mjs").await;
}

async fn walk(client: &'static str) {
    let Some(tools) = Tools::find() else { return };
    super::run(move |world| async move { tell(&tools, client, &world).await }).await;
}

async fn tell(tools: &Tools, client: &'static str, world: &World) {
    let person = sign_up(world.gateway.strict(), "+221771230001", world.app, 6).await;
    let asked = json!({
        "issuer": world.gateway.url("/t/strict"),
        "client_id": world.app.to_string(),
        "client_secret": SECRET,
        "refresh_token": person.word("refresh_token"),
    });

    let told = tools.run(client, &asked).await;

    let refreshed: Vec<&str> = told["refreshed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for member in ["access_token", "expires_in", "refresh_token", "token_type"] {
        assert!(refreshed.contains(&member), "{client}: {refreshed:?}");
    }
    let before = &told["before"];
    assert_eq!(before["active"], true, "{client}: {told}");
    assert_eq!(before["client_id"], world.app.to_string());
    assert_eq!(before["sub"], person["user"]["id"]);
    assert_eq!(before["aud"], AUDIENCE);
    assert_eq!(told["refresh_before"]["active"], true);
    assert_eq!(told["revoked"], 200);
    assert_eq!(told["after"], json!({ "active": false }));
    assert_eq!(told["unknown"], json!({ "active": false }));
    assert_eq!(told["wrong_secret"][0], 401, "{client}: {told}");
    assert_eq!(told["wrong_secret"][1], "invalid_client");
    assert!(told["wrong_secret"][2].as_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic")));
}
