//! Attempts that never reached a comparison count no failure.

use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{HASH_QUEUE, PASSWORD, Person, alike, registration, statuses};
use crate::harness::node::{Cluster, Node, Settings, at_once};

/// The second node's hashes take long enough to do something meanwhile.
fn second_is_slow(node: usize, settings: Settings) -> Settings {
    if node == 0 {
        return settings;
    }
    let settings = settings.with("GUICHET__CRYPTO__HASH_THREADS", "1");
    let settings = settings.with("GUICHET__CRYPTO__ARGON2__ITERATIONS", "16");
    settings.with("GUICHET__CRYPTO__ARGON2__MEMORY_KIB", "38912")
}

/// Occupies the hashing thread with registrations, until `waiting` more jobs wait behind one.
async fn occupy(cluster: &Arc<Cluster>, waiting: u32) -> tokio::task::JoinSet<()> {
    let mut work = tokio::task::JoinSet::new();
    for n in 0..=waiting {
        let cluster = Arc::clone(cluster);
        work.spawn(async move {
            let body = registration(&format!("busy{n}@example.com"));
            cluster.nodes[1].post("/api/auth/register", &body).await.must_be(201);
        });
    }
    cluster.nodes[1].metric_becomes(HASH_QUEUE, |depth| depth >= f64::from(waiting)).await;
    work
}

/// Four more wrong passwords would be the fifth if one had been counted before.
async fn assert_nothing_was_counted(node: &Node, owner: &Person, already: usize) {
    owner.wrong_passwords(node, 4 - already).await.must_be(400);
    owner.log_in_as_a_stranger(node, "wrong horse").await.must_be(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hash_line_sheds_counts_no_failure() {
    let second_sheds = |node, settings: Settings| match node {
        0 => settings,
        _ => settings.with("GUICHET__CRYPTO__HASH_QUEUE", "1").with("GUICHET__CRYPTO__HASH_MAX_WAIT", "1ns"),
    };
    Cluster::run(second_sheds, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;

        let answers = at_once(40, |_| {
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in_as_a_stranger(&cluster.nodes[1], "wrong horse").await }
        })
        .await;

        assert_eq!(statuses(&answers), [503; 40]);
        assert!(answers.iter().all(|answer| answer.retry_after.is_some() && answer.code() == "overloaded"));
        assert_nothing_was_counted(&cluster.nodes[0], &owner, 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_is_429_account_busy_and_counts_no_failure() {
    let small = |node, settings: Settings| match node {
        0 => settings,
        _ => second_is_slow(node, settings).with("GUICHET__ACTORS__MAILBOX", "1"),
    };
    Cluster::run(small, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        let busy = occupy(&cluster, 2).await;

        let answers = at_once(20, |_| {
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in_as_a_stranger(&cluster.nodes[1], "wrong horse").await }
        })
        .await;

        let mut wanted = [429; 20];
        wanted[0] = 400;
        assert_eq!(statuses(&answers), wanted);
        let refused = answers.iter().filter(|answer| answer.status == 429);
        assert!(refused.into_iter().all(|answer| answer.code() == "account_busy" && answer.retry_after.is_some()));
        assert_nothing_was_counted(&cluster.nodes[0], &owner, 1).await;
        busy.join_all().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_turn_counts_no_failure() {
    Cluster::run(second_is_slow, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        let busy = occupy(&cluster, 2).await;
        // The first attempt waits for the hashing thread, in its actor's hands.
        let first = tokio::spawn({
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in_as_a_stranger(&cluster.nodes[1], "wrong horse").await }
        });
        cluster.nodes[1].metric_becomes(HASH_QUEUE, |depth| depth >= 3.0).await;

        let body = json!({ "email": owner.email, "password": "wrong horse" }).to_string();
        let request = format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for _ in 0..10 {
            let mut leaver = TcpStream::connect(cluster.nodes[1].public()).await.unwrap();
            leaver.write_all(request.as_bytes()).await.unwrap();
            leaver.shutdown().await.unwrap();
        }

        first.await.unwrap().must_be(400);
        owner.log_in(&cluster.nodes[1], PASSWORD).await.must_be(200);
        assert_nothing_was_counted(&cluster.nodes[0], &owner, 1).await;
        busy.join_all().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_while_locked_neither_count_nor_lengthen() {
    Cluster::run(alike, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        owner.wrong_passwords(&cluster.nodes[0], 5).await.must_be(403);
        let until = "SELECT locked_until FROM locks";
        let before = super::number(&cluster.database, until).await;

        let answers = at_once(60, |n| {
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in_as_a_stranger(cluster.node(n), "wrong horse").await }
        })
        .await;

        assert_eq!(statuses(&answers), [403; 60]);
        assert_eq!(super::number(&cluster.database, until).await, before);
        let consecutive = "SELECT CAST(counter ->> 'consecutive' AS BIGINT) FROM attempts WHERE lane = 's'";
        assert_eq!(super::number(&cluster.database, consecutive).await, 5);
    })
    .await;
}
