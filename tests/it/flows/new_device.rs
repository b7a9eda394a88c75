//! A right password on a device that nobody vouches for: a code by mail confirms it.

use serde_json::json;

use super::{AWA, NEW_PASSWORD, PASSWORD, a_person, is_good, log_in, minutes, seconds, sign_in, wrong};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_mailed_code_confirms_the_device_which_is_trusted_from_then_on,
    within_the_cooldown_the_answer_is_the_same_and_nothing_is_sent,
    a_second_device_gets_a_code_of_its_own_once_the_first_is_confirmed,
    after_the_ceiling_of_the_hour_the_log_in_waits,
    within_the_cooldown_of_the_hour_s_last_code_the_answer_is_the_same_too,
    a_wrong_code_and_a_dead_one_are_told_apart,
    a_code_answers_its_own_challenge_only,
    a_code_for_one_person_is_wrong_for_another,
    a_thief_with_password_and_mailbox_gains_nothing_by_a_code_from_before_the_owner_acted,
    strict_codes_have_three_tries,
    strict_tenants_trust_no_user_agent,
    a_device_id_that_is_no_text_is_a_strangers,
    a_user_agent_in_utf_8_is_a_device_as_any_other,
    the_device_cookie_has_a_plain_name_on_http_and_a_host_name_on_https,
);

async fn verify_otp(door: Door<'_>, email: &str, code: &str) -> Answer {
    door.post("/api/auth/verify-otp", &json!({"email": email, "otp": code})).await
}

async fn a_mailed_code_confirms_the_device_which_is_trusted_from_then_on(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;

        let asked = log_in(door, AWA, PASSWORD).await.expect(200);
        let code = gateway.inbox.next(AWA).await.code(6);
        let challenge = asked.word("challenge_id");
        let answer = json!({"email": AWA, "otp": code, "challenge_id": challenge});
        let confirmed = door.post("/api/auth/verify-otp", &answer).from("Opera").await.expect(200);

        assert_eq!(asked.members(), ["challenge_id", "expires_in", "message", "otp_required"]);
        assert_eq!((&asked["otp_required"], &asked["expires_in"]), (&json!(true), &json!(300)));
        assert_eq!(confirmed["message"], "Login successful");
        assert_eq!(confirmed["user"]["email"], AWA);
        assert!(is_good(door, &confirmed.word("token")).await);
        sign_in(door, AWA, &confirmed.word("device_token")).await;
        // A browser shows it as a cookie.
        let cookie = confirmed.header("set-cookie").split(';').next().unwrap().to_owned();
        let body = json!({"email": AWA, "password": PASSWORD});
        let by_cookie = door.post("/api/auth/login", &body).header("cookie", &cookie).await.expect(200);
        assert!(is_good(door, &by_cookie.word("token")).await);
    }
}

async fn within_the_cooldown_the_answer_is_the_same_and_nothing_is_sent(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;

    let first = log_in(door, AWA, PASSWORD).await.expect(200);
    gateway.clock.advance(seconds(20));
    let second = log_in(door, AWA, PASSWORD).await.expect(200);
    gateway.clock.advance(seconds(10));
    let third = log_in(door, AWA, PASSWORD).await.expect(200);

    assert_eq!(first.members(), second.members());
    assert_eq!(first["challenge_id"], second["challenge_id"]);
    assert_eq!(first["challenge_id"], third["challenge_id"]);
    assert_eq!(gateway.posted(AWA, "device_code").await, 2);
    let (one, same) = (gateway.inbox.next(AWA).await.code(6), gateway.inbox.next(AWA).await.code(6));
    assert_eq!(one, same);
}

async fn a_second_device_gets_a_code_of_its_own_once_the_first_is_confirmed(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next(AWA).await.code(6);
    verify_otp(door, AWA, &code).await.expect(200);

    assert_eq!(log_in(door, AWA, PASSWORD).await.expect(200)["otp_required"], true);

    let other = gateway.inbox.next(AWA).await.code(6);
    assert_ne!(other, code);
    verify_otp(door, AWA, &other).await.expect(200);
}

