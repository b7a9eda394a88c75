//! The number is the number, on one node, two or three.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::entropy::Entropy;
use guichet::ephemeral::EphemeralStore as _;
use guichet::ephemeral::memory::MemoryStore;
use guichet::limits::{Ceilings, Limits};
use reqwest::Method;
use serde_json::json;

use super::{API, LOGIN, Nodes, admitted, caller, on_every_store, refusal, tenant};
use crate::harness;
use crate::harness::node::{Cluster, answer, at_once};

on_every_store!(
    a_burst_on_any_number_of_nodes_gets_the_quota_and_not_one_more,
    hammered_for_twenty_seconds_a_client_gets_quota_and_rate_times_time,
    whoever_waits_as_told_is_admitted,
    a_changed_setting_holds_at_once,
);

async fn a_burst_on_any_number_of_nodes_gets_the_quota_and_not_one_more(nodes: Nodes) {
    let nodes = Arc::new(nodes);
    for count in 1..=3_usize {
        // A minute and a half a request: nothing drains while the test runs.
        let tenant = tenant(r#"{"login-client":{"quota":40,"window":3600}}"#);
        let burst = async |times: usize| {
            let mut asked = tokio::task::JoinSet::new();
            for n in 0..times {
                let (nodes, tenant) = (Arc::clone(&nodes), tenant.clone());
                asked.spawn(async move {
                    admitted(&nodes.node(n % count).check(&tenant, LOGIN, &caller("192.0.2.7")).await)
                });
            }
            asked.join_all().await.into_iter().filter(|admitted| *admitted).count()
        };

        assert_eq!(burst(300).await, 40, "on {count} nodes");
        nodes.clock.advance(Duration::from_secs(900));
        assert_eq!(burst(300).await, 10, "a quarter of an hour later, on {count} nodes");
    }
}

/// On one node, two and three, side by side.
async fn hammered_for_twenty_seconds_a_client_gets_quota_and_rate_times_time(nodes: Nodes) {
    const TIME: Duration = Duration::from_secs(20);
    let nodes = Arc::new(nodes);
    let mut counts = tokio::task::JoinSet::new();
    for count in 1..=3_usize {
        let (nodes, tenant) = (Arc::clone(&nodes), tenant(r#"{"api-client":{"quota":50,"window":2}}"#));
        counts.spawn(async move {
            let begun = Instant::now();
            let mut asked = tokio::task::JoinSet::new();
            for n in 0..4 {
                let (nodes, tenant) = (Arc::clone(&nodes), tenant.clone());
                asked.spawn(async move {
                    let mut passed = 0_u32;
                    while begun.elapsed() < TIME {
                        passed +=
                            u32::from(admitted(&nodes.node(n % count).check(&tenant, API, &caller("192.0.2.7")).await));
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    passed
                });
            }
            let mut passed: u32 = asked.join_all().await.into_iter().sum();
            // What has become free since the last of them asked.
            while admitted(&nodes.node(0).check(&tenant, API, &caller("192.0.2.7")).await) {
                passed += 1;
            }
            (count, passed, 50.0 + (25.0 * begun.elapsed().as_secs_f64()).floor())
        });
    }
    for (count, passed, fair) in counts.join_all().await {
        assert!((f64::from(passed) - fair).abs() <= 1.0, "{passed} passed on {count} nodes, {fair} are fair");
    }
}

async fn whoever_waits_as_told_is_admitted(nodes: Nodes) {
    for (quota, window) in [(1, 1), (1, 60), (7, 3), (60, 60), (13, 3_600), (200, 1)] {
        let tenant = tenant(&format!(r#"{{"login-client":{{"quota":{quota},"window":{window}}}}}"#));
        for round in 0..12 {
            let mut n = round;
            let refusal = loop {
                n += 1;
                let decision = nodes.node(n).check(&tenant, LOGIN, &caller("192.0.2.7")).await;
                if !admitted(&decision) {
                    break refusal(decision);
                }
            };
            // Nodes that know it already say the same.
            let again = refusal_of(&nodes, &tenant, n).await.unwrap_or(refusal);
            let seconds = again.wait.as_millis().div_ceil(1_000);
            nodes.clock.advance(Duration::from_secs(u64::try_from(seconds).unwrap()));

            let waited = nodes.node(n + round).check(&tenant, LOGIN, &caller("192.0.2.7")).await;

            assert!(admitted(&waited), "{quota} in {window} s, round {round}, {seconds} s: {waited:?}");
        }
    }
}

async fn refusal_of(
    nodes: &Nodes,
    tenant: &guichet::tenant::TenantContext,
    n: usize,
) -> Option<guichet::limits::Refusal> {
    match nodes.node(n).check(tenant, LOGIN, &caller("192.0.2.7")).await {
        guichet::limits::Decision::Refused(refusal) => Some(refusal),
        guichet::limits::Decision::Admitted(_) => None,
    }
}

async fn a_changed_setting_holds_at_once(nodes: Nodes) {
    // The same tenant by id, before and after its settings were changed.
    let (tight, wide) = super::versions([
        r#"{"login-client":{"quota":3,"window":3600}}"#,
        r#"{"login-client":{"quota":9,"window":3600}}"#,
    ]);
    let count = async |tenant: &guichet::tenant::TenantContext| {
        let mut count = 0;
        for n in 0..30 {
            count += u32::from(admitted(&nodes.node(n).check(tenant, LOGIN, &caller("192.0.2.7")).await));
        }
        count
    };

    assert_eq!(count(&tight).await, 3);
    assert_eq!(count(&wide).await, 6);
    assert_eq!(count(&tight).await, 0);
}

#[tokio::test]
async fn nodes_whose_clocks_are_half_a_minute_apart_share_one_limit() {
    let Some(url) = harness::redis::shared_url() else { return };
    let prefix = harness::redis::fresh_prefix();
    let mut nodes = Vec::new();
    for ahead in [0, 30] {
        // The node's own clock; what the store judges by is the store's.
        let clock = Clock::system();
        clock.advance(Duration::from_secs(ahead));
        let store = harness::redis::store(&url, &prefix, &Clock::system()).await;
        nodes.push(Limits::new(Arc::new(store), clock, Ceilings::default()));
    }
    let tenant = tenant(r#"{"login-client":{"quota":40,"window":3600}}"#);
    let mut count = 0;
    for n in 0..200 {
        count += u32::from(admitted(&nodes[n % 2].check(&tenant, LOGIN, &caller("192.0.2.7")).await));
    }

    assert_eq!(count, 40);
}

/// As a fail-over to a Redis whose clock is behind does it.
#[tokio::test]
async fn a_store_whose_clock_goes_back_keeps_nobody_longer_than_told() {
    let Some(url) = harness::redis::shared_url() else { return };
    let (prefix, tenant) = (harness::redis::fresh_prefix(), tenant(r#"{"login-client":{"quota":6,"window":60}}"#));
    let checks = super::checks(&tenant, &LOGIN[..1], &caller("192.0.2.7"));
    let (later, now) = (Clock::system(), Clock::system());
    later.advance(Duration::from_secs(3_600));
    let before = harness::redis::store(&url, &prefix, &later).await;
    while before.check_limits(tenant.id(), &checks).await.unwrap().admitted {}
    let store = harness::redis::store(&url, &prefix, &now).await;

    assert!(!store.check_limits(tenant.id(), &checks).await.unwrap().admitted);
    now.advance(Duration::from_secs(10));
    assert!(store.check_limits(tenant.id(), &checks).await.unwrap().admitted);
}

/// The node's own copy is never stricter than the judge: whatever order requests come in, a node
/// admits exactly what the bare store would.
#[tokio::test]
async fn a_nodes_memory_is_never_stricter_than_the_store() {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let store = Arc::new(MemoryStore::new(clock.clone(), Entropy::system()));
    let node = Limits::new(store, clock.clone(), Ceilings::default());
    let bare = MemoryStore::new(clock.clone(), Entropy::system());
    let tenant = tenant(
        r#"{"login-client":{"quota":3,"window":100},"api-client":{"quota":7,"window":200},"tenant-total":{"quota":5,"window":130}}"#,
    );
    for _ in 0..5_000 {
        let [kind, who, sevens] = entropy.bytes::<3>();
        let names = if kind % 2 == 0 { LOGIN } else { API };
        let caller = caller(&format!("192.0.2.{}", who % 3));
        let checks: Vec<_> = super::checks(&tenant, names, &caller);
        let decision = node.check(&tenant, names, &caller).await;
        let judged = bare.check_limits(tenant.id(), &checks).await.unwrap();
        assert_eq!(admitted(&decision), judged.admitted, "{decision:?} {judged:?}");
        if sevens % 4 == 0 {
            clock.advance(Duration::from_secs(7 * u64::from(sevens % 9)));
        }
    }
}

/// The real program, twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_never_admit_more_than_one() {
    Cluster::run(super::alike, |cluster| async move {
        let begun = Instant::now();
        let answers = at_once(240, |n| {
            let cluster = Arc::clone(&cluster);
            // Refused for its body if it is admitted: nothing but the limit is at work.
            async move {
                let request = cluster.node(n).request(Method::POST, "/api/auth/login");
                answer(from(request, "198.51.100.7").json(&json!({}))).await
            }
        })
        .await;

        let passed = answers.iter().filter(|answer| answer.status == 400).count();
        let most = 60 + usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        assert!((60..=most).contains(&passed), "{passed} passed, {most} may");
        assert!(answers.iter().all(|answer| answer.status == 400 || answer.code() == "too_many_requests"));
        assert!(answers.iter().filter(|answer| answer.status == 429).all(|answer| answer.retry_after.is_some()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_within_one_64_are_one_client_and_the_next_network_is_another() {
    Cluster::run(super::alike, |cluster| async move {
        let ask = |n: usize, network: u8| {
            let cluster = Arc::clone(&cluster);
            async move {
                let request = cluster.node(n).request(Method::POST, "/api/auth/login");
                answer(from(request, &format!("2001:db8:0:{network}::{n:x}")).json(&json!({}))).await
            }
        };
        let begun = Instant::now();
        let answers = at_once(120, |n| ask(n, 1)).await;

        let passed = answers.iter().filter(|answer| answer.status == 400).count();
        let most = 60 + usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        assert!((60..=most).contains(&passed), "{passed} passed, {most} may");
        ask(0, 2).await.must_be(400);
    })
    .await;
}

/// As if a trusted proxy had been asked from there, and from nowhere else.
fn from(request: reqwest::RequestBuilder, address: &str) -> reqwest::RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
    reqwest::RequestBuilder::from_parts(client, request)
}
