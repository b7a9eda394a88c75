//! Signing keys change, and nobody who follows the rules sees a good token fail.

use std::collections::BTreeSet;
use std::time::Duration;

use guichet::domain::policy::Profile;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{AWA, NUMBER, a_person, a_phone_person, minutes, refresh, seconds, sign_in};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_key_is_published_before_it_signs_and_until_its_last_token_has_run_out,
    every_algorithm_signs_and_is_published_but_the_symmetric_one,
    another_algorithm_takes_over_without_a_failure,
    a_strict_tenant_cannot_have_a_symmetric_key,
);

async fn jwks(door: Door<'_>) -> JwkSet {
    serde_json::from_value(door.get("/.well-known/jwks.json").await.expect(200).json).unwrap()
}

fn kids(keys: &JwkSet) -> BTreeSet<String> {
    keys.keys.iter().filter_map(|key| key.common.key_id.clone()).collect()
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// Checks a token as an application does that fetched the keys some time ago.
fn verifies(token: &str, keys: &JwkSet) -> bool {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let Some(key) = keys.find(header.kid.as_deref().unwrap()) else { return false };
    let mut validation = Validation::new(header.alg);
    // The clock of this test is not the system's.
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).is_ok()
}

/// Takes the steps that are due, and waits until this node serves the keys that are then in use.
async fn rotate_due(gateway: &Gateway, slug: &str) {
    let storage = gateway.storage().await;
    gateway.rotate_due_keys().await;
    let tenant = storage.tenants().find_by_slug(slug).await.unwrap().unwrap().id;
    let stored = storage.signing_keys().in_use(tenant).await.unwrap();
    let public = stored.iter().filter(|key| key.algorithm.as_str() != "HS256");
    let expected: BTreeSet<_> = public.map(|key| key.kid.clone()).collect();
    let path = format!("/t/{slug}/.well-known/jwks.json");
    gateway
        .until(|| async {
            let keys = gateway.classic().get(&path).await.expect(200).json;
            kids(&serde_json::from_value(keys).unwrap()) == expected
        })
        .await;
}

async fn signed_in(gateway: &Gateway, slug: &'static str, prefix: &'static str, settings: Value) -> (String, String) {
    gateway.new_tenant(slug, Profile::Classic, settings).await;
    let tokens = a_phone_person(gateway.door(prefix), NUMBER, 4).await;
    (tokens.access, tokens.refresh)
}

/// A new pair, from a node that knows of the last change.
async fn fresh(door: Door<'_>, refresh_token: &mut String) -> String {
    let pair = refresh(door, refresh_token).await.expect(200);
    *refresh_token = pair.word("refresh_token");
    pair.word("token")
}

async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_run_out(gateway: Gateway) {
    let settings = json!({"tokens": {"key_rotation": 2}});
    let (first, mut chain) = signed_in(&gateway, "turning", "/t/turning", settings).await;
    let door = gateway.door("/t/turning");
    let (old, cached) = (kid(&first), jwks(door).await);
    assert_eq!(kids(&cached), BTreeSet::from([old.clone()]));

    // A day ahead the next one is there, and signs nothing yet.
    gateway.clock.advance(minutes(24 * 60));
    rotate_due(&gateway, "turning").await;
    let with_next = jwks(door).await;
    assert_eq!(with_next.keys.len(), 2);
    let before = fresh(door, &mut chain).await;
    assert_eq!(kid(&before), old);
    assert!(verifies(&before, &cached) && verifies(&before, &with_next));

    // Its turn comes; who fetched the keys since it was published loses nothing.
    gateway.clock.advance(minutes(24 * 60 - 5));
    let last_of_old = fresh(door, &mut chain).await;
    assert_eq!(kid(&last_of_old), old);
    gateway.clock.advance(minutes(5));
    rotate_due(&gateway, "turning").await;
    let after = {
        let mut token = fresh(door, &mut chain).await;
        let deadline = std::time::Instant::now() + seconds(30);
        while kid(&token) == old && std::time::Instant::now() < deadline {
            // Slower than the limit on refreshing.
            tokio::time::sleep(Duration::from_millis(400)).await;
            token = fresh(door, &mut chain).await;
        }
        token
    };
    assert_ne!(kid(&after), old);
    for token in [&after, &last_of_old] {
        assert!(verifies(token, &with_next) && verifies(token, &jwks(door).await));
        door.get("/forward-auth").bearer(token).await.expect(200);
    }

    // The old one stays as long as a token of it may be shown: an hour, leeway, caches.
    gateway.clock.advance(minutes(60));
    rotate_due(&gateway, "turning").await;
    assert!(kids(&jwks(door).await).contains(&old));
    gateway.clock.advance(seconds(30 + 300 + 60));
    rotate_due(&gateway, "turning").await;
    assert_eq!(kids(&jwks(door).await), BTreeSet::from([kid(&after)]));
    assert!(!gateway.tables().await.iter().any(|(_, row)| row.contains(&old) && row.contains("retiring")));
}

