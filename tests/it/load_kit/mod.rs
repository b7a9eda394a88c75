//! The load kit of `deploy/load/`, driven as its README says against the real program: every scenario
//! gets the answers it expects, and no run leaves anything behind.
//!
//! Nothing here measures: rates are low and times are long enough for a busy machine.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::harness::node::{Cluster, Node, Settings};

const ROOT_KEY: &str = "the-root-key-of-these-tests-0123456789";

const REQUESTS: &str = "guichet_http_requests_total";

/// Makes every scenario a test: at a rate, with the requests it consists of.
macro_rules! scenarios {
    ($($test:ident: $scenario:literal at $rate:literal [$($request:literal),+];)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                gets_the_answers_it_expects($scenario, $rate, &[$($request),+]).await;
            }
        )+
    };
}

scenarios! {
    people_sign_up: "sign-up" at 5 ["sign-up 1 request-code", "sign-up 2 verify-code", "sign-up 3 register"];
    phones_come_back_with_a_code: "code" at 5 ["code 1 request-code", "code 2 verify-code"];
    people_log_in: "log-in" at 5 ["log-in"];
    sessions_are_refreshed: "refresh" at 20 ["refresh"];
    tokens_are_checked: "token-check" at 50 ["token-check"];
    limits_are_exact_and_keep_their_word: "limits" at 40 ["limits"];
    everything_at_once: "mixed" at 30 ["token-check", "refresh", "log-in", "code 2 verify-code", "sign-up 3 register"];
}

