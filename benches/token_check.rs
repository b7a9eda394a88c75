//! What do a token check and a refusal cost beside hyper itself?
//!
//! A gateway and a server that only says "hello" take turns on one core; the load runs on another. Both
//! get the same bytes over as many connections, so parsing a head with a token in it is on both sides.
//! Two ratios, each measured in turns within one run: answers in a second while the server's core is
//! full, and the processor time of one answer, which other work on the machine hardly moves. Then how
//! long answers take at fixed rates, counted from when each was due.
//!
//! `cargo bench --bench token_check`
#![cfg(test)]

mod support;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::figures::{median, quantile};
use support::gateway::{Gateway, Stores, http};
use support::load::{Target, closed_loop, open_loop};
use support::machine::{print_machine, processor_seconds, stay_on_core};
use support::people::{self, PASSWORD};
use support::plot::{self, Bar, Line};
use tokio::net::TcpListener;

/// As the gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts this program as the bare server.
const HELLO: &str = "hello";

const CONNECTIONS: u32 = 64;
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_secs(1);

/// Requests in a second of the runs at a fixed rate.
const RATES: [f64; 4] = [1_000.0, 5_000.0, 10_000.0, 20_000.0];
const AT_A_RATE: Duration = Duration::from_secs(4);

const GOAL: f64 = 0.80;

fn main() {
    if std::env::args().any(|argument| argument == HELLO) {
        return runtime(true).block_on(serve_hello());
    }
    print_machine();
    let pinned = stay_on_core(0);
    let stores = Stores::embedded();
    let gateway = Gateway::start(&stores);
    let hello = Hello::start();
    let pinned = pinned && stay_on_core(1);
    println!("{}", if pinned { "servers on core 0, load on core 1" } else { "servers and load on the same cores" });
    runtime(false).block_on(measure(&gateway, &hello));
}

fn runtime(is_server: bool) -> tokio::runtime::Runtime {
    let mut builder = if is_server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().unwrap()
}

/// A route of the gateway, and the bare server asked the same.
struct Pair {
    name: &'static str,
    gateway: Target,
    hello: Target,
}

async fn measure(gateway: &Gateway, hello: &Hello) {
    let pairs = [token_check(gateway, hello).await, refusal(gateway, hello).await];
    let mut bars = Vec::new();
    for pair in &pairs {
        bars.extend(ratios(pair, gateway, hello).await);
    }
    plot::write("token_check", &plot::ratios("Share of bare hyper on the same core", &bars));
    plot::write(
        "token_check_latency",
        &plot::lines("Latency at a fixed rate", "requests a second", "µs", &latencies(&pairs).await),
    );
}

async fn token_check(gateway: &Gateway, hello: &Hello) -> Pair {
    let http = http("bench");
    let person = people::register_email(gateway, &http, "", "awa@example.com").await;
    people::prove_email(gateway, &http, &person.email).await;
    let body = json!({ "email": person.email, "password": PASSWORD });
    let reply = gateway.post(&http, "/api/auth/login", &body).header("X-Device-Id", &person.device_token).send().await;
    let reply: serde_json::Value = reply.unwrap().json().await.unwrap();
    let token = reply["token"].as_str().unwrap();
    let request = format!("GET /forward-auth HTTP/1.1\r\nHost: guichet\r\nAuthorization: Bearer {token}\r\n\r\n");
    pair("token check", gateway, hello, &request, 200)
}

/// Log-ins of one client that asks on and on. One a second is let through: it lacks its password, so that no
/// hash is in the figures.
async fn refusal(gateway: &Gateway, hello: &Hello) -> Pair {
    let body = json!({ "email": "awa@example.org" }).to_string();
    let head = "Host: guichet\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Type: application/json";
    let request = format!("POST /api/auth/login HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let http = http("bench");
    for _ in 0..100 {
        let guess = http.post(format!("{}/api/auth/login", gateway.url)).header("X-Forwarded-For", "203.0.113.9");
        let guess = guess.header("Content-Type", "application/json").body(body.clone());
        if guess.send().await.unwrap().status() == 429 {
            break;
        }
    }
    pair("refusal (429)", gateway, hello, &request, 429)
}

fn pair(name: &'static str, gateway: &Gateway, hello: &Hello, request: &str, status: u16) -> Pair {
    let request: std::sync::Arc<[u8]> = request.as_bytes().into();
    let target = |address, status| Target { address, request: request.clone(), status };
    Pair { name, gateway: target(gateway.address(), status), hello: target(hello.address, 200) }
}

/// What one round came to.
struct Round {
    per_second: f64,
    processor_us_each: f64,
}

async fn round(target: &Target, pid: u32) -> Round {
    let before = processor_seconds(pid);
    let (answers, per_second) = closed_loop(target, CONNECTIONS as usize, ROUND).await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let processor_us_each = (processor_seconds(pid) - before) * 1e6 / answers as f64;
    Round { per_second, processor_us_each }
}

async fn ratios(pair: &Pair, gateway: &Gateway, hello: &Hello) -> [Bar; 2] {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(round(&pair.hello, hello.child.id()).await);
        ours.push(round(&pair.gateway, gateway.pid()).await);
    }
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    println!(
        "\n{}: {:.0}/s at {:.2} µs | hello: {:.0}/s at {:.2} µs",
        pair.name,
        of(&ours, |r| r.per_second),
        of(&ours, |r| r.processor_us_each),
        of(&bare, |r| r.per_second),
        of(&bare, |r| r.processor_us_each)
    );
    let each = |ratio: fn((&Round, &Round)) -> f64| ours.iter().zip(&bare).map(ratio).collect::<Vec<_>>();
    let by_rate = each(|(ours, bare)| ours.per_second / bare.per_second);
    let by_time = each(|(ours, bare)| bare.processor_us_each / ours.processor_us_each);
    [("a second", by_rate), ("processor time", by_time)].map(|(by, ratios)| {
        let bar = Bar::of(format!("{}, {by}", pair.name), &ratios, GOAL);
        println!("  {bar}");
        bar
    })
}

/// p50, p99 and p99.9 of each server at each rate.
async fn latencies(pairs: &[Pair]) -> Vec<Line> {
    println!("\nat a fixed rate, {CONNECTIONS} connections: µs from when each request was due");
    let targets = [("hello", &pairs[0].hello), (pairs[0].name, &pairs[0].gateway), (pairs[1].name, &pairs[1].gateway)];
    let mut lines = Vec::new();
    for (name, target) in targets {
        let mut points = [Vec::new(), Vec::new(), Vec::new()];
        for rate in RATES {
            let times = open_loop(target, CONNECTIONS, rate, AT_A_RATE).await;
            let figures = [0.5, 0.99, 0.999].map(|share| quantile(&times, share));
            println!(
                "  {name:14} {rate:6.0}/s  p50 {:7.0}  p99 {:7.0}  p99.9 {:7.0}",
                figures[0], figures[1], figures[2]
            );
            for (line, figure) in points.iter_mut().zip(figures) {
                line.push((rate, figure));
            }
        }
        let named = points.into_iter().zip(["p50", "p99", "p99.9"]);
        lines.extend(named.map(|(points, what)| Line { name: format!("{name} {what}"), points }));
    }
    lines
}

/// The bare server, another process of this program; killed when dropped.
struct Hello {
    address: SocketAddr,
    child: Child,
}

impl Hello {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(HELLO).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { address: address.trim().parse().unwrap(), child }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

async fn serve_hello() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let hello =
                service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))) });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), hello));
        }
    })
    .await
    .unwrap();
}
