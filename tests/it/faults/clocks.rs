//! Two nodes whose clocks are half a minute apart: whoever judges goes by the stores' time.
//!
//! The clock is wrong for the whole program, as on a machine that lost its time server: a library
//! of a few lines is put before the system's.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use reqwest::Method;
use serde_json::json;

use super::{bystander, code, guess, times_accepted};
use crate::harness::node::{Answer, Cluster, Node, PATIENCE, POLL, Settings, answer, at_once};
use crate::nodes::{COMPARISONS, PASSWORD, Person, VERIFICATIONS, sms_code, statuses, wrong};

const AHEAD: Duration = Duration::from_secs(30);

/// A library that moves a program's clock.
struct WrongClock {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

impl WrongClock {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("ahead.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clock/ahead.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", &format!("-DAHEAD={}", AHEAD.as_secs()), source, "-ldl", "-o"]);
        assert!(compile.arg(&library).status().unwrap().success());
        Self { library, _folder: folder }
    }

    /// The second node lives in the future.
    fn of_the_other(&self, node: usize, settings: Settings) -> Settings {
        if node == 0 { settings } else { settings.with("LD_PRELOAD", self.library.to_str().unwrap()) }
    }
}

/// How far ahead of this process a token says it was issued, in seconds.
fn issued_ahead(token: &str) -> i64 {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let now = Clock::system().now().as_secs();
    claims["iat"].as_i64().unwrap() - now
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_codes_and_limits_are_as_exact_as_with_one_clock() {
    let clock = WrongClock::make();
    Cluster::run(
        |node, settings| clock.of_the_other(node, settings),
        |cluster| async move {
            let [one, other] = &cluster.nodes;
            let owner = Person::register(one, "owner@example.com").await;
            let early = owner.log_in(other, PASSWORD).await.must_be(200).text("token");
            assert!(issued_ahead(&early) > 25, "the clocks are apart");
            let late = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
            for node in [one, other] {
                bystander(node, &early).await;
                bystander(node, &late).await;
            }

            let before = cluster.metrics(VERIFICATIONS).await;
            at_once(60, |n| {
                let cluster = Arc::clone(&cluster);
                async move { guess(cluster.node(n), "owner@example.com", "wrong horse").await }
            })
            .await;
            assert!(cluster.metrics(VERIFICATIONS).await - before <= 5.0);
            for node in [one, other] {
                guess(node, "owner@example.com", PASSWORD).await.must_be(403);
                owner.log_in(node, PASSWORD).await.must_be(200);
            }

            // Made by one, presented to the other: whichever way, it is neither dead nor eternal.
            for (n, phone) in ["+221771234567", "+221771234568"].into_iter().enumerate() {
                let right = sms_code(&cluster.nodes[n], phone).await;
                let asked = cluster.nodes[1 - n].post("/auth/request-code", &json!({ "phone": phone })).await;
                assert_eq!(asked.status, 429, "the cooldown is the same on both: {asked:?}");
                assert_eq!(times_accepted(&cluster, phone, &right).await, 1);
            }
            let compared = cluster.metrics(COMPARISONS).await;
            let phone = "+221771234569";
            let right = sms_code(one, phone).await;
            at_once(60, |n| {
                let (cluster, wrong) = (Arc::clone(&cluster), wrong(&right));
                async move { code(cluster.node(n), phone, &wrong).await }
            })
            .await;
            assert!(cluster.metrics(COMPARISONS).await - compared <= 5.0);
            assert_ne!(code(other, phone, &right).await.status, 200);

            // 60 a minute from one address, however the nodes read the clock.
            let asked = Instant::now();
            let answers = at_once(100, |n| {
                let cluster = Arc::clone(&cluster);
                async move {
                    let body = json!({ "email": format!("nobody{n}@example.com"), "password": 7 });
                    let request = cluster.node(n).request(Method::POST, "/api/auth/login").json(&body);
                    answer(request.header("x-forwarded-for", "203.0.113.7")).await
                }
            })
            .await;
            let admitted = answers.iter().filter(|answer| answer.status != 429).count();
            let most = 61 + asked.elapsed().as_secs();
            assert!(admitted >= 60 && admitted as u64 <= most, "{admitted}: {:?}", statuses(&answers));
        },
    )
    .await;
}

const ROOT_KEY: &str = "gk_root_of-a-cluster-long-enough";

/// What a busy machine may take to answer.
const LATE: Duration = Duration::from_millis(500);

/// A wait that somebody was told of.
struct Told {
    asked: Instant,
    answered: Instant,
    wait: Duration,
}

/// Asks and is told to wait.
async fn told_to_wait<F: Future<Output = Answer>>(ask: &impl Fn() -> F) -> Told {
    let asked = Instant::now();
    let refused = ask().await.must_be(429);
    let wait = Duration::from_secs(refused.retry_after.unwrap());
    Told { asked, answered: Instant::now(), wait }
}

/// Whoever comes back after exactly as long as told is admitted, and nobody much more than the second
/// earlier that rounding up may add.
async fn is_exact<F: Future<Output = Answer>>(told: Told, ask: impl Fn() -> F) {
    // A node that was told late adds that to the wait: its copy must not be the stricter one.
    let soonest = told.wait.saturating_sub(Duration::from_secs(1) + LATE);
    tokio::time::sleep_until((told.asked + soonest.saturating_sub(LATE)).into()).await;
    let early = ask().await;
    if early.status != 429 {
        assert!(told.asked.elapsed() >= soonest, "told {:?}, admitted before", told.wait);
        return;
    }
    tokio::time::sleep_until((told.answered + told.wait).into()).await;
    let answer = ask().await;
    assert_ne!(answer.status, 429, "{:?} after {:?}", answer, told.wait);
}

/// What is left of a span that began after `since`, in whole seconds rounded up.
#[track_caller]
fn is_left_of(whole: u64, since: Instant, told: u64) {
    assert!(told <= whole && told + since.elapsed().as_secs() + 1 >= whole, "{told} s of {whole} s");
}

async fn code_for(node: &Node, phone: &str) -> Answer {
    node.post("/auth/request-code", &json!({ "phone": phone })).await
}

/// Whatever it is worth: counted before it is read.
async fn log_in_from(node: &Node, client: &str) -> Answer {
    let body = json!({ "email": "nobody@example.com", "password": 7 });
    answer(node.request(Method::POST, "/api/auth/login").json(&body).header("x-forwarded-for", client)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_exactly_as_long_as_told_is_admitted_whichever_clock_told_it() {
    let clock = WrongClock::make();
    Cluster::run(
        |node, settings| clock.of_the_other(node, settings.with("GUICHET_ADMIN_KEY", ROOT_KEY)),
        |cluster| async move {
            let settings = json!({
                "otp": { "resend": { "cooldown": 15 } },
                "limits": { "login-client": { "quota": 2, "window": 8 } },
            });
            let set = cluster.nodes[0].administer(Method::PATCH, "/tenants/default/settings", ROOT_KEY, &settings);
            set.await.must_be(200);
            let mut waits = tokio::task::JoinSet::new();
            for (n, node) in cluster.nodes.iter().enumerate() {
                let known = async {
                    for client in 0_u8.. {
                        let client = format!("198.51.{n}.{client}");
                        let thrice = [(); 3].map(|()| log_in_from(node, &client));
                        if futures_util::future::join_all(thrice).await.iter().any(|answer| answer.status == 429) {
                            return;
                        }
                        tokio::time::sleep(POLL).await;
                    }
                };
                tokio::time::timeout(PATIENCE, known).await.expect("the new settings reach every node");
            }
            for (n, node) in cluster.nodes.iter().enumerate() {
                // Sent by one, asked for again from each; refused by the store, and from a node's own memory.
                let phone = format!("+22177123456{n}");
                let booked = Instant::now();
                let sent = code_for(&cluster.nodes[1 - n], &phone).await.must_be(200);
                assert_eq!((&sent.json["expires_in"], &sent.json["resend_in"]), (&json!(300), &json!(15)));
                for (refused_before, client) in
                    [format!("203.0.113.{n}"), format!("192.0.2.{n}")].into_iter().enumerate()
                {
                    for _ in 0..2 {
                        log_in_from(&cluster.nodes[1 - n], &client).await.must_be(400);
                    }
                    for _ in 0..refused_before {
                        log_in_from(node, &client).await.must_be(429);
                    }
                    let cluster = Arc::clone(&cluster);
                    let told = told_to_wait(&|| log_in_from(&cluster.nodes[n], &client)).await;
                    assert!(told.wait <= Duration::from_secs(5), "{:?}", told.wait);
                    waits.spawn(async move { is_exact(told, || log_in_from(&cluster.nodes[n], &client)).await });
                }
                let cluster = Arc::clone(&cluster);
                let told = told_to_wait(&|| code_for(&cluster.nodes[n], &phone)).await;
                is_left_of(15, booked, told.wait.as_secs());
                waits.spawn(async move { is_exact(told, || code_for(&cluster.nodes[n], &phone)).await });
            }
            waits.join_all().await;

            // What mails are counted by, and what is left of a code: the same on either node.
            for (n, node) in cluster.nodes.iter().enumerate() {
                let forgot = |node: usize| {
                    let body = json!({ "email": format!("somebody{n}@example.com") });
                    let cluster = Arc::clone(&cluster);
                    async move { cluster.nodes[node].post("/api/auth/password/forgot", &body).await }
                };
                let booked = Instant::now();
                forgot(1 - n).await.must_be(200);
                for refused in [forgot(0).await, forgot(1).await] {
                    is_left_of(30, booked, refused.must_be(429).retry_after.unwrap());
                }
                let person = Person::register(node, &format!("owner{n}@example.com")).await;
                let booked = Instant::now();
                let asked = person.log_in_as_a_stranger(&cluster.nodes[1 - n], PASSWORD).await.must_be(200);
                let again = person.log_in_as_a_stranger(node, PASSWORD).await.must_be(200);
                assert_eq!(asked.json["challenge_id"], again.json["challenge_id"]);
                for told in [asked, again] {
                    is_left_of(300, booked, told.json["expires_in"].as_u64().unwrap());
                }
            }
        },
    )
    .await;
}
