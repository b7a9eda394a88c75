//! Connections that are slow, silent, idle, too big, too many, or open while the server stops.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{TestServer, client, hasty, patient, problem, until_closed};
use guichet::http::peer::{ForwardedHeader, TrustedProxies};

#[tokio::test]
async fn a_silent_connection_is_cut() {
    let server = TestServer::hasty().await;
    let started = Instant::now();

    assert_eq!(server.raw("").await, "");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let server = TestServer::hasty().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();

    assert!(!until_closed(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_gains_no_time() {
    let server = TestServer::hasty().await;
    let (mut read, mut write) = server.connect().await.into_split();
    let started = Instant::now();

    let trickle = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(40));
        for byte in "GET /hello HTTP/1.1\r\nHost: a\r\n".bytes().chain(std::iter::repeat_n(b'x', 200)) {
            tick.tick().await;
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let mut received = Vec::new();
    let _ = read.read_to_end(&mut received).await;

    assert!(started.elapsed() < Duration::from_secs(4));
    trickle.abort();
}

/// Faster than anybody accepts: on this test's only thread nobody does meanwhile.
#[tokio::test]
async fn a_burst_of_connections_waits_to_be_accepted() {
    let server = TestServer::patient().await;

    let connect = |_| std::net::TcpStream::connect_timeout(&server.address, Duration::from_millis(500));
    let burst: Vec<_> = (0..400).map(connect).take_while(Result::is_ok).collect();

    assert_eq!(burst.len(), 400);
    let answer = client().get(format!("http://{}/hello", server.address)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn half_an_http2_preface_is_cut() {
    let server = TestServer::hasty().await;

    assert_eq!(server.raw("PRI * HTTP/2.0\r\n").await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_last_answer() {
    let server = TestServer::hasty().await;
    let started = Instant::now();

    let received = server.raw("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;

    assert!(received.starts_with("HTTP/1.1 200 OK"), "{received}");
    assert!(started.elapsed() >= Duration::from_millis(280), "idle time is not the head's time");
}

#[tokio::test]
async fn a_handler_may_take_longer_than_the_idle_time() {
    let server = TestServer::hasty().await;
    let answer = tokio::spawn(client().get(server.url("/wait")).send());
    server.toy.entered.notified().await;

    // Another connection comes and goes by idle time; the waiting one must outlive it.
    server.raw("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.raw("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.toy.may_leave.notify_one();

    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let server = TestServer::hasty().await;

    let received = server.raw("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{").await;

    assert!(received.starts_with("HTTP/1.1 408"), "{received}");
    assert!(received.contains("request_timeout"));
}

#[tokio::test]
async fn a_body_of_one_byte_too_many_is_413() {
    let server = TestServer::patient().await;
    let body = |length: usize| format!("{{\"code\":\"{}\"}}", "x".repeat(length - 11));
    let post = |body: String| client().post(server.url("/echo")).body(body).send();

    assert_eq!(post(body(64 * 1024)).await.unwrap().status(), 200);
    let refused = post(body(64 * 1024 + 1)).await.unwrap();
    assert_eq!(refused.status(), 413);
    assert_eq!(refused.headers()["connection"], "close", "the rest of the body was not read");
    assert_eq!(problem(refused).await["code"], "payload_too_large");

    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(5);
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let received = server.raw(&format!("{head}{chunk}")).await;
    assert!(received.starts_with("HTTP/1.1 413"), "{received:.200}");
}

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let server = TestServer::patient().await;

    let received =
        server.raw(&format!("GET /hello HTTP/1.1\r\nHost: a\r\nX-Big: {}\r\n\r\n", "x".repeat(17 * 1024))).await;

    assert!(received.starts_with("HTTP/1.1 431"), "{received:.200}");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = TestServer::hasty().await;

    for bytes in [
        "nonsense\r\n\r\n",
        "GET /hello HTTP/1.1\r\nBad Header: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /hel lo HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let received = server.raw(bytes).await;
        assert!(received.starts_with("HTTP/1.1 400"), "{bytes:?} gave {received:.200}");
    }
    assert_eq!(client().get(server.url("/hello")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_smuggled_second_request_is_not_served() {
    let server = TestServer::hasty().await;
    let both = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

    let received = server.raw(both).await;

    assert!(!received.contains("200 OK"), "{received}");
}

#[tokio::test]
async fn http2_without_tls_is_served_on_the_same_port() {
    let server = TestServer::patient().await;
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();

    let get = h2.get(server.url("/t/acme/hello")).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.version()), (200, reqwest::Version::HTTP_2));
    let post = h2.post(server.url("/echo")).body("{\"code\":\"1\"}").send().await.unwrap();
    assert_eq!(post.status(), 200);
    let head = h2.head(server.url("/hello")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn beyond_the_connection_limit_the_next_one_waits_for_a_place() {
    let (mut limits, requests) = hasty();
    limits.max_connections = 1;
    let server = TestServer::with(limits, requests, TrustedProxies::default()).await;
    let _silent = server.connect().await;

    // Served only once the silent connection was cut.
    let started = Instant::now();
    let answer = client().get(server.url("/hello")).send().await.unwrap();

    assert_eq!(answer.status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn connection_hoarding_costs_the_hoarder_alone() {
    let metrics = guichet::telemetry::Metrics::install();
    let (mut limits, requests) = patient();
    limits.max_connections_per_peer = 2;
    let server = TestServer::with(limits, requests, TrustedProxies::default()).await;
    let mut hoarded = vec![server.connect().await, server.connect().await];

    // Long before the end of a head's time, which is the others'.
    let mut refused = server.connect().await;
    let closed = tokio::time::timeout(limits.header_timeout / 2, until_closed(&mut refused));
    assert_eq!(closed.await.expect("at once"), "");
    assert!(metrics.render().contains("guichet_shed_total{reason=\"connections\"}"));
    let neighbour = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build().unwrap();
    assert_eq!(neighbour.get(server.url("/hello")).send().await.unwrap().status(), 200);

    // And whoever closes one may open another.
    hoarded.pop();
    let again = async { while client().get(server.url("/hello")).send().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("its place comes back");
}

#[tokio::test]
async fn a_trusted_proxy_may_have_any_number_of_connections() {
    let (mut limits, requests) = patient();
    limits.max_connections_per_peer = 1;
    let loopback = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()], ForwardedHeader::XForwardedFor);
    let server = TestServer::with(limits, requests, loopback).await;
    let _open = [server.connect().await, server.connect().await, server.connect().await];

    assert_eq!(client().get(server.url("/hello")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_counted_as_499() {
    let metrics = guichet::telemetry::Metrics::install();
    let server = TestServer::patient().await;
    let mut client = server.connect().await;
    client.write_all(b"GET /left-alone HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    server.toy.entered.notified().await;

    drop(client);

    let counted = "guichet_http_requests_total{route=\"/left-alone\",method=\"GET\",status=\"499\"} 1";
    let appears = async {
        while !metrics.render().contains(counted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), appears).await.expect("it is counted");
    assert!(metrics.render().contains("\nguichet_connections "));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_work_and_refuses_what_is_new() {
    let server = TestServer::patient().await;
    let _silent = server.connect().await;
    let answer = tokio::spawn(client().get(server.url("/wait")).send());
    server.toy.entered.notified().await;

    server.stop.cancel();
    let refused = async {
        while tokio::net::TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("new connections are refused");
    server.toy.may_leave.notify_one();

    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    tokio::time::timeout(Duration::from_secs(5), server.listening.finished).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let server = TestServer::patient().await;
    let answer = tokio::spawn(client().get(server.url("/wait")).send());
    server.toy.entered.notified().await;

    server.stop.cancel();

    tokio::time::timeout(Duration::from_secs(5), server.listening.finished).await.unwrap().unwrap();
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn stopping_lets_an_idle_http2_connection_go() {
    let server = TestServer::patient().await;
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    assert_eq!(h2.get(server.url("/hello")).send().await.unwrap().status(), 200);

    server.stop.cancel();

    tokio::time::timeout(Duration::from_secs(5), server.listening.finished).await.unwrap().unwrap();
}

/// Reads one answer whose body is a problem document.
async fn whole_refusal(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    while !received.ends_with(b"}") {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut received)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "hung up on");
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// What is refused in the usual way, and from memory.
const REFUSED: [(&str, &str); 2] = [("/nowhere", "HTTP/1.1 404"), ("/over", "HTTP/1.1 429")];

#[tokio::test]
async fn a_refusal_that_is_quicker_than_its_body_costs_nobody_the_connection() {
    let server = TestServer::patient().await;
    let mut stream = server.connect().await;

    for (path, status) in REFUSED.into_iter().cycle().take(6) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Longer than any refusal takes: a server that does not wait for the body has closed by then.
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(b"body").await.unwrap();
        let refusal = whole_refusal(&mut stream).await;
        assert!(refusal.starts_with(status) && !refusal.contains("connection: close"), "{refusal}");
    }
}

#[tokio::test]
async fn a_refusal_in_one_piece_with_its_body_keeps_the_connection() {
    let server = TestServer::patient().await;
    let mut stream = server.connect().await;

    for (path, status) in REFUSED.into_iter().cycle().take(6) {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        stream.write_all(request.as_bytes()).await.unwrap();
        let refusal = whole_refusal(&mut stream).await;
        assert!(refusal.starts_with(status) && !refusal.contains("connection: close"), "{refusal}");
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_answered_at_once() {
    let server = TestServer::patient().await;

    // Nothing is told it from memory: the toy's limits are asked, which let it pass, and nobody wants its body.
    for (path, status) in [("/nowhere", "HTTP/1.1 404"), ("/over", "HTTP/1.1 200")] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        let received = server.raw(&head).await;
        assert!(received.starts_with(status) && received.contains("connection: close"), "{received}");
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_a_body_that_never_comes() {
    let server = TestServer::patient().await;
    let started = Instant::now();

    for (path, status) in REFUSED {
        let received = server.raw(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")).await;
        assert!(received.starts_with(status) && received.contains("connection: close"), "{received}");
    }

    assert!(started.elapsed() < patient().1.body.time, "as long as a body that is wanted");
}

#[tokio::test]
async fn a_body_that_broke_off_ends_the_connection() {
    let (server, mut requests) = patient();
    requests.request_timeout = Duration::from_millis(200);
    let server = TestServer::with(server, requests, TrustedProxies::default()).await;

    // The deadline of the request comes before that of its body.
    let received = server.raw("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await;

    assert!(received.starts_with("HTTP/1.1 503") && received.contains("connection: close"), "{received}");
}
