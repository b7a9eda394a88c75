//! The shipped files are true: the reference names every key with its default and its variable,
//! and no other; the hardened example loads.

use std::collections::BTreeMap;
use std::path::Path;

use guichet::config::{Config, defaults, variables};

use super::Written;

const REFERENCE: &str = include_str!("../../../config/guichet.toml");
const PRODUCTION: &str = include_str!("../../../config/production.toml");

/// The reference with every setting switched on: `# key = value` loses its mark, prose keeps it.
fn uncommented() -> String {
    let setting = regex::Regex::new(r"(?m)^# ([a-z_0-9]+ = .*)$").unwrap();
    setting.replace_all(REFERENCE, "$1").into_owned()
}

/// Every key of a TOML text, with the comment above it.
fn keys_with_comments(toml: &str) -> BTreeMap<String, String> {
    let (mut section, mut comment) = (String::new(), String::new());
    let mut keys = BTreeMap::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
            comment.clear();
        } else if line.starts_with('#') {
            comment.push_str(line);
            comment.push('\n');
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{section}.{key}"), std::mem::take(&mut comment));
        }
    }
    keys
}

#[test]
fn the_reference_as_shipped_changes_nothing() {
    let config = Written::new(REFERENCE).load(&[]).unwrap();

    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn every_default_in_the_reference_is_the_true_one() {
    let config = Written::new(&uncommented()).load(&[]).unwrap_or_else(|problems| panic!("{problems}"));

    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let named: Vec<String> = keys_with_comments(&uncommented()).into_keys().collect();
    let known: Vec<String> = defaults().into_keys().collect();

    assert_eq!(named, known);
}

#[test]
fn the_reference_says_the_purpose_and_every_variable_of_each_key() {
    for (key, comment) in keys_with_comments(&uncommented()) {
        let short = variables::SHORT_NAMES.iter().find(|(_, path)| *path == key).map(|(name, _)| format!("{name} or "));
        let names = format!("# Environment: {}{}\n", short.unwrap_or_default(), variables::long_name(&key));

        let purpose = comment.strip_suffix(&names).unwrap_or_else(|| panic!("{key}: {names:?} is missing"));
        assert!(!purpose.is_empty(), "{key} has no purpose");
    }
}

#[test]
fn the_hardened_example_loads() {
    let written = Written::new("");
    written.file("admin_key", "gk_root_example\n");
    written.file("database_url", "postgres://guichet:secret@db/guichet\n");
    written.file("redis_url", "rediss://cache\n");
    written.file("master_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    written.file("smtp_password", "secret\n");
    written.file("guichet.toml", &at(written.dir.path(), PRODUCTION));

    let config = written.load(&[]).unwrap_or_else(|problems| panic!("{problems}"));

    assert!(!config.console_sender());
    assert_eq!(config.delivery.platform_smtp().unwrap().host, "smtp.example.com");
    assert!(config.database.url.is_some() && config.redis.url.is_some() && config.crypto.master_key.is_some());
}

fn at(secrets: &Path, toml: &str) -> String {
    toml.replace("/run/secrets", secrets.to_str().unwrap())
}
