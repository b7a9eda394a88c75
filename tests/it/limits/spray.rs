//! One guess each at many accounts: noticed over all nodes, and strangers are held back.

use std::time::Duration;

use guichet::domain::ids::AccountId;
use guichet::domain::limits::LimitSubject;
use guichet::ephemeral::AttemptSubject;
use serde_json::json;

use super::{Nodes, on_every_store, tenant};
use crate::flows::{AWA, a_person, sign_in};
use crate::harness::gateway::{BackEnd, Gateway};

on_every_store!(
    a_spray_over_all_nodes_is_news_once_and_leaves_strangers_a_sixth,
    guesses_at_few_accounts_and_a_tenant_of_many_successes_are_left_alone,
);

fn client(n: u8) -> LimitSubject {
    LimitSubject::client([192, 0, 2, n].into())
}

async fn strangers_admitted(nodes: &Nodes, tenant: &guichet::tenant::TenantContext, n: u8) -> usize {
    let mut count = 0;
    for node in 0..90 {
        count += usize::from(nodes.node(node).check_stranger(tenant, Some(client(n))).await.is_none());
    }
    count
}

async fn a_spray_over_all_nodes_is_news_once_and_leaves_strangers_a_sixth(nodes: Nodes) {
    let tenant = tenant(r#"{"login-client":{"quota":60,"window":3600}}"#);
    assert_eq!(strangers_admitted(&nodes, &tenant, 1).await, 90, "nothing is asked in peace");
    for n in 0..240_u8 {
        let subject = AttemptSubject::Account(AccountId::random([n % 80; 16]));
        nodes.node(usize::from(n)).note_compared(tenant.id(), subject, true);
    }

    let mut news = Vec::new();
    for node in &nodes.nodes {
        news.extend(node.tell_compared().await);
    }
    assert_eq!(news, [tenant.id()]);
    // Whoever told before the alarm hears of it with the next failure.
    for node in &nodes.nodes {
        node.note_compared(tenant.id(), AttemptSubject::Shadow(7), true);
        assert_eq!(node.tell_compared().await, []);
    }

    assert_eq!(strangers_admitted(&nodes, &tenant, 1).await, 10);
    assert_eq!(strangers_admitted(&nodes, &tenant, 2).await, 10, "each client its own");
    let wait = nodes.node(0).check_stranger(&tenant, Some(client(1))).await.unwrap();
    nodes.clock.advance(wait);
    assert!(nodes.node(0).check_stranger(&tenant, Some(client(1))).await.is_none());
    nodes.clock.advance(Duration::from_secs(600));
    assert_eq!(strangers_admitted(&nodes, &tenant, 3).await, 90, "it ends by itself");
}

async fn guesses_at_few_accounts_and_a_tenant_of_many_successes_are_left_alone(nodes: Nodes) {
    let (few, busy) = (tenant("{}"), tenant("{}"));
    for n in 0..8_000_u32 {
        let subject = AttemptSubject::Shadow(n);
        nodes.node(0).note_compared(few.id(), AttemptSubject::Shadow(n % 40), true);
        nodes.node(0).note_compared(busy.id(), subject, n % 25 == 0);
    }

    assert_eq!(nodes.node(0).tell_compared().await, []);
    assert_eq!(strangers_admitted(&nodes, &few, 1).await, 90);
    assert_eq!(strangers_admitted(&nodes, &busy, 1).await, 90);
}

/// Through the front door: the people whose devices are known notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_spray_strangers_wait_and_known_devices_sign_in() {
    BackEnd::embedded().run(under_a_spray).await;
}

async fn under_a_spray(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let guess = async |n: u32, from: u8| {
        let body = json!({"email": format!("victim{n}@example.com"), "password": "Winter2026!"});
        door.post("/api/auth/login", &body).at([127, 0, 2, from]).await
    };
    for n in 0..205 {
        guess(n, u8::try_from(n / 50).unwrap()).await.refused(400, "invalid_credentials");
    }

    // What was compared is told every few seconds.
    let held_back = async {
        for n in 0.. {
            let answer = guess(1_000 + n, 9).await;
            if answer.status == 429 {
                return (n, answer.refused(429, "too_many_requests"));
            }
            gateway.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        unreachable!("there are numbers enough")
    };
    let (admitted, refused) =
        tokio::time::timeout(Duration::from_secs(60), held_back).await.expect("strangers are held back");
    assert!(admitted >= 10, "the sixth part of the quota is left: {admitted}");
    assert_eq!(refused["type"], "https://iana.org/assignments/http-problem-types#abnormal-usage-detected");
    assert!(refused.retry_after() >= 1);

    sign_in(door, AWA, &device).await;
    let events = gateway.tables().await;
    let told = events.iter().filter(|(table, row)| table == "audit" && row.contains("authn_spray_detected"));
    assert_eq!(told.count(), 1);
}
