//! The shipped recipes, with the addresses of a test in place of the names of a compose network.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::node::{PATIENCE, POLL};
use crate::harness::tools::Tools;

/// A recipe and the program that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gateway {
    Nginx,
    Caddy,
    Traefik,
    Haproxy,
    EnvoyHttp,
    EnvoyGrpc,
    EnvoyJwt,
}

/// Where the parts of a test stand.
pub(super) struct Places {
    pub(super) guichet: SocketAddr,
    pub(super) shop: SocketAddr,
    pub(super) desk: SocketAddr,
}

/// A running gateway, killed with this value.
pub(super) struct Running {
    child: Child,
    asks_its_workers: bool,
    pub(super) address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.asks_its_workers {
            // Killed, it would leave them behind; asked, it ends them at once.
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Haproxy => "haproxy",
            Self::EnvoyHttp | Self::EnvoyGrpc | Self::EnvoyJwt => "envoy",
        }
    }

    /// The recipe's files; the first is the one the program is started with.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx/nginx.conf"],
            Self::Caddy => &["caddy/Caddyfile"],
            Self::Traefik => &["traefik/traefik.yaml", "traefik/dynamic.yaml"],
            Self::Haproxy => &["haproxy/haproxy.cfg", "haproxy/guichet.lua"],
            Self::EnvoyHttp => &["envoy/http.yaml"],
            Self::EnvoyGrpc => &["envoy/grpc.yaml"],
            Self::EnvoyJwt => &["envoy/jwt.yaml"],
        }
    }

    /// Checks tokens by itself, so that only their end ends them.
    pub(super) fn checks_offline(self) -> bool {
        self == Self::EnvoyJwt
    }

    /// Starts it; `None` where its program is missing and may be.
    pub(super) async fn start(self, places: &Places) -> Option<Running> {
        self.start_with(places, str::to_owned).await
    }

    /// The same with a change to its recipe.
    pub(super) async fn start_with(self, places: &Places, change: impl Fn(&str) -> String) -> Option<Running> {
        let Some(program) = find(self.program()) else {
            assert!(std::env::var_os("CI").is_none(), "{} is missing: `bash tests/run.sh` installs it", self.program());
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        for file in self.files() {
            let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/gateways").join(file);
            let name = recipe.file_name().unwrap().to_owned();
            let text = fs::read_to_string(&recipe).unwrap();
            fs::write(folder.path().join(name), change(&localised(&text, places, port, folder.path()))).unwrap();
        }
        let first = folder.path().join(Path::new(self.files()[0]).file_name().unwrap());
        let log = folder.path().join("log");
        let mut command = Command::new(program);
        command.args(self.arguments(&first, folder.path())).current_dir(folder.path());
        command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
        command.stdin(Stdio::null()).stdout(File::create(&log).unwrap());
        command.stderr(File::options().append(true).open(&log).unwrap());
        let child = command.spawn().unwrap();
        let mut running = Running {
            child,
            asks_its_workers: self == Self::Nginx,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _folder: folder,
        };
        let listening = async {
            while !routes(running.address).await {
                let ended = running.child.try_wait().unwrap();
                assert!(ended.is_none(), "{self:?} ended: {}", fs::read_to_string(&log).unwrap());
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, listening).await;
        assert!(waited.is_ok(), "{self:?} does not answer: {}", fs::read_to_string(&log).unwrap());
        Some(running)
    }

    fn arguments(self, file: &Path, folder: &Path) -> Vec<String> {
        let (file, folder) = (file.display().to_string(), folder.display().to_string());
        let words: Vec<&str> = match self {
            Self::Nginx => {
                let globals = format!("daemon off; pid {folder}/nginx.pid;");
                let paths = ["-p", &folder, "-c", &file, "-e", "stderr", "-g"];
                return paths.into_iter().map(str::to_owned).chain([globals]).collect();
            }
            Self::Caddy => vec!["run", "--adapter", "caddyfile", "--config", &file],
            Self::Traefik => return vec![format!("--configFile={file}")],
            Self::Haproxy => vec!["-db", "-f", &file],
            Self::EnvoyHttp | Self::EnvoyGrpc | Self::EnvoyJwt => {
                vec!["-c", &file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
            }
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

/// The recipe as shipped, with this test's addresses: nothing else is changed.
fn localised(text: &str, places: &Places, port: u16, folder: &Path) -> String {
    let mut text = text
        .replace("/etc/traefik", &folder.display().to_string())
        .replace("/usr/local/etc/haproxy", &folder.display().to_string());
    // `url` names and `host:port` pairs alike, then Envoy's separate members.
    for (name, port_there, place) in
        [("guichet", 3000, places.guichet), ("shop", 8080, places.shop), ("desk", 8080, places.desk)]
    {
        text = text.replace(&format!("{name}:{port_there}"), &place.to_string());
        let members = format!("address: {name}, port_value: {port_there}");
        text = text.replace(&members, &format!("address: 127.0.0.1, port_value: {}", place.port()));
    }
    text.replace("port_value: 8080", &format!("port_value: {port}"))
        .replace("listen 8080", &format!("listen 127.0.0.1:{port}"))
        .replace("bind :8080", &format!("bind 127.0.0.1:{port}"))
        .replace("address: \":8080\"", &format!("address: \"127.0.0.1:{port}\""))
        .replace(".example.com:8080", &format!(".example.com:{port}"))
        .replace("http://:8080", &format!("http://:{port}"))
}

/// Whether it has read its routes: some listen before they have.
async fn routes(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    asked.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 401"))
}

/// Among the tools of this run, or where Debian keeps servers.
fn find(program: &str) -> Option<PathBuf> {
    let wheel = Tools::find()?.program(program);
    [wheel, Path::new("/usr/sbin").join(program)].into_iter().find(|file| file.is_file())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