async fn after_the_ceiling_of_the_hour_the_log_in_waits(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    for _ in 0..5 {
        log_in(door, AWA, PASSWORD).await.expect(200);
        gateway.clock.advance(minutes(2));
    }

    let refused = log_in(door, AWA, PASSWORD).await.refused(429, "too_many_requests");

    // The owner's own device needs no code.
    sign_in(door, AWA, &device).await;
    gateway.clock.advance(seconds(refused.retry_after()));
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn within_the_cooldown_of_the_hour_s_last_code_the_answer_is_the_same_too(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    for _ in 0..4 {
        log_in(door, AWA, PASSWORD).await.expect(200);
        gateway.clock.advance(minutes(1));
    }
    let last = log_in(door, AWA, PASSWORD).await.expect(200);

    let again = log_in(door, AWA, PASSWORD).await.expect(200);

    assert_eq!(again.members(), last.members());
    assert_eq!(again["challenge_id"], last["challenge_id"]);
    assert_eq!(gateway.posted(AWA, "device_code").await, 5);
    gateway.clock.advance(seconds(30));
    log_in(door, AWA, PASSWORD).await.refused(429, "too_many_requests");
}

async fn a_wrong_code_and_a_dead_one_are_told_apart(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    verify_otp(door, AWA, "123456").await.refused(400, "code_expired");
    verify_otp(door, "nobody@example.com", "123456").await.refused(400, "code_expired");
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next(AWA).await.code(6);

    verify_otp(door, AWA, &wrong(&code)).await.refused(400, "invalid_code");
    gateway.clock.advance(seconds(300));
    verify_otp(door, AWA, &code).await.refused(400, "code_expired");

    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next(AWA).await.code(6);
    verify_otp(door, AWA, &code).await.expect(200);
    verify_otp(door, AWA, &code).await.refused(400, "code_expired");
}

async fn a_code_answers_its_own_challenge_only(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next(AWA).await.code(6);

    let other = json!({"email": AWA, "otp": code, "challenge_id": "0192f3a4-7c1e-4d6a-9c1f-2b7b5f6f1a10"});

    door.post("/api/auth/verify-otp", &other).await.refused(400, "code_expired");
    let malformed = json!({"email": AWA, "otp": code, "challenge_id": "first"});
    let refused = door.post("/api/auth/verify-otp", &malformed).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["pointer"], "/challenge_id");
    // Neither used up a try.
    verify_otp(door, AWA, &code).await.expect(200);
}

async fn a_code_for_one_person_is_wrong_for_another(gateway: Gateway) {
    let door = gateway.classic();
    let binta = "binta@example.com";
    for email in [AWA, binta] {
        a_person(door, email).await;
        log_in(door, email, PASSWORD).await.expect(200);
    }
    let (awas, bintas) = (gateway.inbox.next(AWA).await.code(6), gateway.inbox.next(binta).await.code(6));

    verify_otp(door, AWA, &bintas).await.refused(400, "invalid_code");
    verify_otp(door, binta, &awas).await.refused(400, "invalid_code");
}

/// The thief knew the password and reads the mail, so the code is right; the owner, or an admin, has acted
/// since.
async fn a_thief_with_password_and_mailbox_gains_nothing_by_a_code_from_before_the_owner_acted(gateway: Gateway) {
    let door = gateway.classic();
    for act in ["password change", "log-out everywhere", "end-sessions", "disable and enable"] {
        let email = format!("{}@example.com", act.replace(' ', "."));
        let owner = sign_in(door, &email, &a_person(door, &email).await).await;
        log_in(door, &email, PASSWORD).await.expect(200);
        let stolen = gateway.inbox.next_with(&email, "new device").await.code(6);
        let id = door.get("/api/auth/me").bearer(&owner.access).await.expect(200)["id"].as_str().unwrap().to_owned();
        let admin = async |deed: &str| {
            let path = format!("/tenants/default/users/{id}/{deed}");
            gateway.admin().post(&path, &json!({})).bearer(ROOT_KEY).await.expect(204);
        };

        let password = match act {
            "password change" => {
                let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
                door.post("/api/auth/password/change", &change).bearer(&owner.access).await.expect(200);
                NEW_PASSWORD
            }
            "log-out everywhere" => {
                door.call(http::Method::POST, "/api/auth/logout?all=true").bearer(&owner.access).await.expect(200);
                PASSWORD
            }
            "end-sessions" => {
                admin("end-sessions").await;
                PASSWORD
            }
            _ => {
                admin("disable").await;
                verify_otp(door, &email, &stolen).await.refused(400, "code_expired");
                admin("enable").await;
                PASSWORD
            }
        };

        verify_otp(door, &email, &stolen).await.refused(400, "code_expired");
        // Nor is it sent again: what is asked for from now on is another code, and nobody waits for it.
        log_in(door, &email, password).await.expect(200);
        let fresh = gateway.inbox.next_with(&email, "new device").await.code(6);
        assert_ne!(fresh, stolen, "{act}");
        let answer = verify_otp(door, &email, &fresh).await.expect(200);
        assert!(is_good(door, &answer.word("token")).await, "{act}");
    }
}

