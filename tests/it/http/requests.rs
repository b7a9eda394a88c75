//! What every request meets: admission, deadline, panics, names, headers, methods.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use tracing_subscriber::fmt::MakeWriter;

use super::{TestServer, client, patient, problem};
use guichet::http::peer::TrustedProxies;

#[tokio::test]
async fn beyond_the_requests_in_work_the_next_is_503_at_once() {
    let (limits, mut requests) = patient();
    requests.max_in_flight = 1;
    let server = TestServer::with(limits, requests, TrustedProxies::default()).await;
    let first = tokio::spawn(client().get(server.url("/wait")).send());
    server.toy.entered.notified().await;

    let second = client().get(server.url("/hello")).send().await.unwrap();
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(problem(second).await["code"], "overloaded");

    server.toy.may_leave.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(client().get(server.url("/hello")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_503() {
    let (limits, mut requests) = patient();
    requests.request_timeout = Duration::from_millis(100);
    let server = TestServer::with(limits, requests, TrustedProxies::default()).await;

    let answer = client().get(server.url("/wait")).send().await.unwrap();

    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_panic_costs_one_request_and_not_the_connection() {
    let server = TestServer::patient().await;
    let client = client();

    for _ in 0..3 {
        let answer = client.get(server.url("/panic")).send().await.unwrap();
        assert_eq!(answer.status(), 500);
        let document = problem(answer).await;
        assert_eq!(document["code"], "internal");
        assert!(!document.to_string().contains("toy"));
    }
    assert_eq!(client.get(server.url("/hello")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn methods_follow_from_the_table() {
    let server = TestServer::patient().await;
    let send = |method: Method, path: &str| client().request(method, server.url(path)).send();

    let get = send(Method::GET, "/items/a%20b").await.unwrap();
    let head = send(Method::HEAD, "/items/a%20b").await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
    assert_eq!(get.json::<serde_json::Value>().await.unwrap()["item"], "a b");
    assert!(head.bytes().await.unwrap().is_empty());

    let options = send(Method::OPTIONS, "/echo").await.unwrap();
    assert_eq!((options.status().as_u16(), options.headers()["allow"].as_bytes()), (204, &b"OPTIONS, POST"[..]));

    for method in [Method::TRACE, Method::DELETE, Method::GET] {
        let refused = send(method, "/echo").await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers()["allow"].as_bytes()), (405, &b"OPTIONS, POST"[..]));
    }
    assert_eq!(send(Method::GET, "/nowhere").await.unwrap().status(), 404);
    assert_eq!(send(Method::GET, "/items/%ff").await.unwrap().status(), 400);
}

#[tokio::test]
async fn the_tenant_stands_before_the_path() {
    let server = TestServer::patient().await;
    let get = |path: &str| client().get(server.url(path)).send();

    assert_eq!(get("/t/acme/hello").await.unwrap().status(), 200);
    assert_eq!(problem(get("/t/other/hello").await.unwrap()).await["code"], "tenant_not_found");
    assert_eq!(problem(get("/t/acme").await.unwrap()).await["code"], "not_found");
    let realm = get("/t/acme/me").await.unwrap();
    assert_eq!(realm.headers()["www-authenticate"], "Bearer realm=\"acme\"");
}

#[tokio::test]
async fn every_answer_is_named_and_hardened() {
    let server = TestServer::patient().await;

    for path in ["/hello", "/nowhere", "/panic", "/t/other/x", "/me"] {
        let answer = client().get(server.url(path)).header("x-request-id", "forged-by-client").send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7, "{path}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
        {
            assert_eq!(answer.headers()[name], value, "{path}");
        }
        assert!(answer.headers().contains_key("content-security-policy"));
        assert!(!answer.headers().contains_key("strict-transport-security"));
        assert!(!answer.headers().contains_key("server"));
        if !answer.status().is_success() {
            assert_eq!(problem(answer).await["instance"], format!("urn:uuid:{id}"));
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_request_and_the_client() {
    let server = TestServer::behind_trusted_proxy().await;

    let answer = client()
        .get(server.url("/hello"))
        .header("x-request-id", "edge-0001")
        .header("x-forwarded-for", "198.51.100.7")
        .header("x-forwarded-proto", "https")
        .send()
        .await
        .unwrap();

    assert_eq!(answer.headers()["x-request-id"], "edge-0001");
    assert!(answer.headers().contains_key("strict-transport-security"));
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&body["client"], &body["id"]), (&"198.51.100.7".into(), &"edge-0001".into()));
}

#[tokio::test]
async fn an_answer_to_another_origin_passes_the_hook_even_if_it_is_an_error() {
    let server = TestServer::patient().await;

    for path in ["/hello", "/nowhere", "/panic"] {
        let answer = client().get(server.url(path)).header("origin", "https://app.example").send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example", "{path}");
    }
}

#[tokio::test]
async fn a_member_of_the_wrong_type_is_named() {
    let server = TestServer::patient().await;

    let answer = client().post(server.url("/echo")).body("{\"code\":1234}").send().await.unwrap();

    assert_eq!(answer.status(), 400);
    let document = problem(answer).await;
    assert_eq!(document["errors"][0]["pointer"], "/code");
    assert_eq!(document["errors"][0]["code"], "wrong_type");
}

#[tokio::test]
async fn logs_and_metrics_know_the_pattern_and_nothing_personal() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _measuring = metrics::set_default_local_recorder(&recorder);
    let server = TestServer::behind_trusted_proxy().await;
    // The log line is registered by whichever test comes first, perhaps one without a subscriber.
    client().get(server.url("/hello")).send().await.unwrap();
    tracing::callsite::rebuild_interest_cache();

    for path in ["/t/acme/items/s3cret-in-path?code=s3cret-in-query", "/s3cret-unmatched"] {
        let request =
            client().get(server.url(path)).bearer_auth("s3cret-token").header("x-forwarded-for", "198.51.100.7");
        request.send().await.unwrap();
    }

    let (log, metrics) = (log.text(), recorder.handle().render());
    assert!(log.contains(r#""http.route":"/items/{id}""#), "{log}");
    assert!(log.contains(r#""tenant.slug":"acme""#), "{log}");
    let counted = r#"guichet_http_requests_total{route="/items/{id}",method="GET",status="200"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains(r#"route="unmatched""#), "{metrics}");
    for text in [log, metrics] {
        assert!(!text.contains("s3cret") && !text.contains("198.51.100"), "{text}");
    }
}

/// What was logged, for a test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
