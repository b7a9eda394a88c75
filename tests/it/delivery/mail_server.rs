//! Runs `tests/fixtures/smtp/server.py` as a child process and listens to what it tells.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::certificate::Certificate;

/// Longest wait for a line of the server. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running mail server; it ends with this value.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    child: Child,
    /// The server ends when this does.
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

/// A mail as the server received it.
pub(crate) struct Received {
    pub(crate) facts: Value,
    pub(crate) content: String,
}

impl MailServer {
    /// Starts the server with these arguments and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smtp/server.py");
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("its output is piped");
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if told.send(event).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { port: 0, child, stdin, lines };
        let port = server.next("listening")["port"].as_u64().expect("a port");
        server.port = u16::try_from(port).expect("a port is 16 bits");
        server
    }

    /// The next event of that name; others before it are passed over.
    pub(crate) fn next(&self, name: &str) -> Value {
        loop {
            let event = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the mail server tells `{name}`"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// The next message that arrived in full.
    pub(crate) fn message(&self) -> Received {
        let facts = self.next("message");
        let content = STANDARD.decode(facts["content"].as_str().unwrap()).unwrap();
        Received { content: String::from_utf8(content).unwrap(), facts }
    }

    /// Stops the server and returns the names of everything that was not read yet.
    pub(crate) fn rest(mut self) -> Vec<String> {
        drop(self.stdin.take());
        self.child.wait().expect("the mail server ends");
        self.lines.iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has aiosmtpd. Another `python3` may stand before the system's in the path.
fn python() -> &'static str {
    let has_aiosmtpd = |python: &&str| {
        let check = Command::new(python).args(["-c", "import aiosmtpd.smtp"]).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    };
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_aiosmtpd)
        .expect("these tests need a real mail server: apt-get install python3-aiosmtpd")
}

impl Certificate {
    /// Starts a server that shows this certificate.
    pub(crate) fn serve(&self, tls: &str, arguments: &[&str]) -> MailServer {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let mut all = vec!["--tls", tls, "--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
        all.extend(arguments);
        MailServer::start(&all)
    }
}
