//! What a gateway is told about a token, and what no client can make it believe.

use http::Method;
use serde_json::json;

use crate::flows::{AWA, HOME, NEW_PASSWORD, PASSWORD, Tokens, a_person, log_in, minutes, refresh, seconds, sign_in};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, PUBLIC_URL, ROOT_KEY, on_every_back_end};
use crate::routes::tokens::claims;

on_every_back_end!(
    a_good_token_is_told_in_headers_by_every_method,
    without_a_good_token_the_answer_is_401_and_names_nobody,
    an_audience_narrows,
    a_scope_that_was_not_given_is_403,
    strict_mode_knows_three_statuses,
    another_tenants_token_is_refused_whatever_headers_say,
    a_token_of_before_its_tenant_was_renamed_is_worth_nothing,
    a_preflight_passes_only_where_the_gateway_says_so,
    however_a_session_ends_its_token_is_refused_at_once,
    a_token_seen_before_is_still_judged_every_time,
    a_twin_of_a_revoked_token_is_refused,
    token_checks_go_on_without_any_store_and_end_when_too_much_may_have_been_missed,
);

const IDENTITY: [&str; 5] = ["x-auth-subject", "x-auth-tenant", "x-auth-session", "x-auth-audience", "x-auth-scope"];

/// Every method that HTTP has but CONNECT, and one that it has not.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

/// Asks with a token.
pub(crate) async fn ask(door: Door<'_>, query: &str, token: &str) -> Answer {
    door.get(&format!("/forward-auth{query}")).bearer(token).await
}

/// The same until the answer comes from memory too: both ways must agree.
async fn ask_twice(door: Door<'_>, query: &str, token: &str) -> Answer {
    let first = ask(door, query, token).await;
    let second = ask(door, query, token).await;
    assert_eq!(first.same_for_everybody(), second.same_for_everybody());
    second
}

fn names_nobody(answer: &Answer) {
    for name in IDENTITY {
        assert_eq!(answer.header(name), "", "{name}");
    }
}

async fn a_person_signed_in(door: Door<'_>) -> Tokens {
    sign_in(door, AWA, &a_person(door, AWA).await).await
}

async fn a_good_token_is_told_in_headers_by_every_method(gateway: Gateway) {
    for (door, slug) in [(gateway.classic(), "default"), (gateway.strict(), "strict")] {
        let token = a_person_signed_in(door).await.access;
        let said = claims(&token);
        for method in METHODS {
            for _ in 0..2 {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let answer = door.call(method, "/forward-auth").bearer(&token).await.expect(200);
                assert_eq!(answer.header("x-auth-subject"), said["sub"]);
                assert_eq!(answer.header("x-auth-tenant"), slug);
                assert_eq!(answer.header("x-auth-session"), said["sid"]);
                assert_eq!(answer.header("x-auth-audience"), format!("{PUBLIC_URL}/t/{slug}"));
                assert_eq!(answer.header("x-auth-scope"), "");
                assert_eq!(answer.header("cache-control"), "no-store");
                assert_eq!(answer.text, "");
            }
        }
        // A body the gateway sent along changes nothing.
        let with_body = door.call(Method::POST, "/forward-auth").bearer(&token).body("text/plain", "x".repeat(1_000));
        with_body.await.expect(200);
    }
}

async fn without_a_good_token_the_answer_is_401_and_names_nobody(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = a_person_signed_in(door).await;

    let none = door.get("/forward-auth").await.refused(401, "missing_token");
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"default\"");
    names_nobody(&none);
    let forged = format!("{}x", &tokens.access[..tokens.access.len() - 1]);
    for bad in [forged.as_str(), &tokens.refresh, "x", "a.b.c"] {
        let refused = ask(door, "", bad).await.refused(401, "invalid_token");
        assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
        names_nobody(&refused);
    }
    let basic = door.get("/forward-auth").header("authorization", "Basic YTpi").await;
    basic.refused(401, "missing_token");
    let twice = door.get(&format!("/forward-auth?access_token={}", tokens.access)).bearer(&tokens.access).await;
    names_nobody(&twice.refused(400, "invalid_request"));
    // A token in the query alone is none (RFC 9700 §4.3.2).
    door.get(&format!("/forward-auth?access_token={}", tokens.access)).await.refused(401, "missing_token");
}

