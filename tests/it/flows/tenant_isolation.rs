//! Tenants share a process and nothing else: what is good in one is worth nothing in another.

use http::Method;
use serde_json::json;

use super::{
    AWA, NUMBER, PASSWORD, a_person, a_phone_person, is_good, lock, log_in, refresh, register, request_code, sign_in,
    verify_code,
};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, PUBLIC_URL, on_every_back_end};

on_every_back_end!(
    an_access_token_is_good_in_its_tenant_only,
    a_refresh_token_is_unknown_elsewhere_and_not_spent_by_trying,
    a_code_and_its_challenge_are_unknown_elsewhere,
    links_and_registration_tokens_do_nothing_elsewhere,
    a_device_is_a_stranger_elsewhere,
    one_person_in_two_tenants_is_two_accounts_with_two_locks,
    a_limit_reached_in_one_tenant_is_none_in_another,
    a_tenant_is_named_by_path_by_domain_or_by_default,
    the_tenant_header_is_believed_from_a_trusted_proxy_only,
    the_issuer_is_the_same_whichever_way_the_tenant_was_named,
);

async fn is_of(door: Door<'_>, access: &str) -> bool {
    is_good(door, access).await
}

async fn an_access_token_is_good_in_its_tenant_only(gateway: Gateway) {
    let (home, id) = (gateway.classic(), "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10");
    let tokens = sign_in(home, AWA, &a_person(home, AWA).await).await;
    let change = json!({"current_password": PASSWORD, "new_password": "another password of hers"});

    for away in [gateway.other(), gateway.strict()] {
        a_person(away, AWA).await;
        for (method, path) in [
            (Method::GET, "/api/auth/me".to_owned()),
            (Method::DELETE, "/api/auth/me".to_owned()),
            (Method::GET, "/api/auth/sessions".to_owned()),
            (Method::DELETE, "/api/auth/sessions".to_owned()),
            (Method::DELETE, format!("/api/auth/sessions/{id}")),
            (Method::GET, "/api/auth/devices".to_owned()),
            (Method::DELETE, format!("/api/auth/devices/{id}")),
            (Method::POST, "/api/auth/logout".to_owned()),
            (Method::POST, "/api/auth/logout?all=true".to_owned()),
            (Method::POST, "/api/auth/password/change".to_owned()),
        ] {
            let asked = away.call(method, &path).body("application/json", change.to_string());
            let refused = asked.bearer(&tokens.access).await.refused(401, "invalid_token");
            assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{path}");
        }
    }
    assert!(is_good(home, &tokens.access).await);
}

async fn a_refresh_token_is_unknown_elsewhere_and_not_spent_by_trying(gateway: Gateway) {
    let home = gateway.classic();
    let tokens = sign_in(home, AWA, &a_person(home, AWA).await).await;

    for away in [gateway.other(), gateway.strict()] {
        refresh(away, &tokens.refresh).await.refused(401, "invalid_token");
        let logout = away.post("/api/auth/logout", &json!({"refresh_token": tokens.refresh})).await;
        logout.refused(401, "invalid_token");
    }

    refresh(home, &tokens.refresh).await.expect(200);
}

async fn a_code_and_its_challenge_are_unknown_elsewhere(gateway: Gateway) {
    let (home, away) = (gateway.classic(), gateway.other());
    a_person(home, AWA).await;
    a_person(away, AWA).await;
    let challenge = log_in(home, AWA, PASSWORD).await.expect(200).word("challenge_id");
    let mailed = gateway.inbox.next(AWA).await.code(6);
    let texted = request_code(home, NUMBER, 4).await;
    let answer = json!({"email": AWA, "otp": mailed, "challenge_id": challenge});

    away.post("/api/auth/verify-otp", &answer).await.refused(400, "code_expired");
    verify_code(away, NUMBER, &texted).await.refused(400, "code_expired");

    home.post("/api/auth/verify-otp", &answer).await.expect(200);
    verify_code(home, NUMBER, &texted).await.expect(200);
}

async fn links_and_registration_tokens_do_nothing_elsewhere(gateway: Gateway) {
    let (home, away) = (gateway.classic(), gateway.other());
    register(home, AWA).await.expect(201);
    let verification = format!("/api/auth/verify/{}", gateway.inbox.next(AWA).await.token());
    home.post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);
    let reset = json!({"token": gateway.inbox.next(AWA).await.token(), "password": "another password"});
    let code = request_code(home, NUMBER, 4).await;
    let proof = verify_code(home, NUMBER, &code).await.expect(200).word("registration_token");
    let person = json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});

    away.get(&verification).await.refused(400, "invalid_link");
    away.post("/api/auth/password/reset", &reset).await.refused(400, "invalid_link");
    away.post("/auth/register", &person).await.refused(403, "phone_not_verified");

    home.get(&verification).await.expect(200);
    home.post("/api/auth/password/reset", &reset).await.expect(200);
    home.post("/auth/register", &person).await.expect(201);
}