async fn every_algorithm_signs_and_is_published_but_the_symmetric_one(gateway: Gateway) {
    for (slug, prefix, name, algorithm) in [
        ("es", "/t/es", "ES256", Algorithm::ES256),
        ("ed", "/t/ed", "EdDSA", Algorithm::EdDSA),
        ("rs", "/t/rs", "RS256", Algorithm::RS256),
        ("hs", "/t/hs", "HS256", Algorithm::HS256),
    ] {
        let (token, _) = signed_in(&gateway, slug, prefix, json!({"tokens": {"algorithm": name}})).await;
        let door = gateway.door(prefix);
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let keys = jwks(door).await;

        assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("at+jwt")), "{name}");
        door.get("/forward-auth").bearer(&token).await.expect(200);
        door.get("/forward-auth").bearer(&token).await.expect(200);
        door.get("/api/auth/me").bearer(&token).await.expect(200);
        if name == "HS256" {
            assert!(keys.keys.is_empty(), "a secret is published");
        } else {
            assert!(verifies(&token, &keys), "{name}");
        }
        let text = door.get("/.well-known/jwks.json").await.text;
        for private in ["\"d\"", "\"p\"", "\"q\"", "\"k\"", "\"dp\""] {
            assert!(!text.contains(private), "{private} of {name} is published");
        }
    }
}

async fn another_algorithm_takes_over_without_a_failure(gateway: Gateway) {
    let (first, mut chain) = signed_in(&gateway, "moving", "/t/moving", json!({})).await;
    let door = gateway.door("/t/moving");
    let document = "{\"tokens\":{\"algorithm\":\"EdDSA\"}}";
    gateway.execute(format!("UPDATE tenants SET settings = '{document}', version = 2 WHERE slug = 'moving'")).await;
    gateway.execute("UPDATE directory_revision SET revision = revision + 1".to_owned()).await;
    gateway
        .until(|| async {
            gateway.rotate_due_keys().await;
            jwks(door).await.keys.len() == 2
        })
        .await;

    let with_next = jwks(door).await;
    assert!(verifies(&first, &with_next));
    gateway.clock.advance(minutes(15));
    rotate_due(&gateway, "moving").await;
    gateway
        .until(|| async {
            let token = refresh(door, &chain).await.expect(200).word("token");
            jsonwebtoken::decode_header(&token).unwrap().alg == Algorithm::EdDSA
        })
        .await;
    let moved = fresh(door, &mut chain).await;
    for token in [&first, &moved] {
        assert!(verifies(token, &with_next));
        door.get("/forward-auth").bearer(token).await.expect(200);
    }
}

async fn a_strict_tenant_cannot_have_a_symmetric_key(gateway: Gateway) {
    // Stored in spite of the rules: the profile's own rules hold.
    gateway.new_tenant("hard", Profile::AsvsL1, json!({"tokens": {"algorithm": "HS256"}})).await;

    // By mail: its text messages go nowhere before it says where.
    let door = gateway.door("/t/hard");
    let tokens = sign_in(door, AWA, &a_person(door, AWA).await).await;

    assert_eq!(jsonwebtoken::decode_header(&tokens.access).unwrap().alg, Algorithm::ES256);
}
