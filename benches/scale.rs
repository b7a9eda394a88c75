//! How does the cost of a sign-in grow with the people and the tenants in the database?
//!
//! PostgreSQL is filled step by step; at each step a new gateway starts, and people drawn at random ask
//! for a code and log in with a password from a device that nobody knows. One at a time: what is measured
//! is the way through the tables, not a queue. Medians are drawn over the people, and their growth for
//! each tenfold is drawn on to a hundred million.
//!
//! `cargo bench --bench scale`; needs `GUICHET_BENCH_DATABASE_URL` and `GUICHET_BENCH_REDIS_URL`.
#![cfg(test)]

mod support;

use std::collections::HashSet;
use std::time::Instant;

use guichet::crypto::password_hash::{HashCost, Memory, PasswordHasher};
use guichet::entropy::Entropy;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, query};
use support::figures::{Dice, median, quantile};
use support::gateway::{Gateway, Stores};
use support::load::Line;
use support::machine::{print_machine, resident};
use support::people::{self, PASSWORD};
use support::plot;

/// People in the default tenant, and tenants, at each step.
const STEPS: [(u32, u32); 4] = [(10_000, 10), (100_000, 10), (1_000_000, 10), (1_000_000, 10_000)];

/// Requests of each kind at each step.
const ASKED: u32 = 300;

/// How far the line is drawn on.
const DRAWN_TO: f64 = 1e8;

#[tokio::main]
async fn main() {
    print_machine();
    let Some(stores) = Stores::shared_and_ample().await else { return };
    let mut database = PgConnection::connect(stores.own_database().unwrap()).await.unwrap();
    let (mut codes, mut log_ins) = (Vec::new(), Vec::new());
    let (mut people, mut tenants, mut asked_for) = (0, 1, HashSet::new());
    for step in STEPS {
        add_people(&mut database, people, step.0).await;
        add_tenants(&mut database, tenants, step.1).await;
        query("ANALYZE").execute(&mut database).await.unwrap();
        (people, tenants) = step;
        let measured = measure(&stores, people, tenants, &mut asked_for).await;
        if tenants == STEPS[0].1 {
            codes.push((f64::from(people), measured.codes));
            log_ins.push((f64::from(people), measured.log_ins));
        }
    }
    let lines: Vec<_> = [drawn_on("request-code", codes), drawn_on("log-in", log_ins)].into_iter().flatten().collect();
    plot::write("scale", &plot::lines("Median by people in PostgreSQL", "people", "ms", &lines));
    drop(database);
    stores.remove().await;
}

/// Medians, in milliseconds.
struct Measured {
    codes: f64,
    log_ins: f64,
}

async fn measure(stores: &Stores, people: u32, tenants: u32, asked_for: &mut HashSet<u32>) -> Measured {
    let began = Instant::now();
    let gateway = Gateway::start(stores);
    let started = began.elapsed().as_secs_f64() * 1e3;
    let mut line = Line::open(gateway.address()).await;
    let mut dice = Dice::new(u64::from(people) + u64::from(tenants));
    let (mut codes, mut log_ins) = (Vec::new(), Vec::new());
    for turn in 0..ASKED {
        let client = people + tenants + turn;
        // Nobody twice: a number waits for its next code.
        let n = loop {
            let n = u32::try_from(dice.next() % u64::from(people)).unwrap();
            if asked_for.insert(n) {
                break n;
            }
        };
        let asked = Instant::now();
        line.post("/auth/request-code", client, &json!({ "phone": people::phone(n) }), 200).await;
        codes.push(asked.elapsed().as_secs_f64() * 1e3);
        let body = json!({ "email": format!("person{n}@example.com"), "password": PASSWORD });
        let asked = Instant::now();
        line.post("/api/auth/login", client, &body, 200).await;
        log_ins.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    println!("{people:8} people, {tenants:6} tenants: started in {started:5.0} ms, {:.1} MiB", resident(gateway.pid()));
    for (what, times) in [("request-code", &codes), ("log-in", &log_ins)] {
        println!("  {what:13} p50 {:6.2} ms  p99 {:6.2} ms", median(times), quantile(times, 0.99));
    }
    Measured { codes: median(&codes), log_ins: median(&log_ins) }
}

/// What was measured, and the line on at the growth for each tenfold.
fn drawn_on(what: &str, points: Vec<(f64, f64)>) -> Vec<plot::Line> {
    let (first, last) = (points[0], points[points.len() - 1]);
    let tenfold = (last.1 - first.1) / (last.0 / first.0).log10();
    let then = last.1 + tenfold * (DRAWN_TO / last.0).log10();
    println!("{what}: {tenfold:+.3} ms for each tenfold of people; the line at {DRAWN_TO:.0e}: {then:.2} ms");
    let on = plot::Line { name: format!("{what}, the line on"), points: vec![last, (DRAWN_TO, then)] };
    vec![plot::Line { name: what.to_owned(), points }, on]
}

/// Accounts with a proven number, a proven address and one password for all.
async fn add_people(database: &mut PgConnection, from: u32, to: u32) {
    let entropy = Entropy::system();
    let hasher = PasswordHasher::new(HashCost::DEFAULT, &entropy).unwrap();
    let hash = hasher.hash(PASSWORD, &entropy, &mut Memory::new()).unwrap();
    let each = format!("generate_series({from}, {to} - 1) AS n, tenants WHERE slug = 'default'");
    let id = "format('00000000-0000-4000-8000-%s', lpad(to_hex(n), 12, '0'))::uuid";
    let texts = [
        format!(
            "INSERT INTO accounts (tenant_id, id, username, first_name, last_name, disabled, created_at)
             SELECT tenants.id, {id}, 'awa', 'Awa', 'Diop', false, 0 FROM {each}"
        ),
        format!(
            "INSERT INTO contacts (tenant_id, kind, value, account_id, proven_at)
             SELECT tenants.id, 'phone', '+22177' || lpad(n::text, 7, '0'), {id}, 0 FROM {each}"
        ),
        format!(
            "INSERT INTO contacts (tenant_id, kind, value, account_id, proven_at)
             SELECT tenants.id, 'email', 'person' || n || '@example.com', {id}, 0 FROM {each}"
        ),
        format!(
            "INSERT INTO credentials (tenant_id, account_id, password_hash, version)
             SELECT tenants.id, {id}, '{hash}', 1 FROM {each}"
        ),
    ];
    for text in texts {
        query(AssertSqlSafe(text)).execute(&mut *database).await.unwrap();
    }
}

async fn add_tenants(database: &mut PgConnection, from: u32, to: u32) {
    let text = format!(
        "INSERT INTO tenants (id, slug, name, profile, settings, version, created_at)
         SELECT gen_random_uuid(), 'tenant-' || n, 'Tenant', 'asvs-l1', '{{}}', 1, 0 FROM generate_series({from}, {to} - 1) AS n"
    );
    query(AssertSqlSafe(text)).execute(database).await.unwrap();
}
