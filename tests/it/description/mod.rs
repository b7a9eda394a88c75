//! What the gateway says of itself: that every public route is described, and that whatever a fuzzer of
//! APIs (schemathesis) sends, no answer is a failure of ours or one that the description does not know.

// The lints know a helper for a test's by this.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use guichet::domain::policy::Profile;
use guichet::http::handlers;
use serde_json::{Value, json};

use crate::flows::{NUMBER, a_phone_person};
use crate::harness::gateway::{BackEnd, Gateway, ROOT_KEY};
use crate::harness::tools::Tools;

/// Beside what is described it asks each path for methods that no route has; by itself it would try
/// those that end its session.
const CONFIGURATION: &str = "[phases.coverage]\nunexpected-methods = [\"PUT\", \"TRACE\"]\n";

/// What may end the session that the fuzzer has (it learns ids from lists): asked last.
const ENDINGS: [&str; 6] = [
    "delete_api_auth_me",
    "delete_api_auth_sessions",
    "delete_api_auth_sessions_id",
    "delete_api_auth_devices",
    "delete_api_auth_devices_id",
    "post_api_auth_logout",
];

#[test]
fn every_public_route_is_described_and_says_when_it_refuses() {
    for route in handlers::public().iter() {
        let name = format!("{:?} {}", route.method, route.pattern);
        assert!(route.doc.is_some() && route.role.is_none(), "{name}");
    }
    let document = guichet::http::openapi::document("test", &handlers::public());
    let mut ids = BTreeSet::new();
    for route in handlers::public().iter() {
        let method = route.method.as_ref().map_or("get".to_owned(), |method| method.as_str().to_ascii_lowercase());
        let operation = &document["paths"][route.pattern][&method];
        assert!(ids.insert(operation["operationId"].to_string()), "{method} {}", route.pattern);
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {}", route.pattern);
        for status in ["404", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {} {status}", route.pattern);
        }
        // Token checks are under a limit that no route carries.
        let may_be_limited = !route.limits.is_empty() || route.pattern == "/forward-auth";
        assert_eq!(responses.contains_key("429"), may_be_limited, "{method} {}", route.pattern);
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {} {status}", route.pattern);
            let waits = ["429", "503"].contains(&status.as_str());
            assert_eq!(response["headers"].get("Retry-After").is_some(), waits, "{method} {} {status}", route.pattern);
        }
    }
    for ending in ENDINGS {
        assert!(ids.contains(&format!("\"{ending}\"")), "{ending}");
    }
}

/// No limit is in the fuzzer's way: what a refusal looks like is others' story.
fn generous() -> Value {
    let names = ["login-client", "code-client", "register-client", "refresh-client", "api-client"];
    let limits = names.map(|name| (name.to_owned(), json!({"quota": 100_000, "window": 1})));
    json!({"limits": Value::Object(limits.into_iter().collect())})
}

/// Fuzzes the API that the document at `path` of the admin listener describes.
async fn fuzz(tools: &Tools, gateway: &Gateway, path: &str, url: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let document = reqwest::get(gateway.admin_url(path)).await.unwrap().error_for_status().unwrap();
    std::fs::write(&file, document.text().await.unwrap()).unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), CONFIGURATION).unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/promises.py");
    let mut command = Command::new(tools.program("schemathesis"));
    command
        .current_dir(folder.path())
        .env("SCHEMATHESIS_HOOKS", hooks)
        .arg("run")
        .arg(&file)
        .args(["--url", url, "--phases", "coverage,fuzzing", "--max-examples", "6", "--seed", "20261122"])
        .args(["--checks", CHECKS, "--suppress-health-check", "all", "--generation-database", "none"])
        .args(["--continue-on-failure", "--no-shrink", "--warnings", "off", "--request-timeout", "20", "--no-color"])
        .args(arguments);
    // The gateway it asks lives in this process: its threads must not wait.
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{told}\n{}", String::from_utf8_lossy(&stderr));
    // A run that tested nothing holds as well.
    assert!(told.contains("No issues found"), "{told}");
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,keeps_every_promise";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_the_public_api_is_one_it_does_not_describe() {
    let Some(tools) = Tools::find() else { return };
    let story = |gateway: Gateway| async move {
        gateway.new_tenant("fuzz", Profile::Classic, generous()).await;
        let app = gateway.new_app("fuzz", "https://api.example", &[]).await;
        let door = gateway.door("/t/fuzz");
        let token = format!("Authorization: Bearer {}", a_phone_person(door, NUMBER, 4).await.access);
        let url = gateway.url("/t/fuzz");
        let document = "/openapi/public.json";

        let mut signed_in = vec!["-H", &token, "--exclude-path-regex", "^/oauth/"];
        let mut endings = vec!["-H", &token];
        for ending in ENDINGS {
            signed_in.extend(["--exclude-operation-id", ending]);
            endings.extend(["--include-operation-id", ending]);
        }
        fuzz(&tools, &gateway, document, &url, &signed_in).await;
        door.get("/api/auth/me").bearer(token.rsplit(' ').next().unwrap()).await.expect(200);
        fuzz(&tools, &gateway, document, &url, &endings).await;
        // Form-encoded, as RFC 6749 §2.3.1 has it.
        let secret: String = form_urlencoded::byte_serialize(app.secret.as_bytes()).collect();
        let credentials = format!("{}:{secret}", app.id);
        fuzz(&tools, &gateway, document, &url, &["-a", &credentials, "--include-path-regex", "^/oauth/"]).await;
    };
    BackEnd::embedded().run(story).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_the_admin_api_is_one_it_does_not_describe() {
    let Some(tools) = Tools::find() else { return };
    let story = |gateway: Gateway| async move {
        let key = format!("Authorization: Bearer {ROOT_KEY}");
        fuzz(&tools, &gateway, "/openapi.json", &gateway.admin_url(""), &["-H", &key]).await;
    };
    BackEnd::embedded().run(story).await;
}
