//! Nothing that a stranger asks tells who has an account.

use serde_json::{Value, json};

use super::{AWA, NEW_PASSWORD, NUMBER, OTHER_NUMBER, a_person, a_phone_person, fail, minutes, verify_code};
use crate::harness::gateway::{Gateway, on_every_back_end};

/// The body of a question about an address.
type Ask = fn(&str) -> Value;

const NOBODY: &str = "nobody@example.com";

on_every_back_end!(
    every_question_about_an_address_has_one_answer,
    every_question_about_a_number_has_one_answer,
    what_is_left_to_be_done_for_a_known_address_keeps_no_later_question_waiting,
);

async fn every_question_about_an_address_has_one_answer(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;
        let asks: [(&str, Ask); 5] = [
            ("/api/auth/login", |email| json!({"email": email, "password": NEW_PASSWORD})),
            ("/api/auth/verify-otp", |email| json!({"email": email, "otp": "123456"})),
            ("/api/auth/password/forgot", |email| json!({"email": email})),
            ("/api/auth/resend-verification", |email| json!({"email": email})),
            ("/api/auth/login", |email| json!({"email": email, "password": ""})),
        ];
        for (path, body) in asks {
            // Once more, so that the limits tell nothing either.
            for _ in 0..2 {
                let known = door.post(path, &body(AWA)).from("Opera").await;
                let unknown = door.post(path, &body(NOBODY)).from("Opera").await;
                assert_eq!(known.same_for_everybody(), unknown.same_for_everybody(), "{path}");
            }
        }
    }
    assert_eq!(gateway.posted(NOBODY, "").await, 0);
}

async fn every_question_about_a_number_has_one_answer(gateway: Gateway) {
    for (door, digits) in [(gateway.classic(), 4), (gateway.strict(), 6)] {
        a_phone_person(door, NUMBER, digits).await;
        gateway.clock.advance(minutes(61));
        let ask = async |phone: &str| {
            let sent = door.post("/auth/request-code", &json!({"phone": phone})).await;
            if sent.status == 200 {
                gateway.inbox.next(phone).await;
            }
            sent
        };

        for _ in 0..2 {
            let (known, unknown) = (ask(NUMBER).await, ask(OTHER_NUMBER).await);
            assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
        }
        for _ in 0..6 {
            // One in ten thousand guesses of four digits is right; letters never are.
            let (known, unknown) =
                (verify_code(door, NUMBER, "none").await, verify_code(door, OTHER_NUMBER, "none").await);
            assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
        }
    }
}

async fn what_is_left_to_be_done_for_a_known_address_keeps_no_later_question_waiting(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let held = gateway.hold("links, attempts").await;
    let ask = json!({"email": AWA});

    door.post("/api/auth/password/forgot", &ask).await.expect(200);
    door.post("/api/auth/resend-verification", &ask).await.expect(200);
    for _ in 0..2 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }

    // Nothing is done yet, and nothing is lost.
    assert_eq!(gateway.posted(AWA, "password_reset").await, 0);
    held.let_go().await;
    gateway.inbox.next_with(AWA, "/password/reset/").await;
    let failures = "\"failures\":2";
    let counted = async || {
        let rows = gateway.tables().await;
        rows.iter().any(|(table, row)| table == "attempts" && row.replace(": ", ":").contains(failures))
    };
    gateway.until(counted).await;
}
