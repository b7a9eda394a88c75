//! The cases, each told once for all gateways.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{DESK, RIVAL, SHOP, World};
use crate::harness::node::{PATIENCE, POLL};

/// A revoked session may pass this long.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn a_request_without_a_token_reaches_no_app(world: &World) {
    let answer = world.get(SHOP, &[]).await;

    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{answer:?}");
    assert_eq!(world.requests(), 0);
}

pub(super) async fn a_bad_token_reaches_no_app(world: &World) {
    let token = world.customer().await.token;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());

    for bad in [forged.as_str(), "e30.e30.", "gibberish"] {
        assert_eq!(world.get_with(SHOP, bad).await.status, 401, "{bad}");
    }
    let basic = world.get(SHOP, &[("authorization", "Basic YWRtaW46YWRtaW4=")]).await;
    assert_eq!(basic.status, 401);
    assert_eq!(world.requests(), 0);
}

pub(super) async fn a_good_token_reaches_its_app_with_its_identity(world: &World) {
    let person = world.customer().await;

    let answer = world.get_with(SHOP, &person.token).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["app"], "shop");
    assert_eq!(answer.arrived("x-auth-subject"), Some(person.id.as_str()));
    assert_eq!(answer.arrived("x-auth-tenant"), Some("acme"));
    assert!(answer.arrived("x-auth-session").is_some_and(|session| session.len() == 36));
    if !world.kind.checks_offline() {
        assert_eq!(answer.arrived("x-auth-audience"), Some("https://shop.example.com"));
    }
    let clerk = world.clerk().await;
    assert_eq!(world.get_with(DESK, &clerk.token).await.json["app"], "desk");
}

pub(super) async fn a_token_for_the_other_app_is_refused(world: &World) {
    let person = world.customer().await;

    let answer = world.get_with(DESK, &person.token).await;

    assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    assert_eq!(world.requests(), 0);
}

pub(super) async fn identity_headers_of_a_client_never_arrive(world: &World) {
    let person = world.customer().await;
    let bearer = format!("Bearer {}", person.token);
    let forged = [
        ("x-auth-subject", "admin"),
        ("X-AUTH-TENANT", "rival"),
        ("x-auth-session", "forged"),
        ("x-auth-audience", "forged"),
        ("x-auth-scope", "forged"),
        ("x_auth_subject", "forged"),
        ("X_Auth_Scope", "forged"),
    ];

    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(forged);
    let answer = world.get(SHOP, &headers).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.arrived("x-auth-subject"), Some(person.id.as_str()));
    assert_eq!(answer.arrived("x-auth-tenant"), Some("acme"));
    let arrived = answer.json["headers"].to_string();
    assert!(!arrived.contains("forged") && !arrived.contains("rival"), "{arrived}");
    assert_eq!(world.get(SHOP, &forged).await.status, 401);
}

pub(super) async fn a_token_of_another_tenant_is_refused_whatever_the_client_says(world: &World) {
    let stranger = world.stranger().await;
    let bearer = format!("Bearer {}", stranger.token);
    let claims: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-tenant", RIVAL)],
        &[("x-forwarded-host", "rival.example.com"), ("x-forwarded-uri", "/t/rival/forward-auth")],
        &[("x-original-uri", "/t/rival/forward-auth"), ("x-original-url", "/t/rival/forward-auth")],
        &[("forwarded", "host=rival.example.com"), ("x-forwarded-for", "127.0.0.1"), ("x-tenant", RIVAL)],
    ];
    for claim in claims {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend_from_slice(claim);
        let answer = world.get(SHOP, &headers).await;
        assert!(matches!(answer.status, 401 | 403), "{claim:?}: {answer:?}");
    }
    // A host of nobody's reaches nobody.
    let nobody = world.get("rival.example.com", &[("authorization", &bearer)]).await;
    assert!(matches!(nobody.status, 401 | 403 | 404), "{nobody:?}");
    assert_eq!(world.requests(), 0);
}

