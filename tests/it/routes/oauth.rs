//! The OAuth endpoints by the letter of RFC 6749, 7009, 7662 and 8414.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use super::forward_auth::ask;
use crate::flows::{AWA, Tokens, a_person, is_good, sign_in};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, PUBLIC_URL, TestApp, on_every_back_end};
use crate::routes::tokens::claims;

on_every_back_end!(
    the_metadata_is_found_in_both_forms_and_names_the_issuer_of_its_address,
    a_public_client_refreshes_under_its_name,
    what_is_wrong_with_a_token_request_is_told_in_its_words,
    clients_show_who_they_are_in_one_way,
    introspection_tells_an_app_what_a_token_is,
    introspection_tells_nothing_of_a_token_that_is_not_good_here,
    revocation_ends_the_session_and_says_nothing,
    revocation_of_another_clients_token_changes_nothing,
    the_jwks_is_not_sent_twice,
);

const API: &str = "https://api.example";

async fn refused(call: impl IntoFuture<Output = Answer>, status: u16, error: &str) -> Answer {
    let answer = call.await.expect(status);
    assert_eq!(answer["error"], error, "{}", answer.text);
    answer
}

async fn signed_in(door: Door<'_>) -> Tokens {
    sign_in(door, AWA, &a_person(door, AWA).await).await
}

/// Signed in for an app.
async fn signed_in_for(door: Door<'_>, app: &TestApp) -> Tokens {
    let device = a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": crate::flows::PASSWORD, "client_id": app.id});
    Tokens::from(&door.post("/api/auth/login", &body).device(&device).await.expect(200))
}

async fn the_metadata_is_found_in_both_forms_and_names_the_issuer_of_its_address(gateway: Gateway) {
    for (slug, paths) in [
        (
            "strict",
            ["/t/strict/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/t/strict"],
        ),
        ("default", ["/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/t/default"]),
    ] {
        for path in paths {
            let issuer = format!("{PUBLIC_URL}/t/{slug}");
            let told = gateway.classic().get(path).await.expect(200);
            assert_eq!(told.header("content-type"), "application/json");
            assert_eq!(
                told.json,
                json!({
                    "issuer": issuer,
                    "token_endpoint": format!("{issuer}/oauth/token"),
                    "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
                    "introspection_endpoint": format!("{issuer}/oauth/introspect"),
                    "revocation_endpoint": format!("{issuer}/oauth/revoke"),
                    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                    "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                    "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                    "grant_types_supported": ["refresh_token"],
                    "response_types_supported": [],
                })
            );
        }
    }
    gateway.classic().get("/.well-known/oauth-authorization-server/t/nobody").await.refused(404, "tenant_not_found");
}

async fn a_public_client_refreshes_under_its_name(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = signed_in(door).await;
    let form = [("grant_type", "refresh_token"), ("client_id", "first-party"), ("refresh_token", &tokens.refresh)];

    let pair = door.form("/oauth/token", &form).await.expect(200);

    assert_eq!(pair.members(), ["access_token", "expires_in", "refresh_token", "token_type"]);
    assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(3_600)));
    assert_eq!(pair.header("cache-control"), "no-store");
    assert!(is_good(door, &pair.word("access_token")).await);
    // Within the grace the same one again, on either face.
    let again = door.form("/oauth/token", &form).await.expect(200);
    assert_eq!(again.word("refresh_token"), pair.word("refresh_token"));
    let face = crate::flows::refresh(door, &tokens.refresh).await.expect(200);
    assert_eq!(face.word("refresh_token"), pair.word("refresh_token"));
}

