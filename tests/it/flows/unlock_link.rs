//! The link in a lock's mail: its owner is let in again, by a button and once.

use http::Method;
use serde_json::json;

use super::{AWA, NEW_PASSWORD, PASSWORD, a_person, fail, lock, log_in, minutes};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    the_link_of_a_lock_s_mail_lets_strangers_try_again,
    looking_at_an_unlock_link_changes_nothing,
    an_unlock_link_works_once_and_dies_with_its_lock,
    an_unlocked_account_stays_unlocked_over_a_restart,
    an_unlock_link_is_no_other_kind_of_link,
    a_known_device_s_own_lock_is_mailed_without_a_link,
);

/// Locks strangers out; the path of the link that was mailed.
async fn locked(door: Door<'_>) -> String {
    lock(door, AWA).await;
    door.gateway().inbox.next_with(AWA, "/unlock/").await.link()
}

async fn unlocks(gateway: &Gateway) -> usize {
    let rows = gateway.tables().await;
    let by_link = |row: &str| row.contains("authn_login_unlock") && row.contains("link");
    rows.iter().filter(|(table, row)| table == "audit" && by_link(row)).count()
}

async fn the_link_of_a_lock_s_mail_lets_strangers_try_again(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let link = locked(door).await;
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");

    door.call(Method::POST, &link.replace("/t/default", "")).await.expect(200);

    assert_eq!(unlocks(&gateway).await, 1);
    assert_eq!(log_in(door, AWA, PASSWORD).await.expect(200)["otp_required"], true);
    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }
    fail(door, AWA).await.refused(403, "account_locked");
    gateway.inbox.next_with(AWA, "/unlock/").await;
}

async fn looking_at_an_unlock_link_changes_nothing(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let link = locked(door).await.replace("/t/default", "");

    for method in [Method::GET, Method::HEAD] {
        door.call(method.clone(), &link).by_browser().await.expect(200);
        door.call(method, &link).await.expect(200);
    }
    let page = door.get(&link).language("fr").by_browser().await.expect(200);

    assert!(page.text.contains("<form method=\"post\">") && page.text.contains("Débloquer"), "{}", page.text);
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");
    let done = door.call(Method::POST, &link).by_browser().await.expect(200);
    assert!(done.text.contains("Account unlocked"), "{}", done.text);
}

async fn an_unlock_link_works_once_and_dies_with_its_lock(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let used = locked(door).await.replace("/t/default", "");
    door.call(Method::POST, &used).await.expect(200);
    let expired = locked(door).await.replace("/t/default", "");

    door.call(Method::POST, &used).await.refused(400, "invalid_link");
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");
    gateway.clock.advance(minutes(30));
    for link in [expired.as_str(), "/api/auth/unlock/invented"] {
        door.call(Method::POST, link).await.refused(400, "invalid_link");
        let page = door.get(link).by_browser().await.expect(400);
        assert!(!page.text.contains("<form"), "{}", page.text);
    }
}

async fn an_unlocked_account_stays_unlocked_over_a_restart(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let link = locked(gateway.classic()).await;
    gateway.classic().call(Method::POST, &link.replace("/t/default", "")).await.expect(200);

    let gateway = gateway.restart(|_| {}).await;

    log_in(gateway.classic(), AWA, PASSWORD).await.expect(200);
}

async fn an_unlock_link_is_no_other_kind_of_link(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let link = locked(door).await;
    let token = link.rsplit('/').next().unwrap();

    let reset = json!({"token": token, "password": NEW_PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.refused(400, "invalid_link");
    door.post(&format!("/api/auth/invitation/{token}"), &json!({"password": NEW_PASSWORD}))
        .await
        .refused(400, "invalid_link");
    let elsewhere = gateway.other().call(Method::POST, &format!("/api/auth/unlock/{token}")).await;
    elsewhere.refused(400, "invalid_link");
    log_in(door, AWA, PASSWORD).await.refused(403, "account_locked");
}

async fn a_known_device_s_own_lock_is_mailed_without_a_link(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let wrong = json!({"email": AWA, "password": "not the password"});
    for _ in 0..5 {
        door.post("/api/auth/login", &wrong).device(&device).await;
    }

    let mail = gateway.inbox.next_with(AWA, "is locked until").await;

    assert!(!mail.text.contains("http"), "{}", mail.text);
}
