//! How soon after its start does guichet answer, and how much memory does it hold?
//!
//! Embedded, in a new folder and in one that has been used. Memory is the resident set two seconds
//! after the start with nothing asked; then after requests that load what is loaded lazily: number
//! metadata, a session's keys, the lists of common passwords; then with every hashing thread having hashed.
//!
//! `cargo bench --bench start_up`
#![cfg(test)]

mod support;

use std::time::{Duration, Instant};

use reqwest::Client;
use support::figures::{median, quantile};
use support::gateway::{Gateway, Stores, http};
use support::machine::{cores, print_machine, resident};
use support::people;

const STARTS: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    print_machine();
    let http = http("bench");

    let mut fresh = Vec::new();
    let mut used_folder = None;
    for _ in 0..STARTS {
        let stores = Stores::embedded();
        fresh.push(start(&stores, &http).await);
        used_folder = Some(stores);
    }
    print_starts("new folder", &fresh);

    let stores = used_folder.unwrap();
    stores.make_tenant("strict");
    let mut again = Vec::new();
    for _ in 0..STARTS {
        again.push(start(&stores, &http).await);
    }
    print_starts("used folder", &again);
    memory_in_use(&stores, &http).await;
}

/// One start and its end: milliseconds to the first answer, and MiB after two idle seconds.
async fn start(stores: &Stores, http: &Client) -> (f64, f64) {
    let began = Instant::now();
    let gateway = Gateway::start(stores);
    let answer = gateway.get(http, "/.well-known/jwks.json").send().await.unwrap();
    let time = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    (time, resident(gateway.pid()))
}

fn print_starts(folder: &str, starts: &[(f64, f64)]) {
    let (times, memory): (Vec<_>, Vec<_>) = starts.iter().copied().unzip();
    println!(
        "{folder:12} first answer after {:4.0} ms (slowest {:4.0}) | idle {:5.1} MiB (most {:5.1}) | {STARTS} starts",
        median(&times),
        quantile(&times, 1.0),
        median(&memory),
        quantile(&memory, 1.0),
    );
}

async fn memory_in_use(stores: &Stores, http: &Client) {
    let gateway = Gateway::start(stores);
    for n in 0..50 {
        gateway.get(http, "/.well-known/jwks.json").send().await.unwrap();
        gateway
            .post(http, "/auth/request-code", &serde_json::json!({ "phone": people::phone(n) }))
            .send()
            .await
            .unwrap();
    }
    println!("after 100 requests, 50 of them codes by SMS: {:5.1} MiB", resident(gateway.pid()));
    people::register_email(&gateway, http, "/t/strict", "first@example.com").await;
    println!("after a password that was judged and hashed: {:5.1} MiB", resident(gateway.pid()));
    let all = (0..cores() * 4).map(|n| format!("person{n}@example.com"));
    let all = all.map(|email| async { people::register_email(&gateway, http, "", &{ email }).await });
    futures_util::future::join_all(all).await;
    println!("after {} hashing threads have hashed: {:5.1} MiB", cores(), resident(gateway.pid()));
}
