//! A forgotten password: a mailed link sets another one, and whoever reads the mail is the owner.

use http::Method;
use serde_json::json;

use super::{
    AWA, HOME, NEW_PASSWORD, PASSWORD, a_person, fail, is_good, lock, log_in, minutes, refresh, register, seconds,
    sign_in,
};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    a_reset_sets_the_password_ends_sessions_and_devices_and_gives_no_token,
    a_reset_works_while_locked_and_unlocks,
    a_reset_unlocks_a_known_device_s_counter_too,
    a_link_works_once_and_for_half_an_hour,
    a_newer_reset_voids_the_older_link,
    asking_again_waits_exactly_as_long_as_it_is_told,
    asking_is_the_same_whether_or_not_there_is_an_account,
    a_reset_proves_the_address,
    a_password_that_breaks_a_rule_does_not_spend_the_link,
    the_page_of_a_link_changes_nothing_and_its_form_sets_the_password,
    a_change_of_password_voids_a_mailed_link,
    a_reset_voids_a_device_code_that_was_mailed_before,
    a_reset_that_an_admin_began_in_vain_uses_up_nothing,
);

async fn forgot(door: Door<'_>, email: &str) -> Answer {
    door.post("/api/auth/password/forgot", &json!({"email": email})).await
}

async fn reset_token(door: Door<'_>, email: &str) -> String {
    forgot(door, email).await.expect(200);
    door.gateway().inbox.next_with(email, "/password/reset/").await.token()
}

async fn reset(door: Door<'_>, token: &str, password: &str) -> Answer {
    door.post("/api/auth/password/reset", &json!({"token": token, "password": password})).await
}

async fn a_reset_sets_the_password_ends_sessions_and_devices_and_gives_no_token(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = a_person(door, AWA).await;
        let tokens = sign_in(door, AWA, &device).await;
        let token = reset_token(door, AWA).await;

        let done = reset(door, &token, NEW_PASSWORD).await.expect(200);

        assert_eq!(done.members(), ["message"]);
        assert!(done.headers.get("set-cookie").is_none());
        assert!(!is_good(door, &tokens.access).await);
        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
        log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
        // The device is trusted no longer, nor is the browser that registered.
        let body = json!({"email": AWA, "password": NEW_PASSWORD});
        let answer = door.post("/api/auth/login", &body).device(&device).await.expect(200);
        assert_eq!(answer["otp_required"], true);
        let answer = door.post("/api/auth/login", &body).from("Firefox").await.expect(200);
        assert_eq!(answer["otp_required"], true);
        assert!(gateway.posted(AWA, "password_changed").await >= 1);
    }
}

async fn a_reset_works_while_locked_and_unlocks(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;
        lock(door, AWA).await;

        let token = reset_token(door, AWA).await;
        reset(door, &token, NEW_PASSWORD).await.expect(200);

        let answer = log_in(door, AWA, NEW_PASSWORD).await.expect(200);
        assert_eq!(answer["otp_required"], true);
        // Nothing of the old count is left.
        for _ in 0..4 {
            fail(door, AWA).await.refused(400, "invalid_credentials");
        }
        log_in(door, AWA, NEW_PASSWORD).await.expect(200);
    }
}

async fn a_reset_unlocks_a_known_device_s_counter_too(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let wrong = json!({"email": AWA, "password": "not the password"});
    for _ in 0..5 {
        door.post("/api/auth/login", &wrong).device(&device).await;
    }
    door.post("/api/auth/login", &wrong).device(&device).await.refused(403, "account_locked");

    let token = reset_token(door, AWA).await;
    reset(door, &token, NEW_PASSWORD).await.expect(200);

    let body = json!({"email": AWA, "password": NEW_PASSWORD});
    door.post("/api/auth/login", &body).device(&device).await.expect(200);
}

async fn a_link_works_once_and_for_half_an_hour(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let used = reset_token(door, AWA).await;
    reset(door, &used, NEW_PASSWORD).await.expect(200);
    gateway.clock.advance(minutes(1));
    let expired = reset_token(door, AWA).await;
    gateway.clock.advance(minutes(30));

    for token in [used.as_str(), &expired, "", "invented", &"A".repeat(64)] {
        reset(door, token, PASSWORD).await.refused(400, "invalid_link");
    }

    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
}

async fn a_newer_reset_voids_the_older_link(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let older = reset_token(door, AWA).await;
    gateway.clock.advance(minutes(1));
    let newer = reset_token(door, AWA).await;

    reset(door, &newer, NEW_PASSWORD).await.expect(200);

    reset(door, &older, PASSWORD).await.refused(400, "invalid_link");
}

async fn asking_again_waits_exactly_as_long_as_it_is_told(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    for email in [AWA, "nobody@example.com"] {
        forgot(door, email).await.expect(200);
        let refused = forgot(door, email).await.refused(429, "too_many_requests");

        assert!((29..=30).contains(&refused.retry_after()), "{}", refused.retry_after());
        gateway.clock.advance(seconds(refused.retry_after()));

        forgot(door, email).await.expect(200);
    }
    // The answer comes before the link is written.
    for _ in 0..2 {
        gateway.inbox.next_with(AWA, "/password/reset/").await;
    }
    assert_eq!(gateway.posted(AWA, "password_reset").await, 2);
}

