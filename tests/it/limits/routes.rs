//! Which route stands under which limit, walked over the gateway's own table.

use guichet::domain::limits::{LimitKey, LimitName};
use guichet::http::handlers;

/// What gateways and probes ask on behalf of everybody.
fn is_exempt(pattern: &str) -> bool {
    pattern.starts_with("/.well-known/") || pattern == "/forward-auth"
}

#[test]
fn every_public_route_has_a_limit_and_counts_in_the_tenants_total() {
    for route in handlers::public().iter() {
        let (method, limits) = (route.method.as_ref().map_or("*", |method| method.as_str()), route.limits);
        if is_exempt(route.pattern) {
            assert!(!limits.contains(&LimitName::TenantTotal), "{method} {}", route.pattern);
            assert!(limits.iter().all(|name| name.key() != LimitKey::Client), "{method} {}", route.pattern);
        } else {
            assert!(limits.len() >= 2, "{method} {} has no limit", route.pattern);
            assert_eq!(limits.last(), Some(&LimitName::TenantTotal), "{method} {}", route.pattern);
        }
    }
}

#[test]
fn what_guesses_or_sends_is_under_the_limit_of_its_kind() {
    let of = |method: &str, pattern: &str| {
        let routes = handlers::public();
        let mut found = routes.iter().filter(|route| route.pattern == pattern);
        let route = found.find(|route| route.method.as_ref().is_none_or(|own| own == method));
        route.unwrap_or_else(|| panic!("{method} {pattern}")).limits[0]
    };
    for (pattern, limit) in [
        ("/api/auth/login", LimitName::LoginClient),
        ("/api/auth/verify-otp", LimitName::LoginClient),
        ("/api/auth/password/change", LimitName::LoginClient),
        ("/api/auth/password/reset", LimitName::LoginClient),
        ("/auth/request-code", LimitName::CodeClient),
        ("/auth/verify-code", LimitName::CodeClient),
        ("/api/auth/resend-verification", LimitName::CodeClient),
        ("/api/auth/password/forgot", LimitName::CodeClient),
        ("/auth/register", LimitName::RegisterClient),
        ("/api/auth/register", LimitName::RegisterClient),
        ("/api/auth/refresh", LimitName::RefreshClient),
        ("/api/auth/logout", LimitName::ApiClient),
    ] {
        assert_eq!(of("POST", pattern), limit, "{pattern}");
    }
}
