//! A deployment: what is under way is answered, and what was given stays good.

use http::Method;
use serde_json::json;

use super::{AWA, NUMBER, PASSWORD, a_person, fail, is_good, minutes, refresh, request_code, sign_in, verify_code};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    requests_under_way_are_answered_while_the_gateway_stops,
    what_was_answered_is_finished_before_the_gateway_ends,
    sign_ins_devices_and_links_outlive_a_restart,
    a_code_outlives_a_restart_where_the_store_does,
    failures_outlive_a_restart,
);

async fn requests_under_way_are_answered_while_the_gateway_stops(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let (client, url) = (gateway.http([127, 0, 0, 1].into()), gateway.url("/api/auth/login"));
    let body = json!({"email": AWA, "password": PASSWORD});
    let (answered, mut first) = tokio::sync::mpsc::channel(16);
    for _ in 0..8 {
        let (client, url, body, answered) = (client.clone(), url.clone(), body.clone(), answered.clone());
        tokio::spawn(async move {
            let status = match client.post(url).json(&body).send().await {
                // A whole answer, body included.
                Ok(response) => Some((response.status().as_u16(), response.text().await.is_ok())),
                Err(error) if error.is_connect() => None,
                Err(error) => panic!("cut off: {error}"),
            };
            answered.send(status).await.unwrap();
        });
    }
    drop(answered);

    let mut outcomes = vec![first.recv().await.unwrap()];
    gateway.stop().await;
    while let Some(outcome) = first.recv().await {
        outcomes.push(outcome);
    }

    assert_eq!(outcomes.len(), 8, "every request has an outcome");
    assert!(outcomes.iter().flatten().all(|outcome| matches!(outcome, (200 | 503, true))), "{outcomes:?}");
}

async fn what_was_answered_is_finished_before_the_gateway_ends(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let held = gateway.hold("links").await;
    gateway.classic().post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);

    let (gateway, ()) = tokio::join!(gateway.restart(|_| {}), held.let_go());

    assert_eq!(gateway.posted(AWA, "password_reset").await, 1);
    gateway.inbox.next_with(AWA, "/password/reset/").await;
}

async fn sign_ins_devices_and_links_outlive_a_restart(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let binta = "binta@example.com";
    super::register(door, binta).await.expect(201);
    let link = gateway.inbox.next(binta).await.link();

    let gateway = gateway.restart(|_| {}).await;

    let door = gateway.classic();
    assert!(is_good(door, &tokens.access).await);
    let successor = refresh(door, &tokens.refresh).await.expect(200).word("refresh_token");
    sign_in(door, AWA, &device).await;
    door.call(Method::POST, &link).await.expect(200);
    // The grace of a spent token, too.
    let gateway = gateway.restart(|_| {}).await;
    assert_eq!(refresh(gateway.classic(), &tokens.refresh).await.expect(200).word("refresh_token"), successor);
}

async fn a_code_outlives_a_restart_where_the_store_does(gateway: Gateway) {
    let code = request_code(gateway.classic(), NUMBER, 4).await;

    let gateway = gateway.restart(|_| {}).await;

    let answer = verify_code(gateway.classic(), NUMBER, &code).await;
    if gateway.has_redis() {
        answer.expect(200);
    } else {
        answer.refused(400, "code_expired");
    }
}

async fn failures_outlive_a_restart(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    for _ in 0..4 {
        fail(gateway.classic(), AWA).await.refused(400, "invalid_credentials");
    }

    let gateway = gateway.restart(|_| {}).await;

    fail(gateway.classic(), AWA).await.refused(403, "account_locked");
    gateway.clock.advance(minutes(30));
    fail(gateway.classic(), AWA).await.refused(400, "invalid_credentials");
}
