//! Lays the sources over one another, tries every value, and reports all that is wrong at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::layers::{self, Layer, Setting};
use super::problems::{Findings, Problems};
use super::{Config, Variables};

/// What the command line may set; it wins over everything else.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`, the public listener.
    pub listen: Option<SocketAddr>,
    /// `--admin-listen`, the admin listener.
    pub admin_listen: Option<SocketAddr>,
    /// `--data-dir`, where embedded data and generated keys live.
    pub data_dir: Option<PathBuf>,
}

pub(super) fn load(path: Option<&Path>, variables: &Variables, flags: &Overrides) -> Result<Config, Problems> {
    let known = layers::defaults();
    let mut findings = Findings::default();

    let mut settings = path.map(|path| layers::file(path, &known, &mut findings)).unwrap_or_default();
    let reads = |path: &str, value: &Value| alone(path, value).is_ok();
    layers::overlay(&mut settings, layers::environment(variables, &known, reads, &mut findings), &known);
    layers::overlay(&mut settings, layers::flags(flags), &known);
    read_secret_files(&mut settings, &known, &mut findings);

    let unreadable = drop_unreadable(&mut settings, &known, &mut findings);
    let merged = layers::tree(settings.iter().map(|(path, setting)| (path.as_str(), setting.value.clone())));
    let config = Config::deserialize(merged).map_err(|error| findings.add("config", error.to_string())).ok();
    if let Some(config) = &config {
        judge(config, &settings, &unreadable, &mut findings);
    }
    findings.or(config)
}

/// Would this value do, if it were the only one set?
fn alone(path: &str, value: &Value) -> Result<(), String> {
    Config::deserialize(layers::tree([(path, value.clone())])).map(|_| ()).map_err(|error| error.to_string())
}

/// Takes out every value that its key cannot hold and gives back the sections they stood in.
fn drop_unreadable(settings: &mut Layer, known: &BTreeMap<String, Value>, findings: &mut Findings) -> BTreeSet<String> {
    let mut sections = BTreeSet::new();
    settings.retain(|path, setting| {
        let Err(mut message) = alone(path, &setting.value) else { return true };
        let value = setting.value.as_str().unwrap_or_default();
        if !layers::is_secret(known, path) && !value.is_empty() && !message.contains(value) {
            message = format!("{message}, not {value:?}");
        }
        findings.add_from(path, message, setting.origin.clone());
        sections.insert(section(path).to_owned());
        false
    });
    sections
}

/// What the sections themselves object to. A section with an unreadable value is left in peace:
/// it would be judged by a default that nobody meant.
fn judge(config: &Config, settings: &Layer, unreadable: &BTreeSet<String>, findings: &mut Findings) {
    let mut objections = Findings::default();
    config.check(&mut objections);
    for objection in objections.into_vec() {
        if !unreadable.contains(section(&objection.path)) {
            let file = format!("{}_file", objection.path);
            let setting = settings.get(&objection.path).or_else(|| settings.get(&file));
            let origin = setting.and_then(|setting| setting.origin.clone());
            findings.add_from(objection.path, objection.message, origin);
        }
    }
}

/// Puts the content of every `…_file` where the secret itself would stand, less the line end
/// that editors and `echo` leave.
fn read_secret_files(settings: &mut Layer, known: &BTreeMap<String, Value>, findings: &mut Findings) {
    let mut contents = Layer::new();
    for (path, Setting { value, origin }) in &*settings {
        let (Some(secret), Some(file)) = (layers::secret_of(known, path), value.as_str()) else { continue };
        if settings.contains_key(secret) {
            findings.add_from(secret, format!("give the value or {path}, not both"), origin.clone());
            continue;
        }
        let content = std::fs::read_to_string(file);
        match content.as_deref().map(|content| content.trim_end_matches(['\r', '\n'])) {
            Ok("") => findings.add_from(path, format!("{file} is empty"), origin.clone()),
            Ok(content) => {
                let setting = Setting { value: Value::from(content), origin: origin.clone() };
                contents.insert(secret.to_owned(), setting);
            }
            Err(error) => findings.add_from(path, format!("{file} cannot be read: {error}"), origin.clone()),
        }
    }
    settings.extend(contents);
}

fn section(path: &str) -> &str {
    path.split_once('.').map_or(path, |(section, _)| section)
}