async fn an_audience_narrows(gateway: Gateway) {
    let door = gateway.classic();
    let token = a_person_signed_in(door).await.access;
    let own = format!("{PUBLIC_URL}/t/default");

    ask_twice(door, &format!("?audience={own}"), &token).await.expect(200);
    ask(door, "?audience=https://other.example", &token).await.refused(401, "invalid_token");
    ask(door, "?audience=", &token).await.refused(401, "invalid_token");
    ask(door, &format!("?audience={own}/"), &token).await.refused(401, "invalid_token");
    // What a client may append to a gateway's fixed address does not count.
    ask(door, &format!("?audience=https://other.example&audience={own}"), &token).await.refused(401, "invalid_token");
}

async fn a_token_of_before_its_tenant_was_renamed_is_worth_nothing(gateway: Gateway) {
    let token = a_person_signed_in(gateway.other()).await.access;
    ask_twice(gateway.other(), "", &token).await.expect(200);

    let renamed = json!({"slug": "renamed"});
    gateway.admin().patch("/tenants/other", &renamed).bearer(ROOT_KEY).await.expect(200);

    let door = gateway.door("/t/renamed");
    names_nobody(&ask_twice(door, "", &token).await.refused(401, "invalid_token"));
    door.get("/api/auth/sessions").bearer(&token).await.refused(401, "invalid_token");
}

async fn a_scope_that_was_not_given_is_403(gateway: Gateway) {
    let door = gateway.classic();
    let token = a_person_signed_in(door).await.access;

    ask_twice(door, "?scope=", &token).await.expect(200);
    let refused = ask(door, "?scope=users:write%20a", &token).await.refused(403, "insufficient_scope");
    assert!(refused.header("www-authenticate").contains("error=\"insufficient_scope\""));
    assert!(refused.header("www-authenticate").ends_with("scope=\"users:write a\""));
    names_nobody(&refused);
    ask(door, "?scope=a", "x").await.refused(401, "invalid_token");
}

async fn strict_mode_knows_three_statuses(gateway: Gateway) {
    let door = gateway.classic();
    let token = a_person_signed_in(door).await.access;

    for (query, token, shown, truth) in [
        ("?mode=strict", token.as_str(), 200, "200"),
        ("?mode=strict", "x", 401, "401"),
        ("?mode=strict&scope=a", &token, 403, "403"),
        ("?mode=strict&access_token=x", &token, 401, "400"),
    ] {
        let answer = ask_twice(door, query, token).await.expect(shown);
        assert_eq!(answer.header("x-auth-status"), truth, "{query}");
        assert!(shown != 401 || answer.header("www-authenticate").starts_with("Bearer"));
    }
    for method in METHODS {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        door.call(method.clone(), "/forward-auth?mode=strict").bearer(&token).await.expect(200);
        door.call(method, "/forward-auth?mode=strict").bearer("x").await.expect(401);
    }
    let nobody = ask(gateway.door("/t/nobody"), "?mode=strict", &token).await.expect(403);
    assert_eq!(nobody.header("x-auth-status"), "404");
    names_nobody(&nobody);
    ask(gateway.door("/t/nobody"), "", &token).await.refused(404, "tenant_not_found");
}

