//! What guichet was told in confidence stands in no log and in no store.

use serde_json::json;

use super::{Tokens, log_in, minutes, refresh, request_code, seconds, verify_code};
use crate::harness::gateway::{Gateway, logs, on_every_back_end};

on_every_back_end!(
    no_secret_and_no_contact_is_found_where_it_does_not_belong,
    every_answer_with_a_secret_forbids_to_keep_it,
);

const CANARY: &str = "canary-7f3a91@example.com";
const CANARY_NUMBER: &str = "+221776543210";
const CANARY_PASSWORD: &str = "canary kettles sing at noon";
const CANARY_SECOND: &str = "canary herons sleep till dawn";

/// A whole life, with every secret that came up in it.
async fn live(gateway: &Gateway) -> Vec<String> {
    let door = gateway.strict();
    let mut secrets = vec![CANARY_PASSWORD.to_owned(), CANARY_SECOND.to_owned()];
    let body = json!({"username": "canary", "email": CANARY, "password": CANARY_PASSWORD});
    secrets.push(door.post("/api/auth/register", &body).await.expect(201).word("device_token"));
    let verification = gateway.inbox.next(CANARY).await;
    secrets.push(verification.token());
    door.get(&verification.link().replace("/t/strict", "")).await.expect(200);
    log_in(door, CANARY, "canary of a wrong password").await.refused(400, "invalid_credentials");
    secrets.push("canary of a wrong password".to_owned());
    log_in(door, CANARY, CANARY_PASSWORD).await.expect(200);
    let code = gateway.inbox.next(CANARY).await.code(6);
    let confirmed = door.post("/api/auth/verify-otp", &json!({"email": CANARY, "otp": code})).await.expect(200);
    let tokens = Tokens::from(&confirmed);
    let refreshed = Tokens::from(&refresh(door, &tokens.refresh).await.expect(200));
    secrets.extend([code, tokens.device.unwrap(), tokens.access, tokens.refresh]);
    secrets.extend([refreshed.access, refreshed.refresh]);
    door.post("/api/auth/password/forgot", &json!({"email": CANARY})).await.expect(200);
    let token = gateway.inbox.next(CANARY).await.token();
    let reset = json!({"token": token, "password": CANARY_SECOND});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    secrets.push(token);

    let code = request_code(door, CANARY_NUMBER, 6).await;
    let proof = verify_code(door, CANARY_NUMBER, &code).await.expect(200).word("registration_token");
    let body = json!({"phone": CANARY_NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});
    let tokens = Tokens::from(&door.post("/auth/register", &body).await.expect(201));
    secrets.extend([code, proof, tokens.access, tokens.refresh, tokens.device.unwrap()]);
    // One more waits for an answer while we look.
    gateway.clock.advance(minutes(1));
    secrets.push(request_code(door, CANARY_NUMBER, 6).await);
    gateway.clock.advance(seconds(1));
    secrets
}

/// Does the text hold the secret as a word of its own? Six digits are part of many a number, and the fraction
/// of many a time.
pub(crate) fn holds(text: &[u8], secret: &str) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let begins_after = |before: &[u8]| match before {
        [.., whole, b'.'] => !whole.is_ascii_digit(),
        _ => !word(before.last()),
    };
    let found = |at: usize| {
        text[at..].starts_with(secret.as_bytes()) && begins_after(&text[..at]) && !word(text.get(at + secret.len()))
    };
    (0..text.len()).any(|at| text[at] == secret.as_bytes()[0] && found(at))
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

async fn no_secret_and_no_contact_is_found_where_it_does_not_belong(gateway: Gateway) {
    let secrets = live(&gateway).await;

    let logged = logs().lock().unwrap().clone();
    let (tables, kept) = (gateway.tables().await, gateway.kept_bytes().await);
    assert!(!logged.is_empty() && !kept.is_empty());
    for secret in &secrets {
        assert!(!holds(&logged, secret), "{secret} is in the log");
        assert!(!holds(&kept, secret), "{secret} is kept");
        for (table, row) in &tables {
            let row = row.to_ascii_lowercase();
            let is_there =
                holds(row.as_bytes(), &secret.to_ascii_lowercase()) || secret.len() > 8 && row.contains(&hex(secret));
            assert!(!is_there, "{secret} is in {table}: {row}");
        }
    }
    for contact in [CANARY, CANARY_NUMBER] {
        assert!(!holds(&logged, contact), "{contact} is in the log");
        let homes = ["accounts", "contacts", "outbox"];
        let astray: Vec<_> = tables
            .iter()
            .filter(|(table, row)| {
                !homes.contains(&table.as_str()) && (row.contains(contact) || row.contains(&hex(contact)))
            })
            .collect();
        assert!(astray.is_empty(), "{astray:?}");
        // The embedded database's file is the tables again.
        assert!(!gateway.has_redis() || !holds(&kept, contact), "{contact} is in Redis");
    }
}

async fn every_answer_with_a_secret_forbids_to_keep_it(gateway: Gateway) {
    // Every answer of these stories is held to it by the client; here one of each kind is named.
    let door = gateway.classic();
    let registered = super::register(door, CANARY).await.expect(201);
    let refused = log_in(door, CANARY, "wrong").await;
    let nothing = door.get("/nothing").await;

    for answer in [registered, refused, nothing] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.headers.get("strict-transport-security").is_none(), "plain http");
    }
}
