//! The front end over real sockets: a server on port 0 with a toy table of routes.
//!
//! Tests about time have limits of a few hundred milliseconds, the others the real ones; nothing
//! waits for a real default, and nothing sleeps to let something happen: the far end's hanging up is awaited.

mod connections;
mod health;
mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use guichet::clock::Clock;
use guichet::domain::limits::LimitName;
use guichet::entropy::Entropy;
use guichet::http::middleware::{CrossOrigin, FrontEnd, Hooks, RequestLimits, Surroundings};
use guichet::http::peer::{ForwardedHeader, TrustedProxies};
use guichet::http::problem::{Problem, ProblemCode};
use guichet::http::reply::Reply;
use guichet::http::request::{Head, Request};
use guichet::http::router::{Answer, Router, Routes};
use guichet::http::server::{self, Listening, ServerLimits};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the toy handlers share with a test.
#[derive(Default)]
struct Toy {
    entered: Notify,
    may_leave: Notify,
}

struct ToyHooks;

impl Hooks for ToyHooks {
    fn before(&self, request: &mut Request) -> Result<(), Problem> {
        match request.tenant_in_path() {
            Some("acme") => request.set_tenant_slug("acme".into()),
            Some(_) => return Err(ProblemCode::TenantNotFound.into()),
            None => {}
        }
        Ok(())
    }

    fn known_refusal(&self, _head: &Head<'_>, _limits: &'static [LimitName]) -> Option<Problem> {
        Some(Problem::too_soon(Duration::from_secs(7)))
    }

    fn cross_origin(&self, asked: &CrossOrigin, headers: &mut HeaderMap) {
        headers.insert("access-control-allow-origin", asked.origin.clone());
    }
}

#[derive(Deserialize)]
struct EchoBody {
    code: String,
}

fn routes() -> Routes<Toy> {
    Routes::new()
        .route(Method::GET, "/hello", |_, request: Request| async move {
            Ok(Reply::json(StatusCode::OK, &json!({ "id": request.id().as_str(), "client": request.client().key() })))
        })
        .route(Method::POST, "/echo", |_, mut request: Request| async move {
            let body: EchoBody = request.json().await?;
            Ok(Reply::json(StatusCode::OK, &json!({ "length": body.code.len() })))
        })
        .route(Method::POST, "/over", |_, _| async move { Ok(Reply::empty(StatusCode::OK)) })
        .limited(&[LimitName::LoginClient])
        .route(Method::GET, "/wait", wait)
        .route(Method::GET, "/left-alone", wait)
        .route(Method::GET, "/panic", |_, _| async move { panic!("the toy handler breaks") })
        .route(Method::GET, "/items/{id}", |_, request: Request| async move {
            Ok(Reply::json(StatusCode::OK, &json!({ "item": request.param("id") })))
        })
        .route(Method::GET, "/me", |_, request: Request| async move {
            request.bearer()?.ok_or(ProblemCode::MissingToken)?;
            Ok(Reply::empty(StatusCode::NO_CONTENT))
        })
}

/// Answers once the test allows it.
async fn wait(toy: Arc<Toy>, _request: Request) -> Answer {
    toy.entered.notify_one();
    toy.may_leave.notified().await;
    Ok(Reply::json(StatusCode::OK, &json!({ "waited": true })))
}

/// The real limits, but for the drain: for tests that are not about time.
fn patient() -> (ServerLimits, RequestLimits) {
    (ServerLimits { drain_timeout: Duration::from_millis(500), ..ServerLimits::default() }, RequestLimits::default())
}

/// Limits that a test can wait for.
fn hasty() -> (ServerLimits, RequestLimits) {
    let (mut server, mut requests) = patient();
    server.header_timeout = Duration::from_millis(200);
    server.idle_timeout = Duration::from_millis(300);
    requests.body.time = Duration::from_millis(200);
    (server, requests)
}

struct TestServer {
    address: SocketAddr,
    stop: CancellationToken,
    listening: Listening,
    toy: Arc<Toy>,
}

impl TestServer {
    async fn patient() -> Self {
        let (server, requests) = patient();
        Self::with(server, requests, TrustedProxies::default()).await
    }

    async fn hasty() -> Self {
        let (server, requests) = hasty();
        Self::with(server, requests, TrustedProxies::default()).await
    }

    async fn behind_trusted_proxy() -> Self {
        let (server, requests) = patient();
        let loopback = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()], ForwardedHeader::XForwardedFor);
        Self::with(server, requests, loopback).await
    }

    async fn with(server: ServerLimits, requests: RequestLimits, proxies: TrustedProxies) -> Self {
        let toy = Arc::new(Toy::default());
        let surroundings = Surroundings { clock: Clock::system(), entropy: Entropy::system(), proxies };
        let router = Router::new(routes()).unwrap();
        let front = FrontEnd::new(router, toy.clone(), ToyHooks, requests, surroundings);
        let stop = CancellationToken::new();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = server::start(any_port, front, server, stop.clone()).await.unwrap();
        Self { address: listening.address, stop, listening, toy }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are and reads until the server hangs up.
    async fn raw(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        until_closed(&mut stream).await
    }
}

/// What arrives until the server hangs up; a test that waits for longer has failed.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut received)).await;
    // A reset is a way of hanging up too.
    let _ = read.expect("the server hangs up");
    String::from_utf8_lossy(&received).into_owned()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}

async fn problem(response: reqwest::Response) -> Value {
    assert_eq!(response.headers()["content-type"], HeaderValue::from_static("application/problem+json"));
    response.json().await.unwrap()
}