async fn another_tenants_token_is_refused_whatever_headers_say(gateway: Gateway) {
    let (classic, other) = (gateway.classic(), gateway.other());
    let here = a_person_signed_in(classic).await.access;
    let there = a_person_signed_in(other).await.access;

    ask_twice(classic, "", &here).await.expect(200);
    ask_twice(other, "", &there).await.expect(200);
    ask(classic, "", &there).await.refused(401, "invalid_token");
    ask(other, "", &here).await.refused(401, "invalid_token");
    for (name, value) in [
        ("x-tenant", "other"),
        ("host", "login.other.test"),
        ("x-forwarded-host", "login.other.test"),
        ("forwarded", "host=login.other.test"),
        ("x-forwarded-uri", "/t/other/x"),
        ("x-original-uri", "/t/other/x"),
    ] {
        let spoofed = classic.get("/forward-auth").header(name, value).bearer(&there).await;
        spoofed.refused(401, "invalid_token");
        // Nor do they take the right one away.
        let right = classic.get("/forward-auth").header(name, value).bearer(&here).await.expect(200);
        assert_eq!(right.header("x-auth-tenant"), "default", "{name}");
    }
    // Elsewhere that host is the other tenant's.
    classic.get("/api/auth/me").header("host", "login.other.test").bearer(&there).await.expect(200);
}

