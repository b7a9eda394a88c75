//! Every public route at once: that it exists bare and under `/t/{slug}`, and what its edges answer.

use guichet::http::handlers;
use http::Method;

use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    every_route_exists_bare_and_under_its_tenant,
    a_wrong_method_is_told_the_right_ones,
    the_admin_listener_says_that_the_gateway_is_ready,
);

/// A path of the pattern.
fn path(pattern: &str) -> String {
    pattern.replace("{token}", "x").replace("{id}", "x")
}

async fn every_route_exists_bare_and_under_its_tenant(gateway: Gateway) {
    // Receipts' routes tell strangers nothing, not even that they exist.
    for route in handlers::public().iter().filter(|route| !route.pattern.starts_with("/hooks/")) {
        let method = route.method.clone().unwrap_or(Method::GET);
        for prefix in ["", "/t/default", "/t/strict"] {
            let answer = gateway.door(prefix).call(method.clone(), &path(route.pattern)).await;
            // Refused for what was sent, never for where it was sent.
            assert!(!matches!(answer.status.as_u16(), 404 | 405), "{method} {prefix}{}", route.pattern);
        }
        let away = gateway.door("/t/nobody").call(method, &path(route.pattern)).await;
        away.refused(404, "tenant_not_found");
    }
}

async fn a_wrong_method_is_told_the_right_ones(gateway: Gateway) {
    let door = gateway.classic();
    for (method, path, allowed) in [
        (Method::GET, "/api/auth/login", "OPTIONS, POST"),
        (Method::HEAD, "/auth/request-code", "OPTIONS, POST"),
        (Method::POST, "/api/auth/me", "DELETE, GET, HEAD, OPTIONS"),
        (Method::PUT, "/api/auth/sessions", "DELETE, GET, HEAD, OPTIONS"),
        (Method::PATCH, "/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
    ] {
        let refused = door.call(method.clone(), path).await.expect(405);
        assert_eq!(refused.header("allow"), allowed, "{method} {path}");
        let options = door.call(Method::OPTIONS, path).await.expect(204);
        assert_eq!(options.header("allow"), allowed, "{path}");
    }
}

async fn the_admin_listener_says_that_the_gateway_is_ready(gateway: Gateway) {
    let client = gateway.http([127, 0, 0, 1].into());
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(client.get(gateway.admin_url(path)).send().await.unwrap().status(), 200, "{path}");
        // None of it is public.
        gateway.classic().get(path).await.refused(404, "not_found");
    }
}
