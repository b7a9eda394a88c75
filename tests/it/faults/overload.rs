//! More log-ins than a node can hash: what it sheds, and what that costs.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{UNHARMED, bystander, p99};
use crate::harness::node::{Answer, Node, PATIENCE, POLL, Settings, answer, at_once};
use crate::nodes::{HASH_QUEUE, PASSWORD, Person, VERIFICATIONS, statuses};

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

const ROOT_KEY: &str = "gk_root_of-a-node-long-enough";

/// Requests a node works on at once here, and those of them that one tenant may hold (`admit`).
const IN_FLIGHT: usize = 36;
const OF_ONE_TENANT: usize = 32;

/// One hash at a time, each slow enough to ask something meanwhile.
fn narrow() -> Settings {
    Settings::embedded()
        .with("GUICHET_ADMIN_KEY", ROOT_KEY)
        .with("GUICHET__HTTP__MAX_IN_FLIGHT", IN_FLIGHT.to_string())
        .with("GUICHET__CRYPTO__HASH_THREADS", "1")
        .with("GUICHET__CRYPTO__ARGON2__ITERATIONS", "16")
}

async fn log_in_at_the_neighbours(node: &Node, n: usize) -> Answer {
    let body = json!({ "email": format!("nobody{n}@example.com"), "password": PASSWORD });
    node.post("/t/neighbour/api/auth/login", &body).await
}

/// With one hashing thread: the hash that runs, one of the flood's whose turn it is, its own, and at
/// most one that ends while the answer travels. A busy machine makes that journey longer, so the
/// shortest of a few counts; in a line without turns each of them would wait for the whole flood.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_flood_costs_its_neighbour_a_turn_and_never_a_place() {
    let node = Arc::new(Node::spawn(&narrow()).await);
    let neighbour = json!({ "slug": "neighbour", "name": "Neighbour" });
    node.administer(Method::POST, "/tenants", ROOT_KEY, &neighbour).await.must_be(201);
    let is_served = async {
        while log_in_at_the_neighbours(&node, 0).await.status != 400 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_served).await.expect("the neighbour is served");

    let flood = tokio::spawn({
        let node = Arc::clone(&node);
        at_once(300, move |n| {
            let node = Arc::clone(&node);
            async move { answer(log_in(&node, &format!("nobody{n}@example.com"))).await }
        })
    });
    node.metric_becomes(HASH_QUEUE, |depth| depth >= 20.0).await;
    let mut least = f64::INFINITY;
    for n in 1..=4 {
        let before = node.metrics(VERIFICATIONS).await;
        log_in_at_the_neighbours(&node, n).await.must_be(400);
        least = least.min(node.metrics(VERIFICATIONS).await - before);
    }
    assert!(least <= 4.0, "{least} hashes while the neighbour waited for one");
    assert!(node.metrics(HASH_QUEUE).await > 0.0, "the flood is over too soon to tell anything");

    let answers = flood.await.unwrap();
    let compared = answers.iter().filter(|answer| answer.status == 400).count();
    assert!(compared >= OF_ONE_TENANT, "{compared}");
    let mut shed = answers.iter().filter(|answer| answer.status != 400);
    assert!(
        shed.all(|answer| answer.code() == "overloaded" && answer.retry_after.is_some()),
        "{:?}",
        statuses(&answers)
    );
}
