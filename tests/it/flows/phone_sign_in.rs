//! Signing in with a number and a code: the first original API.

use serde_json::json;

use super::{
    NUMBER, OTHER_NUMBER, Tokens, a_phone_person, is_good, minutes, request_code, seconds, verify_code, wrong,
};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_newcomer_proves_the_number_registers_and_is_signed_in,
    a_registered_number_signs_in_with_a_code_alone,
    a_resend_waits_exactly_as_long_as_it_is_told_and_carries_the_same_code,
    the_sixth_code_of_an_hour_is_refused_until_the_first_is_an_hour_old,
    a_code_dies_after_its_life_and_a_new_one_is_another,
    a_code_survives_four_wrong_answers_and_not_five,
    a_strict_code_has_six_digits_and_three_tries,
    ten_wrong_codes_in_a_row_silence_a_short_code,
    a_code_works_once,
    a_code_is_for_one_number,
    a_code_is_read_as_people_type_it,
    without_a_request_no_code_is_right,
    a_stranger_who_uses_up_the_tries_does_not_stop_the_known_device,
    a_stranger_who_uses_up_the_sends_does_not_stop_the_known_device,
);

async fn a_newcomer_proves_the_number_registers_and_is_signed_in(gateway: Gateway) {
    let door = gateway.classic();

    let sent = door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);
    let message = gateway.inbox.next(NUMBER).await;
    let code = message.code(4);
    let proven = verify_code(door, NUMBER, &code).await.expect(200);
    let body = json!({
        "phone": NUMBER, "first_name": "Awa", "last_name": "Diop",
        "registration_token": proven.word("registration_token"),
    });
    let registered = door.post("/auth/register", &body).await.expect(201);

    assert_eq!(sent.json, json!({"message": "Code sent", "expires_in": 300, "resend_in": 30}));
    assert_eq!(message.channel, "sms");
    assert_eq!(proven.members(), ["message", "registration_token"]);
    assert_eq!(proven["message"], "User not registered");
    let expected = ["device_token", "expires_in", "refresh_token", "token", "token_type", "user"];
    assert_eq!(registered.members(), expected);
    assert_eq!(registered["token_type"], "Bearer");
    assert_eq!(registered["expires_in"], 3_600);
    let id = registered["user"]["id"].as_str().expect("a string");
    let user = json!({"id": id, "phone": NUMBER, "first_name": "Awa", "last_name": "Diop"});
    assert_eq!(registered["user"], user);
    let me = door.get("/api/auth/me").bearer(&registered.word("token")).await.expect(200);
    assert_eq!(me.json, user);
}

async fn a_registered_number_signs_in_with_a_code_alone(gateway: Gateway) {
    let door = gateway.classic();
    a_phone_person(door, NUMBER, 4).await;
    gateway.clock.advance(minutes(1));

    let code = request_code(door, NUMBER, 4).await;
    let signed_in = verify_code(door, NUMBER, &code).await.expect(200);

    assert_eq!(signed_in["user"]["phone"], NUMBER);
    assert_eq!(signed_in["user"]["last_name"], "Diop");
    assert_eq!(signed_in["token_type"], "Bearer");
    assert!(signed_in["registration_token"].is_null());
    assert!(is_good(door, &signed_in.word("token")).await);
}

async fn a_resend_waits_exactly_as_long_as_it_is_told_and_carries_the_same_code(gateway: Gateway) {
    let door = gateway.classic();
    let first = request_code(door, NUMBER, 4).await;
    gateway.clock.advance(seconds(10));

    let early = door.post("/auth/request-code", &json!({"phone": NUMBER})).await.refused(429, "too_many_requests");
    let wait = early.retry_after();
    gateway.clock.advance(seconds(wait));
    let again = door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);

    assert!((19..=20).contains(&wait), "{wait}");
    assert_eq!(gateway.inbox.next(NUMBER).await.code(4), first);
    // The same code dies when it was going to die.
    let left = again["expires_in"].as_u64().unwrap();
    assert!((268..=270).contains(&left), "{left}");
    assert_eq!(gateway.posted(NUMBER, "sign_in_code").await, 2);
}

async fn the_sixth_code_of_an_hour_is_refused_until_the_first_is_an_hour_old(gateway: Gateway) {
    let door = gateway.classic();
    for _ in 0..5 {
        request_code(door, NUMBER, 4).await;
        gateway.clock.advance(minutes(5));
    }

    let refused = door.post("/auth/request-code", &json!({"phone": NUMBER})).await.refused(429, "too_many_requests");
    let wait = refused.retry_after();
    gateway.clock.advance(seconds(wait));

    assert!((60 * 34..=60 * 35).contains(&wait), "{wait}");
    request_code(door, NUMBER, 4).await;
    assert_eq!(gateway.posted(NUMBER, "sign_in_code").await, 6);
}

async fn a_code_dies_after_its_life_and_a_new_one_is_another(gateway: Gateway) {
    let door = gateway.strict();
    let code = request_code(door, NUMBER, 6).await;
    gateway.clock.advance(seconds(300));

    verify_code(door, NUMBER, &code).await.refused(400, "code_expired");
    let new = request_code(door, NUMBER, 6).await;

    assert_ne!(new, code);
    gateway.clock.advance(seconds(295));
    verify_code(door, NUMBER, &new).await.expect(200);
}

