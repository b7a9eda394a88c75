//! `[data]`: the directory of everything this node makes for itself.

use std::path::PathBuf;

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

impl Data {
    pub(super) fn check(&self, findings: &mut Findings) {
        if self.dir.as_os_str().is_empty() {
            findings.add("data.dir", "must not be empty");
        }
    }
}
