//! Sessions and keys that two nodes share.

use std::collections::HashSet;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, Person, alike, number, statuses};
use crate::harness::node::{Cluster, answer, at_once};

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
