//! Project Wycheproof's JOSE vectors against the JWS layer: every published attack is refused.
//!
//! Two questions are asked of each vector. With the group's own key, if it is one we would sign
//! with: is the result the vector's? And with an ES256 key of ours under whatever `kid` the token
//! names: is a token of any other algorithm refused?

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::jwt::{TokenRefused, verify_jws};
use super::keyset::{Algorithm, Jwk, VerifyingKeys, generate};

const SIGNATURES: &str = include_str!("../../tests/fixtures/wycheproof/wycheproof_json_web_signature_test.json");
const KEYS: &str = include_str!("../../tests/fixtures/wycheproof/wycheproof_json_web_key_test.json");

fn groups(text: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(text).unwrap();
    suite["testGroups"].as_array().unwrap().clone()
}

fn tests(group: &Value) -> &Vec<Value> {
    group["tests"].as_array().unwrap()
}

fn text_of(jws: &Value) -> String {
    jws.as_str().map_or_else(|| jws.to_string(), ToOwned::to_owned)
}

/// The keys of a group as a tenant's set, if we would load them at all.
fn load(keys: &[Value]) -> Option<VerifyingKeys> {
    let keys: Option<Vec<Jwk>> = keys.iter().map(|key| serde_json::from_value(key.clone()).ok()).collect();
    VerifyingKeys::new(&keys?).ok()
}

/// What a token says about itself, if that can be read at all.
fn header_of(token: &str) -> Value {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    header.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// An ES256 key of ours under the `kid` that a token names.
fn our_key_as(kid: &Value) -> VerifyingKeys {
    let mut key = serde_json::to_value(generate(Algorithm::Es256).unwrap().public).unwrap();
    if kid.is_string() {
        key["kid"] = kid.clone();
    }
    load(&[key]).unwrap()
}

/// No deviation: where the key is one we sign with, our stricter header rules refuse nothing that
/// the suite calls valid.
#[test]
fn every_es256_signature_vector_gives_its_result() {
    let (mut run, mut valid) = (0, 0);
    for group in groups(SIGNATURES) {
        let Some(keys) = load(std::slice::from_ref(&group["public"])) else { continue };
        for test in tests(&group) {
            let accepted = verify_jws(&text_of(&test["jws"]), &keys).is_ok();
            assert_eq!(accepted, test["result"] == "valid", "{}: {}", test["tcId"], test["comment"]);
            run += 1;
            valid += u32::from(accepted);
        }
    }
    assert_eq!((run, valid), (39, 2));
}

/// One deviation, on purpose: vectors of other algorithms are refused though the suite calls some
/// valid, and for what they say, before any signature is looked at.
#[test]
fn nothing_signed_otherwise_passes_an_es256_key() {
    let (mut run, mut refused_for_signature) = (0, 0);
    for group in groups(SIGNATURES) {
        for test in tests(&group) {
            let token = text_of(&test["jws"]);
            let header = header_of(&token);
            let refusal = verify_jws(&token, &our_key_as(&header["kid"])).unwrap_err();
            if refusal == TokenRefused::Signature {
                assert_eq!(header["alg"], "ES256", "{}: {}", test["tcId"], test["comment"]);
                refused_for_signature += 1;
            }
            run += 1;
        }
    }
    assert_eq!(run, 401);
    assert!(refused_for_signature > 20, "hardly any vector reached the signature");
}

/// All valid vectors of this file are HS256 or RS256, which a key set of ours never holds: the
/// whole file must be refused, nearly all of it before a token is looked at.
#[test]
fn no_key_set_vector_is_taken() {
    let (mut run, mut loaded) = (0, 0);
    for group in groups(KEYS) {
        let set = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let keys = load(set["keys"].as_array().unwrap());
        loaded += u32::from(keys.is_some());
        for test in tests(&group) {
            let token = text_of(&test["jws"]);
            let accepted = keys.as_ref().is_some_and(|keys| verify_jws(&token, keys).is_ok());
            assert!(!accepted, "{}: {}", test["tcId"], test["comment"]);
            run += 1;
        }
    }
    assert_eq!((run, loaded), (26, 0));
}
