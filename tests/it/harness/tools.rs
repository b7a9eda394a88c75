//! Programs that `tests/run.sh` takes from PyPI and npm: gateways, clients, a fuzzer of APIs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A script's interpreter and the folder of what it imports; `None` where they are missing and may
/// be.
pub(crate) struct Tools(PathBuf);

impl Tools {
    /// Those that `tests/run.sh` installed.
    pub(crate) fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
        // Written last: half an installation is none.
        let is_there = folder.join("versions").exists();
        let is_ci = std::env::var_os("CI").is_some();
        assert!(is_there || !is_ci, "target/tools is missing: `bash tests/run.sh --prepare` makes it");
        is_there.then_some(Self(folder))
    }

    /// A program among them.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// Runs a script of `tests/fixtures/clients`, gives it `input`, reads the JSON it prints.
    pub(crate) async fn run(&self, script: &'static str, input: &Value) -> Value {
        let mut child = self.script(script).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        // The gateway it asks may live in this process: its threads must not wait.
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{script}: {errors}"))
    }

    /// Starts a script that is given `input` on its first line and answers every line after it.
    pub(crate) fn talk_to(&self, script: &'static str, input: &Value) -> Talk {
        let mut child = self.script(script).spawn().unwrap();
        let (mut said, heard) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        writeln!(said, "{input}").unwrap();
        Talk { child, said, heard }
    }

    fn script(&self, script: &'static str) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients").join(script);
        let interpreter = if path.extension().is_some_and(|kind| kind == "mjs") { "node" } else { "python" };
        let mut command = Command::new(self.program(interpreter));
        command.arg(path).env("GUICHET_TEST_TOOLS", &self.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

/// A script that goes on; ended with this value.
pub(crate) struct Talk {
    child: Child,
    said: ChildStdin,
    heard: BufReader<ChildStdout>,
}

impl Talk {
    /// What it answers to a line. Blocks the thread.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.said, "{line}").unwrap();
        let mut answer = String::new();
        self.heard.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
