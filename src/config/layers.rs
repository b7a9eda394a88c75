//! Turns each source of settings into one flat layer: `key path → value and where it came from`.
//!
//! Flat, so that laying one source over another is a map insert, and so that every value can be
//! tried on its own and each bad one reported.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::load::Overrides;
use super::problems::Findings;
use super::variables::{SHORT_NAMES, long_name};
use super::{Config, Variables};

/// What a secret's sibling that names a file is called.
const FILE_SUFFIX: &str = "_file";

/// A value as given, and the variable or flag that gave it.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Option<String>,
}

/// Settings by key path.
pub(super) type Layer = BTreeMap<String, Setting>;

/// Every key there is, with its default; `null` where a key has none.
#[must_use]
pub fn defaults() -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    flatten("", serde_json::to_value(Config::default()).unwrap_or_default(), &mut leaves);
    leaves
}

fn flatten(path: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                flatten(&join(path, &key), value, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf);
        }
    }
}

/// The opposite of flattening: the tree that deserialisation wants.
pub(super) fn tree<'a>(leaves: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut root = Map::new();
    for (path, value) in leaves {
        let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
        let mut section = &mut root;
        for name in sections.split('.').filter(|name| !name.is_empty()) {
            let entry = section.entry(name).or_insert_with(|| Value::Object(Map::new()));
            match entry {
                Value::Object(members) => section = members,
                _ => return Value::Null,
            }
        }
        section.insert(key.to_owned(), value);
    }
    Value::Object(root)
}

/// Is this key a secret? Those are the ones with a sibling that names a file.
pub(super) fn is_secret(known: &BTreeMap<String, Value>, path: &str) -> bool {
    known.contains_key(&format!("{path}{FILE_SUFFIX}"))
}

/// The secret that this key names a file for.
pub(super) fn secret_of<'a>(known: &BTreeMap<String, Value>, path: &'a str) -> Option<&'a str> {
    path.strip_suffix(FILE_SUFFIX).filter(|secret| known.contains_key(*secret))
}

/// Lays `upper` over `lower`. A secret given there by value hides a file given here, and the
/// other way round: only within one source is it a contradiction.
pub(super) fn overlay(lower: &mut Layer, upper: Layer, known: &BTreeMap<String, Value>) {
    for path in upper.keys() {
        lower.remove(&format!("{path}{FILE_SUFFIX}"));
        if let Some(secret) = secret_of(known, path) {
            lower.remove(secret);
        }
    }
    lower.extend(upper);
}

/// The TOML file.
pub(super) fn file(path: &Path, known: &BTreeMap<String, Value>, findings: &mut Findings) -> Layer {
    let shown = path.display().to_string();
    let mut layer = Layer::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            findings.add(shown, format!("cannot be read: {error}"));
            return layer;
        }
    };
    match toml::from_str::<Value>(&text) {
        Ok(root) => walk("", root, known, &mut layer, findings),
        Err(error) => {
            // Only the message: the full text would cite the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            findings.add(shown, format!("line {line}: {}", error.message()));
        }
    }
    layer
}

fn walk(path: &str, value: Value, known: &BTreeMap<String, Value>, layer: &mut Layer, findings: &mut Findings) {
    let section = format!("{path}.");
    let is_section = path.is_empty() || known.keys().any(|key| key.starts_with(&section));
    match (known.get(path), value) {
        // Where there is no default, empty means not set, so that the reference can say so.
        (Some(Value::Null), Value::String(text)) if text.is_empty() => {}
        (Some(_), value) => {
            layer.insert(path.to_owned(), Setting { value, origin: None });
        }
        (None, Value::Object(members)) if is_section => {
            for (key, value) in members {
                walk(&join(path, &key), value, known, layer, findings);
            }
        }
        (None, _) if is_section => findings.add(path, format!("is a section: write [{path}]")),
        (None, _) => findings.add(path, format!("unknown key; {}", siblings(path, known))),
    }
}

/// What could have been meant.
fn siblings(path: &str, known: &BTreeMap<String, Value>) -> String {
    let (section, prefix) = match path.rsplit_once('.') {
        Some((section, _)) => (format!("[{section}]"), format!("{section}.")),
        None => ("the top level".to_owned(), String::new()),
    };
    let mut names: Vec<&str> = known
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix))
        .map(|rest| rest.split_once('.').map_or(rest, |(section, _)| section))
        .collect();
    names.dedup();
    format!("{section} has {}", names.join(", "))
}

/// The environment.
pub(super) fn environment(
    variables: &Variables,
    known: &BTreeMap<String, Value>,
    reads: impl Fn(&str, &Value) -> bool,
    findings: &mut Findings,
) -> Layer {
    let short = SHORT_NAMES.map(|(name, path)| (name.to_owned(), path));
    let names: BTreeMap<String, &str> =
        known.keys().map(|path| (long_name(path), path.as_str())).chain(short).collect();
    let mut layer = Layer::new();
    for (name, text) in variables.ours() {
        let Some(&path) = names.get(name) else {
            findings.add(name, "unknown variable");
            continue;
        };
        let origin = Some(name.to_owned());
        if text.contains(char::REPLACEMENT_CHARACTER) {
            findings.add_from(path, "is not valid UTF-8", origin);
            continue;
        }
        let value = parse(text, known.get(path), |value| reads(path, value));
        if let Some(Setting { origin: Some(other), .. }) = layer.insert(path.to_owned(), Setting { value, origin }) {
            findings.add(path, format!("set by both {other} and {name}"));
        }
    }
    layer
}

/// A variable is text: a list is separated by commas, a number or yes-no is one only where text
/// will not do (a password may well be `12345`).
fn parse(text: &str, default: Option<&Value>, reads: impl Fn(&Value) -> bool) -> Value {
    if let Some(Value::Array(_)) = default {
        return text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect();
    }
    let as_text = Value::from(text);
    if reads(&as_text) {
        return as_text;
    }
    match serde_json::from_str(text) {
        Ok(scalar @ (Value::Number(_) | Value::Bool(_))) => scalar,
        _ => as_text,
    }
}

/// The command line.
pub(super) fn flags(flags: &Overrides) -> Layer {
    let listen = flags.listen.map(|address| address.to_string());
    let admin_listen = flags.admin_listen.map(|address| address.to_string());
    let data_dir = flags.data_dir.as_ref().map(|dir| dir.display().to_string());
    [
        ("http.listen", listen, "--listen"),
        ("http.admin_listen", admin_listen, "--admin-listen"),
        ("data.dir", data_dir, "--data-dir"),
    ]
    .into_iter()
    .filter_map(|(path, value, flag)| {
        Some((path.to_owned(), Setting { value: Value::from(value?), origin: Some(flag.to_owned()) }))
    })
    .collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