async fn asking_is_the_same_whether_or_not_there_is_an_account(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;

        let (known, unknown) = (forgot(door, AWA).await, forgot(door, "nobody@example.com").await);

        assert_eq!(known.same_for_everybody(), unknown.same_for_everybody());
        known.expect(200);
        assert_eq!(gateway.posted("nobody@example.com", "").await, 0);
    }
}

async fn a_reset_proves_the_address(gateway: Gateway) {
    let door = gateway.classic();
    register(door, AWA).await.expect(201);
    log_in(door, AWA, PASSWORD).await.refused(400, "email_not_verified");

    let token = reset_token(door, AWA).await;
    reset(door, &token, NEW_PASSWORD).await.expect(200);

    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
    gateway.clock.advance(minutes(60 * 25));
    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
}

async fn a_password_that_breaks_a_rule_does_not_spend_the_link(gateway: Gateway) {
    let door = gateway.strict();
    a_person(door, AWA).await;
    let token = reset_token(door, AWA).await;

    for (password, code) in [("short", "too_short"), ("passwordpassword", "too_common"), (&"x".repeat(257), "too_long")]
    {
        let refused = reset(door, &token, password).await.refused(400, "validation");
        assert_eq!(
            (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
            (&json!("/password"), &json!(code))
        );
    }

    reset(door, &token, NEW_PASSWORD).await.expect(200);
}

async fn the_page_of_a_link_changes_nothing_and_its_form_sets_the_password(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let path = format!("/api/auth/password/reset/{}", reset_token(door, AWA).await);

    let page = door.get(&path).by_browser().await.expect(200);
    door.call(Method::HEAD, &path).await.expect(200);
    log_in(door, AWA, PASSWORD).await.expect(200);
    let form = |password: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("password", password).finish();
        door.call(Method::POST, &path).body("application/x-www-form-urlencoded", form).by_browser()
    };
    let too_short = form("abc").await.expect(400);
    let done = form(NEW_PASSWORD).await.expect(200);
    let again = door.get(&path).by_browser().await.expect(400);

    assert!(page.text.contains("<form method=\"post\">") && page.text.contains("type=\"password\""), "{}", page.text);
    assert!(page.header("content-security-policy").contains("form-action 'self'"));
    assert!(too_short.text.contains("<form method=\"post\">"));
    assert!(done.text.contains("Password changed"), "{}", done.text);
    assert!(!again.text.contains("<form"), "{}", again.text);
    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
}

async fn a_change_of_password_voids_a_mailed_link(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let token = reset_token(door, AWA).await;

    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    door.post("/api/auth/password/change", &change).device(&device).bearer(&tokens.access).await.expect(200);

    reset(door, &token, "another password").await.refused(400, "invalid_link");
}

/// Whoever knew the old password and reads the mail has the code; the owner has another password.
async fn a_reset_voids_a_device_code_that_was_mailed_before(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        a_person(door, AWA).await;
        log_in(door, AWA, PASSWORD).await.expect(200);
        let stale = gateway.inbox.next_with(AWA, "new device").await.code(6);
        let token = reset_token(door, AWA).await;
        reset(door, &token, NEW_PASSWORD).await.expect(200);

        door.post("/api/auth/verify-otp", &json!({"email": AWA, "otp": stale})).await.refused(400, "code_expired");

        log_in(door, AWA, NEW_PASSWORD).await.expect(200);
        let fresh = gateway.inbox.next_with(AWA, "new device").await.code(6);
        let answer = door.post("/api/auth/verify-otp", &json!({"email": AWA, "otp": fresh})).await.expect(200);
        assert!(is_good(door, &answer.word("token")).await);
        gateway.clock.advance(minutes(61));
    }
}

async fn a_reset_that_an_admin_began_in_vain_uses_up_nothing(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let users = "/tenants/default/users";
    let found = gateway.admin().get(&format!("{users}?email={AWA}")).bearer(ROOT_KEY).await;
    let person = format!("{users}/{}", found["items"][0]["id"].as_str().unwrap());
    let fails = async |deed: &str| {
        let url = gateway.admin_url(&format!("/admin/v1{person}/{deed}"));
        let asked = gateway.http(HOME.into()).post(url).bearer_auth(ROOT_KEY).json(&json!({})).send().await.unwrap();
        asked.status().is_server_error()
    };
    gateway.execute("ALTER TABLE links RENAME TO links_away".to_owned()).await;
    // Together more than one address is sent in an hour.
    for deed in ["reset", "mark-compromised", "reset", "mark-compromised", "reset"] {
        assert!(fails(deed).await, "{deed}");
    }
    gateway.execute("ALTER TABLE links_away RENAME TO links".to_owned()).await;

    gateway.admin().post(&format!("{person}/reset"), &json!({})).bearer(ROOT_KEY).await.expect(204);
}
