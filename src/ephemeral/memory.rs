//! The in-process store: the pure rules under a short lock, for one node.
//!
//! Clones share everything, as nodes share one Redis. Nothing survives the process: accounts are
//! cold after a restart and are seeded from storage, exactly as after an emptied Redis.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::buckets::Buckets;
use super::mail::MailBook;
use super::shelf::{Full, Shelf};
use super::spray::SprayBook;
use super::{
    AttemptSubject, CodeSubject, Consume, EphemeralError, EphemeralStore, Epoch, Guess, LimitCheck, MailCount,
    MailVerdict, REVOCATION_BACKLOG, RecipientCount, Reservation, Revocation, SendCode, Settle, Tally,
};
use crate::clock::Clock;
use crate::domain::budget::{BudgetBook, BudgetPolicy, BudgetUsage, Spend, SpendVerdict};
use crate::domain::ids::{ChallengeId, SessionId, TenantId};
use crate::domain::limits::bucket::Verdict;
use crate::domain::limits::spray::{SprayRule, SprayVerdict};
use crate::domain::lockout::{AttemptBook, Counter, Lane, Lifted, Reserve, Settlement};
use crate::domain::otp::{CodeBook, CodeRules, SendVerdict, TryVerdict};
use crate::domain::policy::{LockoutPolicy, ResendPolicy};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;

/// Books of each kind: at some 500 bytes a book, half a gigabyte at the very most.
const MOST_BOOKS: usize = 1_000_000;

/// The store of one process.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    entropy: Entropy,
    shared: Arc<Shared>,
}

struct Shared {
    epoch: Mutex<Epoch>,
    attempts: Shelf<(TenantId, AttemptSubject), AttemptBook>,
    codes: Shelf<(TenantId, CodeSubject), CodeBook>,
    mails: Shelf<(TenantId, [u8; 32], String), MailBook>,
    limits: Buckets,
    sprays: Shelf<TenantId, SprayBook>,
    recipients: Shelf<[u8; 32], MailBook>,
    budgets: Shelf<TenantId, BudgetBook>,
    grants: Shelf<(TenantId, [u8; 32]), Grant>,
    revoked: Shelf<TenantId, BTreeMap<SessionId, Timestamp>>,
    heard: broadcast::Sender<Revocation>,
}

struct Grant {
    challenge: ChallengeId,
    expires: Timestamp,
}

impl MemoryStore {
    /// An empty store that reads `clock` and draws its epoch from `entropy`.
    #[must_use]
    pub fn new(clock: Clock, entropy: Entropy) -> Self {
        let shared = Shared {
            epoch: Mutex::new(Epoch::new(entropy.bytes())),
            attempts: Shelf::new(MOST_BOOKS),
            codes: Shelf::new(MOST_BOOKS),
            mails: Shelf::new(MOST_BOOKS),
            limits: Buckets::new(MOST_BOOKS),
            sprays: Shelf::new(MOST_BOOKS),
            recipients: Shelf::new(MOST_BOOKS),
            budgets: Shelf::new(MOST_BOOKS),
            grants: Shelf::new(MOST_BOOKS),
            revoked: Shelf::new(MOST_BOOKS),
            heard: broadcast::Sender::new(REVOCATION_BACKLOG),
        };
        Self { clock, entropy, shared: Arc::new(shared) }
    }

    /// Forgets everything and begins a new epoch: what `FLUSHALL` does to a Redis. For tests.
    pub fn flush(&self) {
        let mut epoch = self.shared.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch = Epoch::new(self.entropy.bytes());
        self.shared.attempts.clear();
        self.shared.codes.clear();
        self.shared.mails.clear();
        self.shared.limits.clear();
        self.shared.sprays.clear();
        self.shared.recipients.clear();
        self.shared.budgets.clear();
        self.shared.grants.clear();
        self.shared.revoked.clear();
    }

    /// Runs `judge` on a book of attempts; `None` if it is cold.
    fn attempts<R>(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        judge: impl FnOnce(&mut AttemptBook, Timestamp) -> R,
    ) -> Result<Option<R>, EphemeralError> {
        let now = self.clock.now();
        let verdict = self.shared.attempts.visit((tenant, subject), now, |slot| {
            let verdict = slot.as_mut().map(|book| judge(book, now));
            (verdict, slot.as_ref().and_then(AttemptBook::idle_after).unwrap_or(now))
        })?;
        Ok(verdict)
    }

