//! What does a log-in cost beside its hash?
//!
//! Log-ins with a right password on a known device, as fast as they are answered, in turns with
//! argon2id alone on as many threads as the gateway hashes on: both feel the same machine, and only
//! their ratios are figures. One compares what was done in a second; the clients share the cores with
//! the gateway, and whatever else runs there takes from both. The other compares processor time, one
//! comparison with all that the gateway spends on one log-in, and holds on a busy machine too. Then the
//! other routes of a sign-in, for orientation.
//!
//! `cargo bench --bench log_in`; on PostgreSQL and Redis too where `GUICHET_BENCH_DATABASE_URL` and
//! `GUICHET_BENCH_REDIS_URL` name servers.
#![cfg(test)]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use guichet::crypto::password_hash::{HashCost, Memory, PasswordHasher, Verification};
use guichet::entropy::Entropy;
use reqwest::Client;
use serde_json::{Value, json};
use support::figures::{median, quantile};
use support::gateway::{Gateway, Stores, http};
use support::machine::{cores, print_machine, processor_seconds};
use support::people::{self, PASSWORD, Person};

const ROUNDS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);

/// Requests under way at once: enough that no hashing thread ever waits for one.
const CLIENTS: usize = 8;

/// People, so that no account is asked twice at once and none reaches its most sessions.
const PEOPLE: usize = 64;

/// Codes asked for at most: what finds no place in the line of messages comes later than anybody waits here.
const CODES: usize = 1_000;

#[tokio::main]
async fn main() {
    print_machine();
    measure(Stores::embedded()).await;
    match Stores::shared().await {
        Some(stores) => measure(stores).await,
        None => println!("\nPostgreSQL + Redis: not measured, no server was named"),
    }
}

async fn measure(stores: Stores) {
    println!("\n{}", stores.name);
    stores.make_ample_tenant().await;
    let gateway = Gateway::start(&stores);
    let http = http("bench");
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        let person = people::register_email(&gateway, &http, "", &format!("person{n}@example.com")).await;
        people::prove_email(&gateway, &http, &person.email).await;
        people.push(person);
    }
    let tokens = log_ins_against_argon2(&gateway, &http, &people).await;
    other_routes(&gateway, &http, tokens).await;
    drop(gateway);
    stores.remove().await;
}

/// An access token and a refresh token.
type Tokens = (String, String);

async fn log_ins_against_argon2(gateway: &Gateway, http: &Client, people: &[Person]) -> Vec<Tokens> {
    let tokens = Mutex::new(Vec::new());
    let (mut hashing, mut serving, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let spent = processor_seconds(std::process::id());
        let hashes = tokio::task::spawn_blocking(argon2_alone).await.unwrap();
        hashing.push(hashes.done_since(spent, std::process::id()));
        let spent = processor_seconds(gateway.pid());
        let (log_ins, took) = closed_loop(usize::MAX, |n| {
            let tokens = &tokens;
            async move {
                let fresh = log_in(gateway, http, &people[n % people.len()]).await;
                tokens.lock().unwrap().push(fresh);
            }
        })
        .await;
        serving.push(log_ins.done_since(spent, gateway.pid()));
        times.extend(took);
    }
    print_log_ins(&hashing, &serving, &times);
    tokens.into_inner().unwrap()
}

/// What one round came to.
struct Round {
    per_second: f64,
    processor_ms_each: f64,
}

fn print_log_ins(hashing: &[Round], serving: &[Round], times: &[f64]) {
    let all = |rounds: &[Round], figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    let ratios = |ratio: fn((&Round, &Round)) -> f64| serving.iter().zip(hashing).map(ratio).collect::<Vec<_>>();
    let by_rate = ratios(|(log_in, hash)| log_in.per_second / hash.per_second);
    let by_time = ratios(|(log_in, hash)| hash.processor_ms_each / log_in.processor_ms_each);
    println!(
        "  log-in        {:7.1}/s  p50 {:6.2} ms  p99 {:6.2} ms",
        all(serving, |r| r.per_second),
        median(times),
        quantile(times, 0.99)
    );
    println!("  argon2id alone{:7.1}/s", all(hashing, |r| r.per_second));
    for (what, ratio) in [("a second", by_rate), ("processor time", by_time)] {
        println!(
            "  ratio by {what:14} {:.3} ({:.3} to {:.3})",
            median(&ratio),
            quantile(&ratio, 0.0),
            quantile(&ratio, 1.0)
        );
    }
    println!(
        "  processor time: a log-in {:.2} ms, of it argon2id {:.2} ms",
        all(serving, |r| r.processor_ms_each),
        all(hashing, |r| r.processor_ms_each)
    );
}