async fn a_preflight_passes_only_where_the_gateway_says_so(gateway: Gateway) {
    let door = gateway.classic();
    let preflight = |query: &str, method: Method| {
        let call = door.call(method, &format!("/forward-auth{query}"));
        call.header("origin", "https://app.example").header("access-control-request-method", "PUT")
    };

    names_nobody(&preflight("?preflight=allow", Method::OPTIONS).await.expect(200));
    preflight("", Method::OPTIONS).await.refused(401, "missing_token");
    preflight("?preflight=deny&preflight=allow", Method::OPTIONS).await.refused(401, "missing_token");
    preflight("?preflight=allow", Method::GET).await.refused(401, "missing_token");
    // What an untrusted peer says of the method is not believed, and never where it was not asked for.
    let told = |query| preflight(query, Method::GET).header("x-forwarded-method", "OPTIONS");
    told("?preflight=allow").await.refused(401, "missing_token");
    told("?preflight=forwarded").await.refused(401, "missing_token");
    door.call(Method::OPTIONS, "/forward-auth?preflight=allow").await.refused(401, "missing_token");

    let gateway = gateway.restart(|config| config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let told = |query: &str, method: &str| {
        let call = gateway.classic().get(&format!("/forward-auth{query}"));
        let call = call.header("origin", "https://app.example").header("access-control-request-method", "PUT");
        call.header("x-forwarded-method", method).header("x-forwarded-for", "192.0.2.1")
    };
    names_nobody(&told("?preflight=forwarded", "OPTIONS").await.expect(200));
    told("?preflight=forwarded", "GET").await.refused(401, "missing_token");
    told("?preflight=allow", "OPTIONS").await.refused(401, "missing_token");
}

async fn however_a_session_ends_its_token_is_refused_at_once(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let good = async || {
        let tokens = sign_in(door, AWA, &device).await;
        ask_twice(door, "", &tokens.access).await.expect(200);
        tokens
    };
    let is_over = async |tokens: &Tokens| {
        ask(door, "", &tokens.access).await.refused(401, "invalid_token");
    };

    let tokens = good().await;
    door.call(Method::POST, "/api/auth/logout").bearer(&tokens.access).await.expect(200);
    is_over(&tokens).await;

    let (one, two) = (good().await, good().await);
    door.call(Method::POST, "/api/auth/logout?all=true").bearer(&one.access).await.expect(200);
    is_over(&one).await;
    is_over(&two).await;

    let tokens = good().await;
    let successor = refresh(door, &tokens.refresh).await.expect(200);
    refresh(door, &successor.word("refresh_token")).await.expect(200);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    is_over(&tokens).await;
    is_over(&Tokens::from(&successor)).await;

    let (acting, other) = (good().await, good().await);
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    door.post("/api/auth/password/change", &change).bearer(&acting.access).device(&device).await.expect(200);
    is_over(&other).await;
    ask(door, "", &acting.access).await.expect(200);

    let devices = door.get("/api/auth/devices").bearer(&acting.access).await.expect(200);
    let current = devices["devices"].as_array().unwrap().iter().find(|device| device["current"] == true).unwrap();
    let id = current["id"].as_str().unwrap().to_owned();
    door.delete(&format!("/api/auth/devices/{id}")).bearer(&acting.access).await.expect(204);
    is_over(&acting).await;

    // A strict account has ten sessions at most.
    let strict = gateway.strict();
    let device = a_person(strict, AWA).await;
    let oldest = sign_in(strict, AWA, &device).await;
    ask_twice(strict, "", &oldest.access).await.expect(200);
    for _ in 0..10 {
        gateway.clock.advance(seconds(1));
        sign_in(strict, AWA, &device).await;
    }
    ask(strict, "", &oldest.access).await.refused(401, "invalid_token");

    let erased = sign_in(strict, AWA, &device).await;
    ask_twice(strict, "", &erased.access).await.expect(200);
    strict.delete("/api/auth/me").bearer(&erased.access).await.expect(204);
    ask(strict, "", &erased.access).await.refused(401, "invalid_token");
    assert_eq!(log_in(strict, AWA, PASSWORD).await.status, 400);
}

async fn a_token_seen_before_is_still_judged_every_time(gateway: Gateway) {
    let door = gateway.classic();
    let token = a_person_signed_in(door).await.access;
    ask_twice(door, "", &token).await.expect(200);

    ask(door, "?audience=https://other.example", &token).await.refused(401, "invalid_token");
    ask(door, "?scope=a", &token).await.refused(403, "insufficient_scope");
    gateway.clock.advance(minutes(60));
    // The clocks of two nodes may differ by half a minute.
    ask(door, "", &token).await.expect(200);
    gateway.clock.advance(seconds(31));
    ask(door, "", &token).await.refused(401, "invalid_token");
}

async fn a_twin_of_a_revoked_token_is_refused(gateway: Gateway) {
    let door = gateway.classic();
    let token = a_person_signed_in(door).await.access;
    let twin = crate::routes::jwt_attacks::malleated(&token);
    assert_ne!(twin, token);
    ask(door, "", &twin).await.expect(200);
    ask(door, "", &token).await.expect(200);

    door.call(Method::POST, "/api/auth/logout").bearer(&token).at(HOME).await.expect(200);

    ask(door, "", &twin).await.refused(401, "invalid_token");
    ask(door, "", &token).await.refused(401, "invalid_token");
}

async fn token_checks_go_on_without_any_store_and_end_when_too_much_may_have_been_missed(gateway: Gateway) {
    let (classic, strict) = (gateway.classic(), gateway.strict());
    let device = a_person(classic, AWA).await;
    let (seen, unseen) = (sign_in(classic, AWA, &device).await, sign_in(classic, AWA, &device).await);
    let short = a_person_signed_in(strict).await;
    ask(classic, "", &seen.access).await.expect(200);
    ask(strict, "", &short.access).await.expect(200);

    gateway.break_storage().await;

    for _ in 0..3 {
        ask(classic, "", &seen.access).await.expect(200);
        ask(classic, "", &unseen.access).await.expect(200);
        classic.get("/.well-known/jwks.json").await.expect(200);
    }
    // A token of the strict tenant lives ten minutes, and so long it is judged by what is known.
    gateway.clock.advance(minutes(10) + seconds(5));
    ask(strict, "", &short.access).await.refused(503, "dependency_unavailable");
    let folded = ask(strict, "?mode=strict", &short.access).await.expect(403);
    assert_eq!(folded.header("x-auth-status"), "503");
    names_nobody(&folded);
    ask(classic, "", &seen.access).await.expect(200);
    gateway.clock.advance(minutes(50));
    ask(classic, "", &seen.access).await.refused(503, "dependency_unavailable");
}
