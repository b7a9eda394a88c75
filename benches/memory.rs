//! How much memory does an account cost while it is resident?
//!
//! Embedded, so everything is in one process: the actor, its mailbox and place in the directory, and
//! what the in-process store keeps of it. Accounts are written to the database first, each is then asked
//! something that needs no hash and leaves no code behind, and the resident set is read at 0, 10,000 and
//! 100,000 of them. The cost of each is the slope between the last two, so what is loaded once is not in
//! it; the line is drawn on to a million.
//!
//! `cargo bench --bench memory`
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, query};
use support::gateway::{Gateway, Stores};
use support::load::Line;
use support::machine::{print_machine, resident};
use support::people;
use support::plot;
use tokio::task::JoinSet;

/// As the gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: [u32; 3] = [1_000, 10_000, 100_000];
const MILLION: f64 = 1e6;
const CALLERS: u32 = 16;

/// KB an account, all in.
const GOAL: f64 = 10.0;

#[tokio::main]
async fn main() {
    print_machine();
    let mut stores = Stores::embedded();
    stores.make_ample_tenant().await;
    write_accounts(&stores, STEPS[2]).await;
    stores
        .settings
        .extend([("GUICHET__ACTORS__IDLE", "1h".to_owned()), ("GUICHET__ACTORS__MAX_RESIDENT", "200000".to_owned())]);
    let gateway = Arc::new(Gateway::start(&stores));
    settle().await;
    println!("idle: {:.1} MiB", resident(gateway.pid()));
    let mut points = Vec::new();
    let mut from = 0;
    for accounts in STEPS {
        ask_each(&gateway, from, accounts).await;
        settle().await;
        let held = resident(gateway.pid());
        println!("{accounts:7} resident accounts: {held:7.1} MiB");
        points.push((f64::from(accounts), held));
        from = accounts;
    }
    let slope = |(from, to): ((f64, f64), (f64, f64))| (to.1 - from.1) / (to.0 - from.0);
    let each = slope((points[1], points[2]));
    println!(
        "an account: {:.2} KB between 10,000 and 100,000, {:.2} KB before (goal {GOAL} KB)",
        each * 1048.576,
        slope((points[0], points[1])) * 1048.576
    );
    let million = points[2].1 + each * (MILLION - points[2].0);
    println!("the line at 1,000,000: {million:.0} MiB");
    let drawn_on = vec![points[2], (MILLION, million)];
    let goal = |at: f64| (at, points[0].1 + (at - points[0].0) * GOAL / 1048.576);
    let goals = points.iter().map(|point| goal(point.0)).chain([goal(MILLION)]).collect();
    let lines = [
        plot::Line { name: "goal: 10 KB each".to_owned(), points: goals },
        plot::Line { name: "the line on".to_owned(), points: drawn_on },
        plot::Line { name: "measured".to_owned(), points },
    ];
    plot::write("memory", &plot::lines("Resident set by resident accounts", "resident accounts", "MiB", &lines));
}

/// Until short-lived memory is given back.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Accounts with a proven number, as registering would leave them.
async fn write_accounts(stores: &Stores, count: u32) {
    let file = SqliteConnectOptions::new().filename(stores.folder().join("guichet.db"));
    let mut connection = file.connect().await.unwrap();
    let numbered = format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})");
    let id = "unhex(printf('00000000000040008000%012x', i))";
    let account = format!(
        "INSERT INTO accounts (tenant_id, id, first_name, last_name, disabled, created_at)
         {numbered} SELECT tenants.id, {id}, 'Awa', 'Diop', 0, 0 FROM n, tenants"
    );
    let contact = format!(
        "INSERT INTO contacts (tenant_id, kind, value, account_id, proven_at)
         {numbered} SELECT tenants.id, 'phone', printf('+22177%07d', i), {id}, 0 FROM n, tenants"
    );
    for text in [account, contact] {
        query(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    }
}

/// A wrong answer to a code that was never sent: the account's actor is started to hear it.
async fn ask_each(gateway: &Arc<Gateway>, from: u32, to: u32) {
    let next = Arc::new(AtomicU32::new(from));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (gateway, next) = (gateway.clone(), next.clone());
        callers.spawn(async move {
            let mut line = Line::open(gateway.address()).await;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= to {
                    return;
                }
                let body = json!({ "phone": people::phone(n), "code": "0000" });
                line.post("/auth/verify-code", n, &body, 400).await;
            }
        });
    }
    callers.join_all().await;
}
