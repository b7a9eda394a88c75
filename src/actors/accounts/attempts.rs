//! *Reserve → verify → settle* against both stores: the ephemeral one judges, storage remembers.
//!
//! ```text
//!   reserve ──cold──► read epoch, read mirror from storage, seed, confirm epoch ──► reserve again
//!      │                (an emptied Redis unlocks nobody)
//!      ├─busy──► wait a moment, ask again, until the deadline
//!      ├─lapsed► write down what crashed attempts led to, confirm it ──► reserve again
//!      ├─locked► make sure the lock is on record (the node that made it may have died)
//!      ├─no answer► refuse; it may have been granted, so give it back meanwhile
//!      └─granted► compare ──► settle ──► mirror the counter, or record the lock, before the answer
//! ```
//!
//! The mirror of an ordinary failure is written after the answer has left, so that a known
//! account answers no slower than an unknown one; the lock is written before the answer that
//! made it. Mirrors may land in any order: each carries the book's version.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::{Deps, directory_id};
use crate::actors::directory::Who;
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, AttemptId, ChallengeId, OperationId, TenantId};
use crate::domain::lockout::{Admission, AttemptOutcome, Counter, Lane, Lapsed, Lock, Reserve, Settlement};
use crate::domain::message::{Channel, Content, LinkRef, Message};
use crate::ephemeral::{AttemptSubject, MailCount, Reservation, Settle};
use crate::storage::{LinkPurpose, Mirror, NewLink};
use crate::tenant::TenantContext;

/// Pause before asking for a place again while all are in flight; plus as much jitter.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How long a stranger waits for a place at most. Many nodes with valid log-ins free one within
/// some hashes; only a dead node's leases hold all of them longer, and then strangers must not keep
/// the owner's known device waiting behind them.
const STRANGERS_WAIT: Duration = Duration::from_secs(2);

/// How often a reset's clearing is tried again, and the pause between; plus as much jitter.
const CLEARINGS: u32 = 600;
const CLEARING_PAUSE: Duration = Duration::from_secs(2);

/// How long after a place could not be given back it is tried again: about what a store that broke a
/// connection takes to be back, and well within the lease.
const RETURN_PAUSE: Duration = Duration::from_secs(2);

/// How many times one attempt may find the store in want of storage (cold, or with something to be
/// written down) before something is wrong with it.
const MOST_DETOURS: u32 = 4;

/// Locks known to be on record or about to be, so that refusals during a lock cost storage nothing.
#[derive(Debug)]
pub struct RecordedLocks(Mutex<LruCache<AttemptId, ()>>);

impl Default for RecordedLocks {
    fn default() -> Self {
        const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl RecordedLocks {
    /// The caller's to see to, unless it is on record or somebody sees to it already: of several, one might
    /// find no room for the owner's mail and record the lock without.
    fn claim(&self, lock: AttemptId) -> Option<Claim<'_>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).put(lock, ());
        known.is_none().then(|| Claim { locks: self, lock, recorded: false })
    }

    fn insert(&self, lock: AttemptId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(lock, ());
    }
}

/// A lock that somebody sees to; dropped before it is on record, it is anybody's again.
struct Claim<'a> {
    locks: &'a RecordedLocks,
    lock: AttemptId,
    recorded: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.recorded {
            self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).pop(&self.lock);
        }
    }
}

/// Answer to a request for a place.
pub(super) enum Place {
    /// Compare, then settle under this id.
    Granted(AttemptId),
    /// Locked until then.
    Locked(Lock),
    /// Only a reset helps.
    Stopped,
}

/// What a settled failure led to.
pub(super) struct Failed {
    /// The lock it made, if it made one; on record already.
    pub lock: Option<Lock>,
    /// What is left to write down.
    pub unwritten: Option<Unwritten>,
}

/// What is written down once the answer has left: a known account must not answer more slowly than
/// an unknown one, which has nothing to write.
pub(super) enum Unwritten {
    /// An ordinary failure, for the mirror.
    Failure(Counter, u64),
    /// A lock that was met: the node that made it may have died before writing it down.
    Lock(Lock),
}

/// Fills a cold book from storage, where a shadow finds nothing in the same time. The order closes the race with an emptied store: if it is
/// emptied after the seed, the seed is gone too; if before, the epoch has changed and the next
/// reservation is cold again.
pub(super) async fn seed(deps: &Deps, tenant: TenantId, subject: AttemptSubject) -> Result<(), Failure> {
    let account = match subject {
        AttemptSubject::Account(id) => id,
        AttemptSubject::Shadow(bucket) => directory_id(Who::Shadow(bucket)),
    };
    let epoch = deps.ephemeral.epoch().await?;
    let (version, counters) = deps.storage.attempts().load(tenant, account).await?;
    deps.ephemeral.seed_attempts(tenant, subject, &epoch, version, &counters).await?;
    deps.ephemeral.epoch().await?;
    Ok(())
}

