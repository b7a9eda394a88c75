//! A person's own view: who they are, where they are signed in, which devices they trust.

use serde_json::{Value, json};

use super::{
    AWA, NUMBER, PASSWORD, Tokens, a_person, a_phone_person, is_good, log_in, minutes, refresh, register, request_code,
    seconds, sign_in,
};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    logging_out_ends_the_session_of_the_access_token_and_no_other,
    logging_out_everywhere_ends_every_session,
    a_refresh_token_logs_out_its_own_session,
    sessions_are_listed_and_ended_one_by_one,
    all_sessions_are_ended_at_once,
    devices_are_listed_and_forgotten_with_their_sessions,
    all_devices_are_forgotten_at_once,
    a_session_and_a_device_are_shown_one_by_one,
    nobody_ends_another_person_s_session_or_device,
    the_devices_used_least_recently_make_room_for_new_ones,
    a_device_that_was_not_used_for_ninety_days_is_a_stranger,
    erasing_oneself_needs_a_fresh_sign_in_and_leaves_nothing,
    an_erased_address_may_register_again,
    a_strict_account_has_ten_sessions_and_the_oldest_ends,
    every_own_view_needs_a_token,
);

async fn sessions(door: Door<'_>, tokens: &Tokens) -> Vec<Value> {
    let answer = door.get("/api/auth/sessions").bearer(&tokens.access).await.expect(200);
    answer["sessions"].as_array().unwrap().clone()
}

async fn logout(door: Door<'_>, path: &str, access: &str) -> Answer {
    door.post(path, &json!({})).bearer(access).await
}

async fn logging_out_ends_the_session_of_the_access_token_and_no_other(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let (one, other) = (sign_in(door, AWA, &device).await, sign_in(door, AWA, &device).await);

    let answer = logout(door, "/api/auth/logout", &one.access).await.expect(200);

    assert_eq!(answer.json, json!({"message": "Logged out"}));
    assert!(!is_good(door, &one.access).await);
    refresh(door, &one.refresh).await.refused(401, "invalid_token");
    assert!(is_good(door, &other.access).await);
    logout(door, "/api/auth/logout", &one.access).await.refused(401, "invalid_token");
}

async fn logging_out_everywhere_ends_every_session(gateway: Gateway) {
    let door = gateway.strict();
    let device = a_person(door, AWA).await;
    let (one, other) = (sign_in(door, AWA, &device).await, sign_in(door, AWA, &device).await);

    logout(door, "/api/auth/logout?all=true", &one.access).await.expect(200);

    for tokens in [one, other] {
        assert!(!is_good(door, &tokens.access).await);
        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    }
    sign_in(door, AWA, &device).await;
}

async fn a_refresh_token_logs_out_its_own_session(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let by_refresh = |token: &str| door.post("/api/auth/logout", &json!({"refresh_token": token}));

    let refused = by_refresh("invented").await.refused(401, "invalid_token");
    assert_eq!(refused["message"], "The refresh token is not valid.");
    by_refresh(&tokens.refresh).await.expect(200);

    assert!(!is_good(door, &tokens.access).await);
    door.post("/api/auth/logout", &json!({})).await.refused(401, "missing_token");
    door.call(http::Method::POST, "/api/auth/logout").await.refused(401, "missing_token");
}

async fn sessions_are_listed_and_ended_one_by_one(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let old = sign_in(door, AWA, &device).await;
    gateway.clock.advance(seconds(5));
    let body = json!({"email": AWA, "password": PASSWORD});
    let new = door.post("/api/auth/login", &body).device(&device).from("Opera").await.expect(200);
    let new = Tokens::from(&new);

    let listed = sessions(door, &new).await;
    let old_id = listed[1]["id"].as_str().unwrap();
    let path = format!("/api/auth/sessions/{old_id}");
    door.delete(&path).bearer(&new.access).await.expect(204);

    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&json!(true), &json!(false)));
    assert_eq!((&listed[0]["user_agent"], &listed[0]["client_id"]), (&json!("Opera"), &json!("first-party")));
    for member in ["created_at", "last_used_at", "expires_at"] {
        assert!(listed[0][member].as_str().unwrap().ends_with('Z'), "{member}");
    }
    assert!(!is_good(door, &old.access).await);
    assert_eq!(sessions(door, &new).await.len(), 1);
    door.delete(&path).bearer(&new.access).await.refused(404, "not_found");
    door.delete("/api/auth/sessions/x").bearer(&new.access).await.refused(404, "not_found");
}

async fn all_sessions_are_ended_at_once(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let (one, other) = (sign_in(door, AWA, &device).await, sign_in(door, AWA, &device).await);

    door.delete("/api/auth/sessions").bearer(&one.access).await.expect(204);

    assert!(!is_good(door, &one.access).await);
    assert!(!is_good(door, &other.access).await);
}

