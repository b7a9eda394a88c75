//! Redis goes away under two nodes and comes back.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, Person};
use crate::harness::node::{Answer, Cluster, Settings, answer};
use crate::harness::redis::OwnRedis;

/// A refusal that takes longer than this keeps a gateway waiting. Alone on a machine it takes a
/// tenth; the rest is for tests that run beside.
const QUICKLY: Duration = Duration::from_secs(6);

/// How long after Redis is back log-ins may still fail.
const RECOVERY: Duration = Duration::from_secs(2);

fn assert_refused(answer: &Answer, asked: Instant) {
    assert_eq!((answer.status, answer.code()), (503, "dependency_unavailable"), "{answer:?}");
    assert!(answer.retry_after.is_some(), "{answer:?}");
    assert!(asked.elapsed() < QUICKLY, "{:?}", asked.elapsed());
}

/// Short, but not so short that a busy test machine cannot start.
fn short_timeouts(_node: usize, settings: Settings) -> Settings {
    let settings = settings.with("GUICHET__REDIS__RESPONSE_TIMEOUT", "1s");
    settings.with("GUICHET__REDIS__CONNECT_TIMEOUT", "1s")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_guesses_are_refused_tokens_go_on_and_its_return_is_enough() {
    let Some(mut redis) = OwnRedis::start(&[]).await else { return };
    Cluster::run_on(&redis.url(), short_timeouts, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let token = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
        other.get("/api/auth/me", &token).await.must_be(200);
        owner.wrong_passwords(one, 5).await.must_be(403);

        redis.kill();

        for node in [one, other] {
            let asked = Instant::now();
            assert_refused(&owner.log_in(node, PASSWORD).await, asked);
            let asked = Instant::now();
            assert_refused(&node.post("/auth/request-code", &json!({ "phone": "+221771234567" })).await, asked);
            let asked = Instant::now();
            let body = json!({ "phone": "+221771234567", "code": "0000" });
            assert_refused(&node.post("/auth/verify-code", &body).await, asked);
            node.get("/api/auth/me", &token).await.must_be(200);
            answer(node.request(Method::GET, "/.well-known/jwks.json")).await.must_be(200);
        }

        redis.restart().await;
        let back = Instant::now();
        for node in [one, other] {
            while owner.log_in(node, PASSWORD).await.status != 200 {
                assert!(back.elapsed() < RECOVERY, "{:?}: {}", back.elapsed(), node.log());
            }
            owner.log_in_as_a_stranger(node, PASSWORD).await.must_be(403);
        }
    })
    .await;
}
