//! From a proven number to an account: what the proof is bound to, and how long it holds.

use serde_json::{Value, json};

use super::{FAR_AWAY, HOME, NUMBER, OTHER_NUMBER, PASSWORD, minutes, register, request_code, seconds, verify_code};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    the_original_body_registers_from_where_the_number_was_proven,
    the_grant_is_bound_to_number_address_and_user_agent,
    the_grant_works_once_and_for_five_minutes,
    the_registration_token_works_once_for_its_number_and_for_five_minutes,
    one_proof_makes_one_account_though_token_and_grant_both_hold_it,
    a_wrong_registration_token_never_falls_back_to_the_grant,
    a_strict_tenant_takes_the_token_only,
    a_registered_number_cannot_be_registered_again,
    without_a_proof_nobody_registers,
    of_parallel_registrations_one_wins,
    strict_e_mail_registration_of_somebody_known_looks_the_same_and_tells_the_owner,
);

fn body(phone: &str) -> Value {
    json!({"phone": phone, "first_name": "Awa", "last_name": "Diop"})
}

fn with_token(phone: &str, token: &str) -> Value {
    json!({"phone": phone, "first_name": "Awa", "last_name": "Diop", "registration_token": token})
}

/// Proves a number from Firefox at home; the registration token.
async fn prove(door: Door<'_>, phone: &str, length: usize) -> String {
    let code = request_code(door, phone, length).await;
    let answer = json!({"phone": phone, "code": code});
    let proven = door.post("/auth/verify-code", &answer).from("Firefox").at(HOME).await.expect(200);
    proven.word("registration_token")
}

async fn register_by_token(door: Door<'_>, phone: &str, token: &str) -> Answer {
    door.post("/auth/register", &with_token(phone, token)).await
}

async fn the_original_body_registers_from_where_the_number_was_proven(gateway: Gateway) {
    let door = gateway.classic();
    prove(door, NUMBER, 4).await;

    let registered = door.post("/auth/register", &body("00221771234567")).from("Firefox").at(HOME).await.expect(201);

    assert_eq!(registered["user"]["phone"], NUMBER);
}

async fn the_grant_is_bound_to_number_address_and_user_agent(gateway: Gateway) {
    let door = gateway.classic();
    prove(door, NUMBER, 4).await;
    let ask = |phone: &str| door.post("/auth/register", &body(phone));

    ask(OTHER_NUMBER).from("Firefox").at(HOME).await.refused(403, "phone_not_verified");
    ask(NUMBER).from("Opera").at(HOME).await.refused(403, "phone_not_verified");
    ask(NUMBER).at(HOME).await.refused(403, "phone_not_verified");
    ask(NUMBER).from("Firefox").at(FAR_AWAY).await.refused(403, "phone_not_verified");
    // The very address, not its neighbourhood.
    ask(NUMBER).from("Firefox").at([127, 0, 0, 2]).await.refused(403, "phone_not_verified");

    ask(NUMBER).from("Firefox").at(HOME).await.expect(201);
}

async fn the_grant_works_once_and_for_five_minutes(gateway: Gateway) {
    let door = gateway.classic();
    prove(door, NUMBER, 4).await;
    let ask = |phone: &str| door.post("/auth/register", &body(phone)).from("Firefox").at(HOME);
    ask(NUMBER).await.expect(201);

    ask(NUMBER).await.refused(403, "phone_not_verified");

    prove(door, OTHER_NUMBER, 4).await;
    gateway.clock.advance(minutes(5));
    ask(OTHER_NUMBER).await.refused(403, "phone_not_verified");
}

async fn the_registration_token_works_once_for_its_number_and_for_five_minutes(gateway: Gateway) {
    for (door, length) in [(gateway.classic(), 4), (gateway.strict(), 6)] {
        let token = prove(door, NUMBER, length).await;

        register_by_token(door, OTHER_NUMBER, &token).await.refused(403, "phone_not_verified");
        gateway.clock.advance(seconds(295));
        register_by_token(door, NUMBER, &token).await.expect(201);
        register_by_token(door, NUMBER, &token).await.refused(403, "phone_not_verified");

        let late = prove(door, OTHER_NUMBER, length).await;
        gateway.clock.advance(minutes(5));
        register_by_token(door, OTHER_NUMBER, &late).await.refused(403, "phone_not_verified");
    }
}

