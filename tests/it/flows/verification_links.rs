//! Proving an address by a mailed link, which mail scanners open too.

use http::Method;
use serde_json::json;

use super::{AWA, PASSWORD, log_in, minutes, register, seconds};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_browser_gets_a_page_whose_button_posts_and_nothing_is_consumed,
    head_never_acts,
    a_link_used_again_answers_200_again_until_it_ends,
    a_bad_token_is_refused_in_the_words_of_whoever_asks,
    another_link_may_be_asked_for_and_both_work,
    asking_for_another_is_the_same_known_or_not,
    a_proven_address_gets_no_further_link,
);

async fn is_unproven(door: Door<'_>) {
    log_in(door, AWA, PASSWORD).await.refused(400, "email_not_verified");
}

async fn resend(door: Door<'_>, email: &str) -> Answer {
    door.post("/api/auth/resend-verification", &json!({"email": email})).await
}

async fn a_browser_gets_a_page_whose_button_posts_and_nothing_is_consumed(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let link = gateway.inbox.next(AWA).await.link();

    for _ in 0..3 {
        let page = door.get(&link).by_browser().await.expect(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(page.text.contains("<form method=\"post\"><button type=\"submit\">"), "{}", page.text);
        assert!(page.header("content-security-policy").contains("form-action 'self'"));
    }
    is_unproven(door).await;
    let pressed = door.call(Method::POST, &link).by_browser().await.expect(200);

    assert!(pressed.text.contains("Address confirmed"), "{}", pressed.text);
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn head_never_acts(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let link = gateway.inbox.next(AWA).await.link();

    let answer = door.call(Method::HEAD, &link).await.expect(200);
    door.call(Method::HEAD, &link).by_browser().await.expect(200);
    door.call(Method::OPTIONS, &link).await.expect(204);
    door.call(Method::PUT, &link).await.refused(405, "method_not_allowed");

    assert!(answer.text.is_empty());
    is_unproven(door).await;
}

async fn a_link_used_again_answers_200_again_until_it_ends(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let link = gateway.inbox.next(AWA).await.link();

    for method in [Method::GET, Method::POST, Method::GET] {
        let answer = door.call(method, &link).await.expect(200);
        assert_eq!(answer.json, json!({"message": "Email verified successfully"}));
    }
    door.get(&link).by_browser().await.expect(200);

    gateway.clock.advance(minutes(24 * 60));
    door.get(&link).await.refused(400, "invalid_link");
    door.get(&link).by_browser().await.expect(400);
    // The address stays proven.
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn a_bad_token_is_refused_in_the_words_of_whoever_asks(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let token = gateway.inbox.next(AWA).await.token();
    let flipped = super::wrong(&token);
    let long = "A".repeat(4_000);

    for bad in ["x", "%00", "%2e%2e%2f", &flipped, &token[1..], &long] {
        let path = format!("/api/auth/verify/{bad}");
        door.get(&path).await.refused(400, "invalid_link");
        door.call(Method::POST, &path).await.refused(400, "invalid_link");
        let page = door.get(&path).by_browser().await.expect(400);
        assert!(page.text.starts_with("<!doctype html>") && !page.text.contains("<form"), "{bad}");
    }
    is_unproven(door).await;
    // A link of one kind does nothing at the door of another.
    let body = json!({"token": token, "password": "another password"});
    door.post("/api/auth/password/reset", &body).await.refused(400, "invalid_link");
}

async fn another_link_may_be_asked_for_and_both_work(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    let first = gateway.inbox.next(AWA).await.link();

    resend(door, AWA).await.expect(200);
    let second = gateway.inbox.next(AWA).await.link();
    let refused = resend(door, AWA).await.refused(429, "too_many_requests");
    gateway.clock.advance(seconds(refused.retry_after()));
    resend(door, AWA).await.expect(200);

    assert_ne!(first, second);
    door.get(&first).await.expect(200);
    door.get(&second).await.expect(200);
}

async fn asking_for_another_is_the_same_known_or_not(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        register(door, AWA).await.expect(201);

        for status in [200, 429] {
            let (known, unknown) = (resend(door, AWA).await, resend(door, "nobody@example.com").await);
            assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
            known.expect(status);
        }
        assert_eq!(gateway.posted("nobody@example.com", "").await, 0);
    }
}

async fn a_proven_address_gets_no_further_link(gateway: Gateway) {
    let door = gateway.classic();
    super::a_person(door, AWA).await;

    resend(door, AWA).await.expect(200);

    assert_eq!(gateway.posted(AWA, "verification").await, 1);
}
