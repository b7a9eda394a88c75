//! `[log]`: what is logged and how.

use serde::{Deserialize, Serialize};

use super::problems::Findings;
use crate::telemetry::{self, LogFormat};

/// What is logged and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is logged: a level, or directives such as `info,guichet::delivery=debug`.
    pub filter: String,
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Auto }
    }
}

impl Log {
    pub(super) fn check(&self, findings: &mut Findings) {
        if let Err(error) = telemetry::parse_filter(&self.filter) {
            findings.add("log.filter", format!("{error}, in {:?}", self.filter));
        }
    }
}
