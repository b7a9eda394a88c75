//! Guessing passwords: five wrong ones lock, and never the owner's own device.

use serde_json::{Value, json};

use super::{AWA, FAR_AWAY, HOME, NEW_PASSWORD, PASSWORD, a_person, fail, lock, log_in, minutes, seconds, sign_in};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    the_fifth_wrong_password_locks_and_says_so_in_the_promised_words,
    a_lock_refuses_the_right_password_and_ends_after_half_an_hour,
    a_lock_is_mailed_once_and_is_not_lengthened_by_knocking,
    a_success_forgets_the_failures_of_its_own_counter_only,
    strangers_are_locked_and_the_known_device_still_signs_in,
    a_known_device_locks_itself_after_five_and_no_stranger,
    a_copied_user_agent_from_elsewhere_counts_among_strangers,
    an_unknown_address_locks_like_a_known_one,
    a_strict_tenant_answers_a_lock_like_a_wrong_password,
    at_most_five_of_many_parallel_guesses_are_compared,
    parallel_right_passwords_all_pass,
    a_lock_outlives_a_restart,
    fifty_failures_in_a_row_stop_a_strict_account_s_strangers_until_a_reset,
);

const LOCKED: &str = "Account locked due to too many failed login attempts. Please check your email.";

async fn the_fifth_wrong_password_locks_and_says_so_in_the_promised_words(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;

    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }
    let locked = fail(door, AWA).await.refused(403, "account_locked");

    let instance = locked.word("instance");
    assert!(instance.starts_with("urn:uuid:"));
    let expected: Value = json!({
        "type": "urn:guichet:problem:account_locked", "title": "Account locked", "status": 403,
        "code": "account_locked", "message": LOCKED, "instance": instance,
    });
    assert_eq!(locked.json, expected);
}

async fn a_lock_refuses_the_right_password_and_ends_after_half_an_hour(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    lock(door, AWA).await;

    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");
    gateway.clock.advance(minutes(29) + seconds(50));
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");
    gateway.clock.advance(seconds(10));

    log_in(door, AWA, PASSWORD).await.expect(200);
    // And the count begins anew.
    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }
    fail(door, AWA).await.refused(403, "account_locked");
}

async fn a_lock_is_mailed_once_and_is_not_lengthened_by_knocking(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    lock(door, AWA).await;
    let mail = gateway.inbox.next(AWA).await;
    gateway.clock.advance(minutes(29));

    for _ in 0..5 {
        fail(door, AWA).await.refused(403, "account_locked");
    }

    assert!(mail.text.contains("is locked until"), "{}", mail.text);
    assert_eq!(gateway.posted(AWA, "account_locked").await, 1);
    gateway.clock.advance(minutes(1));
    fail(door, AWA).await.refused(400, "invalid_credentials");
    for _ in 0..4 {
        fail(door, AWA).await;
    }
    assert_eq!(gateway.posted(AWA, "account_locked").await, 2);
}

async fn a_success_forgets_the_failures_of_its_own_counter_only(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }

    sign_in(door, AWA, &device).await;

    // The strangers' fifth is still their fifth.
    fail(door, AWA).await.refused(403, "account_locked");
    gateway.clock.advance(minutes(30));
    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }
    log_in(door, AWA, PASSWORD).await.expect(200);
    // A stranger's success forgets the strangers' failures.
    fail(door, AWA).await.refused(400, "invalid_credentials");
}

async fn strangers_are_locked_and_the_known_device_still_signs_in(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = a_person(door, AWA).await;
        lock(door, AWA).await;

        sign_in(door, AWA, &device).await;

        assert_ne!(log_in(door, AWA, PASSWORD).await.status, 200);
    }
}

async fn fail_on(door: Door<'_>, device: &str) -> Answer {
    door.post("/api/auth/login", &json!({"email": AWA, "password": NEW_PASSWORD})).device(device).await
}

async fn a_known_device_locks_itself_after_five_and_no_stranger(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;

    for _ in 0..4 {
        fail_on(door, &device).await.refused(400, "invalid_credentials");
    }
    fail_on(door, &device).await.refused(403, "account_locked");

    log_in(door, AWA, PASSWORD).await.expect(200);
    gateway.clock.advance(minutes(30));
    sign_in(door, AWA, &device).await;
}

async fn a_copied_user_agent_from_elsewhere_counts_among_strangers(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let (right, wrong) = (json!({"email": AWA, "password": PASSWORD}), json!({"email": AWA, "password": NEW_PASSWORD}));
    for _ in 0..5 {
        door.post("/api/auth/login", &wrong).from("Firefox").at(FAR_AWAY).await;
    }

    let at_home = door.post("/api/auth/login", &right).from("Firefox").at(HOME).await;
    let far_away = door.post("/api/auth/login", &right).from("Firefox").at(FAR_AWAY).await;

    assert!(at_home.expect(200)["token"].is_string());
    far_away.refused(403, "account_locked");
}

async fn an_unknown_address_locks_like_a_known_one(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;

        for _ in 0..7 {
            let (known, unknown) = (fail(door, AWA).await, fail(door, "nobody@example.com").await);
            assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
        }

        gateway.clock.advance(minutes(30));
        let (known, unknown) = (fail(door, AWA).await, fail(door, "nobody@example.com").await);
        assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
        known.refused(400, "invalid_credentials");
        assert_eq!(gateway.posted("nobody@example.com", "").await, 0);
    }
}

async fn a_strict_tenant_answers_a_lock_like_a_wrong_password(gateway: Gateway) {
    let door = gateway.strict();
    a_person(door, AWA).await;
    let wrong = fail(door, AWA).await.refused(400, "invalid_credentials");
    lock(door, AWA).await;

    let locked = log_in(door, AWA, PASSWORD).await;

    assert_eq!(locked.same_for_everybody(), wrong.same_for_everybody());
    assert_eq!(gateway.posted(AWA, "account_locked").await, 1);
    gateway.clock.advance(minutes(30));
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn at_most_five_of_many_parallel_guesses_are_compared(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;

    let guesses = futures_util::future::join_all((0..20).map(|_| fail(door, AWA))).await;

    let of = |status: u16| guesses.iter().filter(|guess| guess.status == status).count();
    assert_eq!((of(400), of(403)), (4, 16));
    assert_eq!(gateway.posted(AWA, "account_locked").await, 1);
}

async fn parallel_right_passwords_all_pass(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;

    futures_util::future::join_all((0..12).map(|_| sign_in(door, AWA, &device))).await;
}

async fn a_lock_outlives_a_restart(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    lock(gateway.classic(), AWA).await;

    let gateway = gateway.restart(|_| {}).await;

    log_in(gateway.classic(), AWA, PASSWORD).await.refused(403, "account_locked");
    assert_eq!(gateway.posted(AWA, "account_locked").await, 1);
    gateway.clock.advance(minutes(30));
    log_in(gateway.classic(), AWA, PASSWORD).await.expect(200);
}

async fn fifty_failures_in_a_row_stop_a_strict_account_s_strangers_until_a_reset(gateway: Gateway) {
    let door = gateway.strict();
    let device = a_person(door, AWA).await;
    for _ in 0..10 {
        lock(door, AWA).await;
        gateway.clock.advance(minutes(30));
    }

    let stopped = log_in(door, AWA, PASSWORD).await;

    stopped.refused(400, "invalid_credentials");
    sign_in(door, AWA, &device).await;
    door.post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);
    let token = gateway.inbox.next_with(AWA, "/password/reset/").await.token();
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
}
