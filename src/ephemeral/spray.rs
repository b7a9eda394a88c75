//! The in-process book of compared log-ins of one tenant; its twin is `count_compared.lua`.

use std::collections::HashSet;

use super::{AttemptSubject, Tally};
use crate::domain::limits::spray::{Compared, SprayRule, SprayVerdict};
use crate::domain::time::{Timestamp, Wait};

/// Accounts told apart in one window; further ones count as none. Far above any rule's number.
const MOST_ACCOUNTS: usize = 10_000;

/// One tenant's window, and its alarm.
#[derive(Debug, Default)]
pub(super) struct SprayBook {
    window: i64,
    compared: Compared,
    accounts: HashSet<AttemptSubject>,
    alarm: Option<Timestamp>,
}

impl SprayBook {
    /// Adds a node's tally and judges.
    pub(super) fn count(&mut self, rule: &SprayRule, tally: &Tally, now: Timestamp) -> SprayVerdict {
        let window = rule.window_at(now);
        if self.window != window {
            *self = Self { window, alarm: self.alarm, ..Self::default() };
        }
        self.alarm = self.alarm.filter(|until| *until > now);
        self.compared.attempts += tally.attempts;
        self.compared.failures += tally.failures;
        let room = MOST_ACCOUNTS.saturating_sub(self.accounts.len());
        self.accounts.extend(tally.accounts.iter().take(room));
        self.compared.accounts = u64::try_from(self.accounts.len()).unwrap_or(u64::MAX);

        let is_spray = rule.is_spray(self.compared);
        let newly = is_spray && self.alarm.is_none();
        if is_spray {
            self.alarm = Some(rule.alarm_ends(now));
        }
        SprayVerdict { alarm: self.alarm.map(|until| Wait { at: now, until }), newly }
    }

    /// When nothing of it matters any more.
    pub(super) fn idle_after(&self, rule: &SprayRule, now: Timestamp) -> Timestamp {
        self.alarm.unwrap_or(now + rule.window)
    }
}
