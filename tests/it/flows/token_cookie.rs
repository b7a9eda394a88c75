//! The access token in a browser's cookie: only where the tenant has it so, and never without an origin
//! that is known.

use guichet::domain::policy::Profile;
use http::Method;
use serde_json::json;

use super::{AWA, NUMBER, a_person, a_phone_person, refresh, request_code, sign_in};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, PUBLIC_URL, on_every_back_end};

on_every_back_end!(
    no_tenant_has_it_unless_it_says_so,
    sign_in_and_refresh_set_it_and_log_out_clears_it,
    another_sites_page_puts_no_token_into_the_jar,
    a_gateway_takes_it_and_a_bearer_token_wins,
    nothing_is_changed_by_it_from_an_unknown_origin,
);

const APP: &str = "https://app.example";
const NAME: &str = "guichet_token_browser";

async fn a_browsers_tenant(gateway: &Gateway) -> Door<'_> {
    gateway.new_tenant("browser", Profile::Classic, json!({"tokens": {"cookie": true}})).await;
    gateway.new_app("browser", "https://api.example", &[APP]).await;
    gateway.door("/t/browser")
}

fn set_cookie(answer: &Answer) -> Option<&str> {
    let cookies = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    cookies.into_iter().find(|cookie| cookie.starts_with(NAME))
}

fn jar(token: &str) -> String {
    format!("other=1; {NAME}={token}")
}

async fn no_tenant_has_it_unless_it_says_so(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": super::PASSWORD});
    let answer = door.post("/api/auth/login", &body).device(&device).await.expect(200);
    assert!(answer.headers.get("set-cookie").is_none());

    let cookie = format!("guichet_token_default={}", answer.word("token"));
    door.get("/forward-auth").header("cookie", &cookie).await.refused(401, "missing_token");
    door.get("/api/auth/me").header("cookie", &cookie).await.refused(401, "missing_token");
}

async fn sign_in_and_refresh_set_it_and_log_out_clears_it(gateway: Gateway) {
    let door = a_browsers_tenant(&gateway).await;
    a_phone_person(door, NUMBER, 4).await;
    gateway.clock.advance(super::seconds(31));
    let code = request_code(door, NUMBER, 4).await;
    let signed_in = super::verify_code(door, NUMBER, &code).await.expect(200);

    let expected = |token: &str| format!("{NAME}={token}; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600");
    assert_eq!(set_cookie(&signed_in).unwrap(), expected(&signed_in.word("token")));
    let refreshed = refresh(door, &signed_in.word("refresh_token")).await.expect(200);
    assert_eq!(set_cookie(&refreshed).unwrap(), expected(&refreshed.word("token")));

    let cookie = jar(&refreshed.word("token"));
    let out = door.call(Method::POST, "/api/auth/logout").header("cookie", &cookie).header("origin", APP);
    let cleared = out.await.expect(200);
    assert_eq!(set_cookie(&cleared).unwrap(), format!("{NAME}=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"));
    door.get("/forward-auth").header("cookie", &cookie).await.refused(401, "invalid_token");
}

async fn another_sites_page_puts_no_token_into_the_jar(gateway: Gateway) {
    let door = a_browsers_tenant(&gateway).await;
    let tokens = a_phone_person(door, NUMBER, 4).await;
    let mut token = tokens.refresh;

    for (origin, is_own) in [("https://evil.example", false), ("null", false), (APP, true), (PUBLIC_URL, true)] {
        let body = json!({"refresh_token": token});
        let refreshed = door.post("/api/auth/refresh", &body).header("origin", origin).await.expect(200);
        assert_eq!(set_cookie(&refreshed).is_some(), is_own, "{origin}");
        token = refreshed.word("refresh_token");
    }
}

async fn a_gateway_takes_it_and_a_bearer_token_wins(gateway: Gateway) {
    let door = a_browsers_tenant(&gateway).await;
    let tokens = a_phone_person(door, NUMBER, 4).await;
    let cookie = jar(&tokens.access);
    let ask = || door.get("/forward-auth").header("cookie", &cookie);

    for _ in 0..2 {
        ask().await.expect(200);
    }
    ask().bearer("x").await.refused(401, "invalid_token");
    // Another scheme is the app's own business.
    ask().header("authorization", "Basic YTpi").await.expect(200);
    let bad = door.get("/forward-auth").header("cookie", &jar("x"));
    bad.bearer(&tokens.access).await.expect(200);
    door.get("/forward-auth").header("cookie", &jar("x")).await.refused(401, "invalid_token");
    door.get("/forward-auth").header("cookie", &jar("")).await.refused(401, "missing_token");
    // Under another tenant's name it is nothing.
    let elsewhere = sign_in(gateway.classic(), AWA, &a_person(gateway.classic(), AWA).await).await;
    door.get("/forward-auth").header("cookie", &jar(&elsewhere.access)).await.refused(401, "invalid_token");
}

async fn nothing_is_changed_by_it_from_an_unknown_origin(gateway: Gateway) {
    let door = a_browsers_tenant(&gateway).await;
    let tokens = a_phone_person(door, NUMBER, 4).await;
    let cookie = jar(&tokens.access);
    let erase = || door.delete("/api/auth/me").header("cookie", &cookie);

    // Looking is free: another site cannot read the answer.
    door.get("/api/auth/me").header("cookie", &cookie).await.expect(200);
    erase().await.refused(403, "forbidden");
    for origin in ["https://evil.example", "https://app.example.evil.example", "https://app.example:444", "null", ""] {
        erase().header("origin", origin).await.refused(403, "forbidden");
    }
    door.call(Method::POST, "/api/auth/logout").header("cookie", &cookie).await.refused(403, "forbidden");
    // A bearer token is sent by nobody but its owner.
    door.delete("/api/auth/sessions/0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10").bearer(&tokens.access).await.expect(404);
    // The platform's own origin counts as well as an app's.
    erase().header("origin", PUBLIC_URL).await.expect(204);
}