async fn a_device_is_a_stranger_elsewhere(gateway: Gateway) {
    let (home, away) = (gateway.classic(), gateway.other());
    let device = a_person(home, AWA).await;
    a_person(away, AWA).await;

    let body = json!({"email": AWA, "password": PASSWORD});
    let answer = away.post("/api/auth/login", &body).device(&device).await.expect(200);

    assert_eq!(answer["otp_required"], true);
}

async fn one_person_in_two_tenants_is_two_accounts_with_two_locks(gateway: Gateway) {
    let (home, away) = (gateway.classic(), gateway.other());
    a_person(home, AWA).await;
    a_person(away, AWA).await;
    let (here, there) = (a_phone_person(home, NUMBER, 4).await, a_phone_person(away, NUMBER, 4).await);

    lock(home, AWA).await;

    log_in(home, AWA, PASSWORD).await.refused(403, "account_locked");
    log_in(away, AWA, PASSWORD).await.expect(200);
    assert!(is_of(home, &here.access).await && !is_of(home, &there.access).await);
    // Whoever goes here stays there.
    home.delete("/api/auth/me").bearer(&here.access).await.expect(204);
    assert!(is_of(away, &there.access).await);
}

async fn a_limit_reached_in_one_tenant_is_none_in_another(gateway: Gateway) {
    let ask = json!({"phone": NUMBER});
    gateway.classic().post("/auth/request-code", &ask).await.expect(200);
    gateway.classic().post("/auth/request-code", &ask).await.refused(429, "too_many_requests");

    gateway.other().post("/auth/request-code", &ask).await.expect(200);
}

async fn a_tenant_is_named_by_path_by_domain_or_by_default(gateway: Gateway) {
    let tokens = sign_in(gateway.other(), AWA, &a_person(gateway.other(), AWA).await).await;
    let me = |prefix: &'static str| gateway.door(prefix).get("/api/auth/me").bearer(&tokens.access);

    me("/t/other").await.expect(200);
    me("").header("host", "login.other.test").await.expect(200);
    me("").header("host", "LOGIN.other.test:8443").await.expect(200);
    me("/t/other").header("host", "login.other.test").await.expect(200);
    me("").await.refused(401, "invalid_token");
    me("/t/default").await.refused(401, "invalid_token");
    // At home on a domain, no other tenant exists.
    me("/t/default").header("host", "login.other.test").await.refused(404, "tenant_not_found");
    for prefix in ["/t/nobody", "/t/OTHER", "/t/%6fther", "/t/other%2f"] {
        gateway.door(prefix).get("/api/auth/me").await.refused(404, "tenant_not_found");
        gateway.door(prefix).get("/no/such/route").await.refused(404, "tenant_not_found");
    }
    gateway.classic().get("/no/such/route").await.refused(404, "not_found");
}

async fn the_tenant_header_is_believed_from_a_trusted_proxy_only(gateway: Gateway) {
    let tokens = sign_in(gateway.other(), AWA, &a_person(gateway.other(), AWA).await).await;
    let home = gateway.classic();
    let named = home.get("/api/auth/me").bearer(&tokens.access).header("x-tenant", "other").await;
    named.refused(401, "invalid_token");

    let gateway = gateway.restart(|config| config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;

    let home = gateway.classic();
    home.get("/api/auth/me").bearer(&tokens.access).header("x-tenant", "other").await.expect(200);
    home.get("/api/auth/me").header("x-tenant", "nobody").await.refused(404, "tenant_not_found");
    // The path says more than the header.
    let both = gateway.strict().get("/api/auth/me").bearer(&tokens.access).header("x-tenant", "other").await;
    both.refused(401, "invalid_token");
}

async fn the_issuer_is_the_same_whichever_way_the_tenant_was_named(gateway: Gateway) {
    let device = a_person(gateway.other(), AWA).await;
    let body = json!({"email": AWA, "password": PASSWORD});

    let by_path = gateway.other().post("/api/auth/login", &body).device(&device).await.expect(200);
    let by_host = gateway.classic().post("/api/auth/login", &body).device(&device).header("host", "login.other.test");
    let by_host = by_host.await.expect(200);

    for answer in [by_path, by_host] {
        let claims = crate::routes::tokens::claims(&answer.word("token"));
        assert_eq!(claims["iss"], format!("{PUBLIC_URL}/t/other"));
        assert_eq!(claims["tid"], "other");
    }
}
