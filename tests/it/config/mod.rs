//! What the process is told: which source wins, what is refused and in which words, and that the
//! shipped files are true.

// The lints know a helper for a test's by this.
#![cfg(test)]

mod keys;
mod layers;
mod reference;
mod rejects;

use std::path::PathBuf;

use guichet::config::{Config, Overrides, Problems, Variables};
use tempfile::TempDir;

/// A directory with one configuration file in it.
struct Written {
    dir: TempDir,
}

impl Written {
    fn new(toml: &str) -> Self {
        let written = Self { dir: tempfile::tempdir().unwrap() };
        written.file("guichet.toml", toml);
        written
    }

    /// Puts another file beside it.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let variables: Variables = variables.iter().copied().collect();
        Config::load(Some(&self.dir.path().join("guichet.toml")), &variables, &Overrides::default())
    }
}

/// Loads with no file at all.
fn from_environment(variables: &[(&str, &str)]) -> Result<Config, Problems> {
    Config::load(None, &variables.iter().copied().collect(), &Overrides::default())
}