/// Zeroes every lane of an account whose password was reset, or that an administrator unlocks: first
/// what the store still counts, then what it mirrored meanwhile.
pub(super) async fn clear(
    deps: &Deps,
    tenant: &TenantContext,
    account: AccountId,
    cause: &'static str,
) -> Result<(), Failure> {
    let (subject, policy) = (AttemptSubject::Account(account), &tenant.policy().lockout);
    for _ in 0..MOST_DETOURS {
        if let Some(version) = deps.ephemeral.clear_attempts(tenant.id(), subject, policy).await? {
            let now = deps.clock.now();
            return Ok(deps.storage.attempts().clear(tenant.id(), account, version, cause, now).await?);
        }
        seed(deps, tenant.id(), subject).await?;
    }
    Err(Failure::Unavailable)
}

/// [`clear`], and if the store is away right now, again until it is back: the password is changed
/// and its owner is told so, the lock must not outlive it.
pub(super) async fn clear_surely(deps: &Arc<Deps>, tenant: &TenantContext, account: AccountId) {
    let Err(failure) = clear(deps, tenant, account, "reset").await else { return };
    tracing::warn!(%failure, account.id = %account, "a lock outlives its reset; trying again");
    let (deps, tenant) = (Arc::clone(deps), tenant.clone());
    tokio::spawn(async move {
        for _ in 0..CLEARINGS {
            let [jitter] = deps.entropy.bytes::<1>();
            tokio::time::sleep(CLEARING_PAUSE + CLEARING_PAUSE * u32::from(jitter) / 255).await;
            if clear(&deps, &tenant, account, "reset").await.is_ok() {
                return;
            }
        }
        tracing::error!(account.id = %account, "a lock outlives its reset: the store stayed away");
    });
}

/// Ends the lock on strangers, because its owner followed the mailed link. `false` if the link was used
/// meanwhile. The store goes first: whoever is told that the link is spent finds the lock gone.
pub(super) async fn lift(
    deps: &Deps,
    tenant: &TenantContext,
    account: AccountId,
    link: ChallengeId,
) -> Result<bool, Failure> {
    let (subject, policy) = (AttemptSubject::Account(account), &tenant.policy().lockout);
    for _ in 0..MOST_DETOURS {
        if let Some(lifted) = deps.ephemeral.lift_lock(tenant.id(), subject, policy, Lane::Strangers).await? {
            let mirror = Mirror { lane: Lane::Strangers, counter: lifted.counter, version: lifted.version };
            return Ok(deps.storage.attempts().lift(tenant.id(), account, link, &mirror, deps.clock.now()).await?);
        }
        seed(deps, tenant.id(), subject).await?;
    }
    Err(Failure::Unavailable)
}

/// What tells an owner of a lock.
struct Notice {
    message: Message,
    unlock: Option<NewLink>,
    booked: MailCount<'static>,
}

/// The counter of one lane of one account (or shadow).
pub(super) struct Attempts<'a> {
    pub deps: &'a Deps,
    pub tenant: &'a TenantContext,
    pub subject: AttemptSubject,
    pub lane: Lane,
    pub account: Option<&'a Account>,
}

