//! What does one tenant's flood cost its neighbour?
//!
//! A neighbour's people log in and its tokens are checked at an even pace, in turns without and with
//! another tenant's log-ins at ten times what the gateway can hash: each of them at an address, and
//! about an account, that nothing else asks for. Both halves of a round feel the same machine, and only
//! their ratios are figures.
//!
//! Twice: with the load on the gateway's own cores, of which it then has less than it would; and with one
//! core for either, where it has one hashing thread, and what the load itself waits for is left out.
//!
//! `cargo bench --bench fairness`.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::figures::{median, quantile};
use support::gateway::{Gateway, Stores, http};
use support::load::{Line, Target, open_loop, posting};
use support::machine::{print_machine, stay_on_core};
use support::people::{self, PASSWORD};
use tokio::task::JoinSet;

const ROUNDS: usize = 6;
const HALF: Duration = Duration::from_secs(4);

/// The neighbour's log-ins, of all that can be hashed: less than the half that is its own by turns. And
/// its token checks in a second.
const SHARE: f64 = 0.2;
const CHECKS: f64 = 200.0;

/// The neighbour's people.
const PEOPLE: u32 = 16;

/// Connections that find out what can be hashed, and that flood: more than may wait for a hash.
const FEW: u32 = 8;
const MANY: u32 = 400;
const TIMES_CAPACITY: f64 = 10.0;

/// Goals: the p99 of flooded seconds over that of quiet ones.
const LOG_IN_GOAL: f64 = 2.0;
const CHECK_GOAL: f64 = 1.2;

#[tokio::main]
async fn main() {
    print_machine();
    println!("load and gateway on the same cores");
    measure(|| true).await;
    if stay_on_core(0) {
        println!("gateway on core 0, load on core 1");
        measure(|| stay_on_core(1)).await;
    }
}

/// `stand_aside` is called once the gateway runs.
async fn measure(stand_aside: impl FnOnce() -> bool) {
    let stores = Stores::embedded();
    stores.make_ample_tenant().await;
    stores.make_tenant("flooded");
    let gateway = Gateway::start(&stores);
    assert!(stand_aside());
    let flood = Flood::at(&gateway);
    let capacity = flood.run(FEW, f64::INFINITY, HALF).await.compared / HALF.as_secs_f64();
    let neighbour = Neighbour::of(&gateway, capacity * SHARE).await;
    println!("{capacity:.0} log-ins a second are hashed; the flood is {:.0} a second", capacity * TIMES_CAPACITY);

    let (mut log_ins, mut checks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let quiet = neighbour.p99s().await;
        let (flooded, of_flood) = tokio::join!(neighbour.p99s(), flood.run(MANY, capacity * TIMES_CAPACITY, HALF));
        println!(
            "log-in {:.1} ms, flooded {:.1} ms; token check {:.2} ms, flooded {:.2} ms; of the flood {:.0} hashed, {:.0} shed",
            quiet.log_in, flooded.log_in, quiet.check, flooded.check, of_flood.compared, of_flood.shed
        );
        log_ins.push(flooded.log_in / quiet.log_in);
        checks.push(flooded.check / quiet.check);
    }
    for (name, ratios, goal) in [("log-in", log_ins, LOG_IN_GOAL), ("token check", checks, CHECK_GOAL)] {
        let (least, middle) = (quantile(&ratios, 0.0), median(&ratios));
        println!("{name}: p99 flooded to quiet {least:.2} at least, {middle:.2} in the middle (goal {goal})");
    }
}

/// The tenant that is not flooded.
struct Neighbour {
    /// Of one person each: log-ins of one wait for one another.
    log_ins: Vec<Target>,
    check: Target,
    /// Log-ins in a second.
    pace: f64,
}

/// Milliseconds.
struct P99s {
    log_in: f64,
    check: f64,
}

impl Neighbour {
    async fn of(gateway: &Gateway, pace: f64) -> Self {
        let http = http("bench");
        let mut logging_in = Vec::new();
        for n in 0..=PEOPLE {
            let email = &format!("person{n}@example.com");
            let person = people::register_email(gateway, &http, "", email).await;
            people::prove_email(gateway, &http, email).await;
            let body = json!({ "email": email, "password": PASSWORD }).to_string();
            logging_in.push(format!(
                "POST /api/auth/login HTTP/1.1\r\nHost: guichet\r\nX-Device-Id: {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                person.device_token,
                body.len()
            ));
        }
        // One who does not log in again: so many log-ins end the sessions that began before them.
        let signed_in = logging_in.pop().unwrap();
        let mut line = Line::open(gateway.address()).await;
        assert_eq!(line.ask(signed_in.as_bytes()).await, 200);
        let signed_in: Value = serde_json::from_slice(line.body()).unwrap();
        let token = signed_in["token"].as_str().unwrap();
        let check = format!("GET /forward-auth HTTP/1.1\r\nHost: guichet\r\nAuthorization: Bearer {token}\r\n\r\n");
        let target =
            |request: &str| Target { address: gateway.address(), request: request.as_bytes().into(), status: 200 };
        Self { log_ins: logging_in.iter().map(|request| target(request)).collect(), check: target(&check), pace }
    }

    async fn p99s(&self) -> P99s {
        let gap = Duration::from_secs_f64(1.0 / self.pace);
        let one_by_one = self.log_ins.iter().zip(0..).map(async |(target, n)| {
            tokio::time::sleep(gap * n).await;
            open_loop(target, 1, self.pace / f64::from(PEOPLE), HALF).await
        });
        let log_ins = join_all(one_by_one);
        let (log_ins, checks) = tokio::join!(log_ins, open_loop(&self.check, 4, CHECKS, HALF));
        P99s { log_in: quantile(&log_ins.concat(), 0.99) / 1e3, check: quantile(&checks, 0.99) / 1e3 }
    }
}

/// Log-ins of people whom the flooded tenant does not know, which cost it as much as those it knows.
struct Flood {
    address: std::net::SocketAddr,
    asked: Arc<AtomicU32>,
}

/// What became of a flood.
#[derive(Default)]
struct Outcome {
    compared: f64,
    shed: f64,
}

impl Flood {
    fn at(gateway: &Gateway) -> Self {
        Self { address: gateway.address(), asked: Arc::default() }
    }

    /// At most `rate` a second from so many connections, each of which asks again once it is answered.
    async fn run(&self, connections: u32, rate: f64, time: Duration) -> Outcome {
        let (address, began) = (self.address, Instant::now());
        let gap = Duration::from_secs_f64(f64::from(connections) / rate);
        let mut lines = JoinSet::new();
        for n in 0..connections {
            let asked = Arc::clone(&self.asked);
            lines.spawn(async move {
                let (mut line, mut outcome) = (Line::open(address).await, Outcome::default());
                let mut due = began + gap.mul_f64(f64::from(n) / f64::from(connections));
                while due.max(Instant::now()) < began + time {
                    tokio::time::sleep_until(due.into()).await;
                    let client = asked.fetch_add(1, Ordering::Relaxed);
                    let body = json!({ "email": format!("nobody{client}@example.com"), "password": PASSWORD });
                    match line.ask(&posting("/t/flooded/api/auth/login", client, &body)).await {
                        400 => outcome.compared += 1.0,
                        429 | 503 => outcome.shed += 1.0,
                        other => panic!("a log-in of the flood was answered {other}"),
                    }
                    due += gap;
                }
                outcome
            });
        }
        let outcomes = lines.join_all().await;
        Outcome {
            compared: outcomes.iter().map(|outcome| outcome.compared).sum(),
            shed: outcomes.iter().map(|outcome| outcome.shed).sum(),
        }
    }
}