    fn codes<R>(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        judge: impl FnOnce(&mut CodeBook, Timestamp) -> R,
    ) -> Result<R, EphemeralError> {
        let now = self.clock.now();
        let verdict = self.shared.codes.visit((tenant, *subject), now, |slot| {
            let book = slot.get_or_insert_default();
            (judge(book, now), book.idle_after(now))
        })?;
        Ok(verdict)
    }
}

/// Books of messages to one recipient, and of one tenant's money.
impl MemoryStore {
    fn recipient<R>(
        &self,
        message: &RecipientCount,
        judge: impl FnOnce(&mut MailBook, Timestamp) -> R,
    ) -> Result<R, EphemeralError> {
        let now = self.clock.now();
        let verdict = self.shared.recipients.visit(message.recipient, now, |slot| {
            let book = slot.get_or_insert_default();
            (judge(book, now), book.idle_after(now))
        })?;
        Ok(verdict)
    }

    fn budget<R>(
        &self,
        tenant: TenantId,
        judge: impl FnOnce(&mut BudgetBook, Timestamp) -> R,
    ) -> Result<R, EphemeralError> {
        let now = self.clock.now();
        let verdict = self
            .shared
            .budgets
            .visit(tenant, now, |slot| (judge(slot.get_or_insert_default(), now), BudgetBook::idle_after(now)))?;
        Ok(verdict)
    }
}

impl From<Full> for EphemeralError {
    fn from(full: Full) -> Self {
        Self::Unavailable(Box::new(full))
    }
}

