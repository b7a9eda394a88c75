//! A PostgreSQL of one test's own, to be killed, stopped and started again.
//!
//! A server is a process and one child for every connection: a signal goes to all of them, so that
//! a pause is one and nothing of a killed server lives on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::free_port;

/// A running server, killed with this value.
pub(crate) struct OwnPostgres {
    server: Child,
    port: String,
    folder: tempfile::TempDir,
}

impl OwnPostgres {
    /// Starts one on a free port; `None` where none is installed (a failure in CI).
    pub(crate) async fn start() -> Option<Self> {
        let (folder, data) = data_folder();
        let is_ci = std::env::var_os("CI").is_some();
        let mut make = as_its_user("initdb");
        make.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        let made = make.arg("--pgdata").arg(&data).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let is_made = made.is_ok_and(|status| status.success());
        assert!(is_made || !is_ci, "initdb fails");
        if !is_made {
            return None;
        }
        let port = free_port();
        let own = Self { server: spawn(&data, &port), port, folder };
        own.answers().await;
        Some(own)
    }

    /// A stand-by of it, without which nothing is committed from now on.
    pub(crate) async fn stand_by(&self) -> Self {
        let (folder, data) = data_folder();
        let mut copy = as_its_user("pg_basebackup");
        copy.args([
            "--host=127.0.0.1",
            "--username=postgres",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        ]);
        succeeds(copy.args(["--port", &self.port]).arg("--pgdata").arg(&data));
        let port = free_port();
        let stand_by = Self { server: spawn(&data, &port), port, folder };
        stand_by.answers().await;
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        self.execute("SELECT pg_reload_conf()").await;
        stand_by
    }

    /// Makes a stand-by the primary.
    pub(crate) async fn promote(&self) {
        self.execute("SELECT pg_promote()").await;
    }

    /// A session of the test's own.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Has it do something.
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.connect().await).await.unwrap();
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        url(&self.port)
    }

    /// Its port.
    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// Freezes it and all its children.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets them go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Leaves no memory to the sessions that begin from now on, and ends those that there are.
    pub(crate) async fn starve(&self) {
        let mut session = self.connect().await;
        limit(self.server.id(), "data", "4096");
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        sqlx::query(others).execute(&mut session).await.unwrap();
    }

    /// Gives memory to sessions again.
    pub(crate) fn feed(&self) {
        limit(self.server.id(), "data", "unlimited");
    }

    /// Lets no process of it write to any file.
    pub(crate) fn fill_its_disk(&self) {
        for process in self.processes() {
            limit(process, "fsize", "0");
        }
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ends(&mut self) {
        for _ in 0..3_000 {
            if self.server.try_wait().unwrap().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("postgres goes on");
    }

    /// Ends all of it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal("STOP");
        self.signal("KILL");
        self.server.wait().unwrap();
    }

    /// Starts it again on what it had written.
    pub(crate) async fn restart(&mut self) {
        self.server = spawn(&self.folder.path().join("data"), &self.port);
        self.answers().await;
    }

    /// The server first: it must not see its children go and start others.
    fn signal(&self, name: &str) {
        for process in self.processes() {
            // A child may have ended meanwhile.
            let _ = Command::new("kill").args([format!("-{name}"), process.to_string()]).stderr(Stdio::null()).status();
        }
    }

    fn processes(&self) -> impl Iterator<Item = u32> {
        let server = self.server.id();
        std::iter::once(server).chain(children(server))
    }

    async fn answers(&self) {
        for _ in 0..3_000 {
            if PgConnection::connect(&self.url()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("postgres does not answer");
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        if matches!(self.server.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// The address of one behind that port.
pub(crate) fn url(port: impl std::fmt::Display) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// An empty folder that its user may write to, and what it lies in.
fn data_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // PostgreSQL wants it to itself.
    succeeds(Command::new("chmod").arg("700").arg(&data));
    if is_root() {
        // Root it refuses, and another user must get through.
        succeeds(Command::new("chmod").arg("711").arg(folder.path()));
        succeeds(Command::new("chown").arg("postgres").arg(&data));
    }
    (folder, data)
}

fn spawn(data: &Path, port: &str) -> Child {
    let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"];
    let mut command = as_its_user("postgres");
    command.arg("-D").arg(data).args(["-p", port]).args(settings.iter().flat_map(|setting| ["-c", setting]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// One of its programs, as a user that may run it; Debian keeps them out of the path.
fn as_its_user(program: &str) -> Command {
    let path = newest(program).unwrap_or_else(|| program.into());
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]).arg(path);
    command
}

fn newest(program: &str) -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let folder = folders.map(|folder| folder.path()).max_by_key(version)?;
    Some(folder.join("bin").join(program)).filter(|path| path.exists())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("--user").output().unwrap();
    id.stdout == b"0\n"
}

fn succeeds(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// What a process, and those it starts from then on, may take of something. Its own user may say so; root may
/// not everywhere.
fn limit(process: u32, resource: &str, most: &str) {
    let mut command = as_its_user("prlimit");
    command.args([format!("--pid={process}"), format!("--{resource}={most}:")]);
    // A child may have ended meanwhile.
    let _ = command.stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|process| parent_of(*process) == Some(parent)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything; state and parent follow it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
