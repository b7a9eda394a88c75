//! Codes by SMS and the proof they give, used in parallel on two nodes.

use std::sync::Arc;

use serde_json::json;

use super::{COMPARISONS, alike, answer_code, number, sms_code, statuses, wrong};
use crate::harness::node::{Cluster, at_once};

const PHONE: &str = "+221771234567";

#[tokio::test(flavor = "multi_thread")]
async fn of_200_parallel_uses_of_one_right_code_one_succeeds() {
    Cluster::run(alike, |cluster| async move {
        let code = sms_code(&cluster.nodes[0], PHONE).await;

        let answers = at_once(200, |n| {
            let (cluster, code) = (Arc::clone(&cluster), code.clone());
            async move { answer_code(cluster.node(n), PHONE, &code).await }
        })
        .await;

        let mut wanted = [400; 200];
        wanted[0] = 200;
        wanted.sort_unstable();
        assert_eq!(statuses(&answers), wanted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_400_parallel_wrong_codes_at_most_five_are_compared() {
    Cluster::run(alike, |cluster| async move {
        let code = sms_code(&cluster.nodes[0], PHONE).await;

        let answers = at_once(400, |n| {
            let (cluster, code) = (Arc::clone(&cluster), wrong(&code));
            async move { answer_code(cluster.node(n), PHONE, &code).await }
        })
        .await;

        assert!(answers.iter().all(|answer| [400, 429].contains(&answer.status)), "{:?}", statuses(&answers));
        assert!(cluster.metrics(COMPARISONS).await <= 5.0);
        let late = answer_code(&cluster.nodes[1], PHONE, &code).await;
        assert_ne!(late.status, 200, "the tries are used up: {late:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_used_on_both_nodes_at_once_makes_one_account() {
    Cluster::run(alike, |cluster| async move {
        let code = sms_code(&cluster.nodes[0], PHONE).await;
        let proof = answer_code(&cluster.nodes[1], PHONE, &code).await.must_be(200).text("registration_token");

        let answers = at_once(20, |n| {
            let (cluster, proof) = (Arc::clone(&cluster), proof.clone());
            async move {
                let body = json!({
                    "phone": PHONE, "first_name": "Awa", "last_name": "Diop", "registration_token": proof,
                });
                cluster.node(n).post("/auth/register", &body).await
            }
        })
        .await;

        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{:?}", statuses(&answers));
        assert!(answers.iter().all(|answer| [201, 400, 403].contains(&answer.status)), "{:?}", statuses(&answers));
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM accounts").await, 1);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM sessions").await, 1);
    })
    .await;
}