#[async_trait]
impl EphemeralStore for MemoryStore {
    async fn check(&self) -> Result<(), EphemeralError> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), EphemeralError> {
        Ok(())
    }

    async fn epoch(&self) -> Result<Epoch, EphemeralError> {
        Ok(self.shared.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn reserve_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        ask: &Reserve,
    ) -> Result<Reservation, EphemeralError> {
        let admission = self.attempts(tenant, subject, |book, now| book.reserve(policy, ask, now))?;
        Ok(admission.map_or(Reservation::Cold, Reservation::Decided))
    }

    async fn confirm_lapsed(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        version: u64,
    ) -> Result<(), EphemeralError> {
        self.attempts(tenant, subject, |book, _| book.confirm_lapsed(version)).map(drop)
    }

    async fn seed_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        epoch: &Epoch,
        version: u64,
        counters: &BTreeMap<Lane, Counter>,
    ) -> Result<(), EphemeralError> {
        // Held over the write, so that a flush cannot slip in between.
        let current = self.shared.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != *epoch {
            return Ok(());
        }
        let now = self.clock.now();
        self.shared.attempts.visit((tenant, subject), now, |slot| {
            let book = slot.get_or_insert_with(|| AttemptBook {
                version,
                counters: counters.clone(),
                ..AttemptBook::default()
            });
            ((), book.idle_after().unwrap_or(now))
        })?;
        Ok(())
    }

    async fn settle_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        settle: Settle,
    ) -> Result<Settlement, EphemeralError> {
        let Settle { operation, attempt, outcome } = settle;
        let settlement =
            self.attempts(tenant, subject, |book, now| book.settle(policy, operation, attempt, outcome, now))?;
        Ok(settlement.unwrap_or(Settlement::Void))
    }

    async fn clear_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
    ) -> Result<Option<u64>, EphemeralError> {
        self.attempts(tenant, subject, |book, now| book.clear(policy, now))
    }

    async fn lift_lock(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        lane: Lane,
    ) -> Result<Option<Lifted>, EphemeralError> {
        self.attempts(tenant, subject, |book, now| book.lift(policy, lane, now))
    }

    async fn send_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        ask: &SendCode,
    ) -> Result<SendVerdict, EphemeralError> {
        self.codes(tenant, subject, |book, now| book.send(rules, ask, now))
    }

    async fn give_back_send(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        lane: Lane,
        sent_at: Timestamp,
    ) -> Result<(), EphemeralError> {
        self.codes(tenant, subject, |book, _| book.give_back(lane, sent_at))
    }

    async fn guess_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        guess: &Guess,
    ) -> Result<TryVerdict, EphemeralError> {
        let Guess { operation, lane, wanted, credential } = *guess;
        self.codes(tenant, subject, |book, now| book.guess(rules, operation, lane, wanted, credential, now))
    }

    async fn consume_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        consume: &Consume,
    ) -> Result<bool, EphemeralError> {
        let Consume { operation, lane, answered } = *consume;
        self.codes(tenant, subject, |book, now| book.consume(operation, lane, answered, now))
    }

    async fn count_mail(
        &self,
        tenant: TenantId,
        resend: &ResendPolicy,
        mail: &MailCount<'_>,
    ) -> Result<MailVerdict, EphemeralError> {
        let now = self.clock.now();
        let verdict = self.shared.mails.visit((tenant, mail.contact, mail.class.to_owned()), now, |slot| {
            let book = slot.get_or_insert_default();
            (book.count(resend, mail.operation, now), book.idle_after(now))
        })?;
        Ok(verdict)
    }

    async fn give_back_mail(&self, tenant: TenantId, mail: &MailCount<'_>) -> Result<(), EphemeralError> {
        let now = self.clock.now();
        self.shared.mails.visit((tenant, mail.contact, mail.class.to_owned()), now, |slot| {
            let book = slot.get_or_insert_default();
            (book.give_back(mail.operation), book.idle_after(now))
        })?;
        Ok(())
    }

    async fn check_limits(&self, tenant: TenantId, checks: &[LimitCheck]) -> Result<Verdict, EphemeralError> {
        Ok(self.shared.limits.check(tenant, checks, self.clock.now())?)
    }

    async fn count_compared(
        &self,
        tenant: TenantId,
        rule: &SprayRule,
        tally: &Tally,
    ) -> Result<SprayVerdict, EphemeralError> {
        let now = self.clock.now();
        let verdict = self.shared.sprays.visit(tenant, now, |slot| {
            let book = slot.get_or_insert_default();
            (book.count(rule, tally, now), book.idle_after(rule, now))
        })?;
        Ok(verdict)
    }

    async fn count_recipient(&self, message: &RecipientCount) -> Result<MailVerdict, EphemeralError> {
        self.recipient(message, |book, now| book.count(&message.ceiling(), message.operation, now))
    }

    async fn give_back_recipient(&self, message: &RecipientCount) -> Result<(), EphemeralError> {
        self.recipient(message, |book, _| book.give_back(message.operation))
    }

    async fn take_budget(
        &self,
        tenant: TenantId,
        policy: &BudgetPolicy,
        spend: &Spend,
    ) -> Result<SpendVerdict, EphemeralError> {
        self.budget(tenant, |book, now| book.take(policy, spend, now))
    }

    async fn give_back_budget(&self, tenant: TenantId, spend: &Spend) -> Result<(), EphemeralError> {
        self.budget(tenant, |book, _| book.give_back(spend))
    }

    async fn count_verified(&self, tenant: TenantId, region: &str) -> Result<(), EphemeralError> {
        self.budget(tenant, |book, now| book.verified(region, now))
    }

    async fn budget_usage(&self, tenant: TenantId) -> Result<BudgetUsage, EphemeralError> {
        self.budget(tenant, |book, now| book.usage(now))
    }

    async fn put_grant(
        &self,
        tenant: TenantId,
        digest: [u8; 32],
        challenge: ChallengeId,
        ttl: Duration,
    ) -> Result<(), EphemeralError> {
        let now = self.clock.now();
        let expires = now + ttl;
        self.shared.grants.visit((tenant, digest), now, |slot| {
            *slot = Some(Grant { challenge, expires });
            ((), expires)
        })?;
        Ok(())
    }

    async fn take_grant(&self, tenant: TenantId, digest: [u8; 32]) -> Result<Option<ChallengeId>, EphemeralError> {
        let now = self.clock.now();
        let grant = self.shared.grants.visit((tenant, digest), now, |slot| (slot.take(), now))?;
        Ok(grant.filter(|grant| grant.expires > now).map(|grant| grant.challenge))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), EphemeralError> {
        let now = self.clock.now();
        self.shared.revoked.visit(revocation.tenant, now, |slot| {
            let marks = slot.get_or_insert_default();
            marks.retain(|_, until| *until > now);
            marks.insert(revocation.session, revocation.until);
            ((), marks.values().copied().max().unwrap_or(now))
        })?;
        // Nobody listening is no failure.
        let _ = self.shared.heard.send(revocation);
        Ok(())
    }

    async fn revocations(&self, tenant: TenantId) -> Result<Vec<Revocation>, EphemeralError> {
        let now = self.clock.now();
        let marks = self.shared.revoked.visit(tenant, now, |slot| {
            let marks = slot.clone().unwrap_or_default();
            let latest = marks.values().copied().max().unwrap_or(now);
            (marks, latest)
        })?;
        let living = marks.into_iter().filter(|(_, until)| *until > now);
        Ok(living.map(|(session, until)| Revocation { tenant, session, until }).collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.shared.heard.subscribe()
    }
}
