//! Signing in for an application: whom its tokens are for, and who may refresh them.

use serde_json::json;

use super::{AWA, NUMBER, PASSWORD, Tokens, a_person, a_phone_person, is_good, request_code, sign_in};
use crate::harness::client::Door;
use crate::harness::databases::changed;
use crate::harness::gateway::{Gateway, TestApp, on_every_back_end};
use crate::routes::tokens::claims;

on_every_back_end!(
    tokens_are_for_the_app_that_was_named_at_every_sign_in,
    an_app_nobody_knows_is_told_before_anything_else,
    a_refresh_token_belongs_to_its_app,
    an_app_that_is_gone_takes_its_tokens_along,
    a_tenant_may_name_its_own_audience,
);

const API: &str = "https://api.example";

/// The claims of a token that is for that app.
fn is_for(token: &str, app: &TestApp) {
    let said = claims(token);
    assert_eq!((&said["aud"], &said["client_id"]), (&json!(app.audience), &json!(app.id)));
}

async fn signed_in_for(door: Door<'_>, app: &TestApp) -> Tokens {
    let device = a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": PASSWORD, "client_id": app.id});
    Tokens::from(&door.post("/api/auth/login", &body).device(&device).await.expect(200))
}

async fn tokens_are_for_the_app_that_was_named_at_every_sign_in(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;

    // Password on a known device; password and code on a new one.
    is_for(&signed_in_for(door, &app).await.access, &app);
    let body = json!({"email": AWA, "password": PASSWORD, "client_id": app.id});
    door.post("/api/auth/login", &body).await.expect(200);
    let code = gateway.inbox.next_with(AWA, "is your code").await.code(6);
    let body = json!({"email": AWA, "otp": code, "client_id": app.id});
    is_for(&door.post("/api/auth/verify-otp", &body).await.expect(200).word("token"), &app);

    // A number registered, and signed in again.
    let code = request_code(door, NUMBER, 4).await;
    let body = json!({"phone": NUMBER, "code": code, "client_id": app.id});
    let proof = door.post("/auth/verify-code", &body).await.expect(200).word("registration_token");
    let body = json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": proof,
                      "client_id": app.id});
    is_for(&door.post("/auth/register", &body).await.expect(201).word("token"), &app);
    gateway.clock.advance(super::seconds(31));
    let code = request_code(door, NUMBER, 4).await;
    let body = json!({"phone": NUMBER, "code": code, "client_id": app.id});
    let tokens = Tokens::from(&door.post("/auth/verify-code", &body).await.expect(200));
    is_for(&tokens.access, &app);

    let asked = door.get(&format!("/forward-auth?audience={API}")).bearer(&tokens.access).await.expect(200);
    assert_eq!(asked.header("x-auth-audience"), API);
    let sessions = door.get("/api/auth/sessions").bearer(&tokens.access).await.expect(200);
    assert_eq!(sessions["sessions"][0]["client_id"], json!(app.id));
}

async fn an_app_nobody_knows_is_told_before_anything_else(gateway: Gateway) {
    let (door, elsewhere) = (gateway.classic(), gateway.new_app("other", API, &[]).await);
    a_person(door, AWA).await;
    for client in ["nobody", "", "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10", &elsewhere.id] {
        let body = json!({"email": AWA, "password": PASSWORD, "client_id": client});
        door.post("/api/auth/login", &body).await.refused(400, "unknown_client");
        let body = json!({"phone": NUMBER, "code": "0000", "client_id": client});
        door.post("/auth/verify-code", &body).await.refused(400, "unknown_client");
    }
}

async fn a_refresh_token_belongs_to_its_app(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let stranger = gateway.new_app("default", "https://other.example", &[]).await;
    let tokens = signed_in_for(door, &app).await;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];

    let refused = stranger.post(door, "/oauth/token", &grant).await.expect(400);
    assert_eq!(refused["error"], "invalid_grant");
    let body = json!({"refresh_token": tokens.refresh, "client_id": stranger.id});
    door.post("/api/auth/refresh", &body).await.refused(401, "invalid_token");
    super::refresh(door, &tokens.refresh).await.refused(401, "invalid_token");

    // None of them spent it or ended anything.
    let pair = app.post(door, "/oauth/token", &grant).await.expect(200);
    is_for(&pair.word("access_token"), &app);
    let body = json!({"refresh_token": pair.word("refresh_token"), "client_id": app.id});
    is_for(&door.post("/api/auth/refresh", &body).await.expect(200).word("token"), &app);
    assert!(is_good(door, &tokens.access).await);
}

async fn an_app_that_is_gone_takes_its_tokens_along(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let tokens = signed_in_for(door, &app).await;
    let storage = gateway.storage().await;
    let tenant = storage.tenants().find_by_slug("default").await.unwrap().unwrap().id;

    storage.apps().delete(tenant, app.id.parse().unwrap(), &changed(tenant)).await.unwrap();

    let body = json!({"email": AWA, "password": "x", "client_id": app.id});
    gateway.until(|| async { door.post("/api/auth/login", &body).await["code"] == "unknown_client" }).await;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    assert_eq!(app.post(door, "/oauth/token", &grant).await.expect(401)["error"], "invalid_client");
    let body = json!({"refresh_token": tokens.refresh, "client_id": app.id});
    door.post("/api/auth/refresh", &body).await.refused(401, "invalid_token");
}

async fn a_tenant_may_name_its_own_audience(gateway: Gateway) {
    let settings = json!({"tokens": {"audience": API, "access_ttl": 120}});
    gateway.new_tenant("named", guichet::domain::policy::Profile::Classic, settings).await;
    let door = gateway.door("/t/named");
    let tokens = a_phone_person(door, NUMBER, 4).await;

    assert_eq!(claims(&tokens.access)["aud"], API);
    door.get(&format!("/forward-auth?audience={API}")).bearer(&tokens.access).await.expect(200);
    // What the classic tenant calls its own is nothing here.
    let here = sign_in(gateway.classic(), AWA, &a_person(gateway.classic(), AWA).await).await;
    door.get("/forward-auth").bearer(&here.access).await.refused(401, "invalid_token");
}
