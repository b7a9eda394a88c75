//! Holds the house together: which room may stand on which, and what no file may do.
//!
//! The rules are tables; the walker reads every file under `src/` as text, comments left out. A
//! breach is told with file and line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Rooms that only stand on what the row names (and on themselves). A room is a folder or a file
/// right under `src/`. A new room needs a row.
const STANDS_ON: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("secret", &[]),
    ("entropy", &["domain"]),
    ("clock", &["domain"]),
    ("telemetry", &["domain"]),
    ("config", &["domain", "clock", "entropy", "secret", "telemetry"]),
    ("crypto", &["domain", "clock", "entropy", "secret", "telemetry"]),
    ("storage", &["domain", "clock", "entropy", "secret", "telemetry"]),
    ("ephemeral", &["domain", "clock", "entropy", "secret", "telemetry"]),
    ("delivery", &["domain", "clock", "entropy", "secret", "telemetry"]),
    ("tenant", &["domain", "clock", "entropy", "secret", "telemetry", "storage"]),
    ("limits", &["domain", "clock", "entropy", "secret", "telemetry", "tenant", "ephemeral"]),
    (
        "actors",
        &[
            "domain",
            "clock",
            "entropy",
            "secret",
            "telemetry",
            "tenant",
            "limits",
            "storage",
            "ephemeral",
            "delivery",
            "crypto",
        ],
    ),
    ("http", &["domain", "clock", "entropy", "secret", "telemetry", "tenant", "limits", "actors"]),
    (
        "app",
        &[
            "domain",
            "clock",
            "entropy",
            "secret",
            "telemetry",
            "config",
            "crypto",
            "storage",
            "ephemeral",
            "delivery",
            "tenant",
            "limits",
            "actors",
            "http",
        ],
    ),
    ("cli", &["domain", "clock", "entropy", "secret", "telemetry", "config", "crypto", "storage", "actors", "app"]),
];

