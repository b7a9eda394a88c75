//! `[actors]`: how many accounts are resident, and how long one is waited for.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// Bounds of the account actors. Some 10 KB of memory each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Actors {
    /// Accounts resident at once. At the cap the longest idle one makes room; nobody is refused.
    pub max_resident: NonZeroUsize,
    /// How long an account stays resident after its last request.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// Requests that may wait for one account; further ones get 429 `account_busy`.
    pub mailbox: NonZeroUsize,
    /// Supervisors that accounts are spread over.
    pub supervisors: NonZeroUsize,
    /// How long a request waits for an account's answer. Shorter than `http.request_timeout`.
    #[serde(with = "duration")]
    pub ask_timeout: Duration,
}

impl Default for Actors {
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            max_resident: count(100_000),
            idle: Duration::from_mins(1),
            mailbox: count(64),
            supervisors: count(16),
            ask_timeout: Duration::from_secs(8),
        }
    }
}
