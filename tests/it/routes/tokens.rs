//! What an access token says, and that anybody can check it with the published keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::flows::{AWA, NUMBER, a_person, a_phone_person, sign_in};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, PUBLIC_URL, on_every_back_end};

on_every_back_end!(
    the_published_keys_verify_a_token_and_are_named_by_their_thumbprint,
    a_token_says_what_it_must_and_nothing_of_the_person,
    a_token_changed_in_any_part_is_refused,
    every_tenant_has_keys_of_its_own,
    the_keys_stay_over_a_restart,
);

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What a token says, unchecked.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

async fn keys(door: Door<'_>) -> Vec<Jwk> {
    let answer = door.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    assert!(answer.header("cache-control").starts_with("public, max-age="));
    assert!(!answer.text.contains("\"d\""), "a private key is published");
    serde_json::from_value::<JwkSet>(answer.json).unwrap().keys
}

async fn the_published_keys_verify_a_token_and_are_named_by_their_thumbprint(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = sign_in(door, AWA, &a_person(door, AWA).await).await;

    let keys = keys(door).await;
    let header = part(&tokens.access, 0);
    let key = keys.iter().find(|key| header["kid"] == json!(key.common.key_id)).expect("the key is published");
    let issuer = format!("{PUBLIC_URL}/t/default");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[&issuer]);
    validation.set_issuer(&[&issuer]);
    let checked = jsonwebtoken::decode::<Value>(&tokens.access, &DecodingKey::from_jwk(key).unwrap(), &validation);

    assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": key.common.key_id}));
    assert_eq!(checked.unwrap().claims, claims(&tokens.access));
    let thumbprint = key.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    assert_eq!(key.common.key_id.as_deref(), Some(thumbprint.as_str()));
}

async fn a_token_says_what_it_must_and_nothing_of_the_person(gateway: Gateway) {
    for (door, slug, life, digits) in [(gateway.classic(), "default", 3_600, 4), (gateway.strict(), "strict", 600, 6)] {
        let password = sign_in(door, AWA, &a_person(door, AWA).await).await;
        let texted = a_phone_person(door, NUMBER, digits).await;
        for (tokens, amr) in [(password, json!(["pwd"])), (texted, json!(["sms", "otp"]))] {
            let said = claims(&tokens.access);
            let me = door.get("/api/auth/me").bearer(&tokens.access).await.expect(200);
            let sessions = door.get("/api/auth/sessions").bearer(&tokens.access).await.expect(200);

            let mut members: Vec<_> = said.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            let expected =
                ["acr", "amr", "aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "sid", "sub", "tid"];
            assert_eq!(members, expected);
            assert_eq!(said["iss"], format!("{PUBLIC_URL}/t/{slug}"));
            assert_eq!(said["aud"], said["iss"]);
            assert_eq!((&said["tid"], &said["client_id"]), (&json!(slug), &json!("first-party")));
            assert_eq!(said["sub"], me["id"]);
            assert_eq!(said["sid"], sessions["sessions"][0]["id"]);
            assert_eq!((&said["amr"], &said["acr"]), (&amr, &json!("urn:guichet:aal1")));
            assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), life);
            assert!(said["auth_time"].as_u64().unwrap() <= said["iat"].as_u64().unwrap());
            let text = said.to_string();
            for personal in [AWA, "awa", NUMBER, "Diop", "123456789"] {
                assert!(!text.contains(personal), "{personal} in {text}");
            }
        }
    }
}

async fn a_token_changed_in_any_part_is_refused(gateway: Gateway) {
    let door = gateway.classic();
    let token = sign_in(door, AWA, &a_person(door, AWA).await).await.access;
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    let mut said = claims(&token);
    said["sub"] = json!("0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10");
    let other = URL_SAFE_NO_PAD.encode(said.to_string());

    for forged in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{header}.{other}.{signature}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{}", "A".repeat(86)),
    ] {
        door.get("/api/auth/me").bearer(&forged).await.refused(401, "invalid_token");
    }
    door.get("/api/auth/me").bearer(&token).await.expect(200);
}

async fn every_tenant_has_keys_of_its_own(gateway: Gateway) {
    let ids = async |door| keys(door).await.into_iter().map(|key| key.common.key_id).collect::<Vec<_>>();

    let (here, there) = (ids(gateway.classic()).await, ids(gateway.other()).await);

    assert!(!here.is_empty() && here.iter().all(|id| !there.contains(id)), "{here:?} {there:?}");
}

async fn the_keys_stay_over_a_restart(gateway: Gateway) {
    let before = keys(gateway.classic()).await;

    let gateway = gateway.restart(|_| {}).await;

    assert_eq!(keys(gateway.classic()).await, before);
}