async fn devices_are_listed_and_forgotten_with_their_sessions(gateway: Gateway) {
    let door = gateway.strict();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;

    let listed = door.get("/api/auth/devices").bearer(&tokens.access).await.expect(200);
    let listed = listed["devices"].as_array().unwrap();
    let path = format!("/api/auth/devices/{}", listed[0]["id"].as_str().unwrap());
    door.delete(&path).bearer(&tokens.access).await.expect(204);

    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["current"], &listed[0]["kind"]), (&json!(true), &json!("token")));
    assert_eq!(listed[0]["user_agent"], "Firefox");
    assert!(!is_good(door, &tokens.access).await);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    let body = json!({"email": AWA, "password": PASSWORD});
    let answer = door.post("/api/auth/login", &body).device(&device).await.expect(200);
    assert_eq!(answer["otp_required"], true);
}

async fn all_devices_are_forgotten_at_once(gateway: Gateway) {
    let door = gateway.strict();
    let binta = "binta@example.com";
    let binta = sign_in(door, binta, &a_person(door, binta).await).await;
    let first = a_person(door, AWA).await;
    let one = sign_in(door, AWA, &first).await;
    let (second, other) = confirm_device(&gateway, door).await;
    let listed = door.get("/api/auth/devices").bearer(&one.access).await.expect(200);
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);

    door.delete("/api/auth/devices").bearer(&one.access).await.expect(204);

    for tokens in [&one, &other] {
        assert!(!is_good(door, &tokens.access).await);
        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    }
    for device in [first, second] {
        let body = json!({"email": AWA, "password": PASSWORD});
        let answer = door.post("/api/auth/login", &body).device(&device).await.expect(200);
        assert_eq!(answer["otp_required"], true);
    }
    gateway.audited("device_forgotten", 1).await;
    assert!(is_good(door, &binta.access).await);
    let theirs = door.get("/api/auth/devices").bearer(&binta.access).await.expect(200);
    assert_eq!(theirs["devices"].as_array().unwrap().len(), 1);
}

/// Signs Awa in on a device that her account does not know yet: its token, and what it is given.
async fn confirm_device(gateway: &Gateway, door: Door<'_>) -> (String, Tokens) {
    log_in(door, AWA, PASSWORD).await.expect(200);
    let code = gateway.inbox.next_with(AWA, "is your code").await.code(6);
    let confirmed = door.post("/api/auth/verify-otp", &json!({"email": AWA, "otp": code})).await.expect(200);
    (confirmed.word("device_token"), Tokens::from(&confirmed))
}

async fn a_session_and_a_device_are_shown_one_by_one(gateway: Gateway) {
    let door = gateway.strict();
    let tokens = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let (_, other) = confirm_device(&gateway, door).await;
    for list in ["sessions", "devices"] {
        let path = format!("/api/auth/{list}");
        let listed = door.get(&path).bearer(&tokens.access).await.expect(200);
        let listed = listed[list].as_array().unwrap();
        assert_eq!(listed.len(), 2);
        for one in listed {
            let path = format!("{path}/{}", one["id"].as_str().unwrap());
            assert_eq!(door.get(&path).bearer(&tokens.access).await.expect(200).json, *one);
            let elsewhere = door.get(&path).bearer(&other.access).await.expect(200);
            assert_ne!(elsewhere["current"], one["current"]);
        }
        for id in ["x", "a%00b", "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10"] {
            door.get(&format!("{path}/{id}")).bearer(&tokens.access).await.refused(404, "not_found");
        }
        door.get(&format!("{path}/x")).await.refused(401, "missing_token");
    }
    let ended = sessions(door, &tokens).await.iter().find(|one| one["current"] == false).unwrap()["id"].clone();
    let path = format!("/api/auth/sessions/{}", ended.as_str().unwrap());
    door.delete(&path).bearer(&tokens.access).await.expect(204);
    door.get(&path).bearer(&tokens.access).await.refused(404, "not_found");
}

async fn nobody_ends_another_person_s_session_or_device(gateway: Gateway) {
    let door = gateway.classic();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let binta = "binta@example.com";
    let binta = sign_in(door, binta, &a_person(door, binta).await).await;
    let session = sessions(door, &awa).await[0]["id"].as_str().unwrap().to_owned();
    let devices = door.get("/api/auth/devices").bearer(&awa.access).await.expect(200);
    let device = devices["devices"][0]["id"].as_str().unwrap().to_owned();

    for path in [format!("/api/auth/sessions/{session}"), format!("/api/auth/devices/{device}")] {
        door.get(&path).bearer(&binta.access).await.refused(404, "not_found");
        door.get(&path).bearer(&awa.access).await.expect(200);
    }
    let ended = door.delete(&format!("/api/auth/sessions/{session}")).bearer(&binta.access).await;
    let forgotten = door.delete(&format!("/api/auth/devices/{device}")).bearer(&binta.access).await;

    ended.refused(404, "not_found");
    forgotten.refused(404, "not_found");
    assert!(is_good(door, &awa.access).await);
}