async fn log_in(gateway: &Gateway, http: &Client, person: &Person) -> Tokens {
    let body = json!({ "email": person.email, "password": PASSWORD });
    let request = gateway.post(http, "/api/auth/login", &body).header("X-Device-Id", &person.device_token);
    tokens_of(&good(request).await)
}

fn tokens_of(reply: &Value) -> Tokens {
    let text = |name: &str| reply[name].as_str().unwrap().to_owned();
    (text("token"), text("refresh_token"))
}

/// Comparisons on as many threads as there are cores.
fn argon2_alone() -> Work {
    let entropy = Entropy::system();
    let hasher = PasswordHasher::new(HashCost::DEFAULT, &entropy).unwrap();
    let phc = hasher.hash(PASSWORD, &entropy, &mut Memory::new()).unwrap();
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..cores() {
            threads.spawn(|| {
                let mut memory = Memory::new();
                while began.elapsed() < ROUND {
                    let compared = hasher.verify(PASSWORD, &phc, &mut memory).unwrap();
                    assert_eq!(compared, Verification::Matches { rehash: false });
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    Work { done: done.into_inner(), took: began.elapsed() }
}

/// How much was done in how long.
struct Work {
    done: usize,
    took: Duration,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
impl Work {
    fn per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// With what process `pid` spent on it since it had spent `before`.
    fn done_since(&self, before: f64, pid: u32) -> Round {
        let spent = processor_seconds(pid) - before;
        Round { per_second: self.per_second(), processor_ms_each: spent * 1e3 / self.done as f64 }
    }
}

async fn other_routes(gateway: &Gateway, http: &Client, tokens: Vec<Tokens>) {
    let sent = closed_loop(CODES, |n| async move {
        let body = json!({ "phone": people::phone(u32::try_from(n).unwrap()) });
        good(gateway.post(http, "/auth/request-code", &body)).await;
    })
    .await;
    print_route("request-code", &sent);
    let answered = closed_loop(sent.1.len(), |n| async move {
        let phone = people::phone(u32::try_from(n).unwrap());
        let body = json!({ "phone": phone, "code": gateway.mailbox.code(&phone) });
        good(gateway.post(http, "/auth/verify-code", &body)).await;
    })
    .await;
    print_route("verify-code", &answered);
    let shown = closed_loop(usize::MAX, |n| {
        let (token, _) = &tokens[n % tokens.len()];
        let request = gateway.get(http, "/api/auth/me").bearer_auth(token);
        async move {
            good(request).await;
        }
    })
    .await;
    print_route("me", &shown);
    let refreshed = closed_loop(tokens.len(), |n| {
        let request = gateway.post(http, "/api/auth/refresh", &json!({ "refresh_token": tokens[n].1 }));
        async move {
            good(request).await;
        }
    })
    .await;
    print_route("refresh", &refreshed);
}

fn print_route(route: &str, (work, times): &(Work, Vec<f64>)) {
    let rate = work.per_second();
    println!("  {route:14}{rate:7.0}/s  p50 {:6.2} ms  p99 {:6.2} ms", median(times), quantile(times, 0.99));
}

async fn good(request: reqwest::RequestBuilder) -> Value {
    let reply = request.send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// `CLIENTS` clients that each ask again as soon as they are answered, for one round or `most`
/// requests: what was answered, and in how many milliseconds each.
async fn closed_loop<F: Future<Output = ()>>(most: usize, ask: impl Fn(usize) -> F) -> (Work, Vec<f64>) {
    let began = Instant::now();
    let turn = AtomicUsize::new(0);
    let client = || async {
        let mut times = Vec::new();
        while began.elapsed() < ROUND {
            let n = turn.fetch_add(1, Ordering::Relaxed);
            if n >= most {
                break;
            }
            let asked = Instant::now();
            ask(n).await;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        times
    };
    let times = join_all((0..CLIENTS).map(|_| client())).await.concat();
    (Work { done: times.len(), took: began.elapsed() }, times)
}
