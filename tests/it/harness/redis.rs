//! The test Redis: a shared one that the environment names, or one of a test's own to be killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use guichet::clock::Clock;
use guichet::entropy::Entropy;
use guichet::ephemeral::redis::{RedisSettings, RedisStore};

use super::free_port;
use super::tools::Tools;

/// The shared Redis, from `GUICHET_TEST_REDIS_URL`. `None` skips its tests, except where `CI` is
/// `true`: there a missing Redis is a failure.
pub(crate) fn shared_url() -> Option<String> {
    let url = variable("GUICHET_TEST_REDIS_URL");
    assert!(url.is_some() || variable("CI").as_deref() != Some("true"), "GUICHET_TEST_REDIS_URL is not set");
    url
}

#[expect(clippy::disallowed_methods, reason = "tests are told of their back ends by the environment alone")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A prefix that no other test or run uses.
pub(crate) fn fresh_prefix() -> String {
    format!("test-{:032x}", u128::from_be_bytes(Entropy::system().bytes()))
}

/// Settings that suit a test.
pub(crate) fn settings(url: &str, key_prefix: &str) -> RedisSettings {
    RedisSettings {
        url: url.into(),
        cluster: false,
        key_prefix: key_prefix.to_owned(),
        // Longer than in production: tests share two cores, and a late answer is no finding here.
        response_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(2),
        wait_replicas: 0,
    }
}

/// A store on `url`: one node.
pub(crate) async fn store(url: &str, key_prefix: &str, clock: &Clock) -> RedisStore {
    RedisStore::connect(settings(url, key_prefix), clock.clone(), Entropy::system()).await.unwrap()
}

/// Forgets every key of one prefix at once, as `FLUSHALL` would.
pub(crate) async fn flush(url: &str, key_prefix: &str) {
    let mut link = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do redis.call('DEL', key) end";
    redis::cmd("EVAL").arg(script).arg(0).arg(key_prefix).exec_async(&mut link).await.unwrap();
}

/// Everything that the values of one prefix hold, of whatever type they are.
pub(crate) async fn values(url: &str, key_prefix: &str) -> Vec<u8> {
    let mut link = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{key_prefix}*")).query_async(&mut link).await.unwrap();
    let mut values = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut link).await.unwrap();
        let parts: Vec<Vec<u8>> = match kind.as_str() {
            "string" => vec![redis::cmd("GET").arg(&key).query_async(&mut link).await.unwrap()],
            "zset" => redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut link).await.unwrap(),
            "none" => vec![],
            other => panic!("{key} is a {other}: read it here too"),
        };
        values.extend(key.into_bytes());
        values.extend(parts.concat());
    }
    values
}

/// A Redis of one test's own, killed with it.
pub(crate) struct OwnRedis {
    server: Child,
    program: PathBuf,
    port: String,
    arguments: Vec<String>,
    /// What a replication or a cluster writes to disk goes with the test.
    _folder: tempfile::TempDir,
}

impl OwnRedis {
    /// Starts one on a free port; `None` where no `redis-server` is installed (a failure in CI).
    pub(crate) async fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_program(Path::new("redis-server"), arguments).await
    }

    /// A Valkey in its place; `None` where `tests/run.sh` installed none (a failure in CI).
    pub(crate) async fn start_valkey() -> Option<Self> {
        Self::start_program(&Tools::find()?.program("valkey-server"), &[]).await
    }

    async fn start_program(program: &Path, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The port beside which a node of a cluster would choose may be none.
        let bus = free_port();
        let place = ["--dir", folder.path().to_str().unwrap(), "--cluster-port", &bus];
        let arguments: Vec<_> = place.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let port = free_port();
        let server = spawn(program, &port, &arguments);
        assert!(
            server.is_some() || variable("CI").as_deref() != Some("true"),
            "{} is not installed",
            program.display()
        );
        let own = Self { server: server?, program: program.to_owned(), port, arguments, _folder: folder };
        own.answers().await;
        Some(own)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port, as another server wants to be told.
    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// Makes a server in cluster mode the whole cluster.
    pub(crate) async fn take_every_slot(&self) {
        self.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
        self.is_in_a_cluster_of(1).await;
    }

    /// Waits until it knows every slot and so many nodes.
    async fn is_in_a_cluster_of(&self, nodes: usize) {
        let nodes = format!("cluster_known_nodes:{nodes}\r");
        for _ in 0..2_000 {
            let info = self.command(&["CLUSTER", "INFO"]).await;
            if info.contains("cluster_state:ok") && info.contains(&nodes) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the cluster does not come up");
    }

    /// Waits until, as a replica, it has all its primary has.
    pub(crate) async fn is_in_step(&self) {
        for _ in 0..2_000 {
            if self.command(&["INFO", "replication"]).await.contains("master_link_status:up") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the replica never follows");
    }

    /// Sends it a command and reads its reply, if that is text.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let mut link = redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        let reply = command.arg(&words[1..]).query_async(&mut link).await.unwrap();
        match reply {
            redis::Value::BulkString(text) => String::from_utf8(text).unwrap(),
            redis::Value::SimpleString(text) | redis::Value::VerbatimString { text, .. } => text,
            _ => String::new(),
        }
    }

    /// Where the nodes of a cluster talk among themselves.
    fn bus(&self) -> &str {
        &self.arguments[3]
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.server.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.server = spawn(&self.program, &self.port, &self.arguments).unwrap();
        self.answers().await;
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        for _ in 0..500 {
            if client.get_multiplexed_async_connection().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server does not answer");
    }
}

fn spawn(program: &Path, port: &str, arguments: &[String]) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A Redis Cluster of one test's own: three primaries with a third of the slots each.
pub(crate) struct OwnCluster {
    nodes: [OwnRedis; 3],
}

impl OwnCluster {
    /// Starts one; `None` where no `redis-server` is installed (a failure in CI).
    pub(crate) async fn start() -> Option<Self> {
        let enabled = ["--cluster-enabled", "yes"];
        let [one, two, three] =
            [OwnRedis::start(&enabled).await?, OwnRedis::start(&enabled).await?, OwnRedis::start(&enabled).await?];
        let nodes = [one, two, three];
        for (n, slots) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].into_iter().enumerate() {
            let epoch = (n + 1).to_string();
            nodes[n].command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            nodes[n].command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]).await;
        }
        for other in &nodes[1..] {
            nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &other.port, other.bus()]).await;
        }
        for node in &nodes {
            node.is_in_a_cluster_of(nodes.len()).await;
        }
        Some(Self { nodes })
    }

    /// Each node's address.
    pub(crate) fn urls(&self) -> [String; 3] {
        self.nodes.each_ref().map(OwnRedis::url)
    }
}
