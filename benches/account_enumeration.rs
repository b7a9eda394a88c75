//! Does the time of an answer tell who has an account?
//!
//! Every route that a stranger can ask about somebody is asked about people who are known and
//! people who are not, in pairs whose order is drawn: what the machine does meanwhile falls on
//! both. Nobody is asked about twice within a cooldown or often enough to be locked.
//!
//! `cargo bench --bench account_enumeration`; also on PostgreSQL and Redis where
//! `GUICHET_BENCH_DATABASE_URL` and `GUICHET_BENCH_REDIS_URL` name servers.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use support::figures::{Dice, mann_whitney_p, median, quantile};
use support::gateway::{Gateway, Stores, http};
use support::machine::print_machine;
use support::people::{self, PASSWORD, phone};

/// Pairs of a known and an unknown one.
const TRIES: u32 = 300;

/// Medians may differ by this.
const GOAL: f64 = 0.05;

/// A difference that two samples of the same thing show as often as this is none.
const NOISE: f64 = 0.01;

/// Numbers from here on have no account.
const UNREGISTERED: u32 = 1_000_000;

/// A tenant with the rules of every new tenant: registering tells nobody who exists.
const DISCREET: &str = "/t/discreet";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    print_machine();
    measure(Stores::embedded()).await;
    match Stores::shared().await {
        Some(stores) => measure(stores).await,
        None => println!("\nPostgreSQL + Redis: not measured, no server was named"),
    }
}

async fn measure(stores: Stores) {
    stores.make_tenant(DISCREET.trim_start_matches("/t/"));
    let gateway = Gateway::start(&stores);
    println!("\n{}: {TRIES} pairs each, milliseconds", stores.name);
    println!("{:40} {:>15} {:>15} {:>8} {:>8} {:>8}", "", "known p50 p90", "unknown p50 p90", "p50", "pair", "p");
    probe_everything(&gateway).await;
    drop(gateway);
    stores.remove().await;
}

async fn probe_everything(gateway: &Gateway) {
    let people = http("bench at home");
    let known = |n: u32| format!("known{n}@example.com");
    for n in 0..TRIES {
        people::register_phone(gateway, &people, &phone(n)).await;
        // What a number was sent and answered shows; only whether it was registered then must not.
        people::prove_phone(gateway, &people, &phone(UNREGISTERED + n)).await;
    }
    let numbers_sent = Instant::now();
    for n in 0..TRIES {
        people::register_email(gateway, &people, "", &known(n)).await;
        people::register_email(gateway, &people, DISCREET, &format!("discreet{n}@example.com")).await;
    }
    let probes = Probes { gateway, http: http("a stranger") };
    let wrong = |email: String| json!({ "email": email, "password": "not the password at all" });
    let bare = |email: String| json!({ "email": email });
    let unknown = |label: &'static str| move |n: u32| format!("{label}{n}@example.com");

    let login = "/api/auth/login";
    probes
        .run("log-in, unproven address, wrong password", login, |n| wrong(known(n)), |n| wrong(unknown("a")(n)))
        .await;
    let resend = "/api/auth/resend-verification";
    probes.run("resend-verification", resend, |n| bare(known(n)), |n| bare(unknown("b")(n))).await;
    for n in 0..TRIES {
        people::prove_email(gateway, &people, &known(n)).await;
    }
    probes.run("log-in, wrong password", login, |n| wrong(known(n)), |n| wrong(unknown("c")(n))).await;
    probes.run("log-in again, wrong password", login, |n| wrong(known(n)), |n| wrong(unknown("c")(n))).await;
    let forgot = "/api/auth/password/forgot";
    probes.run("password/forgot", forgot, |n| bare(known(n)), |n| bare(unknown("d")(n))).await;
    let register = |email: String| json!({ "username": "bench", "email": email, "password": PASSWORD });
    let (path, taken) = (format!("{DISCREET}/api/auth/register"), unknown("discreet"));
    probes.run("register (asvs-l1)", &path, |n| register(taken(n)), |n| register(unknown("e")(n))).await;

    let cooldown = Duration::from_secs(31);
    tokio::time::sleep(cooldown.saturating_sub(numbers_sent.elapsed())).await;
    let number = |n: u32| json!({ "phone": phone(n) });
    probes.run("request-code", "/auth/request-code", number, |n| number(UNREGISTERED + n)).await;
}

struct Probes<'a> {
    gateway: &'a Gateway,
    http: Client,
}

impl Probes<'_> {
    async fn run(&self, what: &str, path: &str, known: impl Fn(u32) -> Value, unknown: impl Fn(u32) -> Value) {
        let mut dice = Dice::new(u64::from(std::process::id()));
        let (mut known_times, mut unknown_times) = (Vec::new(), Vec::new());
        let mut looks = BTreeSet::new();
        for n in 0..TRIES {
            let mut pair = [(&mut known_times, known(n)), (&mut unknown_times, unknown(n))];
            if dice.next().is_multiple_of(2) {
                pair.reverse();
            }
            for (times, body) in pair {
                let (time, look) = self.ask(path, &body).await;
                times.push(time);
                looks.insert(look);
            }
        }
        print_line(what, &known_times, &unknown_times);
        for look in looks.iter().skip(1).take(2) {
            println!("    AN ANSWER DIFFERS: {look}");
        }
    }

    /// Milliseconds, and all that the answer shows except what no two answers share.
    async fn ask(&self, path: &str, body: &Value) -> (f64, String) {
        let request = self.gateway.post(&self.http, path, body);
        let began = Instant::now();
        let reply = request.send().await.unwrap();
        let (status, names) = (reply.status(), reply.headers().keys().cloned());
        let names: BTreeSet<String> = names.map(|name| name.to_string()).collect();
        let text = reply.text().await.unwrap();
        let time = began.elapsed().as_secs_f64() * 1e3;
        let mut shown: Value = serde_json::from_str(&text).unwrap();
        for own in ["device_token", "instance"] {
            shown.as_object_mut().unwrap().remove(own);
        }
        (time, format!("{status} {shown} {names:?}"))
    }
}

fn print_line(what: &str, known: &[f64], unknown: &[f64]) {
    let difference = median(known) / median(unknown) - 1.0;
    let p = mann_whitney_p(known, unknown);
    let verdict = match difference.abs() <= GOAL {
        true => "within 5 %",
        false if p >= NOISE => "more than 5 %, but noise",
        false => "MORE THAN 5 %",
    };
    let pairs: Vec<f64> = known.iter().zip(unknown).map(|(known, unknown)| known - unknown).collect();
    println!(
        "{what:40} {:7.2} {:7.2} {:7.2} {:7.2} {:>+7.1}% {:>+8.3} {:>8.1e} {}",
        median(known),
        quantile(known, 0.9),
        median(unknown),
        quantile(unknown, 0.9),
        difference * 100.0,
        median(&pairs),
        p,
        verdict,
    );
}