async fn strict_codes_have_three_tries(gateway: Gateway) {
    let door = gateway.strict();
    a_person(door, AWA).await;
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next(AWA).await.code(6);

    for _ in 0..3 {
        verify_otp(door, AWA, &wrong(&code)).await.refused(400, "invalid_code");
    }

    verify_otp(door, AWA, &code).await.refused(400, "code_expired");
}

async fn strict_tenants_trust_no_user_agent(gateway: Gateway) {
    let door = gateway.strict();
    a_person(door, AWA).await;

    let body = json!({"email": AWA, "password": PASSWORD});
    let answer = door.post("/api/auth/login", &body).from("Firefox").await.expect(200);

    assert_eq!(answer["otp_required"], true);
    let wrong = json!({"email": AWA, "password": NEW_PASSWORD});
    door.post("/api/auth/login", &wrong).from("Firefox").await.refused(400, "invalid_credentials");
}

/// The first proof that is there decides: what cannot be read is no reason to look at the next.
async fn a_device_id_that_is_no_text_is_a_strangers(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": PASSWORD});
    let by_agent = || door.post("/api/auth/login", &body).from("Firefox");
    let cookie = |value: &str| format!("guichet_device_default={value}");
    by_agent().await.expect(200).word("token");

    for stranger in [by_agent().device("\u{e9}"), by_agent().header("cookie", &cookie("\u{e9}"))] {
        assert_eq!(stranger.await.expect(200)["otp_required"], true);
    }
    let both = by_agent().device("\u{e9}").header("cookie", &cookie(&device)).await.expect(200);
    assert_eq!(both["otp_required"], true);
    // Another's cookie is no reason not to see this one.
    let beside = format!("name=Am\u{e9}lie; {}", cookie(&device));
    door.post("/api/auth/login", &body).header("cookie", &beside).await.expect(200).word("token");
}

async fn a_user_agent_in_utf_8_is_a_device_as_any_other(gateway: Gateway) {
    let door = gateway.classic();
    let body = json!({"username": "awa", "email": AWA, "password": PASSWORD, "phoneNumber": "123456789"});
    door.post("/api/auth/register", &body).from("Caf\u{e9}/1.0").await.expect(201);
    let link = gateway.inbox.next_with(AWA, "/verify/").await.link();
    door.call(http::Method::POST, &link).await.expect(200);

    let body = json!({"email": AWA, "password": PASSWORD});
    let known = door.post("/api/auth/login", &body).from("Caf\u{e9}/1.0").await.expect(200);
    let other = door.post("/api/auth/login", &body).from("Caf\u{e8}/1.0").await.expect(200);

    assert_eq!(other["otp_required"], true);
    let devices = door.get("/api/auth/devices").bearer(&known.word("token")).await.expect(200);
    let labels: Vec<_> = devices["devices"].as_array().unwrap().iter().map(|device| &device["user_agent"]).collect();
    assert!(labels.contains(&&json!("Caf\u{e9}/1.0")), "{labels:?}");
}

async fn the_device_cookie_has_a_plain_name_on_http_and_a_host_name_on_https(gateway: Gateway) {
    let plain = super::register(gateway.classic(), AWA).await.expect(201);
    let gateway = gateway.restart(|config| config.http.public_url = Some("https://login.test".parse().unwrap())).await;
    let secure = super::register(gateway.other(), AWA).await.expect(201);

    let cookie = plain.header("set-cookie");
    assert!(cookie.starts_with(&format!("guichet_device_default={}; ", plain.word("device_token"))), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    let cookie = secure.header("set-cookie");
    assert!(cookie.starts_with("__Host-guichet_device_other="), "{cookie}");
    assert!(cookie.contains("Secure") && cookie.contains("Path=/") && !cookie.contains("Domain"), "{cookie}");
}
