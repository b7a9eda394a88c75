//! Token checks over gRPC as Envoy asks for them, and what becomes of those that no Envoy would send.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use futures_util::stream;
use guichet::http::grpc::messages::{Attributes, AttributesRequest, CheckRequest, CheckResponse, HttpRequest, Outcome};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;

use crate::flows::{AWA, HOME, a_person, sign_in};
use crate::harness::gateway::{BackEnd, Gateway, on_every_back_end};
use crate::harness::node::PATIENCE;

on_every_back_end!(a_check_is_judged_whatever_the_message_leaves_out);

pub(super) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What came back: headers and body.
pub(super) struct Told {
    headers: HeaderMap,
    body: Bytes,
}

impl Told {
    /// The status of a refusal before any judgement; `None` if there is an answer.
    pub(super) fn refusal(&self) -> Option<Code> {
        Some(Code::from_bytes(self.headers.get("grpc-status")?.as_bytes()))
    }

    /// What the person's request is answered; 200: it goes on.
    pub(super) fn status(&self) -> i32 {
        assert_eq!(self.refusal(), None);
        match CheckResponse::decode(&self.body[5..]).unwrap().outcome.unwrap() {
            Outcome::Allowed(_) => 200,
            Outcome::Denied(denied) => denied.status.unwrap().code,
        }
    }
}

/// A connection over HTTP/2; the task ends with it.
pub(super) struct Link<B> {
    sender: http2::SendRequest<B>,
    closed: JoinHandle<()>,
}

impl<B> Link<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    /// From an address of the loopback network.
    pub(super) async fn open(gateway: &Gateway, from: [u8; 4]) -> Self {
        let stream = TokioIo::new(connect(gateway, from).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let closed = tokio::spawn(async move { drop(connection.await) });
        Self { sender, closed }
    }

    /// Asks with that body; whatever becomes of it, within the patience of a test.
    pub(super) fn ask(&self, body: B) -> impl Future<Output = Told> + use<B> {
        let request = Request::post(format!("http://guichet{CHECK}")).header("content-type", "application/grpc");
        let (mut sender, request) = (self.sender.clone(), request.body(body).unwrap());
        async move {
            sender.ready().await.unwrap();
            let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap();
            let (parts, body) = answer.into_parts();
            Told { headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
        }
    }
}

/// A connection to the public listener, from an address of the loopback network.
pub(super) async fn connect(gateway: &Gateway, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(gateway.url("").trim_start_matches("http://").parse().unwrap()).await.unwrap()
}

/// A request whose message begins and never ends.
fn endless() -> impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>())
}

fn check(method: &str, token: Option<&str>) -> CheckRequest {
    let headers = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
    let http = HttpRequest { method: method.to_owned(), headers: headers.into_iter().collect() };
    let request = Some(AttributesRequest { http: Some(http) });
    CheckRequest { attributes: Some(Attributes { request, context_extensions: HashMap::new() }) }
}

/// A message with what stands before it, and something in it that a check does not know.
fn framed(message: &CheckRequest, unknown: usize) -> Full<Bytes> {
    let mut encoded = message.encode_to_vec();
    if unknown > 0 {
        // Field 15, as long as it says.
        encoded.push(0x7a);
        prost::encode_length_delimiter(unknown, &mut encoded).unwrap();
        encoded.resize(encoded.len() + unknown, b'x');
    }
    let mut framed = vec![0];
    framed.put_u32(encoded.len().try_into().unwrap());
    framed.extend(encoded);
    Full::new(framed.into())
}

/// The question whether a `GET` with that token may pass.
pub(super) fn question(token: &str) -> Full<Bytes> {
    framed(&check("GET", Some(token)), 0)
}

async fn a_token(gateway: &Gateway) -> String {
    let door = gateway.classic();
    sign_in(door, AWA, &a_person(door, AWA).await).await.access
}

async fn a_check_is_judged_whatever_the_message_leaves_out(gateway: Gateway) {
    let token = a_token(&gateway).await;
    let link = Link::open(&gateway, HOME).await;

    // proto3 does not send a method that is empty.
    for method in ["GET", "POST", "PROPFIND", ""] {
        assert_eq!(link.ask(framed(&check(method, Some(&token)), 0)).await.status(), 200, "{method:?}");
        assert_eq!(link.ask(framed(&check(method, Some("x")), 0)).await.status(), 401, "{method:?}");
        assert_eq!(link.ask(framed(&check(method, None), 0)).await.status(), 401, "{method:?}");
    }
    assert_eq!(link.ask(framed(&check("G T", Some(&token)), 0)).await.status(), 400);
    assert_eq!(link.ask(framed(&CheckRequest::default(), 0)).await.status(), 401);

    // A method that is not told is as unsafe as any: no preflight.
    let mut preflight = check("OPTIONS", None);
    let attributes = preflight.attributes.as_mut().unwrap();
    attributes.context_extensions.insert("preflight".to_owned(), "allow".to_owned());
    let asked = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
    asked.headers.insert("origin".to_owned(), "https://app.example".to_owned());
    asked.headers.insert("access-control-request-method".to_owned(), "PUT".to_owned());
    assert_eq!(link.ask(framed(&preflight, 0)).await.status(), 200);
    let asked = preflight.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    asked.method.clear();
    assert_eq!(link.ask(framed(&preflight, 0)).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_and_a_persons_body_along_with_it_is_not() {
    BackEnd::embedded().run(too_large_a_message).await;
}

async fn too_large_a_message(gateway: Gateway) {
    let token = a_token(&gateway).await;
    let link = Link::open(&gateway, HOME).await;

    assert_eq!(link.ask(framed(&check("POST", Some(&token)), 100 * 1024)).await.status(), 200);
    let refused = link.ask(framed(&check("POST", Some(&token)), 128 * 1024)).await;
    assert_eq!(refused.refusal(), Some(Code::ResourceExhausted));
    assert_eq!(link.ask(question(&token)).await.status(), 200, "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_ends_is_given_up_and_its_connections_place_comes_back() {
    BackEnd::embedded().run(a_message_that_never_ends).await;
}

async fn a_message_that_never_ends(gateway: Gateway) {
    let only_one = |config: &mut guichet::config::Config| {
        config.http.max_connections = std::num::NonZeroUsize::MIN;
        config.http.body_timeout = Duration::from_millis(200);
        config.http.idle_timeout = Duration::from_millis(300);
    };
    let gateway = gateway.restart(only_one).await;

    let mut stream = connect(&gateway, HOME).await;
    let head = format!("POST {CHECK} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n\0");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut told)).await.expect("it is hung up on").unwrap();
    assert!(told.contains("grpc-status: 4") && told.contains("connection: close"), "{told}");
    gateway.classic().get("/.well-known/jwks.json").await.expect(200);

    let link = Link::open(&gateway, HOME).await;
    assert_eq!(link.ask(endless()).await.refusal(), Some(Code::DeadlineExceeded));
    timeout(PATIENCE, link.closed).await.expect("it is hung up on").unwrap();
    gateway.classic().get("/.well-known/jwks.json").await.expect(200);
}