impl Attempts<'_> {
    /// Takes a place before anything is compared; waits while all places are in flight.
    pub(super) async fn reserve(&self, deadline: Instant) -> Result<Place, Failure> {
        let policy = &self.tenant.policy().lockout;
        let deadline = match self.lane {
            Lane::Strangers => deadline.min(Instant::now() + STRANGERS_WAIT),
            Lane::Device(_) => deadline,
        };
        let ask = Reserve {
            operation: OperationId::random(self.deps.entropy.bytes()),
            attempt: AttemptId::random(self.deps.entropy.bytes()),
            lane: self.lane,
            lease: self.deps.timings.lease,
        };
        let mut detours = 0;
        loop {
            let asked = self.deps.ephemeral.reserve_attempt(self.tenant.id(), self.subject, policy, &ask).await;
            if asked.is_err() {
                self.give_back_unheard(ask.attempt);
            }
            match asked? {
                Reservation::Decided(Admission::Admitted) => return Ok(Place::Granted(ask.attempt)),
                Reservation::Decided(Admission::Stopped) => return Ok(Place::Stopped),
                Reservation::Decided(Admission::Locked(lock)) => return Ok(Place::Locked(lock)),
                Reservation::Decided(Admission::Busy) if Instant::now() < deadline => {
                    let [jitter] = self.deps.entropy.bytes::<1>();
                    tokio::time::sleep(BUSY_PAUSE + BUSY_PAUSE * u32::from(jitter) / 255).await;
                }
                Reservation::Decided(Admission::Busy) => return Err(Failure::Busy),
                _ if detours == MOST_DETOURS => return Err(Failure::Unavailable),
                Reservation::Cold => {
                    detours += 1;
                    seed(self.deps, self.tenant.id(), self.subject).await?;
                }
                Reservation::Decided(Admission::Lapsed(lapsed)) => {
                    detours += 1;
                    self.write_lapsed(&lapsed).await?;
                }
            }
        }
    }

    /// The credential was right: zeroes this lane. Void means the lease ran out: no token.
    pub(super) async fn succeed(&self, attempt: AttemptId) -> Result<(), Failure> {
        self.deps.limits.note_compared(self.tenant.id(), self.subject, false);
        match self.settle(attempt, AttemptOutcome::Success).await? {
            Settlement::Settled { counter, version, changed: true } => self.mirror(counter, version).await,
            Settlement::Settled { .. } => Ok(()),
            Settlement::Void => Err(Failure::Unavailable),
        }
    }

    /// The credential was wrong: one more. A lock it makes is on record when this returns.
    pub(super) async fn fail(&self, attempt: AttemptId) -> Result<Failed, Failure> {
        self.deps.limits.note_compared(self.tenant.id(), self.subject, true);
        match self.settle(attempt, AttemptOutcome::Failure).await? {
            Settlement::Settled { counter, version, .. } => match counter.lock.filter(|lock| lock.id == attempt) {
                Some(lock) => {
                    self.keep(counter, version).await?;
                    Ok(Failed { lock: Some(lock), unwritten: None })
                }
                None => Ok(Failed { lock: None, unwritten: Some(Unwritten::Failure(counter, version)) }),
            },
            Settlement::Void => Err(Failure::Unavailable),
        }
    }

    /// Nothing was compared: as if never asked. A store that is away leaves it to the lease.
    pub(super) async fn give_back(&self, attempt: AttemptId) {
        if let Err(failure) = self.settle(attempt, AttemptOutcome::Returned).await {
            tracing::warn!(%failure, "an attempt could not be given back; its lease will count it");
        }
    }

    /// The store gave no answer but may have granted the place. Nothing is compared on it, so its lease must
    /// not count it as a failure; and nobody waits for what a store that is away may take twice as long for.
    fn give_back_unheard(&self, attempt: AttemptId) {
        let (store, tenant, subject) = (Arc::clone(&self.deps.ephemeral), self.tenant.clone(), self.subject);
        let settle = self.settlement(attempt, AttemptOutcome::Returned);
        tokio::spawn(async move {
            let give_back = || store.settle_attempt(tenant.id(), subject, &tenant.policy().lockout, settle);
            if give_back().await.is_ok() {
                return;
            }
            tokio::time::sleep(RETURN_PAUSE).await;
            if let Err(error) = give_back().await {
                tracing::debug!(%error, "an attempt could not be given back; if it was granted, its lease counts it");
            }
        });
    }

    /// Writes down what an answer left behind.
    pub(super) async fn write_down(&self, unwritten: Unwritten) -> Result<(), Failure> {
        match unwritten {
            Unwritten::Failure(counter, version) => self.mirror(counter, version).await,
            Unwritten::Lock(lock) => self.confirm_recorded(lock).await,
        }
    }

    /// Writes down what crashed attempts led to, in whichever lanes, and lets the store go on.
    async fn write_lapsed(&self, lapsed: &Lapsed) -> Result<(), Failure> {
        for (lane, counter) in &lapsed.counters {
            Attempts { lane: *lane, ..*self }.keep(*counter, lapsed.version).await?;
        }
        Ok(self.deps.ephemeral.confirm_lapsed(self.tenant.id(), self.subject, lapsed.version).await?)
    }

    /// Mirrors a counter, and records the lock in it if there is one and nobody did.
    async fn keep(&self, counter: Counter, version: u64) -> Result<(), Failure> {
        if let Some(lock) = counter.lock
            && self.record(lock, counter, version).await?
        {
            return Ok(());
        }
        // Another node may have met the lock first and guessed the counter: this one knows it.
        self.mirror(counter, version).await
    }

    /// Copies a counter to storage, where it outlives an emptied Redis.
    async fn mirror(&self, counter: Counter, version: u64) -> Result<(), Failure> {
        if let Some(account) = self.account_id() {
            let mirror = Mirror { lane: self.lane, counter, version };
            self.deps.storage.attempts().mirror(self.tenant.id(), account, &mirror).await?;
        }
        Ok(())
    }

    async fn settle(&self, attempt: AttemptId, outcome: AttemptOutcome) -> Result<Settlement, Failure> {
        let (settle, policy) = (self.settlement(attempt, outcome), &self.tenant.policy().lockout);
        Ok(self.deps.ephemeral.settle_attempt(self.tenant.id(), self.subject, policy, settle).await?)
    }

    fn settlement(&self, attempt: AttemptId, outcome: AttemptOutcome) -> Settle {
        Settle { operation: OperationId::random(self.deps.entropy.bytes()), attempt, outcome }
    }

    /// Records a lock that was met, unless it is on record. Its state is one failure past what is
    /// mirrored.
    async fn confirm_recorded(&self, lock: Lock) -> Result<(), Failure> {
        let Some(account) = self.account_id() else { return Ok(()) };
        let Some(mut claim) = self.deps.recorded_locks.claim(lock.id) else { return Ok(()) };
        self.make_recorded(account, lock).await?;
        claim.recorded = true;
        Ok(())
    }

    async fn make_recorded(&self, account: AccountId, lock: Lock) -> Result<(), Failure> {
        let (version, counters) = self.deps.storage.attempts().load(self.tenant.id(), account).await?;
        let known = counters.get(&self.lane).copied().unwrap_or_default();
        if known.lock.is_some_and(|known| known.id == lock.id) {
            return Ok(()); // by another node, with the true count
        }
        let threshold = self.tenant.policy().lockout.threshold;
        let counter = Counter {
            failures: threshold,
            consecutive: threshold.max(known.consecutive.saturating_add(1)),
            window_ends: lock.until,
            lock: Some(lock),
        };
        self.record(lock, counter, version + 1).await.map(drop)
    }

    /// Writes the lock, its event and its one mail; false for whoever is second, who changes
    /// nothing.
    async fn record(&self, lock: Lock, counter: Counter, version: u64) -> Result<bool, Failure> {
        let cause = lock.lapsed.then_some("lapsed");
        let event = self.deps.event(self.tenant, self.account_id(), EventKind::AuthnLoginLock, cause);
        let Some(account) = self.account_id() else {
            // The write keeps the known and the unknown account alike in time.
            self.deps.storage.audit().record(&[event]).await?;
            return Ok(true);
        };
        let (messages, unlock, booked) = match self.notice(lock).await? {
            Some(Notice { message, unlock, booked }) => (vec![message], unlock, Some(booked)),
            None => (Vec::new(), None, None),
        };
        let mirror = Mirror { lane: self.lane, counter, version };
        let notes = self.deps.notes(&messages, std::slice::from_ref(&event));
        let attempts = self.deps.storage.attempts();
        let recorded = attempts.record_lock(self.tenant.id(), account, &mirror, &lock, unlock.as_ref(), &notes).await;
        if !matches!(recorded, Ok(true))
            && let Some(booked) = booked
        {
            self.deps.give_back_warning(self.tenant, &booked).await;
        }
        let newly = recorded?;
        self.deps.recorded_locks.insert(lock.id);
        if newly {
            self.deps.postman.dispatch_all(messages);
        }
        Ok(newly)
    }

    /// One mail per lock, within the day's ceiling; none for a lock that no proven wrong password
    /// made. If it is strangers that are locked out, it carries a link that lets them try again.
    async fn notice(&self, lock: Lock) -> Result<Option<Notice>, Failure> {
        let Some(account) = self.account.filter(|_| !lock.lapsed) else { return Ok(None) };
        let Some(to) = account.notice_contact() else { return Ok(None) };
        let Some(booked) = self.deps.book_warning(self.tenant, &to, "security").await? else { return Ok(None) };
        let by_mail = self.lane == Lane::Strangers && to.channel() == Channel::Email;
        let unlock = by_mail.then(|| NewLink {
            id: ChallengeId::random(self.deps.entropy.bytes()),
            tenant: self.tenant.id(),
            account: account.id,
            purpose: LinkPurpose::Unlock,
            expires_at: lock.until,
        });
        let link = unlock.map(|link| LinkRef { link: link.id, account: account.id });
        let content = Content::AccountLocked { until: lock.until, unlock: link };
        let message = self.deps.message(self.tenant, to, account.locale, content, lock.until);
        Ok(Some(Notice { message, unlock, booked }))
    }

    fn account_id(&self) -> Option<AccountId> {
        match self.subject {
            AttemptSubject::Account(id) => Some(id),
            AttemptSubject::Shadow(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_lock_stays_known_however_often_it_is_met() {
        let (locks, lock) = (RecordedLocks::default(), AttemptId::random([1; 16]));
        locks.insert(lock);

        assert!((0..3).all(|_| locks.claim(lock).is_none()));
    }

    #[test]
    fn a_lock_is_one_callers_to_see_to_until_that_one_fails() {
        let (locks, lock) = (RecordedLocks::default(), AttemptId::random([1; 16]));

        let first = locks.claim(lock).unwrap();
        assert!((0..3).all(|_| locks.claim(lock).is_none()));
        drop(first);
        let mut second = locks.claim(lock).unwrap();
        second.recorded = true;
        drop(second);

        assert!(locks.claim(lock).is_none());
    }
}
