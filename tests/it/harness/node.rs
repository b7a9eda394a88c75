//! The real program as a child process, alone or as two nodes on one PostgreSQL and one Redis.
//!
//! What a person would read on the console is read here: the banner for the addresses, the
//! `message` lines for codes and links. Every request comes from an address of its own, so that
//! limits per client never decide a test about something else.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guichet::secret::ExposeSecret as _;
use guichet::storage::Target;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::databases::TestDatabase;
use super::redis;

/// Longest wait for what must come. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that tells nobody of its changes.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// What every node here is told people reach it under.
pub(crate) const PUBLIC_URL: &str = "http://guichet.test";

/// Base64 of 32 bytes.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The environment of a node. Clones share the data folder, as a restarted node does.
#[derive(Clone)]
pub(crate) struct Settings {
    variables: Vec<(String, String)>,
    folder: Arc<TempDir>,
}

impl Settings {
    /// No back ends: SQLite and the in-process store, deadlines as long as a busy test machine needs.
    pub(crate) fn embedded() -> Self {
        Self { variables: Vec::new(), folder: Arc::new(tempfile::tempdir().unwrap()) }
            .with("GUICHET_TRUSTED_PROXIES", "127.0.0.1")
            .with("GUICHET__HTTP__PUBLIC_URL", PUBLIC_URL)
            .with("GUICHET_MASTER_KEY", MASTER_KEY)
            .with("GUICHET__ACTORS__MAILBOX", "1000")
            .with("GUICHET__ACTORS__ASK_TIMEOUT", "40s")
            .with("GUICHET__CRYPTO__HASH_MAX_WAIT", "30s")
            .with("GUICHET__HTTP__REQUEST_TIMEOUT", "50s")
            .with("GUICHET__DATABASE__MAX_CONNECTIONS", "6")
            .with("GUICHET__DATABASE__ACQUIRE_TIMEOUT", "20s")
            .with("GUICHET__REDIS__RESPONSE_TIMEOUT", "5s")
            .with("GUICHET__REDIS__CONNECT_TIMEOUT", "2s")
    }

    /// Sets one variable; the last word counts.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves one variable unset.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// On a configured database instead of the embedded one.
    pub(crate) fn on(self, database: &TestDatabase) -> Self {
        match &database.target {
            Target::Postgres(url) => self.with("DATABASE_URL", url.expose_secret()),
            Target::Sqlite(path) => self.with("DATABASE_URL", format!("sqlite:{}", path.display())),
        }
    }

