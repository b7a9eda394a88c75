//! Signing in with e-mail and password: the second original API.

use serde_json::json;

use super::{AWA, PASSWORD, a_person, fail, is_good, log_in, register, sign_in};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_person_registers_verifies_and_signs_in_from_the_registering_device,
    the_registering_browser_is_known_by_its_user_agent_alone,
    an_address_is_the_same_however_it_is_spelt,
    an_unproven_address_is_told_with_the_right_password_only,
    a_registered_address_cannot_be_registered_again_and_classic_says_so,
    an_unproven_registration_ends_with_its_link_and_frees_the_address,
    the_given_phone_number_is_kept_as_it_is,
    a_password_is_accepted_in_any_unicode_form,
);

async fn a_person_registers_verifies_and_signs_in_from_the_registering_device(gateway: Gateway) {
    let door = gateway.classic();

    let registered = register(door, AWA).await.expect(201);
    let mail = gateway.inbox.next(AWA).await;
    let verified = door.get(&mail.link()).await.expect(200);
    let signed_in = door
        .post("/api/auth/login", &json!({"email": AWA, "password": PASSWORD}))
        .device(&registered.word("device_token"))
        .await
        .expect(200);

    let text = "User registered successfully. Please check your email to verify your account.";
    assert_eq!(registered["message"], text);
    assert_eq!(registered.members(), ["device_token", "message"]);
    assert_eq!(mail.channel, "email");
    assert!(mail.link().starts_with("/t/default/api/auth/verify/"));
    assert_eq!(verified.json, json!({"message": "Email verified successfully"}));
    let expected = ["expires_in", "message", "refresh_token", "token", "token_type", "user"];
    assert_eq!(signed_in.members(), expected);
    assert_eq!(signed_in["message"], "Login successful");
    let id = signed_in["user"]["id"].as_str().expect("a string");
    let user = json!({"id": id, "username": "awa", "email": AWA, "phoneNumber": "123456789"});
    assert_eq!(signed_in["user"], user);
    let me = door.get("/api/auth/me").bearer(&signed_in.word("token")).await.expect(200);
    assert_eq!(me.json, user);
}

async fn the_registering_browser_is_known_by_its_user_agent_alone(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": PASSWORD});

    let known = door.post("/api/auth/login", &body).from("Firefox").await.expect(200);
    let unknown = door.post("/api/auth/login", &body).from("Opera").await.expect(200);
    // The first that is present decides: a wrong token is not made up for by a known agent.
    let wrong_token = door.post("/api/auth/login", &body).from("Firefox").device("invented").await.expect(200);

    assert!(is_good(door, &known.word("token")).await);
    assert_eq!(unknown["otp_required"], true);
    assert_eq!(wrong_token["otp_required"], true);
}

async fn an_address_is_the_same_however_it_is_spelt(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;

    for spelling in [" Awa@Example.COM ", "AWA@EXAMPLE.com", "ａｗａ@example.com"] {
        sign_in(door, spelling, &device).await;
        register(door, spelling).await.refused(400, "user_exists");
    }
}

async fn an_unproven_address_is_told_with_the_right_password_only(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = register(door, AWA).await.expect(201).word("device_token");

        log_in(door, AWA, PASSWORD).await.refused(400, "email_not_verified");
        fail(door, AWA).await.refused(400, "invalid_credentials");

        let body = json!({"email": AWA, "password": PASSWORD});
        door.post("/api/auth/login", &body).device(&device).await.refused(400, "email_not_verified");
    }
}

async fn a_registered_address_cannot_be_registered_again_and_classic_says_so(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    gateway.inbox.next(AWA).await;

    register(door, AWA).await.refused(400, "user_exists");

    assert_eq!(gateway.posted(AWA, "").await, 1);
}

async fn an_unproven_registration_ends_with_its_link_and_frees_the_address(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let first = gateway.inbox.next(AWA).await.link();
    gateway.clock.advance(super::minutes(24 * 60));

    log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
    door.get(&first).await.refused(400, "invalid_link");
    register(door, AWA).await.expect(201);

    let second = gateway.inbox.next(AWA).await.link();
    door.get(&first).await.refused(400, "invalid_link");
    door.get(&second).await.expect(200);
}

async fn the_given_phone_number_is_kept_as_it_is(gateway: Gateway) {
    let door = gateway.classic();
    for (email, given, kept) in [
        ("one@example.com", "123456789", json!("123456789")),
        ("two@example.com", "00221 77 123 45 67", json!("+221771234567")),
    ] {
        let body = json!({"username": "awa", "email": email, "password": PASSWORD, "phoneNumber": given});
        let device = door.post("/api/auth/register", &body).await.expect(201).word("device_token");
        door.get(&gateway.inbox.next(email).await.link()).await.expect(200);
        let tokens = sign_in(door, email, &device).await;
        let me = door.get("/api/auth/me").bearer(&tokens.access).await.expect(200);
        assert_eq!(me["phoneNumber"], kept);
    }
    // It serves for codes only after it was proven: to a code it is a stranger's number.
    let code = super::request_code(door, "+221771234567", 4).await;
    let proven = super::verify_code(door, "+221771234567", &code).await.expect(200);
    assert_eq!(proven["message"], "User not registered");
}

async fn a_password_is_accepted_in_any_unicode_form(gateway: Gateway) {
    let door = gateway.classic();
    let (composed, decomposed) = ("mot de passe tr\u{e8}s s\u{fb}r", "mot de passe tre\u{300}s su\u{302}r");
    let body = json!({"username": "awa", "email": AWA, "password": composed});
    door.post("/api/auth/register", &body).await.expect(201);
    door.get(&gateway.inbox.next(AWA).await.link()).await.expect(200);

    let answer = log_in(door, AWA, decomposed).await.expect(200);

    assert_eq!(answer["otp_required"], true);
    // Nothing is trimmed.
    log_in(door, AWA, &format!("{composed} ")).await.refused(400, "invalid_credentials");
}
