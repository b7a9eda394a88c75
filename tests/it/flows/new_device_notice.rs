//! Whoever reads a person's texts signs in as that person; the mailbox hears of the device they did it on.

use serde_json::json;

use super::{
    AWA, NUMBER, PASSWORD, Tokens, a_person, a_phone_person, log_in, minutes, request_code, seconds, verify_code,
};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_texted_code_on_an_unknown_device_is_told_to_the_proven_address,
    a_known_device_is_told_of_to_nobody,
    a_mailed_code_is_no_news_to_the_mailbox,
    a_person_without_a_proven_address_is_sent_nothing,
    notices_have_a_ceiling_and_it_keeps_nobody_out,
    a_sign_in_that_fails_uses_up_no_notice,
);

const GALAXY: &str = "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) \
                      SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36";

/// Somebody with a number and, proven after it, an address.
async fn with_both(door: Door<'_>, code_length: usize) -> Tokens {
    let awa = a_phone_person(door, NUMBER, code_length).await;
    door.post("/api/auth/contact/change", &json!({"email": AWA})).bearer(&awa.access).await.expect(200);
    let code = door.gateway().inbox.next_with(AWA, "is your code to use").await.code(6);
    let confirm = json!({"email": AWA, "code": code});
    door.post("/api/auth/contact/confirm", &confirm).bearer(&awa.access).await.expect(200);
    door.gateway().inbox.next_with(NUMBER, "were changed").await;
    door.gateway().clock.advance(seconds(31));
    awa
}

/// Signs in by a texted code, from Samsung's browser.
async fn sign_in_by_text(door: Door<'_>, code_length: usize) -> Answer {
    let code = request_code(door, NUMBER, code_length).await;
    let body = json!({"phone": NUMBER, "code": code});
    door.post("/auth/verify-code", &body).from(GALAXY).await.expect(200)
}

async fn a_texted_code_on_an_unknown_device_is_told_to_the_proven_address(gateway: Gateway) {
    for (door, code_length) in [(gateway.classic(), 4), (gateway.strict(), 6)] {
        with_both(door, code_length).await;

        let signed_in = sign_in_by_text(door, code_length).await;

        assert!(signed_in["device_token"].is_string(), "the device is trusted: {}", signed_in.text);
        let told = gateway.inbox.next_with(AWA, "A device that was not known before").await;
        assert_eq!(told.channel, "email");
        assert!(told.text.contains("with Samsung Internet, Android, from the network 127.0.0.0/24"), "{}", told.text);
    }
    // Each once, and only by mail.
    assert_eq!((gateway.posted(AWA, "new_device").await, gateway.posted(NUMBER, "new_device").await), (2, 0));
}

async fn a_known_device_is_told_of_to_nobody(gateway: Gateway) {
    let door = gateway.classic();
    let device = with_both(door, 4).await.device.unwrap();

    let code = request_code(door, NUMBER, 4).await;
    let body = json!({"phone": NUMBER, "code": code});
    door.post("/auth/verify-code", &body).device(&device).await.expect(200);

    assert_eq!(gateway.posted(AWA, "new_device").await, 0);
}

async fn a_mailed_code_is_no_news_to_the_mailbox(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let confirm = async |agent: &str| {
        let body = json!({"email": AWA, "password": PASSWORD});
        door.post("/api/auth/login", &body).from(agent).await.expect(200);
        let code = gateway.inbox.next_with(AWA, "is your code").await.code(6);
        let body = json!({"email": AWA, "otp": code});
        Tokens::from(&door.post("/api/auth/verify-otp", &body).from(agent).await.expect(200))
    };
    let awa = confirm(GALAXY).await;
    door.post("/api/auth/contact/change", &json!({"phone": NUMBER})).bearer(&awa.access).await.expect(200);
    let code = gateway.inbox.next_with(NUMBER, "is your code to use").await.code(6);
    let body = json!({"phone": NUMBER, "code": code});
    door.post("/api/auth/contact/confirm", &body).bearer(&awa.access).await.expect(200);
    gateway.inbox.next_with(NUMBER, "were changed").await;
    gateway.clock.advance(seconds(31));

    // Nor is a text on the browser that a mailed code confirmed, where a browser's name counts.
    sign_in_by_text(door, 4).await;
    assert_eq!(gateway.posted(AWA, "new_device").await, 0);
}

async fn a_person_without_a_proven_address_is_sent_nothing(gateway: Gateway) {
    let door = gateway.classic();
    a_phone_person(door, NUMBER, 4).await;
    gateway.clock.advance(seconds(31));

    sign_in_by_text(door, 4).await;

    let rows = gateway.tables().await;
    assert!(!rows.iter().any(|(table, row)| table == "outbox" && row.contains("new_device")));
}

async fn notices_have_a_ceiling_and_it_keeps_nobody_out(gateway: Gateway) {
    let door = gateway.classic();
    with_both(door, 4).await;

    for _ in 0..7 {
        sign_in_by_text(door, 4).await;
        gateway.clock.advance(minutes(20));
    }

    assert_eq!(gateway.posted(AWA, "new_device").await, 5);
    // Notices of another kind are not used up by them.
    door.post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);
    let token = gateway.inbox.next_with(AWA, "/password/reset/").await.token();
    let reset = json!({"token": token, "password": PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    for _ in 0..5 {
        log_in(door, AWA, "not the password").await;
    }
    gateway.inbox.next_with(AWA, "/unlock/").await;
    verify_code(door, NUMBER, "0000").await.refused(400, "code_expired");
}

async fn a_sign_in_that_fails_uses_up_no_notice(gateway: Gateway) {
    let door = gateway.classic();
    with_both(door, 4).await;
    for _ in 0..3 {
        let code = request_code(door, NUMBER, 4).await;
        gateway.execute("ALTER TABLE refresh_tokens RENAME TO away".to_owned()).await;
        // Not through the door, which takes an internal error for a finding.
        let body = json!({"phone": NUMBER, "code": code});
        let ask = gateway.http([127, 0, 0, 1].into()).post(gateway.url("/auth/verify-code")).json(&body);
        assert_eq!(ask.send().await.unwrap().status(), 500);
        gateway.execute("ALTER TABLE away RENAME TO refresh_tokens".to_owned()).await;
        gateway.clock.advance(minutes(20));
    }

    for _ in 0..5 {
        sign_in_by_text(door, 4).await;
        gateway.clock.advance(minutes(20));
    }

    assert_eq!(gateway.posted(AWA, "new_device").await, 5);
}
