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
use crate::harness::node::{Cluster, Settings, answer, at_once};
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