async fn what_is_wrong_with_a_token_request_is_told_in_its_words(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = signed_in(door).await;
    let us = ("client_id", "first-party");
    let form = |members: &[(&str, &str)]| door.form("/oauth/token", members);

    refused(form(&[us]), 400, "invalid_request").await;
    refused(form(&[us, ("grant_type", "refresh_token")]), 400, "invalid_request").await;
    for grant in ["password", "authorization_code", "client_credentials", "REFRESH_TOKEN"] {
        refused(form(&[us, ("grant_type", grant)]), 400, "unsupported_grant_type").await;
    }
    let grant = ("grant_type", "refresh_token");
    for unknown in ["x", tokens.access.as_str(), "\u{0}"] {
        refused(form(&[us, grant, ("refresh_token", unknown)]), 400, "invalid_grant").await;
    }
    let right = ("refresh_token", tokens.refresh.as_str());
    refused(form(&[us, grant, right, ("scope", "admin")]), 400, "invalid_scope").await;
    refused(form(&[us, grant, right, right]), 400, "invalid_request").await;
    let json = door.post("/oauth/token", &json!({"grant_type": "refresh_token"}));
    refused(json, 400, "invalid_request").await;
    let other = gateway.other().form("/oauth/token", &[us, grant, right]);
    refused(other, 400, "invalid_grant").await;
    // None of it spent the token.
    form(&[us, grant, right]).await.expect(200);
}

async fn clients_show_who_they_are_in_one_way(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let elsewhere = gateway.new_app("other", API, &[]).await;
    let basic = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let token = ("token", "x");
    let form = |members: &[(&str, &str)]| door.form("/oauth/introspect", members);

    app.post(door, "/oauth/introspect", &[token]).await.expect(200);
    app.post(door, "/oauth/introspect", &[token, ("client_id", &app.id)]).await.expect(200);
    form(&[token, ("client_id", &app.id), ("client_secret", &app.secret)]).await.expect(200);
    let challenged = refused(form(&[token]), 401, "invalid_client").await;
    assert_eq!(challenged.header("www-authenticate"), "Basic realm=\"default clients\", charset=\"UTF-8\"");
    for (id, secret) in [
        (app.id.as_str(), "wrong"),
        (&app.id, ""),
        ("first-party", ""),
        ("first-party", "secret"),
        ("0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10", &app.secret),
        (&elsewhere.id, &elsewhere.secret),
        ("", ""),
    ] {
        let shown = form(&[token]).header("authorization", &basic(id, secret));
        refused(shown, 401, "invalid_client").await;
        refused(form(&[token, ("client_id", id), ("client_secret", secret)]), 401, "invalid_client").await;
    }
    for header in ["Bearer x", "Basic", "Basic ???", "Basic eA=="] {
        refused(form(&[token]).header("authorization", header), 401, "invalid_client").await;
    }
    let both = [token, ("client_id", app.id.as_str()), ("client_secret", app.secret.as_str())];
    refused(app.post(door, "/oauth/introspect", &both), 400, "invalid_request").await;
    refused(app.post(door, "/oauth/introspect", &[token, ("client_id", "first-party")]), 400, "invalid_request").await;
    // An app is no public client: without its secret it is nobody.
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", app.id.as_str())];
    refused(door.form("/oauth/token", &grant), 401, "invalid_client").await;
    door.call(Method::GET, "/oauth/introspect").await.expect(405);
}

async fn introspection_tells_an_app_what_a_token_is(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let tokens = signed_in(door).await;
    let said = claims(&tokens.access);

    for hint in ["access_token", "refresh_token", "whatever"] {
        let form = [("token", tokens.access.as_str()), ("token_type_hint", hint)];
        let told = app.post(door, "/oauth/introspect", &form).await.expect(200);
        let mut expected = said.clone();
        expected["active"] = json!(true);
        expected["token_type"] = json!("Bearer");
        assert_eq!(told.json, expected, "{hint}");

        let form = [("token", tokens.refresh.as_str()), ("token_type_hint", hint)];
        let told = app.post(door, "/oauth/introspect", &form).await.expect(200);
        let members = ["acr", "active", "auth_time", "client_id", "exp", "iat", "iss", "sid", "sub"];
        assert_eq!(told.members(), members, "{hint}");
        assert_eq!((&told["sub"], &told["sid"], &told["iss"]), (&said["sub"], &said["sid"], &said["iss"]));
        assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!("first-party")));
        assert_eq!((&told["acr"], &told["auth_time"]), (&said["acr"], &said["auth_time"]));
    }
    refused(app.post(door, "/oauth/introspect", &[]), 400, "invalid_request").await;
}

