//! Sessions and keys that two nodes share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, Person, alike, number, statuses};
use crate::harness::node::{Cluster, Node, PATIENCE, Settings, answer, at_once};
use crate::harness::redis::OwnRedis;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_parallel_refreshes_of_one_token_give_one_successor() {
    Cluster::run(alike, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        let token = owner.log_in(&cluster.nodes[0], PASSWORD).await.must_be(200).text("refresh_token");

        let answers = at_once(20, |n| {
            let (cluster, token) = (Arc::clone(&cluster), token.clone());
            async move { cluster.node(n).post("/api/auth/refresh", &json!({ "refresh_token": token })).await }
        })
        .await;

        assert_eq!(statuses(&answers), [200; 20]);
        let successors: HashSet<_> = answers.iter().map(|answer| answer.text("refresh_token")).collect();
        assert_eq!(successors.len(), 1);
        let next = successors.into_iter().next().unwrap();
        cluster.nodes[1].post("/api/auth/refresh", &json!({ "refresh_token": next })).await.must_be(200);
        // Its successor has been used: who still holds the first token is not its owner.
        cluster.nodes[0].post("/api/auth/refresh", &json!({ "refresh_token": token })).await.must_be(401);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL").await, 1);
    })
    .await;
}

/// The connection broke after the token was replaced; the app asks again, and another node answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_refresh_logs_nobody_out_on_whichever_node_it_is_asked_for_again() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let mut token = owner.log_in(one, PASSWORD).await.must_be(200).text("refresh_token");
        for _ in 0..3 {
            let refresh = json!({ "refresh_token": token });
            let lost = one.post("/api/auth/refresh", &refresh).await.must_be(200).text("refresh_token");

            let again = other.post("/api/auth/refresh", &refresh).await.must_be(200);

            assert_eq!(again.text("refresh_token"), lost);
            for node in [one, other] {
                node.get("/forward-auth", &again.text("token")).await.must_be(200);
            }
            token = lost;
        }
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_on_one_node_is_refused_on_the_other() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let token = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
        other.get("/api/auth/me", &token).await.must_be(200);

        answer(one.request(Method::POST, "/api/auth/logout").bearer_auth(&token)).await.must_be(200);

        other.get("/api/auth/me", &token).await.must_be(401);
    })
    .await;
}

/// How soon every node must know of the end of a session.
pub(super) const NEWS: Duration = Duration::from_secs(1);

/// Asks as a gateway does until the token is refused; how long that took.
pub(super) async fn refused_after(node: &Node, token: &str) -> Duration {
    let since = Instant::now();
    loop {
        match node.get("/forward-auth", token).await.status {
            200 => assert!(since.elapsed() < PATIENCE, "it is never refused"),
            401 => return since.elapsed(),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_refused_by_the_other_nodes_token_check_within_a_second() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        for _ in 0..5 {
            let token = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
            other.get("/forward-auth", &token).await.must_be(200);
            other.get("/forward-auth", &token).await.must_be(200);

            answer(one.request(Method::POST, "/api/auth/logout").bearer_auth(&token)).await.must_be(200);

            one.get("/forward-auth", &token).await.must_be(401);
            let took = refused_after(other, &token).await;
            assert!(took < NEWS, "{took:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_learns_of_revocations_from_storage_and_of_those_it_missed() {
    let Some(mut redis) = OwnRedis::start(&[]).await else { return };
    let short = |_, settings: Settings| {
        let settings = settings.with("GUICHET__REDIS__RESPONSE_TIMEOUT", "200ms");
        settings.with("GUICHET__REDIS__CONNECT_TIMEOUT", "200ms")
    };
    Cluster::run_on(&redis.url(), short, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let token = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
            other.get("/forward-auth", &token).await.must_be(200);
            tokens.push(token);
        }

        redis.kill();
        answer(one.request(Method::POST, "/api/auth/logout").bearer_auth(&tokens[0])).await.must_be(200);
        let took = refused_after(other, &tokens[0]).await;
        assert!(took < NEWS, "{took:?}");

        redis.restart().await;
        answer(one.request(Method::POST, "/api/auth/logout").bearer_auth(&tokens[1])).await.must_be(200);
        let took = refused_after(other, &tokens[1]).await;
        assert!(took < NEWS, "{took:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reuse_on_one_node_ends_the_access_tokens_on_the_other_within_a_second() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let first = owner.log_in(one, PASSWORD).await.must_be(200);
        let refresh =
            async |node: &Node, token: String| node.post("/api/auth/refresh", &json!({ "refresh_token": token })).await;
        let second = refresh(other, first.text("refresh_token")).await.must_be(200);
        let third = refresh(one, second.text("refresh_token")).await.must_be(200);
        for token in [&first, &second, &third] {
            other.get("/forward-auth", &token.text("token")).await.must_be(200);
        }

        refresh(one, first.text("refresh_token")).await.must_be(401);

        for token in [&first, &second, &third] {
            let took = refused_after(other, &token.text("token")).await;
            assert!(took < NEWS, "{took:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotated_from_the_command_line_signs_on_every_node_and_fails_no_token() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let old = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
        other.get("/forward-auth", &old).await.must_be(200);

        let planned = one.command(&["key", "rotate", "--tenant", "default"]);
        assert!(planned.contains("signs for tenant default from"), "{planned}");
        let published = number(&cluster.database, "SELECT count(*) FROM signing_keys WHERE state = 'next'").await;
        assert_eq!(published, 1);
        one.command(&["key", "rotate", "--tenant", "default", "--now"]);

        // Each node signs by the new key, and takes what either key has signed meanwhile.
        for node in [one, other] {
            let since = Instant::now();
            loop {
                let new = owner.log_in(node, PASSWORD).await.must_be(200).text("token");
                for checking in [one, other] {
                    checking.get("/forward-auth", &old).await.must_be(200);
                    checking.get("/forward-auth", &new).await.must_be(200);
                }
                if new.split('.').next() != old.split('.').next() {
                    break;
                }
                assert!(since.elapsed() < PATIENCE, "the new key never signs");
            }
        }
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM signing_keys WHERE state = 'retiring'").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_start_at_once_on_an_empty_database_share_one_tenant_and_one_key() {
    Cluster::run(alike, |cluster| async move {
        let keys = at_once(20, |n| {
            let cluster = Arc::clone(&cluster);
            async move { answer(cluster.node(n).request(Method::GET, "/.well-known/jwks.json")).await }
        })
        .await;

        assert_eq!(keys[0].json["keys"].as_array().unwrap().len(), 1);
        assert!(keys.iter().all(|answer| answer.status == 200 && answer.json == keys[0].json));
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM tenants").await, 1);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM signing_keys").await, 1);
    })
    .await;
}