async fn gets_the_answers_it_expects(scenario: &str, rate: u64, requests: &[&str]) {
    let node = Node::spawn(&settings()).await;
    let kit = Kit::aimed_at(&node, &node).await;

    let summary = kit.succeeds(scenario, rate).await;

    for request in requests {
        let rows = summary["requests"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == *request).unwrap_or_else(|| panic!("{request} in {summary}"));
        assert!(row["count"].as_u64() > Some(0) && row["ms"]["p99"].as_f64() > Some(0.0), "{row}");
    }
    let page = std::fs::read_to_string(kit.folder.path().join("report.html")).unwrap();
    assert!(page.contains("<!doctype html>") && requests.iter().all(|request| page.contains(request)));
    assert_eq!(tenants(&node).await, ["default"]);
    assert!(!node.log().contains("load.test"), "an address reached the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_made_on_one_node_are_driven_on_the_other() {
    let of_node = |_, settings| for_the_kit(settings);
    Cluster::run(of_node, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let kit = Kit::aimed_at(other, one).await;

        kit.succeeds("limits", 40).await;

        assert_eq!(tenants(one).await, ["default"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_broken_off_tells_what_it_has_and_leaves_nothing() {
    let node = Node::spawn(&settings()).await;
    let kit = Kit::aimed_at(&node, &node).await;
    let child = kit.start(&["--scenario", "token-check", "--rate", "20", "--for", "5m"]);
    let pid = child.id().to_string();

    let break_off = async || {
        let prepared = node.metrics(REQUESTS).await;
        node.metric_becomes(REQUESTS, |requests| requests > prepared + 5.0).await;
        let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(sent.success());
    };
    let output = when_ready(child, break_off).await;

    assert_eq!(output.status.code(), Some(130));
    let summary = kit.summary();
    assert_eq!((&summary["interrupted"], &summary["unexpected"]), (&json!(true), &json!(0)), "{summary}");
    assert!(summary["sent"].as_u64() > Some(0), "{summary}");
    assert_eq!(tenants(&node).await, ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_told_and_what_it_keeps_is_deleted_by_the_next() {
    let settings = settings();
    let node = Node::spawn(&settings).await;
    let kit = Kit::aimed_at(&node, &node).await;
    let child = kit.start(&["--scenario", "token-check", "--rate", "20", "--for", "3s"]);

    let output = when_ready(child, async || node.die().await).await;

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("--clean-up"), "{words}");
    let summary = kit.summary();
    assert!(summary["unexpected"].as_u64() > Some(0), "{summary}");

    let node = Node::spawn(&settings).await;
    let kit = Kit::aimed_at(&node, &node).await;
    assert_eq!(tenants(&node).await.len(), 2);
    let output = kit.run(&["--clean-up"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(tenants(&node).await, ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_exists_is_driven_with_the_identities_of_a_file() {
    let node = Node::spawn(&settings()).await;
    let kit = Kit::aimed_at(&node, &node).await;
    let phones: Vec<_> = (0..4).map(|n| json!({"phone": format!("+22177123450{n}"), "code": "4711"})).collect();
    let settings = json!({"test_identities": phones});
    node.administer(Method::PATCH, "/tenants/default/settings", ROOT_KEY, &settings).await.must_be(200);
    let file = kit.folder.path().join("identities.json");
    std::fs::write(&file, Value::from(phones).to_string()).unwrap();

    let mut command = kit.command(&["--tenant", "default", "--scenario", "token-check", "--for", "1s"]);
    command.arg("--identities").arg(&file);
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(kit.summary()["requests"][0]["statuses"], json!({"200": 50}));
}

fn settings() -> Settings {
    for_the_kit(Settings::embedded())
}

/// Without a trusted proxy the kit's own address is the client that limits count.
fn for_the_kit(settings: Settings) -> Settings {
    settings.with("GUICHET_ADMIN_KEY", ROOT_KEY).without("GUICHET_TRUSTED_PROXIES")
}

/// The slugs of all tenants.
async fn tenants(node: &Node) -> Vec<String> {
    let page = node.administer(Method::GET, "/tenants", ROOT_KEY, &Value::Null).await.must_be(200);
    let items = page.json["items"].as_array().unwrap().iter();
    items.map(|tenant| tenant["slug"].as_str().unwrap().to_owned()).collect()
}

/// Does something as soon as the kit's people are there, and waits for its end.
async fn when_ready(mut child: Child, act: impl AsyncFnOnce()) -> Output {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let (mut words, lines) = spawn_blocking(move || {
        let before: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("ready")).collect();
        (before, lines)
    })
    .await
    .unwrap();
    act().await;
    let (after, output) =
        spawn_blocking(move || (lines.collect::<Vec<_>>(), child.wait_with_output().unwrap())).await.unwrap();
    words.extend(after);
    Output { stderr: words.join("\n").into_bytes(), ..output }
}

/// The program, the listeners it is aimed at, and where it writes.
struct Kit {
    program: &'static Path,
    listeners: [String; 2],
    folder: TempDir,
}

impl Kit {
    /// Drives one node with tenants made on another, or on the same.
    async fn aimed_at(node: &Node, desk: &Node) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.key"), ROOT_KEY).unwrap();
        let listeners = [node.public(), desk.admin_address()].map(|address| format!("http://{address}"));
        Self { program: built().await, listeners, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let [url, admin_url] = &self.listeners;
        let mut command = Command::new(self.program);
        command
            .args(["--url", url, "--admin-url", admin_url])
            // A machine that runs every test at once is slow, and this is no measurement.
            .args(["--timeout", "50s"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !arguments.contains(&"--clean-up") {
            let path = |name| self.folder.path().join(name);
            command.arg("--json").arg(path("summary.json")).arg("--report").arg(path("report.html"));
        }
        command
    }

    /// Starts it with the root key.
    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.arg("--admin-key-file").arg(self.folder.path().join("root.key")).spawn().unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let child = self.start(arguments);
        spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
    }

    /// Three seconds of a scenario, in which everything was sent and answered as it should be.
    async fn succeeds(&self, scenario: &str, rate: u64) -> Value {
        let output = self.run(&["--scenario", scenario, "--rate", &rate.to_string(), "--for", "3s"]).await;

        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}{}", String::from_utf8_lossy(&output.stdout));
        let summary = self.summary();
        let faults = (&summary["unexpected"], &summary["refused"], &summary["unsent"], &summary["interrupted"]);
        assert_eq!(faults, (&json!(0), &json!(0), &json!({}), &json!(false)), "{summary}");
        assert_eq!(summary["sent"], 3 * rate, "{summary}");
        if scenario == "limits" {
            let held = &summary["limits"];
            assert_eq!((&held["is_exact"], &held["retry_after_broken"]), (&json!(true), &json!(0)), "{held}");
            assert_eq!(held["retry_after_kept"], 8);
        }
        summary
    }

    /// What the last run wrote.
    fn summary(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder.path().join("summary.json")).unwrap()).unwrap()
    }
}

/// The program, built when it is first asked for; `tests/run.sh` has built it before.
async fn built() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/load");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--manifest-path"]).arg(root.join("deploy/load/Cargo.toml"));
        let built = cargo.arg("--target-dir").arg(&target).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/guichet-load")
    };
    BUILT.get_or_init(|| async { spawn_blocking(build).await.unwrap() }).await
}
