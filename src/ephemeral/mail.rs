//! Counts mails with links to one address, and all messages to one recipient: cooldown, per hour,
//! per day.
//!
//! A sliding log as in [`crate::domain::otp`], without a challenge behind it. The in-process store
//! runs it; `scripts/count_mail.lua` is its twin.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MailVerdict;
use crate::domain::ids::OperationId;
use crate::domain::lockout::VERDICT_MEMORY;
use crate::domain::otp::frees_at;
use crate::domain::policy::ResendPolicy;
use crate::domain::time::{Timestamp, Wait};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Mails of one class to one address in the last day, newest last.
#[derive(Debug, Default)]
pub(super) struct MailBook {
    sends: Vec<Timestamp>,
    allowed: BTreeMap<OperationId, Timestamp>,
}

impl MailBook {
    /// Counts one mail, or says when the next fits.
    pub(super) fn count(&mut self, resend: &ResendPolicy, operation: OperationId, now: Timestamp) -> MailVerdict {
        self.sends.retain(|at| *at + DAY > now);
        self.allowed.retain(|_, at| *at + VERDICT_MEMORY > now);
        if self.allowed.contains_key(&operation) {
            return MailVerdict::Allowed;
        }
        let cooled = self.sends.last().map(|last| *last + resend.cooldown).filter(|until| *until > now);
        let hour = frees_at(&self.sends, resend.per_hour, HOUR, now);
        let day = frees_at(&self.sends, resend.per_day, DAY, now);
        if let Some(until) = [cooled, hour, day].into_iter().flatten().max() {
            return MailVerdict::Refused(Wait { at: now, until });
        }
        self.sends.push(now);
        self.allowed.insert(operation, now);
        MailVerdict::Allowed
    }

    /// Takes back a message that was counted and then not sent. Once; a repeat finds nothing.
    pub(super) fn give_back(&mut self, operation: OperationId) {
        let Some(counted) = self.allowed.remove(&operation) else { return };
        if let Some(position) = self.sends.iter().position(|at| *at == counted) {
            self.sends.remove(position);
        }
    }

    /// When the book holds nothing worth keeping any more.
    pub(super) fn idle_after(&self, now: Timestamp) -> Timestamp {
        self.sends.last().map_or(now, |last| *last + DAY)
    }
}