pub(super) async fn a_revoked_session_is_refused(world: &World) {
    let person = world.customer().await;
    assert_eq!(world.get_with(SHOP, &person.token).await.status, 200);

    let log_out = json!({ "refresh_token": person.refresh_token });
    let ended = world.node.post("/t/acme/api/auth/logout", &log_out).await;
    assert!(ended.status < 300, "{ended:?}");

    if world.kind.checks_offline() {
        // What its README says: only the token's own end is noticed.
        assert_eq!(world.get_with(SHOP, &person.token).await.status, 200);
        return;
    }
    let refused = async {
        while world.get_with(SHOP, &person.token).await.status != 401 {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(REVOKED_WITHIN, refused).await.is_ok(), "still passes after a second");
}

pub(super) async fn an_app_over_its_limit_is_refused_and_no_other(world: &World) {
    let (person, clerk) = (world.customer().await, world.clerk().await);
    let limit = ["quota=5", "window=3600", "mode=enforce"].map(|set| format!("limits.forward-auth-app.{set}"));
    let command: Vec<_> = ["tenant", "set", "acme"].into_iter().chain(limit.iter().map(String::as_str)).collect();
    world.node.command(&command);

    if world.kind.checks_offline() {
        // Nobody is asked, so nobody counts.
        for _ in 0..10 {
            assert_eq!(world.get_with(SHOP, &person.token).await.status, 200);
        }
        return;
    }
    let refused = async {
        loop {
            let answer = world.get_with(SHOP, &person.token).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("it is never refused");
    assert!(matches!(refused.status, 403 | 429), "{refused:?}");
    let before = world.requests();
    for _ in 0..5 {
        assert_eq!(world.get_with(SHOP, &person.token).await.status, refused.status);
    }
    assert_eq!(world.requests(), before);
    assert_eq!(world.get_with(DESK, &clerk.token).await.status, 200);
}

pub(super) async fn without_guichet_nothing_passes(world: &World) {
    let person = world.customer().await;
    assert_eq!(world.get_with(SHOP, &person.token).await.status, 200);
    let before = world.requests();

    world.node.die().await;

    if world.kind.checks_offline() {
        // It has the keys: good tokens go on, and nothing else does.
        assert_eq!(world.get_with(SHOP, &person.token).await.status, 200);
        assert_eq!(world.get(SHOP, &[]).await.status, 401);
        return;
    }
    for _ in 0..3 {
        let answer = world.get_with(SHOP, &person.token).await;
        assert!(matches!(answer.status, 403 | 500 | 502 | 503 | 504), "{answer:?}");
    }
    assert_eq!(world.requests(), before);
}

pub(super) async fn a_websocket_passes_with_a_token_and_only_with_one(world: &World) {
    let person = world.customer().await;

    let (refused, _) = world.upgrade(SHOP, None).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert_eq!(world.requests(), 0);

    let (switched, mut stream) = world.upgrade(SHOP, Some(&person.token)).await;
    assert!(switched.starts_with("HTTP/1.1 101"), "{switched}");
    for said in ["first", "later"] {
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said.as_bytes());
    }
}

pub(super) async fn a_cors_preflight_reaches_the_app(world: &World) {
    let headers = [("origin", "https://shop.example.com"), ("access-control-request-method", "PUT")];

    let preflight = world.ask(Method::OPTIONS, SHOP, &headers, Vec::new()).await;

    assert_eq!(preflight.status, 200, "{preflight:?}");
    assert_eq!((&preflight.json["app"], &preflight.json["method"]), (&json!("shop"), &json!("OPTIONS")));
    // Without somebody's name on it, and only as a true preflight.
    assert!(preflight.arrived("x-auth-subject").unwrap_or_default().is_empty(), "{preflight:?}");
    let before = world.requests();
    assert_eq!(world.ask(Method::OPTIONS, SHOP, &[], Vec::new()).await.status, 401);
    let mut smuggled = headers.to_vec();
    smuggled.extend([("x-forwarded-method", "OPTIONS"), ("x-original-method", "OPTIONS")]);
    assert_eq!(world.ask(Method::PUT, SHOP, &smuggled, Vec::new()).await.status, 401);
    assert_eq!(world.requests(), before);
}

pub(super) async fn a_body_arrives_whole_small_or_large(world: &World) {
    let person = world.customer().await;
    let bearer = format!("Bearer {}", person.token);

    for length in [5, 3_000_000] {
        let answer = world.ask(Method::POST, SHOP, &[("authorization", &bearer)], vec![b'x'; length]).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json["received"], length);
    }
}
