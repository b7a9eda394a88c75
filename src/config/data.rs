//! `[data]`: the directory of everything this node makes for itself.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problems::Findings;

/// Where embedded data and generated keys live.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The directory. Made at the first start (mode 0700). Losing it loses generated keys, and
    /// with the master key every secret that tenants have stored.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("./data") }
    }
}

/// Makes a folder, with those above it, that its owner alone may look into; one that is there stays as it is.
///
/// # Errors
/// What the system says.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

impl Data {
    pub(super) fn check(&self, findings: &mut Findings) {
        if self.dir.as_os_str().is_empty() {
            findings.add("data.dir", "must not be empty");
        }
    }
}
