//! What waits must not keep from its answer what need not wait: token checks and key documents have places of
//! their own.

use std::num::NonZeroUsize;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use super::ext_authz::{CHECK, Link, connect, question};
use super::forward_auth::ask;
use crate::flows::{AWA, HOME, PASSWORD, a_person, seconds, sign_in};
use crate::harness::gateway::{BackEnd, Gateway};
use crate::harness::node::PATIENCE;

const IN_FLIGHT: usize = 9;

/// A gateway of few places and much patience, and two tokens that it has not seen yet.
async fn narrow(gateway: Gateway) -> (Gateway, [String; 2]) {
    let device = a_person(gateway.classic(), AWA).await;
    let tokens =
        [sign_in(gateway.classic(), AWA, &device).await.access, sign_in(gateway.classic(), AWA, &device).await.access];
    let few = |config: &mut guichet::config::Config| {
        config.http.max_in_flight = NonZeroUsize::new(IN_FLIGHT).unwrap();
        config.http.body_timeout = seconds(60);
        config.http.request_timeout = seconds(120);
    };
    (gateway.restart(few).await, tokens)
}

/// Requests from that address whose bodies are asked for and never come, until one finds no place.
async fn hold_all(gateway: &Gateway, from: [u8; 4], path: &str) -> Vec<TcpStream> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n");
    let mut held = Vec::new();
    loop {
        let mut stream = connect(gateway, from).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut told = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut told)).await.expect("it is asked for or refused").unwrap();
        if told != *b"HTTP/1.1 100" {
            return held;
        }
        held.push(stream);
    }
}

/// Whether even a tenant that has no place finds none.
async fn is_full(gateway: &Gateway) -> bool {
    let log_in = json!({"email": AWA, "password": PASSWORD});
    gateway.strict().post("/api/auth/login", &log_in).await.status == 503
}

#[tokio::test(flavor = "multi_thread")]
async fn while_log_ins_hold_every_place_fresh_tokens_are_judged_and_keys_are_told() {
    BackEnd::embedded().run(while_log_ins_hold_every_place).await;
}

async fn while_log_ins_hold_every_place(gateway: Gateway) {
    let (gateway, [one, other]) = narrow(gateway).await;
    let link = Link::open(&gateway, HOME).await;
    let door = gateway.classic();
    // No tenant has all to itself.
    let most = hold_all(&gateway, HOME, "/api/auth/login").await;
    let last = hold_all(&gateway, HOME, "/t/other/api/auth/login").await;
    assert_eq!((most.len(), last.len()), (IN_FLIGHT - 1, 1));
    assert!(is_full(&gateway).await);

    ask(door, "", &one).await.expect(200);
    ask(door, "", "x").await.refused(401, "invalid_token");
    assert_eq!(link.ask(question(&other)).await.status(), 200);
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        door.get(path).await.expect(200);
    }

    assert!(is_full(&gateway).await, "they wait still");
}

/// Nor do messages over gRPC that never come, nor do they keep out those of another peer.
#[tokio::test(flavor = "multi_thread")]
async fn while_one_peers_messages_never_end_the_others_are_judged() {
    BackEnd::embedded().run(while_messages_never_end).await;
}

async fn while_messages_never_end(gateway: Gateway) {
    let (gateway, [one, other]) = narrow(gateway).await;
    // No peer has all to itself.
    let held = hold_all(&gateway, [127, 0, 0, 2], CHECK).await;
    assert_eq!(held.len(), IN_FLIGHT - 1);
    let slow = Link::open(&gateway, [127, 0, 0, 2]).await;
    assert_eq!(slow.ask(question(&one)).await.refusal(), Some(Code::Unavailable));

    let link = Link::open(&gateway, HOME).await;
    assert_eq!(link.ask(question(&one)).await.status(), 200);
    ask(gateway.classic(), "", &other).await.expect(200);
}
