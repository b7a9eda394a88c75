//! Password spraying: one guess each at many accounts, which no account's own counter sees.
//!
//! Counted per tenant in windows of fixed length: log-ins compared, those that failed, and over
//! how many accounts. Beyond the rule an alarm is raised until the end of the *next* window; while
//! it lasts, log-ins from devices that the account does not know get a sixth of `login-client`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::{Timestamp, Wait};

/// When failures are an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SprayRule {
    /// Length of a window.
    pub window: Duration,
    /// More compared failures than this …
    pub failures: u64,
    /// … over more accounts than this …
    pub accounts: u64,
    /// … which are more than this many in a hundred of all that was compared.
    pub percent: u64,
}

/// The rule in force. Attackers who stay below it try some forty passwords a minute.
pub const SPRAY: SprayRule = SprayRule { window: Duration::from_secs(300), failures: 200, accounts: 50, percent: 5 };

/// What the strangers' share of `login-client` is divided by under alarm.
pub const STRANGERS_SHARE: u32 = 6;

/// What was compared in one window, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Log-ins compared.
    pub attempts: u64,
    /// Those that failed.
    pub failures: u64,
    /// Accounts (or unknown identifiers) that failures were over; may be an estimate.
    pub accounts: u64,
}

/// The answer to a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SprayVerdict {
    /// How long the alarm lasts, if there is one.
    pub alarm: Option<Wait>,
    /// Whether this very tally raised it: one node of all tells the audit log.
    pub newly: bool,
}

impl SprayRule {
    /// Whether that is an attack.
    #[must_use]
    pub const fn is_spray(&self, compared: Compared) -> bool {
        compared.failures > self.failures
            && compared.accounts > self.accounts
            && compared.failures * 100 > compared.attempts * self.percent
    }

    /// Which window `now` lies in.
    #[must_use]
    pub fn window_at(&self, now: Timestamp) -> i64 {
        now.as_millis().div_euclid(self.millis())
    }

    /// When the window after the one of `now` ends.
    #[must_use]
    pub fn alarm_ends(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis((self.window_at(now) + 2) * self.millis())
    }

    fn millis(&self) -> i64 {
        i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_over_many_accounts_are_an_attack_and_one_account_or_a_busy_day_is_not() {
        for (attempts, failures, accounts, expected) in [
            (201, 201, 51, true),
            (200, 200, 200, false),
            (5_000, 5_000, 50, false),
            (4_019, 201, 51, true),
            (4_020, 201, 51, false),
            (0, 0, 0, false),
        ] {
            assert_eq!(SPRAY.is_spray(Compared { attempts, failures, accounts }), expected, "{failures}/{attempts}");
        }
    }

    #[test]
    fn an_alarm_lasts_to_the_end_of_the_next_window() {
        let now = Timestamp::from_millis(300_000 * 7 + 1);

        assert_eq!(SPRAY.alarm_ends(now), Timestamp::from_millis(300_000 * 9));
    }
}
