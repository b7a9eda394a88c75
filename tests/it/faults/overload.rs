//! More log-ins than a node can hash: what it sheds, and what that costs.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{UNHARMED, bystander, p99};
use crate::harness::node::{Node, Settings, answer, at_once};
use crate::nodes::{PASSWORD, Person, statuses};

/// What a thousand parallel log-ins may add to a node's memory: two argon2 memories (38 MiB) and
/// some 60 KiB for each connection with its request.
const MOST_MEMORY: u64 = 100 * 1024 * 1024;

/// One that sheds as in production.
fn impatient() -> Settings {
    super::short_deadlines(0, Settings::embedded())
        .with("GUICHET__CRYPTO__HASH_MAX_WAIT", "1s")
        .without("GUICHET__ACTORS__MAILBOX")
}

fn log_in(node: &Node, email: &str) -> RequestBuilder {
    let body = json!({ "email": email, "password": PASSWORD });
    node.request(Method::POST, "/api/auth/login").json(&body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parallel_log_ins_are_shed_within_bounds_and_harm_no_token_check() {
    let node = Arc::new(Node::spawn(&impatient()).await);
    let owner = Person::register(&node, "owner@example.com").await;
    let token = owner.log_in(&node, PASSWORD).await.must_be(200).text("token");
    let before = node.peak_memory();
    let stop = CancellationToken::new();
    let watching = {
        let (node, stop) = (Arc::clone(&node), stop.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.is_cancelled() {
                times.extend(bystander(&node, &token).await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times
        })
    };

    let answers = at_once(1_000, |n| {
        let node = Arc::clone(&node);
        // No time is held against these: the client, on the same cores, is as overloaded.
        async move { answer(log_in(&node, &format!("nobody{n}@example.com"))).await }
    })
    .await;

    stop.cancel();
    let mut times = watching.await.unwrap();
    times.sort_unstable();
    let hashed = answers.iter().filter(|answer| answer.status == 400).count();
    let grown = node.peak_memory() - before;
    println!(
        "{hashed} of 1,000 hashed, {} MiB more, {} token checks meanwhile: p99 {:?}, slowest {:?}",
        grown / 1_048_576,
        times.len(),
        p99(&times),
        times[times.len() - 1]
    );
    assert!(answers.iter().all(|answer| [400, 429, 503].contains(&answer.status)), "{:?}", statuses(&answers));
    assert!(
        answers.iter().all(|answer| answer.status == 400 || answer.retry_after.is_some()),
        "Retry-After is missing"
    );
    assert!(hashed > 0 && hashed < 1_000, "{hashed}");
    assert!(grown < MOST_MEMORY, "{grown}");
    assert!(p99(&times) < UNHARMED, "{:?}", p99(&times));
    // And then it is as before.
    answer(log_in(&node, "nobody@example.com")).await.must_be(400);
}
