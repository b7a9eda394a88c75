//! Changing a password one knows.

use serde_json::{Value, json};

use super::{AWA, NEW_PASSWORD, PASSWORD, Tokens, a_person, is_good, log_in, minutes, refresh, seconds, sign_in};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_change_keeps_the_acting_session_and_device_and_no_other,
    a_change_needs_the_current_password_which_counts_like_a_log_in,
    a_new_password_must_keep_the_rules,
    a_change_needs_somebody_signed_in,
);

fn change(current: &str, new: &str) -> Value {
    json!({"current_password": current, "new_password": new})
}

async fn confirm_a_new_device(door: Door<'_>) -> Tokens {
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = door.gateway().inbox.next_with(AWA, "is your code").await.code(6);
    Tokens::from(&door.post("/api/auth/verify-otp", &json!({"email": AWA, "otp": code})).await.expect(200))
}

async fn a_change_keeps_the_acting_session_and_device_and_no_other(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = a_person(door, AWA).await;
        let acting = sign_in(door, AWA, &device).await;
        let other = confirm_a_new_device(door).await;

        let asked = door.post("/api/auth/password/change", &change(PASSWORD, NEW_PASSWORD));
        asked.device(&device).bearer(&acting.access).await.expect(200);

        assert!(is_good(door, &acting.access).await);
        refresh(door, &acting.refresh).await.expect(200);
        assert!(!is_good(door, &other.access).await);
        refresh(door, &other.refresh).await.refused(401, "invalid_token");
        log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
        gateway.clock.advance(seconds(30));
        let body = json!({"email": AWA, "password": NEW_PASSWORD});
        assert!(door.post("/api/auth/login", &body).device(&device).await.expect(200)["token"].is_string());
        let elsewhere = door.post("/api/auth/login", &body).device(&other.device.unwrap()).await.expect(200);
        assert_eq!(elsewhere["otp_required"], true);
        gateway.inbox.next_with(AWA, "is your code").await;
        assert!(gateway.posted(AWA, "password_changed").await >= 1);
    }
}

async fn a_change_needs_the_current_password_which_counts_like_a_log_in(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let attempt = async |current: &str| -> Answer {
        let asked = door.post("/api/auth/password/change", &change(current, NEW_PASSWORD));
        asked.device(&device).bearer(&tokens.access).await
    };

    for _ in 0..4 {
        attempt("not the password").await.refused(400, "invalid_credentials");
    }
    attempt("not the password").await.refused(403, "account_locked");
    attempt(PASSWORD).await.refused(403, "account_locked");

    // It is the device's counter: strangers are not locked by it.
    log_in(door, AWA, PASSWORD).await.expect(200);
    gateway.clock.advance(minutes(30));
    attempt(PASSWORD).await.expect(200);
}

async fn a_new_password_must_keep_the_rules(gateway: Gateway) {
    let door = gateway.strict();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    for (new, code) in [
        ("fourteen chars", "too_short"),
        ("aaaaaaaaaaaaaaaa", "too_common"),
        ("awa@example.com", "too_common"),
        (&"x".repeat(257), "too_long"),
    ] {
        let asked = door.post("/api/auth/password/change", &change(PASSWORD, new));
        let refused = asked.device(&device).bearer(&tokens.access).await.refused(400, "validation");
        let error = &refused["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!("/new_password"), &json!(code)), "{new}");
    }
    assert!(is_good(door, &tokens.access).await);
}

async fn a_change_needs_somebody_signed_in(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;

    let asked = door.post("/api/auth/password/change", &change(PASSWORD, NEW_PASSWORD));
    asked.await.refused(401, "missing_token");
    let asked = door.post("/api/auth/password/change", &change(PASSWORD, NEW_PASSWORD));
    asked.bearer("invented").await.refused(401, "invalid_token");
}
