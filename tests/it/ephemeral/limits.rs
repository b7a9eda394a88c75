//! Limits in the store: exact under parallel fire, all or none, nothing left behind.

use std::sync::Arc;
use std::time::Duration;

use guichet::domain::ids::{AccountId, TenantId};
use guichet::domain::limits::LimitSubject;
use guichet::domain::limits::bucket::{Rate, Verdict};
use guichet::domain::limits::spray::{SPRAY, SprayVerdict};
use guichet::ephemeral::{AttemptSubject, LimitCheck, Tally};

use super::{Nodes, on_every_store};
use crate::harness;

fn check(name: &'static str, requests: u32, seconds: u64) -> LimitCheck {
    let subject = LimitSubject::client("192.0.2.7".parse().unwrap());
    LimitCheck { name, subject, rate: Rate { requests, window: Duration::from_secs(seconds) }, enforced: true }
}

async fn of_400_parallel_requests_on_two_nodes_the_quota_is_admitted(nodes: Nodes) {
    let (nodes, tenant) = (Arc::new(nodes), TenantId::random([1; 16]));
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..400 {
        let nodes = Arc::clone(&nodes);
        // So slow that nothing drains meanwhile.
        let check = check("login-client", 60, 86_400);
        asked.spawn(async move { nodes.node(n % 2).check_limits(tenant, &[check]).await.unwrap().admitted });
    }

    let admitted = asked.join_all().await.into_iter().filter(|admitted| *admitted).count();

    assert_eq!(admitted, 60);
}

async fn a_request_refused_by_one_limit_takes_from_no_other(nodes: Nodes) {
    let tenant = TenantId::random([1; 16]);
    let (tight, wide) = (check("login-client", 1, 86_400), check("tenant-total", 50, 86_400));
    for n in 0..100 {
        let verdict = nodes.node(n % 2).check_limits(tenant, &[wide, tight]).await.unwrap();
        assert_eq!((verdict.admitted, verdict.standings[0].over, verdict.standings[1].over), (n == 0, false, n > 0));
    }

    let Verdict { standings, .. } = nodes.one.check_limits(tenant, &[wide]).await.unwrap();

    // Two requests in it: the first of all, and this one.
    assert_eq!(standings[0].level.div_ceil(wide.rate.weight()), 2);
}

async fn tenants_names_and_subjects_have_buckets_of_their_own(nodes: Nodes) {
    let one = check("login-client", 1, 86_400);
    let neighbour = LimitCheck { subject: LimitSubject::client("192.0.2.8".parse().unwrap()), ..one };
    let other_name = LimitCheck { name: "code-client", ..one };
    let (tenant, other_tenant) = (TenantId::random([1; 16]), TenantId::random([2; 16]));
    for (tenant, check) in [(tenant, one), (tenant, neighbour), (tenant, other_name), (other_tenant, one)] {
        assert!(nodes.one.check_limits(tenant, &[check]).await.unwrap().admitted);
        assert!(!nodes.other.check_limits(tenant, &[check]).await.unwrap().admitted);
    }
}

fn tally(attempts: u64, failures: u64, accounts: std::ops::Range<u8>) -> Tally {
    let accounts = accounts.map(|n| AttemptSubject::Account(AccountId::random([n; 16]))).collect();
    Tally { attempts, failures, accounts }
}

async fn spraying_seen_by_two_nodes_together_is_news_to_one_and_ends(nodes: Nodes) {
    let tenant = TenantId::random([1; 16]);
    let count = async |node, tally| nodes.node(node).count_compared(tenant, &SPRAY, &tally).await.unwrap();
    let quiet = SprayVerdict { alarm: None, newly: false };
    assert_eq!(count(0, tally(150, 150, 0..40)).await, quiet);

    let news = count(1, tally(150, 150, 30..70)).await;
    let known = count(0, tally(1, 1, 0..1)).await;

    assert!(news.newly && !known.newly, "{news:?} {known:?}");
    let (news, known) = (news.alarm.unwrap(), known.alarm.unwrap());
    assert_eq!(news.until, known.until);
    let lasts = news.left();
    assert!(lasts > SPRAY.window && lasts <= 2 * SPRAY.window, "{lasts:?}");
    nodes.clock.advance(2 * SPRAY.window);
    assert_eq!(count(1, tally(1, 1, 0..1)).await, quiet);
}

async fn one_busy_account_or_a_busy_tenant_is_no_spraying(nodes: Nodes) {
    let count = async |tenant, tally| {
        let tenant = TenantId::random([tenant; 16]);
        nodes.one.count_compared(tenant, &SPRAY, &tally).await.unwrap().alarm
    };

    assert_eq!(count(1, tally(5_000, 5_000, 0..40)).await, None);
    assert_eq!(count(2, tally(100_000, 400, 0..200)).await, None);
    assert!(count(3, tally(400, 400, 0..200)).await.is_some());
}

on_every_store!(
    of_400_parallel_requests_on_two_nodes_the_quota_is_admitted,
    a_request_refused_by_one_limit_takes_from_no_other,
    tenants_names_and_subjects_have_buckets_of_their_own,
    spraying_seen_by_two_nodes_together_is_news_to_one_and_ends,
    one_busy_account_or_a_busy_tenant_is_no_spraying,
);

#[tokio::test]
async fn every_key_of_a_limit_ends_by_itself_and_shares_its_tenants_slot() {
    let Some(url) = harness::redis::shared_url() else { return };
    let prefix = harness::redis::fresh_prefix();
    let store = harness::redis::store(&url, &prefix, &guichet::clock::Clock::system()).await;
    let tenant = TenantId::random([1; 16]);
    let checks = [check("login-client", 60, 60), check("tenant-total", 2_000, 1)];
    guichet::ephemeral::EphemeralStore::check_limits(&store, tenant, &checks).await.unwrap();
    guichet::ephemeral::EphemeralStore::count_compared(&store, tenant, &SPRAY, &tally(1, 1, 0..1)).await.unwrap();

    let mut link = ::redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(&mut link).await.unwrap();

    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in keys {
        assert!(key.contains(&format!("{{{tenant}:limits}}")), "{key}");
        let life: i64 = ::redis::cmd("PTTL").arg(&key).query_async(&mut link).await.unwrap();
        assert!(life > 0 && life <= 900_000, "{key} lives {life} ms");
    }
    harness::redis::flush(&url, &prefix).await;
}
