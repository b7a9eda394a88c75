//! Pages of other origins: those of the tenant's apps may read every answer, refusals included, and no
//! other page may read any.

use guichet::domain::policy::Profile;
use http::Method;
use serde_json::json;

use super::{AWA, PASSWORD};
use crate::harness::client::{Answer, Call, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_page_of_an_app_may_read_every_answer_and_why_it_must_wait,
    a_preflight_is_told_the_methods_of_its_path,
    any_other_origin_is_told_nothing,
    credentials_are_allowed_only_where_the_tenant_keeps_tokens_in_a_cookie,
    what_may_be_kept_is_kept_for_each_origin,
);

const APP: &str = "https://app.example";

/// A tenant with one app and little patience.
async fn a_tenant(gateway: &Gateway) -> Door<'_> {
    let settings = json!({"limits": {"login-client": {"quota": 1, "window": 60}}});
    gateway.new_tenant("pages", Profile::Classic, settings).await;
    gateway.new_app("pages", "https://api.example", &[APP]).await;
    gateway.door("/t/pages")
}

fn preflight<'g>(door: Door<'g>, path: &str, origin: &str) -> Call<'g> {
    let call = door.call(Method::OPTIONS, path).header("origin", origin);
    call.header("access-control-request-method", "POST").header("access-control-request-headers", "content-type")
}

/// What CORS says in an answer.
fn told(answer: &Answer) -> Vec<String> {
    let names = answer.headers.keys().map(ToString::to_string);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[track_caller]
fn is_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    assert_eq!(answer.header("vary"), "origin");
    let exposed = "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-Id";
    assert_eq!(answer.header("access-control-expose-headers"), exposed);
    assert_eq!(told(answer), ["access-control-allow-origin", "access-control-expose-headers"]);
}

async fn a_page_of_an_app_may_read_every_answer_and_why_it_must_wait(gateway: Gateway) {
    let door = a_tenant(&gateway).await;
    let body = json!({"email": AWA, "password": PASSWORD});
    let log_in = || door.post("/api/auth/login", &body).header("origin", APP);

    is_readable(&log_in().await.refused(400, "invalid_credentials"));
    let wait = log_in().await.refused(429, "too_many_requests");
    is_readable(&wait);
    assert!(wait.retry_after() >= 1);
    for told in ["ratelimit", "ratelimit-policy"] {
        assert!(wait.headers.contains_key(told), "{told}");
    }
    is_readable(&door.get("/api/auth/me").header("origin", APP).await.refused(401, "missing_token"));
    is_readable(&door.get("/api/auth/nothing").header("origin", APP).await.refused(404, "not_found"));
    is_readable(&door.get("/api/auth/login").header("origin", APP).await.refused(405, "method_not_allowed"));
    is_readable(&door.post("/oauth/revoke", &json!({})).header("origin", APP).await.expect(400));
    is_readable(&door.get("/.well-known/jwks.json").header("origin", APP).await.expect(200));
}

async fn a_preflight_is_told_the_methods_of_its_path(gateway: Gateway) {
    let door = a_tenant(&gateway).await;
    for (path, methods) in [
        ("/api/auth/login", "OPTIONS, POST"),
        ("/api/auth/me", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/auth/sessions/x", "DELETE, GET, HEAD, OPTIONS"),
    ] {
        // As often as a browser likes: it is under no limit.
        for _ in 0..3 {
            let answer = preflight(door, path, APP).await.expect(204);
            assert_eq!(answer.header("access-control-allow-origin"), APP);
            assert_eq!(answer.header("access-control-allow-methods"), methods, "{path}");
            let headers = "Authorization, Content-Type, X-Device-Id, X-Request-Id";
            assert_eq!(answer.header("access-control-allow-headers"), headers);
            assert_eq!(answer.header("access-control-max-age"), "600");
            assert_eq!(answer.header("vary"), "origin");
        }
    }
    // Only the tenant that the app belongs to lets it in.
    assert!(told(&preflight(gateway.classic(), "/api/auth/login", APP).await.expect(204)).is_empty());
}

async fn any_other_origin_is_told_nothing(gateway: Gateway) {
    let door = a_tenant(&gateway).await;
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://app.example/",
        "https://APP.example",
        "https://sub.app.example",
        "null",
        "*",
    ] {
        for path in ["/api/auth/me", "/api/auth/nothing", "/.well-known/jwks.json"] {
            let answer = door.get(path).header("origin", origin).await;
            assert!(told(&answer).is_empty(), "{origin} {path}");
        }
        assert!(told(&preflight(door, "/api/auth/login", origin).await.expect(204)).is_empty(), "{origin}");
    }
    assert!(told(&door.get("/api/auth/me").await).is_empty());
    assert!(told(&gateway.door("/t/nobody").get("/api/auth/me").header("origin", APP).await.expect(404)).is_empty());
}

async fn credentials_are_allowed_only_where_the_tenant_keeps_tokens_in_a_cookie(gateway: Gateway) {
    gateway.new_tenant("jar", Profile::Classic, json!({"tokens": {"cookie": true}})).await;
    gateway.new_app("jar", "https://api.example", &[APP]).await;
    let door = gateway.door("/t/jar");

    let refused = door.get("/api/auth/me").header("origin", APP).await.refused(401, "missing_token");
    assert_eq!(refused.header("access-control-allow-credentials"), "true");
    let answer = preflight(door, "/api/auth/login", APP).await.expect(204);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert!(told(&door.get("/api/auth/me").header("origin", "https://evil.example").await).is_empty());
}

async fn what_may_be_kept_is_kept_for_each_origin(gateway: Gateway) {
    let door = a_tenant(&gateway).await;
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        let kept = door.get(path).await.expect(200);
        assert!(told(&kept).is_empty());
        assert_eq!(kept.headers.get_all("vary").iter().collect::<Vec<_>>(), ["origin"], "{path}");
        let read = door.get(path).header("origin", APP).await.expect(200);
        assert_eq!(read.headers.get_all("vary").iter().collect::<Vec<_>>(), ["origin"], "{path}");
    }
}