async fn a_code_survives_four_wrong_answers_and_not_five(gateway: Gateway) {
    let door = gateway.classic();
    let code = request_code(door, NUMBER, 4).await;
    let other = request_code(door, OTHER_NUMBER, 4).await;

    for _ in 0..4 {
        verify_code(door, NUMBER, &wrong(&code)).await.refused(400, "invalid_code");
        verify_code(door, OTHER_NUMBER, &wrong(&other)).await.refused(400, "invalid_code");
    }
    verify_code(door, OTHER_NUMBER, &wrong(&other)).await.refused(400, "invalid_code");

    verify_code(door, NUMBER, &code).await.expect(200);
    verify_code(door, OTHER_NUMBER, &other).await.refused(400, "code_expired");
    // It is replaced at the next allowed send.
    gateway.clock.advance(seconds(30));
    let replaced = request_code(door, OTHER_NUMBER, 4).await;
    verify_code(door, OTHER_NUMBER, &replaced).await.expect(200);
}

async fn a_strict_code_has_six_digits_and_three_tries(gateway: Gateway) {
    let door = gateway.strict();
    let code = request_code(door, NUMBER, 6).await;

    for _ in 0..3 {
        verify_code(door, NUMBER, &wrong(&code)).await.refused(400, "invalid_code");
    }

    verify_code(door, NUMBER, &code).await.refused(400, "code_expired");
}

async fn ten_wrong_codes_in_a_row_silence_a_short_code(gateway: Gateway) {
    let door = gateway.classic();
    for _ in 0..2 {
        let code = request_code(door, NUMBER, 4).await;
        for _ in 0..5 {
            verify_code(door, NUMBER, &wrong(&code)).await.refused(400, "invalid_code");
        }
        gateway.clock.advance(seconds(30));
    }

    let silent = door.post("/auth/request-code", &json!({"phone": NUMBER})).await.refused(429, "too_many_requests");
    let wait = silent.retry_after();
    gateway.clock.advance(seconds(wait));
    let code = request_code(door, NUMBER, 4).await;

    assert!((60 * 59..=60 * 60).contains(&wait), "{wait}");
    // Five more make fifteen that day: no answer of a stranger is compared any more.
    for _ in 0..5 {
        verify_code(door, NUMBER, &wrong(&code)).await.refused(400, "invalid_code");
    }
    gateway.clock.advance(seconds(30));
    let code = request_code(door, NUMBER, 4).await;
    verify_code(door, NUMBER, &code).await.refused(429, "too_many_requests");
}

async fn a_code_works_once(gateway: Gateway) {
    let door = gateway.classic();
    let code = request_code(door, NUMBER, 4).await;

    verify_code(door, NUMBER, &code).await.expect(200);

    verify_code(door, NUMBER, &code).await.refused(400, "code_expired");
}

async fn a_code_is_for_one_number(gateway: Gateway) {
    let door = gateway.strict();
    let (one, other) = (request_code(door, NUMBER, 6).await, request_code(door, OTHER_NUMBER, 6).await);

    verify_code(door, NUMBER, &other).await.refused(400, "invalid_code");
    verify_code(door, OTHER_NUMBER, &one).await.refused(400, "invalid_code");
}

async fn a_code_is_read_as_people_type_it(gateway: Gateway) {
    let door = gateway.strict();
    let code = request_code(door, NUMBER, 6).await;

    let typed = format!(" {}-{} ", &code[..3], &code[3..]);

    verify_code(door, "00221 77 123 45 67", &typed).await.expect(200);
}

async fn without_a_request_no_code_is_right(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        verify_code(door, NUMBER, "0000").await.refused(400, "code_expired");
        verify_code(door, NUMBER, "").await.refused(400, "code_expired");
    }
}

async fn a_stranger_who_uses_up_the_tries_does_not_stop_the_known_device(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_phone_person(door, NUMBER, 4).await.device.expect("a new device is trusted");
    gateway.clock.advance(minutes(1));
    let code = request_code(door, NUMBER, 4).await;
    for _ in 0..5 {
        verify_code(door, NUMBER, &wrong(&code)).await.refused(400, "invalid_code");
    }

    verify_code(door, NUMBER, &code).await.refused(400, "code_expired");
    let body = json!({"phone": NUMBER, "code": code});
    let signed_in = door.post("/auth/verify-code", &body).device(&device).await.expect(200);

    assert!(Tokens::from(&signed_in).device.is_none(), "the device is known already");
}

async fn a_stranger_who_uses_up_the_sends_does_not_stop_the_known_device(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_phone_person(door, NUMBER, 4).await.device.expect("a new device is trusted");
    for _ in 0..4 {
        gateway.clock.advance(seconds(30));
        request_code(door, NUMBER, 4).await;
    }
    gateway.clock.advance(seconds(30));
    let ask = json!({"phone": NUMBER});
    door.post("/auth/request-code", &ask).await.refused(429, "too_many_requests");

    // Three an hour are its own.
    for _ in 0..3 {
        door.post("/auth/request-code", &ask).device(&device).await.expect(200);
        gateway.inbox.next(NUMBER).await;
        gateway.clock.advance(seconds(30));
    }

    door.post("/auth/request-code", &ask).device(&device).await.refused(429, "too_many_requests");
}