/// Crates that only these rooms may name: their types go no further.
const LIVES_IN: &[(&str, &[&str])] = &[
    ("sqlx", &["storage"]),
    // In `config` it is the section of that name.
    ("redis", &["ephemeral", "config"]),
    ("lettre", &["delivery"]),
    ("minijinja", &["delivery", "http"]),
    // In `delivery` its client half, for SMS providers.
    ("hyper", &["http", "delivery"]),
    ("hyper_util", &["http", "delivery"]),
    ("http_body_util", &["http", "delivery"]),
    ("tokio_rustls", &["delivery"]),
    ("rustls_native_certs", &["delivery"]),
    ("matchit", &["http"]),
    ("tonic", &["http"]),
    ("prost", &["http"]),
    ("cookie", &["http"]),
    // Describes the types of the API, which the settings document's are too.
    ("schemars", &["domain", "http"]),
    ("ractor", &["actors", "app"]),
    ("argon2", &["crypto"]),
    // In `http` for a comparison in constant time.
    ("aws_lc_rs", &["crypto", "entropy", "http"]),
    ("jsonwebtoken", &["crypto"]),
    ("phonenumber", &["domain"]),
    ("email_address", &["domain"]),
    ("zxcvbn", &["domain"]),
    ("toml", &["config"]),
    ("clap", &["cli"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
];

/// What the pure core does without.
const NOT_IN_DOMAIN: &[&str] = &[
    "tokio::",
    "futures_util::",
    "async_trait::",
    "tracing::",
    "metrics::",
    "http::",
    "bytes::",
    "std::fs",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "Uuid::now_v7",
    "Uuid::new_v4",
    "async",
    "await",
];

/// What no file contains, and where it may stand all the same.
const NOWHERE: &[(&str, &[&str])] = &[
    (r"\bstd::env\b", &["config"]),
    (r"\b(?:todo|unimplemented)!", &[]),
    (r"#!?\[allow\(", &[]),
    (r"#\[ignore", &[]),
    (r"\bSystemTime::now\b", &["clock"]),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

impl Source {
    /// Lines with their number, without comments and without in-file tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
        lines.map(|(n, line)| (n + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let mut paths = Vec::new();
    rust_files(&folder, &mut paths);
    paths.sort();
    let sources: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(&folder).unwrap();
            let room = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            Source { text: fs::read_to_string(&path).unwrap(), path, room }
        })
        .collect();
    assert!(sources.len() > 60, "the walker sees only {} files", sources.len());
    sources
}

/// Breaches as a list to read; fails if there are any.
#[derive(Default)]
struct Breaches(String);

impl Breaches {
    fn add(&mut self, source: &Source, line: usize, what: &str) {
        let path = source.path.strip_prefix(root()).unwrap_or(&source.path).display();
        writeln!(self.0, "  {path}:{line}: {what}").unwrap();
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "the house is broken:\n{}", self.0);
    }
}

/// The rooms a line names: `crate::room`, also `crate::{room, other}` on one line, or `guichet::room`.
fn rooms_named(line: &str) -> Vec<String> {
    static NAMED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(?:crate|guichet)::(?:\{([^}]*)\}?|([a-z_]+))").unwrap());
    let mut rooms = Vec::new();
    for found in NAMED.captures_iter(line) {
        match (found.get(1), found.get(2)) {
            (Some(list), _) => {
                rooms.extend(list.as_str().split(',').map(|item| item.trim().split("::").next().unwrap().to_owned()));
            }
            (None, Some(room)) => rooms.push(room.as_str().to_owned()),
            (None, None) => {}
        }
    }
    rooms
}

#[test]
fn every_room_stands_only_on_rooms_below_it() {
    let sources = sources();
    let rooms: BTreeSet<_> = sources.iter().map(|source| source.room.as_str()).collect();
    let mut breaches = Breaches::default();
    for source in sources.iter().filter(|source| !matches!(source.room.as_str(), "lib" | "main")) {
        let Some((_, allowed)) = STANDS_ON.iter().find(|(room, _)| *room == source.room) else {
            breaches.add(source, 1, "a room without a row in STANDS_ON");
            continue;
        };
        for (number, line) in source.code() {
            for named in rooms_named(line).into_iter().filter(|named| rooms.contains(named.as_str())) {
                if named != source.room && !allowed.contains(&named.as_str()) {
                    breaches.add(source, number, &format!("{} must not know {named}", source.room));
                }
            }
        }
    }
    breaches.none();
}

#[test]
fn the_table_of_rooms_has_no_circle() {
    let floor = |room: &str| STANDS_ON.iter().position(|(known, _)| *known == room).unwrap();
    for (room, allowed) in STANDS_ON {
        for below in *allowed {
            assert!(floor(below) < floor(room), "{room} stands on {below}, which stands above it");
        }
    }
}

#[test]
fn a_crates_types_stay_in_its_room() {
    let mut breaches = Breaches::default();
    let rules = LIVES_IN.iter().map(|(name, rooms)| {
        // `crate::ephemeral::redis::…` is a room of ours.
        (Regex::new(&format!(r"(?:^|[^:\w]){name}::")).unwrap(), name, rooms)
    });
    let rules: Vec<_> = rules.collect();
    for source in sources() {
        for (number, line) in source.code() {
            for (pattern, name, rooms) in &rules {
                if pattern.is_match(line) && !rooms.contains(&source.room.as_str()) {
                    breaches.add(&source, number, &format!("only {rooms:?} may name {name}"));
                }
            }
        }
    }
    breaches.none();
}

#[test]
fn the_domain_knows_no_io_no_clock_and_no_generator() {
    let word = |name: &&'static str| (*name, Regex::new(&format!(r"(?:^|[^:\w]){name}\b")).unwrap());
    let words: Vec<_> = NOT_IN_DOMAIN.iter().map(word).collect();
    let mut breaches = Breaches::default();
    for source in sources().iter().filter(|source| source.room == "domain") {
        for (number, line) in source.code() {
            for (name, _) in words.iter().filter(|(_, word)| word.is_match(line)) {
                breaches.add(source, number, &format!("the domain names {name}"));
            }
        }
    }
    breaches.none();
}

#[test]
fn no_file_contains_what_none_may() {
    let rules: Vec<_> = NOWHERE.iter().map(|(text, rooms)| (Regex::new(text).unwrap(), rooms)).collect();
    let mut breaches = Breaches::default();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for (pattern, rooms) in &rules {
                if pattern.is_match(line) && !rooms.contains(&source.room.as_str()) {
                    breaches.add(&source, number + 1, &format!("`{pattern}` may not stand here"));
                }
            }
        }
    }
    breaches.none();
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut breaches = Breaches::default();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            breaches.add(&source, 1, "does not open with `//!`");
        }
    }
    breaches.none();
}

#[test]
fn tests_ignore_nothing_and_open_like_other_files() {
    let mut paths = Vec::new();
    rust_files(&root().join("tests"), &mut paths);
    assert!(paths.len() > 20, "the walker sees only {} tests", paths.len());
    let skipped = ["#[", "ignore"].concat();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//!`", path.display());
        let own = path.ends_with("architecture.rs");
        assert!(own || !text.contains(&skipped), "{} skips a test", path.display());
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<_> {
        let folder = root().join("migrations").join(database);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };

    assert_eq!(names("postgres"), names("sqlite"));
    assert!(!names("sqlite").is_empty());
}

/// The rules would catch what they are for.
#[test]
fn the_walker_reads_paths_as_rust_does() {
    assert_eq!(rooms_named("use crate::storage::Storage;"), ["storage"]);
    assert_eq!(rooms_named("use crate::{clock, storage::Device};"), ["clock", "storage"]);
    assert_eq!(rooms_named("    None | Some(crate::actors::sessions::FIRST_PARTY) => Ok(()),"), ["actors"]);
    assert_eq!(rooms_named("use super::storage;"), Vec::<String>::new());
}
