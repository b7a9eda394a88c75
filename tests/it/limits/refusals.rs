//! A refusal is cheap, tells when to come back, and never more than that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::domain::limits::LimitName;
use guichet::entropy::Entropy;
use guichet::ephemeral::memory::MemoryStore;
use guichet::limits::{Ceilings, Decision, LimitSource, Limits};
use serde_json::json;

use super::{API, LOGIN, Nodes, admitted, caller, on_every_store, refusal, tenant};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};
use crate::harness::redis::OwnRedis;

mod engine {
    use super::*;

    on_every_store!(
        what_a_limit_only_records_is_admitted_and_what_is_off_is_not_asked,
        who_is_refused_is_shown_by_network_and_only_while_it_is,
    );
}

mod wire {
    use super::*;

    on_every_back_end!(
        a_refusal_says_all_it_takes_to_come_back_at_the_right_moment,
        an_admitted_request_is_told_what_is_left_of_its_own_limits,
        a_refusal_about_a_contact_names_no_limit,
        who_is_refused_is_on_the_limits_page_of_the_tenant_and_of_no_other,
    );
}

async fn what_a_limit_only_records_is_admitted_and_what_is_off_is_not_asked(nodes: Nodes) {
    let records = tenant(r#"{"login-client":{"quota":2,"window":3600,"mode":"record"}}"#);
    let off = tenant(r#"{"login-client":{"quota":2,"mode":"off"},"tenant-total":{"mode":"off"}}"#);
    for n in 0..50 {
        assert!(admitted(&nodes.node(n).check(&records, LOGIN, &caller("192.0.2.7")).await));
        let told = nodes.node(n).check(&off, LOGIN, &caller("192.0.2.7")).await;
        assert_eq!(told, Decision::Admitted(vec![]));
    }
    assert!(nodes.nodes.iter().all(|node| node.refused_now(records.id()).is_empty()));
}

async fn who_is_refused_is_shown_by_network_and_only_while_it_is(nodes: Nodes) {
    let (acme, other) = (tenant(r#"{"login-client":{"quota":2,"window":60}}"#), tenant("{}"));
    for address in ["192.0.2.7", "192.0.2.9", "2001:db8::7", "198.51.100.1"] {
        let times = if address == "198.51.100.1" { 1 } else { 5 };
        for _ in 0..times {
            nodes.node(0).check(&acme, LOGIN, &caller(address)).await;
        }
    }

    let shown = nodes.node(0).refused_now(acme.id());

    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!((shown[0].name, shown[0].requests, shown[0].subjects), (LimitName::LoginClient, 9, 3));
    let mut networks = shown[0].shown.clone();
    networks.sort();
    assert_eq!(networks, ["192.0.2.0/24", "2001:db8::/64"]);
    assert!(nodes.node(0).refused_now(other.id()).is_empty());
    nodes.clock.advance(Duration::from_secs(60));
    assert!(nodes.node(0).refused_now(acme.id()).is_empty());
}

#[tokio::test]
async fn the_limits_page_shows_what_holds_and_who_said_so() {
    let store = Arc::new(MemoryStore::new(Clock::system(), Entropy::system()));
    let ceilings = Ceilings::new([(LimitName::ApiClient, 1_000), (LimitName::TenantTotal, 5_000)]);
    let limits = Limits::new(store, Clock::system(), ceilings);
    let tenant = tenant(r#"{"login-client":{"quota":30},"api-client":{"quota":500,"window":1}}"#);

    let effective = limits.effective(&tenant);

    assert_eq!(effective.iter().map(|limit| limit.name).collect::<Vec<_>>(), LimitName::ALL);
    let of = |name| {
        let limit = effective.iter().find(|limit| limit.name == name).unwrap();
        (limit.rate.requests, limit.rate.window.as_secs(), limit.source)
    };
    assert_eq!(of(LimitName::LoginClient), (30, 60, LimitSource::Tenant));
    assert_eq!(of(LimitName::CodeClient), (60, 60, LimitSource::Profile));
    // A thousand a minute is sixteen a second.
    assert_eq!(of(LimitName::ApiClient), (16, 1, LimitSource::Platform));
    assert_eq!(of(LimitName::CodeContact), (5, 3_600, LimitSource::Profile));
    let mut passed = 0;
    while admitted(&limits.check(&tenant, &[LimitName::ApiClient], &caller("192.0.2.7")).await) && passed < 100 {
        passed += 1;
    }
    assert!((16..=20).contains(&passed), "{passed} passed");
}

#[tokio::test]
async fn a_tenant_cannot_lift_the_ceiling_over_all_it_takes() {
    let clock = Clock::system();
    let store = Arc::new(MemoryStore::new(clock.clone(), Entropy::system()));
    let limits = Limits::new(store, clock, Ceilings::new([(LimitName::TenantTotal, 50), (LimitName::LoginClient, 5)]));
    for mode in ["off", "record"] {
        let tenant = tenant(&format!(r#"{{"login-client":{{"mode":"off"}},"tenant-total":{{"mode":"{mode}"}}}}"#));
        let mut passed = 0;
        while admitted(&limits.check(&tenant, LOGIN, &caller("192.0.2.7")).await) && passed < 500 {
            passed += 1;
        }
        // Fifty and what drains meanwhile; its own people are its own affair.
        assert!((50..=100).contains(&passed), "{passed} passed with {mode}");
    }
}

/// Two nodes on a Redis of their own, a hundred tasks each asking as fast as they can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_thousand_refusals_redis_sees_less_than_one_in_a_hundred() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    let nodes = Arc::new(Nodes::on_redis(&redis.url()).await);
    let tenant = tenant("{}");
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (nodes, tenant) = (Arc::clone(&nodes), tenant.clone());
        asked.spawn(async move {
            let mut refused = 0_u32;
            while refused < 200 {
                refused += u32::from(!admitted(&nodes.node(n % 2).check(&tenant, LOGIN, &caller("192.0.2.7")).await));
                tokio::task::yield_now().await;
            }
            refused
        });
    }
    let begun = Instant::now();
    let refused: u32 = asked.join_all().await.into_iter().sum();

    let calls = scripts_run(&redis.url()).await;

    // What was admitted had to be asked for; the rest are refusals that Redis was troubled with.
    let admitted = 60 + begun.elapsed().as_secs();
    assert!(refused >= 20_000);
    assert!(calls.saturating_sub(admitted) < 200, "{calls} calls for {admitted} admissions and {refused} refusals");
}

pub(super) async fn scripts_run(url: &str) -> u64 {
    let mut link = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut link).await.unwrap();
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    calls("evalsha").unwrap_or(0) + calls("eval").unwrap_or(0)
}

/// A list of strings with integer parameters, as RFC 9651 writes it: `"name";q=60;w=60, …`.
fn list(field: &str) -> Vec<(String, Vec<(String, u64)>)> {
    let item = regex::Regex::new(r#"^"([a-z-]+)"((?:;[a-z]+=[0-9]+)+)$"#).unwrap();
    field
        .split(", ")
        .map(|text| {
            let found = item.captures(text).unwrap_or_else(|| panic!("{text} is no item"));
            let parameters = found[2].split(';').skip(1).map(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap();
                (name.to_owned(), value.parse().unwrap())
            });
            (found[1].to_owned(), parameters.collect())
        })
        .collect()
}

async fn a_refusal_says_all_it_takes_to_come_back_at_the_right_moment(gateway: Gateway) {
    let ask = || gateway.classic().post("/api/auth/login", &json!({}));
    for _ in 0..5 {
        let refused = loop {
            let answer = ask().await;
            if answer.status != 400 {
                break answer.refused(429, "too_many_requests");
            }
        };

        assert_eq!(refused["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(refused["violated-policies"], json!(["login-client"]));
        assert_eq!(refused.header("cache-control"), "no-store");
        assert_eq!(refused.header("ratelimit-policy"), "\"login-client\";q=60;w=60");
        let state = list(refused.header("ratelimit"));
        let wait = refused.retry_after();
        assert_eq!(state.len(), 1);
        assert_eq!(state[0].0, "login-client");
        assert_eq!(state[0].1[0], ("r".to_owned(), 0));
        assert!(state[0].1[1].0 == "t" && state[0].1[1].1 <= wait, "{state:?} {wait}");

        gateway.clock.advance(Duration::from_secs(wait));
        ask().await.refused(400, "validation");
    }
}

async fn an_admitted_request_is_told_what_is_left_of_its_own_limits(gateway: Gateway) {
    let answer = gateway.strict().post("/auth/request-code", &json!({"phone": "+221771234567"})).await.expect(200);

    // How busy the tenant is, is not told.
    assert_eq!(answer.header("ratelimit-policy"), "\"code-client\";q=60;w=60");
    assert_eq!(list(answer.header("ratelimit"))[0].1[0], ("r".to_owned(), 59));
    let again = gateway.strict().get("/api/auth/me").await.refused(401, "missing_token");
    assert_eq!(again.header("ratelimit-policy"), "\"api-client\";q=600;w=60");
    assert_eq!(list(again.header("ratelimit"))[0].1[0], ("r".to_owned(), 599));
    let keys = gateway.strict().get("/.well-known/jwks.json").await.expect(200);
    assert!(!keys.headers.contains_key("ratelimit") && !keys.headers.contains_key("ratelimit-policy"));
}

async fn who_is_refused_is_on_the_limits_page_of_the_tenant_and_of_no_other(gateway: Gateway) {
    let page = async |slug: &str| {
        let path = format!("/tenants/{slug}/limits");
        gateway.admin().get(&path).bearer(ROOT_KEY).await.expect(200)["refused"].clone()
    };
    while gateway.classic().post("/api/auth/login", &json!({})).await.status != 429 {}

    let refused = page("default").await;

    assert_eq!((&refused[0]["name"], &refused[0]["subjects"]), (&json!("login-client"), &json!(1)));
    assert_eq!(refused[0]["shown"], json!(["127.0.0.0/24"]));
    assert!(refused[0]["requests"].as_u64().unwrap() >= 1, "{refused}");
    assert_eq!(page("other").await, json!([]));
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(page("default").await, json!([]));
}

/// Their own limit is told to everybody alike; whose contact is busy is not.
async fn a_refusal_about_a_contact_names_no_limit(gateway: Gateway) {
    let ask = || gateway.classic().post("/auth/request-code", &json!({"phone": "+221771234567"}));
    ask().await.expect(200);

    let refused = ask().await.refused(429, "too_many_requests");

    assert!(refused.retry_after() >= 1);
    assert!(refused.json.get("violated-policies").is_none());
    // How much is left for the client would only mislead.
    assert!(!refused.headers.contains_key("ratelimit") && !refused.headers.contains_key("ratelimit-policy"));
}

#[tokio::test]
async fn a_name_is_told_once_where_a_client_and_its_site_are_both_refused() {
    let nodes = Nodes::in_memory();
    let tenant = tenant(r#"{"login-client":{"quota":1,"window":3600}}"#);
    let names = [LimitName::LoginClient];
    let ask = async |network: usize| {
        nodes.node(network).check(&tenant, &names, &caller(&format!("2001:db8:0:{network:x}::1"))).await
    };
    for network in 0..16 {
        let Decision::Admitted(standings) = ask(network).await else { panic!("network {network} is refused") };
        let told = guichet::limits::wire::on_success(&standings).unwrap();
        assert_eq!(told.policy, "\"login-client\";q=1;w=3600");
    }

    let of_both = refusal(ask(3).await);
    let of_site = refusal(ask(99).await);

    assert_eq!(guichet::limits::wire::on_refusal(&of_both).unwrap().policy, "\"login-client\";q=1;w=3600");
    assert_eq!(guichet::limits::wire::on_refusal(&of_site).unwrap().policy, "\"login-client\";q=16;w=3600");
    assert_eq!(guichet::limits::wire::violated(&of_both), ["login-client"]);
    assert!(of_site.wait <= Duration::from_secs(3_600 / 16 + 1), "{of_site:?}");
    let mut shown = nodes.node(99).refused_now(tenant.id()).remove(0).shown;
    shown.sort();
    assert!(shown.contains(&"2001:db8::/48".to_owned()), "{shown:?}");
}

#[tokio::test]
async fn a_refusal_by_two_limits_waits_for_the_slower() {
    let nodes = Nodes::in_memory();
    let tenant = tenant(r#"{"api-client":{"quota":1,"window":60},"tenant-total":{"quota":1,"window":600}}"#);
    assert!(admitted(&nodes.node(0).check(&tenant, API, &caller("192.0.2.7")).await));

    let refused = refusal(nodes.node(1).check(&tenant, API, &caller("192.0.2.7")).await);

    assert!(refused.wait > Duration::from_secs(590), "{refused:?}");
    assert_eq!(guichet::limits::wire::violated(&refused), ["api-client", "tenant-total"]);
}
