//! Every library that verifies tokens × every kind of token.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{AUDIENCE, World, sign_up};
use crate::harness::node::{PATIENCE, POLL};
use crate::harness::tools::Tools;

const LIBRARIES: [&str; 4] = ["jose.mjs", "pyjwt_client.py", "joserfc_client.py", "authlib_tokens.py"];

/// Longer than a key that no longer signs stays published.
const KEY_IS_GONE: Duration = Duration::from_secs(2 * 3_600);

#[tokio::test(flavor = "multi_thread")]
async fn every_library_takes_good_tokens_and_no_others() {
    let Some(tools) = Tools::find() else { return };
    super::run(|world| async move {
        let strict = world.gateway.strict();
        let fresh = sign_up(strict, "+221771230001", world.app, 6).await.word("token");
        let elsewhere = sign_up(strict, "+221771230002", world.other_app, 6).await.word("token");
        let stranger = sign_up(world.gateway.other(), "+221771230003", world.foreign_app, 4).await.word("token");
        let old_key = key_id(&fresh);

        rotate(&world).await;
        let rotated = wait_for_a_token_of_another_key(&world, &old_key).await;

        let tokens = json!({
            "fresh": fresh, "rotated": rotated, "wrong audience": elsewhere, "other tenant": stranger,
            "tampered": tampered(&fresh), "unsigned": unsigned(&fresh),
        });
        for library in LIBRARIES {
            let verdicts = verdicts(&tools, library, &world, &tokens).await;
            for (name, verdict) in &verdicts {
                let good = matches!(name.as_str(), "fresh" | "rotated");
                assert_eq!(verdict == "accepted", good, "{library} on {name}: {verdict}");
            }
            assert_eq!(verdicts.len(), 6, "{library}");
        }

        // By the gateway's clock alone: to the libraries the token itself has time left.
        world.gateway.clock.advance(KEY_IS_GONE);
        wait_until_unpublished(&world, &old_key).await;
        for library in LIBRARIES {
            let verdicts = verdicts(&tools, library, &world, &json!({ "retired": fresh })).await;
            assert_ne!(verdicts["retired"], "accepted", "{library}");
        }
    })
    .await;
}

async fn verdicts(tools: &Tools, library: &'static str, world: &World, tokens: &Value) -> BTreeMap<String, String> {
    let issuer = world.gateway.url("/t/strict");
    let asked = json!({
        "issuer": issuer, "audience": AUDIENCE, "jwks_uri": format!("{issuer}/.well-known/jwks.json"), "tokens": tokens,
    });
    serde_json::from_value(tools.run(library, &asked).await).unwrap()
}

/// As an operator does, from another process.
async fn rotate(world: &World) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guichet"));
    command.args(["key", "rotate", "--tenant", "strict", "--now"]).env_clear().envs(world.gateway.environment());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn wait_for_a_token_of_another_key(world: &World, old: &str) -> String {
    let mut last = 10;
    let other = async {
        loop {
            let phone = format!("+2217712300{last}");
            let token = sign_up(world.gateway.strict(), &phone, world.app, 6).await.word("token");
            if key_id(&token) != old {
                return token;
            }
            last += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(PATIENCE, other).await.expect("the new key signs")
}

async fn wait_until_unpublished(world: &World, kid: &str) {
    let unpublished = async {
        while world.gateway.strict().get("/.well-known/jwks.json").await.text.contains(kid) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, unpublished).await.expect("the old key is gone");
}

fn key_id(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

fn part(token: &str, n: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(n).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Another subject under the same signature.
fn tampered(token: &str) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = part(token, 1);
    claims["sub"] = json!("somebody else");
    format!("{}.{}.{}", parts[0], encoded(&claims), parts[2])
}

/// The same claims, signed by nobody.
fn unsigned(token: &str) -> String {
    let mut header = part(token, 0);
    header["alg"] = json!("none");
    format!("{}.{}.", encoded(&header), token.split('.').nth(1).unwrap())
}