async fn the_devices_used_least_recently_make_room_for_new_ones(gateway: Gateway) {
    let door = gateway.classic();
    let first = a_phone_person(door, NUMBER, 4).await;
    // Without a device token, as clients of the original API: each sign-in leaves another device behind.
    let sign_in_with = async |device: Option<&str>| {
        gateway.clock.advance(minutes(150));
        let body = json!({"phone": NUMBER, "code": request_code(door, NUMBER, 4).await});
        let answer = door.post("/auth/verify-code", &body);
        let answer = if let Some(device) = device { answer.device(device) } else { answer };
        Tokens::from(&answer.await.expect(200))
    };
    let second = sign_in_with(None).await;
    for _ in 0..9 {
        sign_in_with(None).await;
    }
    let known = first.device.as_deref();
    sign_in_with(known).await;
    for _ in 0..10 {
        sign_in_with(None).await;
    }

    // 21 were trusted: the second is the one whose last sign-in is the oldest.
    gateway.audited("device_forgotten", 1).await;
    let last = sign_in_with(known).await;
    assert_eq!(last.device, None, "what was used since stays");
    let devices = door.get("/api/auth/devices").bearer(&last.access).await.expect(200);
    assert_eq!(devices["devices"].as_array().unwrap().len(), 20);
    // Nobody said that it is lost: its session goes on.
    let still = Tokens::from(&refresh(door, &second.refresh).await.expect(200));
    assert!(is_good(door, &still.access).await);
    assert_eq!(sessions(door, &last).await.len(), 23);
    assert!(sign_in_with(second.device.as_deref()).await.device.is_some(), "it is a stranger now");
}

async fn a_device_that_was_not_used_for_ninety_days_is_a_stranger(gateway: Gateway) {
    const DAY: u64 = 24 * 60;
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    for _ in 0..2 {
        gateway.clock.advance(minutes(90 * DAY - 1));
        sign_in(door, AWA, &device).await;
    }

    gateway.clock.advance(minutes(90 * DAY));

    let body = json!({"email": AWA, "password": PASSWORD});
    let answer = door.post("/api/auth/login", &body).device(&device).await.expect(200);
    assert_eq!(answer["otp_required"], true);
    let answer = door.post("/api/auth/login", &body).from("Firefox").await.expect(200);
    assert_eq!(answer["otp_required"], true);
}

async fn erasing_oneself_needs_a_fresh_sign_in_and_leaves_nothing(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let old = sign_in(door, AWA, &device).await;
    gateway.clock.advance(minutes(6));

    let refused = door.delete("/api/auth/me").bearer(&old.access).await;
    let refused = refused.refused(401, "insufficient_user_authentication");
    // A refresh is no sign-in.
    let refreshed = Tokens::from(&refresh(door, &old.refresh).await.expect(200));
    let still = door.delete("/api/auth/me").bearer(&refreshed.access).await;
    still.refused(401, "insufficient_user_authentication");
    let fresh = sign_in(door, AWA, &device).await;
    door.delete("/api/auth/me").bearer(&fresh.access).await.expect(204);

    assert!(refused.header("www-authenticate").contains("max_age=\"300\""));
    for tokens in [&old, &refreshed, &fresh] {
        assert!(!is_good(door, &tokens.access).await);
        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    }
    log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
    let rows = gateway.tables().await;
    let left: Vec<_> = rows.iter().filter(|(_, row)| row.contains(AWA) || row.contains("123456789")).collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn an_erased_address_may_register_again(gateway: Gateway) {
    let door = gateway.classic();
    let person = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let phone_person = a_phone_person(door, NUMBER, 4).await;
    for tokens in [person, phone_person] {
        door.delete("/api/auth/me").bearer(&tokens.access).await.expect(204);
    }

    register(door, AWA).await.expect(201);
    gateway.clock.advance(minutes(1));
    a_phone_person(door, NUMBER, 4).await;
}

async fn a_strict_account_has_ten_sessions_and_the_oldest_ends(gateway: Gateway) {
    let door = gateway.strict();
    let device = a_person(door, AWA).await;
    let oldest = sign_in(door, AWA, &device).await;
    for _ in 0..9 {
        gateway.clock.advance(seconds(1));
        sign_in(door, AWA, &device).await;
    }
    assert!(is_good(door, &oldest.access).await);

    let newest = sign_in(door, AWA, &device).await;

    assert!(!is_good(door, &oldest.access).await);
    assert_eq!(sessions(door, &newest).await.len(), 10);
}

async fn every_own_view_needs_a_token(gateway: Gateway) {
    let door = gateway.classic();
    let id = "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10";
    for path in ["me", "sessions", "devices"] {
        let path = format!("/api/auth/{path}");
        let missing = door.get(&path).await.refused(401, "missing_token");
        assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"default\"");
        door.get(&path).bearer("a.b.c").await.refused(401, "invalid_token");
        door.get(&path).header("authorization", "Basic YTpi").await.refused(401, "missing_token");
    }
    door.delete("/api/auth/me").await.refused(401, "missing_token");
    door.delete("/api/auth/sessions").await.refused(401, "missing_token");
    door.delete("/api/auth/devices").await.refused(401, "missing_token");
    door.delete(&format!("/api/auth/sessions/{id}")).await.refused(401, "missing_token");
    door.delete(&format!("/api/auth/devices/{id}")).await.refused(401, "missing_token");
}