async fn introspection_tells_nothing_of_a_token_that_is_not_good_here(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let elsewhere = signed_in(gateway.other()).await;
    let spent = sign_in(door, AWA, &device).await;
    crate::flows::refresh(door, &spent.refresh).await.expect(200);
    let over = sign_in(door, AWA, &device).await;
    door.call(Method::POST, "/api/auth/logout").bearer(&over.access).await.expect(200);

    let changed = format!("{}x", tokens.access);
    for token in [
        "x",
        "a.b.c",
        &changed,
        &elsewhere.access,
        &elsewhere.refresh,
        &spent.refresh,
        &over.access,
        &over.refresh,
        &"y".repeat(9_000),
    ] {
        let told = app.post(door, "/oauth/introspect", &[("token", token)]).await.expect(200);
        assert_eq!(told.json, json!({"active": false}));
        assert_eq!(told.header("cache-control"), "no-store");
    }
}

async fn revocation_ends_the_session_and_says_nothing(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let us = ("client_id", "first-party");
    for (by_access, hint) in [(true, "refresh_token"), (false, "access_token"), (false, "whatever")] {
        let tokens = sign_in(door, AWA, &device).await;
        ask(door, "", &tokens.access).await.expect(200);
        let token = if by_access { &tokens.access } else { &tokens.refresh };

        let done = door.form("/oauth/revoke", &[us, ("token", token), ("token_type_hint", hint)]).await.expect(200);

        assert_eq!(done.text, "");
        ask(door, "", &tokens.access).await.refused(401, "invalid_token");
        let form = [us, ("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)];
        refused(door.form("/oauth/token", &form), 400, "invalid_grant").await;
        // Whatever nobody knows is revoked already (RFC 7009 §2.2).
        door.form("/oauth/revoke", &[us, ("token", token)]).await.expect(200);
    }
    door.form("/oauth/revoke", &[us, ("token", "x")]).await.expect(200);
    refused(door.form("/oauth/revoke", &[us]), 400, "invalid_request").await;
    refused(door.form("/oauth/revoke", &[("token", "x")]), 401, "invalid_client").await;
}

async fn revocation_of_another_clients_token_changes_nothing(gateway: Gateway) {
    let door = gateway.classic();
    let app = gateway.new_app("default", API, &[]).await;
    let stranger = gateway.new_app("default", "https://other.example", &[]).await;
    let tokens = signed_in_for(door, &app).await;

    for token in [&tokens.access, &tokens.refresh] {
        stranger.post(door, "/oauth/revoke", &[("token", token)]).await.expect(200);
        door.form("/oauth/revoke", &[("client_id", "first-party"), ("token", token)]).await.expect(200);
    }
    ask(door, "", &tokens.access).await.expect(200);

    app.post(door, "/oauth/revoke", &[("token", &tokens.refresh)]).await.expect(200);
    ask(door, "", &tokens.access).await.refused(401, "invalid_token");
}

async fn the_jwks_is_not_sent_twice(gateway: Gateway) {
    let door = gateway.classic();
    let sent = door.get("/.well-known/jwks.json").await.expect(200);
    let etag = sent.header("etag").to_owned();

    let known = door.get("/.well-known/jwks.json").header("if-none-match", &etag).await.expect(304);

    assert_eq!((known.text.as_str(), known.header("etag")), ("", etag.as_str()));
    assert_eq!(known.header("cache-control"), sent.header("cache-control"));
    door.get("/.well-known/jwks.json").header("if-none-match", "\"other\"").await.expect(200);
}