async fn one_proof_makes_one_account_though_token_and_grant_both_hold_it(gateway: Gateway) {
    let door = gateway.classic();
    let token = prove(door, NUMBER, 4).await;
    let account = register_by_token(door, NUMBER, &token).await.expect(201);
    let recent = door.delete("/api/auth/me").bearer(&account.word("token")).await;
    recent.expect(204);

    // The number is free again, but its proof is spent.
    let by_grant = door.post("/auth/register", &body(NUMBER)).from("Firefox").at(HOME).await;

    by_grant.refused(403, "phone_not_verified");
}

async fn a_wrong_registration_token_never_falls_back_to_the_grant(gateway: Gateway) {
    let door = gateway.classic();
    prove(door, NUMBER, 4).await;
    for wrong in ["", "wrong", "\u{0}"] {
        let asked = door.post("/auth/register", &with_token(NUMBER, wrong)).from("Firefox").at(HOME);
        asked.await.refused(403, "phone_not_verified");
    }

    // The grant was not spent by them.
    door.post("/auth/register", &body(NUMBER)).from("Firefox").at(HOME).await.expect(201);
}

async fn a_strict_tenant_takes_the_token_only(gateway: Gateway) {
    let door = gateway.strict();
    let token = prove(door, NUMBER, 6).await;

    let by_grant = door.post("/auth/register", &body(NUMBER)).from("Firefox").at(HOME).await;

    by_grant.refused(403, "phone_not_verified");
    register_by_token(door, NUMBER, &token).await.expect(201);
}

async fn a_registered_number_cannot_be_registered_again(gateway: Gateway) {
    let door = gateway.classic();
    let (code, first) = (request_code(door, NUMBER, 4).await, json!({"phone": NUMBER}));
    let token = verify_code(door, NUMBER, &code).await.expect(200).word("registration_token");
    gateway.clock.advance(seconds(30));
    door.post("/auth/request-code", &first).await.expect(200);
    let code = gateway.inbox.next(NUMBER).await.code(4);
    let second = verify_code(door, NUMBER, &code).await.expect(200).word("registration_token");
    register_by_token(door, NUMBER, &token).await.expect(201);

    register_by_token(door, NUMBER, &second).await.refused(400, "user_exists");
}

async fn without_a_proof_nobody_registers(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        door.post("/auth/register", &body(NUMBER)).from("Firefox").await.refused(403, "phone_not_verified");
    }
}

async fn of_parallel_registrations_one_wins(gateway: Gateway) {
    let door = gateway.classic();
    let token = prove(door, NUMBER, 4).await;

    let answers = futures_util::future::join_all((0..8).map(|_| register_by_token(door, NUMBER, &token))).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for loser in answers.into_iter().filter(|answer| answer.status != 201) {
        loser.refused(403, "phone_not_verified");
    }
}

async fn strict_e_mail_registration_of_somebody_known_looks_the_same_and_tells_the_owner(gateway: Gateway) {
    let door = gateway.strict();
    let binta = "binta@example.com";
    let newcomer = register(door, binta).await.expect(201);
    gateway.inbox.next(binta).await;

    let again = register(door, binta).await.expect(201);

    let like = |answer: &Answer| {
        let (status, headers, body) = answer.same_for_everybody();
        let token = answer.word("device_token");
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.replace(&token, "…"))).collect();
        (status, headers, body.replace(&token, "…"))
    };
    assert_eq!(like(&newcomer), like(&again));
    let mail = gateway.inbox.next(binta).await;
    assert!(mail.text.contains("Someone tried to register"), "{}", mail.text);
    // The newcomer's device is not trusted by it.
    let body = json!({"email": binta, "password": PASSWORD});
    let link_is_unused = door.post("/api/auth/login", &body).device(&again.word("device_token")).await;
    link_is_unused.refused(400, "email_not_verified");
}