    /// The file of the embedded database.
    pub(crate) fn sqlite(&self) -> Target {
        Target::Sqlite(self.folder.path().join("guichet.db"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_guichet"))
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .env("GUICHET_DATA_DIR", self.folder())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// A line of the console sender.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Message {
    fn parse(line: &str) -> Option<Self> {
        let (head, text) = line.strip_prefix("message channel=")?.split_once(" text=")?;
        let (_channel, to) = head.split_once(" to=")?;
        Some(Self { to: to.to_owned(), text: serde_json::from_str(text).unwrap() })
    }

    /// The first run of exactly `length` digits.
    pub(crate) fn code(&self, length: usize) -> Option<String> {
        let digits = self.text.split(|c: char| !c.is_ascii_digit());
        digits.filter(|group| group.len() == length).map(str::to_owned).next()
    }

    /// The path of the link, which stands alone on its line.
    pub(crate) fn link(&self) -> Option<String> {
        let link = self.text.lines().find(|line| line.starts_with("http"))?;
        link.strip_prefix(PUBLIC_URL).map(str::to_owned)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) json: Value,
}

impl Answer {
    /// The problem's stable code.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// A member that must be there and be text.
    pub(crate) fn text(&self, member: &str) -> String {
        self.json[member].as_str().unwrap_or_else(|| panic!("{member} in {self:?}")).to_owned()
    }

    /// This answer, if it has that status.
    #[track_caller]
    pub(crate) fn must_be(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let json = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
    Answer { status, retry_after, json }
}

/// A `guichet serve` that did not come up, or did not stay.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

/// A running `guichet serve`, killed with this value.
pub(crate) struct Node {
    child: Child,
    settings: Settings,
    public: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
    lines: watch::Receiver<Vec<String>>,
    errors: watch::Receiver<Vec<String>>,
}

impl Node {
    /// Starts one and waits until it answers.
    pub(crate) async fn spawn(settings: &Settings) -> Self {
        Self::try_spawn(settings).await.unwrap_or_else(|ended| panic!("guichet does not start: {ended:?}"))
    }

    /// Starts one; if it ends instead of coming up, says how.
    pub(crate) async fn try_spawn(settings: &Settings) -> Result<Self, Ended> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_guichet"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(settings.folder())
            .env_clear()
            .envs(settings.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = collect(child.stdout.take().unwrap());
        let errors = collect(child.stderr.take().unwrap());
        let banner = tokio::time::timeout(PATIENCE, lines.wait_for(|lines| address(lines, "admin").is_some()));
        let addresses = match banner.await.expect("guichet neither starts nor ends") {
            Ok(lines) => Some((address(&lines, "public").unwrap(), address(&lines, "admin").unwrap())),
            Err(_) => None,
        };
        let Some((public, admin)) = addresses else {
            let code = child.wait().unwrap().code();
            let mut errors = errors;
            drop(errors.wait_for(|_| false).await);
            return Err(Ended { code, stderr: errors.borrow().join("\n") });
        };
        let client = reqwest::Client::builder().pool_max_idle_per_host(usize::MAX).timeout(PATIENCE);
        Ok(Self { child, settings: settings.clone(), public, admin, client: client.build().unwrap(), lines, errors })
    }

    /// Runs another command of the program with this node's settings; what it prints.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let output = self.settings.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Where the public listener is.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// Where the admin listener is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A request from an address that no other request has.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        static CLIENTS: AtomicU32 = AtomicU32::new(0);
        let [_, a, b, c] = CLIENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let request = self.client.request(method, format!("http://{}{path}", self.public));
        request.header("x-forwarded-for", format!("10.{a}.{b}.{c}"))
    }

    /// A request to the admin listener.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.admin))
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// `POST` of a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// A request to the admin API; the path is below `/admin/v1`.
    pub(crate) async fn administer(&self, method: Method, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.client.request(method, format!("http://{}/admin/v1{path}", self.admin));
        answer(request.bearer_auth(key).json(body)).await
    }

    /// `GET` with an access token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        answer(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// The sum of a metric's series; 0 while there is none.
    pub(crate) async fn metrics(&self, name: &str) -> f64 {
        let request = self.client.get(format!("http://{}/metrics", self.admin));
        let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if rest.starts_with([' ', '{']) { rest.rsplit(' ').next()?.parse::<f64>().ok() } else { None }
        });
        values.sum()
    }

    /// Waits until a metric fits.
    pub(crate) async fn metric_becomes(&self, name: &str, fits: impl Fn(f64) -> bool) {
        let fitting = async {
            while !fits(self.metrics(name).await) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, fitting).await.unwrap_or_else(|_| panic!("{name} never fits"));
    }

    /// The messages shown so far to that recipient.
    pub(crate) fn messages(&self, to: &str) -> Vec<Message> {
        self.lines.borrow().iter().filter_map(|line| Message::parse(line)).filter(|message| message.to == to).collect()
    }

    /// The first message to that recipient, waited for.
    pub(crate) async fn message(&self, to: &str) -> Message {
        let mut lines = self.lines.clone();
        let shown =
            |lines: &Vec<String>| lines.iter().filter_map(|line| Message::parse(line)).any(|message| message.to == to);
        let waited = tokio::time::timeout(PATIENCE, lines.wait_for(shown)).await;
        drop(waited.unwrap_or_else(|_| panic!("no message to {to}")).expect("the node ended"));
        self.messages(to).remove(0)
    }

    /// What the log says so far.
    pub(crate) fn log(&self) -> String {
        self.errors.borrow().join("\n")
    }

    /// As a power cut would.
    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it on the spot while others still hold it; returns when its port is closed.
    pub(crate) async fn die(&self) {
        let sent = Command::new("kill").args(["-KILL", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        while tokio::net::TcpStream::connect(self.public).await.is_ok() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        // Standard output closes with the process.
        let closed = self.lines.wait_for(|_| false);
        drop(tokio::time::timeout(PATIENCE, closed).await.expect("the node never ends"));
        self.child.wait().unwrap()
    }

    /// Waits for an end that nobody told it to; says how it was.
    pub(crate) async fn ends(mut self) -> Ended {
        let closed = self.errors.wait_for(|_| false);
        drop(tokio::time::timeout(PATIENCE, closed).await.expect("the node never ends"));
        Ended { code: self.child.wait().unwrap().code(), stderr: self.log() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(lines: &[String], listener: &str) -> Option<SocketAddr> {
    let line = lines.iter().find_map(|line| line.trim_start().strip_prefix(listener))?;
    line.trim().strip_prefix("http://")?.parse().ok()
}

/// Reads lines on a thread of its own; the channel closes at the end.
fn collect(pipe: impl Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (told, lines) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            told.send_modify(|lines| lines.push(line));
        }
    });
    lines
}

/// Two nodes on one PostgreSQL and one Redis.
pub(crate) struct Cluster {
    pub(crate) nodes: [Node; 2],
    pub(crate) database: Target,
}

impl Cluster {
    /// Runs a test on two nodes that the settings differ for as `of_node` says; skipped without
    /// the back ends (which `CI=true` forbids).
    pub(crate) async fn run<F>(of_node: impl Fn(usize, Settings) -> Settings, test: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(url) = redis::shared_url() {
            Self::run_on(&url, of_node, test).await;
        }
    }

    /// The same on a Redis of the test's own.
    pub(crate) async fn run_on<F>(
        redis: &str,
        of_node: impl Fn(usize, Settings) -> Settings,
        test: impl FnOnce(Arc<Self>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(database) = TestDatabase::postgres().await else { return };
        let cluster = Arc::new(Self::spawn(&database, redis, of_node).await);
        let outcome = tokio::spawn(test(Arc::clone(&cluster))).await;
        drop(cluster);
        database.remove().await;
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure.into_panic());
        }
    }

    /// Two nodes on these back ends.
    pub(crate) async fn spawn(
        database: &TestDatabase,
        redis: &str,
        of_node: impl Fn(usize, Settings) -> Settings,
    ) -> Self {
        let prefix = redis::fresh_prefix();
        let settings = |n| {
            let settings = Settings::embedded().on(database).with("REDIS_URL", redis);
            of_node(n, settings.with("GUICHET__REDIS__KEY_PREFIX", &prefix))
        };
        let settings = [settings(0), settings(1)];
        // At once: the second must not need the first to have made anything.
        let (one, other) = tokio::join!(Node::spawn(&settings[0]), Node::spawn(&settings[1]));
        Self { nodes: [one, other], database: database.target.clone() }
    }

    /// The node for the `n`th of many requests.
    pub(crate) fn node(&self, n: usize) -> &Node {
        &self.nodes[n % 2]
    }

    /// A metric, summed over both nodes.
    pub(crate) async fn metrics(&self, name: &str) -> f64 {
        self.nodes[0].metrics(name).await + self.nodes[1].metrics(name).await
    }

    /// Messages to a recipient, from whichever node.
    pub(crate) fn messages(&self, to: &str) -> Vec<Message> {
        self.nodes.iter().flat_map(|node| node.messages(to)).collect()
    }
}

/// The same request many times at once; the answers in no order.
pub(crate) async fn at_once<F>(times: usize, request: impl Fn(usize) -> F) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..times {
        asked.spawn(request(n));
    }
    asked.join_all().await
}
