//! The store goes away and comes back: no request hangs, none is let through beyond a node's quota.

use std::time::{Duration, Instant};

use super::{API, Nodes, admitted, caller, tenant};
use crate::harness::redis::OwnRedis;

async fn count(nodes: &Nodes, tenant: &guichet::tenant::TenantContext, times: usize) -> usize {
    let mut count = 0;
    for n in 0..times {
        count += usize::from(admitted(&nodes.node(n).check(tenant, API, &caller("192.0.2.7")).await));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_goes_on_with_what_it_knows_and_asks_again_when_it_is_back() {
    let Some(mut redis) = OwnRedis::start(&[]).await else { return };
    let nodes = Nodes::on_redis(&redis.url()).await;
    let tenant = tenant(r#"{"api-client":{"quota":40,"window":3600}}"#);
    // Ten requests on each of three nodes.
    assert_eq!(count(&nodes, &tenant, 30).await, 30);

    redis.kill();
    let begun = Instant::now();
    let without = count(&nodes, &tenant, 300).await;

    // Each node's own quota, less what it heard of the store: 28, 29 and 30 were used up when each last asked.
    assert!((30..=36).contains(&without), "{without} admitted without the store");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());

    redis.restart().await;
    let back = Instant::now();
    let fresh = super::tenant(r#"{"api-client":{"quota":40,"window":3600}}"#);
    loop {
        // One of a fresh tenant's on each node: judged by the store as soon as all three agree.
        let probe = super::tenant(r#"{"api-client":{"quota":2,"window":3600}}"#);
        if count(&nodes, &probe, 30).await == 2 {
            break;
        }
        assert!(back.elapsed() < Duration::from_secs(10), "the store is not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&nodes, &fresh, 300).await, 40, "exact again over all nodes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_holds_nobody_up_for_long() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    let nodes = Nodes::on_redis(&redis.url()).await;
    let tenant = tenant(r#"{"api-client":{"quota":600,"window":60}}"#);
    assert_eq!(count(&nodes, &tenant, 3).await, 3);

    redis.signal("STOP");
    let first = Instant::now();
    assert_eq!(count(&nodes, &tenant, 3).await, 3);
    // The test's own patience is two seconds a reply; each node waits for it once.
    assert!(first.elapsed() < Duration::from_secs(20), "{:?}", first.elapsed());
    let later = Instant::now();
    assert!(admitted(&nodes.node(2).check(&tenant, API, &caller("192.0.2.7")).await));
    assert!(later.elapsed() < Duration::from_millis(500), "{:?}", later.elapsed());
    redis.signal("CONT");
}
