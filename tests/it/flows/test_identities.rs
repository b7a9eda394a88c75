//! Listed contacts with a fixed code: what they are good for, and what nobody can do with them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{
    AWA, NUMBER, OTHER_NUMBER, PASSWORD, a_phone_person, is_good, log_in, minutes, refresh, register, request_code,
    seconds, verify_code, wrong,
};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_listed_number_signs_up_and_in_with_its_code_and_nothing_is_sent,
    the_fixed_code_opens_no_other_number_and_no_other_tenant,
    a_test_identity_has_no_more_tries_and_sends_than_anybody,
    a_fixed_code_needs_a_challenge_as_any_code_does,
    an_ordinary_account_makes_its_identity_inert,
    an_identity_taken_off_the_list_is_worth_nothing,
    a_contact_listed_or_taken_off_while_a_code_lives_has_another_at_once,
    taking_it_off_the_list_before_the_registration_launders_nothing,
    a_listed_address_registers_and_confirms_devices_without_a_mail,
    no_mail_ever_reaches_a_test_account,
);

const CODE: &str = "4711";

fn identities() -> Value {
    json!({"test_identities": [{"phone": NUMBER, "code": CODE}, {"email": AWA, "code": "471147"}]})
}

async fn with_identities(gateway: Gateway) -> Gateway {
    gateway.with_settings("default", &identities()).await
}

/// What an access token says.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWS has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn ask_for_a_code(gateway: &Gateway, phone: &str) {
    gateway.classic().post("/auth/request-code", &json!({"phone": phone})).await.expect(200);
}

/// Every row of the outbox.
async fn written(gateway: &Gateway) -> usize {
    gateway.tables().await.iter().filter(|(table, _)| table == "outbox").count()
}

async fn a_listed_number_signs_up_and_in_with_its_code_and_nothing_is_sent(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();
    ask_for_a_code(&gateway, NUMBER).await;
    let proof = verify_code(door, NUMBER, CODE).await.expect(200).word("registration_token");
    let body = json!({"phone": NUMBER, "first_name": "T", "last_name": "T", "registration_token": proof});
    let registered = door.post("/auth/register", &body).await.expect(201);
    gateway.clock.advance(minutes(1));
    ask_for_a_code(&gateway, NUMBER).await;
    let signed_in = verify_code(door, NUMBER, CODE).await.expect(200);
    let refreshed = refresh(door, &signed_in.word("refresh_token")).await.expect(200);

    for answer in [&registered, &signed_in, &refreshed] {
        assert_eq!(claims(&answer.word("token"))["test"], true);
    }
    assert!(is_good(door, &refreshed.word("token")).await);
    assert_eq!(written(&gateway).await, 0);
    // Asked twice, right twice, registered once.
    gateway.audited("test_identity_used", 5).await;
    let ordinary = a_phone_person(door, OTHER_NUMBER, 4).await;
    assert_ne!(claims(&ordinary.access)["test"], true);
}

async fn the_fixed_code_opens_no_other_number_and_no_other_tenant(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let mut code = request_code(gateway.classic(), OTHER_NUMBER, 4).await;
    if code == CODE {
        gateway.clock.advance(minutes(6));
        code = request_code(gateway.classic(), OTHER_NUMBER, 4).await;
    }
    let elsewhere = request_code(gateway.other(), NUMBER, 4).await;

    verify_code(gateway.classic(), OTHER_NUMBER, CODE).await.refused(400, "invalid_code");
    if elsewhere != CODE {
        verify_code(gateway.other(), NUMBER, CODE).await.refused(400, "invalid_code");
    }

    verify_code(gateway.classic(), OTHER_NUMBER, &code).await.expect(200);
    verify_code(gateway.other(), NUMBER, &elsewhere).await.expect(200);
    gateway.audited("test_identity_used", 0).await;
}

async fn a_test_identity_has_no_more_tries_and_sends_than_anybody(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();
    let ask = json!({"phone": NUMBER});
    ask_for_a_code(&gateway, NUMBER).await;
    let early = door.post("/auth/request-code", &ask).await.refused(429, "too_many_requests");
    for _ in 0..5 {
        verify_code(door, NUMBER, &wrong(CODE)).await.refused(400, "invalid_code");
    }

    verify_code(door, NUMBER, CODE).await.refused(400, "code_expired");

    gateway.clock.advance(seconds(early.retry_after()));
    for _ in 1..5 {
        ask_for_a_code(&gateway, NUMBER).await;
        gateway.clock.advance(seconds(30));
    }
    door.post("/auth/request-code", &ask).await.refused(429, "too_many_requests");
    gateway.clock.advance(minutes(5));
    verify_code(door, NUMBER, CODE).await.refused(400, "code_expired");
}

async fn a_fixed_code_needs_a_challenge_as_any_code_does(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();

    verify_code(door, NUMBER, CODE).await.refused(400, "code_expired");
    ask_for_a_code(&gateway, NUMBER).await;
    verify_code(door, NUMBER, CODE).await.expect(200);

    verify_code(door, NUMBER, CODE).await.refused(400, "code_expired");
}

async fn an_ordinary_account_makes_its_identity_inert(gateway: Gateway) {
    a_phone_person(gateway.classic(), NUMBER, 4).await;
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();
    gateway.clock.advance(minutes(6));

    let code = request_code(door, NUMBER, 4).await;

    if code != CODE {
        verify_code(door, NUMBER, CODE).await.refused(400, "invalid_code");
    }
    let signed_in = verify_code(door, NUMBER, &code).await.expect(200);
    assert_ne!(claims(&signed_in.word("token"))["test"], true);
    gateway.audited("test_identity_used", 0).await;
}

async fn an_identity_taken_off_the_list_is_worth_nothing(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    ask_for_a_code(&gateway, NUMBER).await;

    let gateway = gateway.with_settings("default", &json!({})).await;
    let door = gateway.classic();

    verify_code(door, NUMBER, CODE).await.refused(400, "code_expired");
    // Its number is an ordinary one at once.
    a_phone_person(door, NUMBER, 4).await;
}

async fn a_contact_listed_or_taken_off_while_a_code_lives_has_another_at_once(gateway: Gateway) {
    let ordinary = request_code(gateway.classic(), NUMBER, 4).await;
    let gateway = with_identities(gateway).await;
    ask_for_a_code(&gateway, NUMBER).await;
    if ordinary != CODE {
        verify_code(gateway.classic(), NUMBER, &ordinary).await.refused(400, "invalid_code");
    }
    verify_code(gateway.classic(), NUMBER, CODE).await.expect(200);
    gateway.clock.advance(seconds(30));
    ask_for_a_code(&gateway, NUMBER).await;

    let gateway = gateway.with_settings("default", &json!({})).await;

    let code = request_code(gateway.classic(), NUMBER, 4).await;
    verify_code(gateway.classic(), NUMBER, &code).await.expect(200);
}

async fn taking_it_off_the_list_before_the_registration_launders_nothing(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    ask_for_a_code(&gateway, NUMBER).await;
    let proof = verify_code(gateway.classic(), NUMBER, CODE).await.expect(200).word("registration_token");

    let gateway = gateway.with_settings("default", &json!({})).await;
    let body = json!({"phone": NUMBER, "first_name": "T", "last_name": "T", "registration_token": proof});
    let registered = gateway.classic().post("/auth/register", &body).await.expect(201);

    assert_eq!(claims(&registered.word("token"))["test"], true);
}

async fn a_listed_address_registers_and_confirms_devices_without_a_mail(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();
    register(door, AWA).await.expect(201);

    let asked = log_in(door, AWA, PASSWORD).await.expect(200);
    assert_eq!(asked["otp_required"], true);
    let answer = |code: &str| json!({"email": AWA, "otp": code, "challenge_id": asked["challenge_id"]});
    door.post("/api/auth/verify-otp", &answer("471148")).await.refused(400, "invalid_code");
    let signed_in = door.post("/api/auth/verify-otp", &answer("471147")).await.expect(200);

    assert_eq!(claims(&signed_in.word("token"))["test"], true);
    assert_eq!(written(&gateway).await, 0);
    // Registered, sent, wrong, right.
    gateway.audited("test_identity_used", 4).await;
}

async fn no_mail_ever_reaches_a_test_account(gateway: Gateway) {
    let gateway = with_identities(gateway).await;
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    for path in ["/api/auth/resend-verification", "/api/auth/password/forgot"] {
        door.post(path, &json!({"email": AWA})).await.expect(200);
    }
    super::lock(door, AWA).await;
    // The next request finds what the last one left behind.
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");

    assert_eq!(written(&gateway).await, 0);
}
