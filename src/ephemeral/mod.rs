//! What may expire: attempts and locks, codes, mail counts, limits, SMS budgets, grants, revocation
//! marks.
//!
//! One trait, two stores with the same semantics: [`redis`] for any number of nodes, [`memory`]
//! for one. The rules are pure and live in [`crate::domain::lockout`], [`crate::domain::otp`] and [`crate::domain::budget`];
//! the in-process store runs them under a lock, the Redis scripts are their twins, and one
//! contract plus one property test (`tests/it/ephemeral/`) holds both to the same answers.
//!
//! ```text
//!   actors/ ─► EphemeralStore ─┬─► memory: shelf of books, one short lock each
//!                              └─► redis:  one script call per verdict, one key per book
//! ```
//!
//! **The store is the judge**: every method is one atomic step, so two nodes that
//! hold the same account at once still share one count. A call that failed with
//! [`EphemeralError::Unavailable`] *may have run*; ask again under the same operation id and the
//! first verdict comes back. Nothing here ever waits without a deadline.
//!
//! # A cold account
//!
//! The book of an account is a cache of what storage remembers plus what is in flight. It carries
//! the store's epoch, random and set once; a book that is missing or carries another epoch is
//! *cold*: nothing is admitted from it. The caller then
//!
//! 1. calls [`epoch`](EphemeralStore::epoch), which asks the store afresh,
//! 2. loads lock and consecutive count from storage,
//! 3. calls [`seed_attempts`](EphemeralStore::seed_attempts) under that epoch,
//! 4. calls [`epoch`](EphemeralStore::epoch) again and starts over if it differs,
//! 5. reserves again.
//!
//! The order closes the race with an emptied store. Emptied *after* the seed: the seed went with
//! it, the account is cold again. Emptied *before* the seed, after the facts were read: the epoch
//! is another one, step 4 sees it, and the seed under the old epoch is cold to whoever knows the
//! new one. A node that still holds the old epoch and was admitted by such a seed finds its
//! settlement [`Void`](crate::domain::lockout::Settlement::Void) once the account is seeded anew:
//! no token is issued on it. [`ping`](EphemeralStore::ping) asks for the epoch too, so an idle
//! node learns of a new one at its next readiness check.

mod buckets;
mod mail;
pub mod memory;
pub mod redis;
mod shelf;
mod spray;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::domain::budget::{BudgetPolicy, BudgetUsage, Spend, SpendVerdict};
use crate::domain::ids::{AccountId, AttemptId, ChallengeId, OperationId, SessionId, TenantId};
use crate::domain::limits::LimitSubject;
use crate::domain::limits::bucket::{Rate, Verdict};
use crate::domain::limits::spray::{SprayRule, SprayVerdict};
use crate::domain::lockout::{Admission, AttemptOutcome, Counter, Lane, Lifted, Reserve, Settlement};
use crate::domain::otp::{CodePurpose, CodeRules, Send as SendCode, SendVerdict, TryVerdict};
use crate::domain::policy::{LockoutPolicy, ResendPolicy};
use crate::domain::time::{Timestamp, Wait};
use crate::entropy::Entropy;

/// Why the store gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralError {
    /// Out of reach, too slow or full: refuse with 503. The call may have run; a repeat under the
    /// same operation id is safe.
    #[error("the ephemeral store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Reached, but set up in a way that cannot be relied on: an operator must act.
    #[error("the ephemeral store is misconfigured: {0}")]
    Misconfigured(String),
    /// It holds or answered something that is not ours.
    #[error("the ephemeral store holds something unreadable")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whose password guesses a book counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptSubject {
    /// An account.
    Account(AccountId),
    /// A bucket of unknown identifiers, below [`SHADOWS`]. Cold like an account, or the first guess
    /// would tell by its time who is known; seeded with nothing, so it ends with its window.
    Shadow(u32),
}

/// Buckets of unknown identifiers per tenant: callers reduce their keyed hash to below this.
pub const SHADOWS: u32 = 100_000;

/// To whom codes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodeOwner {
    /// The keyed digest of a canonical contact.
    Contact([u8; 32]),
    /// An account, whatever its contact.
    Account(AccountId),
}

/// Whose codes, and for what, a book counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeSubject {
    /// To whom they are sent.
    pub owner: CodeOwner,
    /// What they are for.
    pub purpose: CodePurpose,
}

/// Names one filling of the store: an emptied store has another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(String);

impl Epoch {
    fn new(bytes: [u8; 16]) -> Self {
        Self(hex(&bytes))
    }
}

/// Answer to [`EphemeralStore::reserve_attempt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reservation {
    /// The book is missing or of another epoch: nothing was admitted, seed and ask again.
    Cold,
    /// The book's verdict.
    Decided(Admission),
}

/// One end of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Settle {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// The attempt that was admitted.
    pub attempt: AttemptId,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

/// One guess at a code, taken before anything is compared.
#[derive(Debug, Clone, Copy)]
pub struct Guess {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// Who guesses.
    pub lane: Lane,
    /// The challenge meant, if the client named one.
    pub wanted: Option<ChallengeId>,
    /// The version of the password as it is now, where the code was sent after one.
    pub credential: Option<i64>,
}

/// One right answer to a challenge.
#[derive(Debug, Clone, Copy)]
pub struct Consume {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// Who answered.
    pub lane: Lane,
    /// The challenge answered.
    pub answered: ChallengeId,
}

/// One mail to be counted.
#[derive(Debug, Clone, Copy)]
pub struct MailCount<'a> {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// The keyed digest of the canonical address.
    pub contact: [u8; 32],
    /// Which ceiling it falls under, a word of `[a-z_]`; each class is counted apart.
    pub class: &'a str,
}

impl<'a> MailCount<'a> {
    /// A mail that was not counted before.
    #[must_use]
    pub fn new(entropy: &Entropy, contact: [u8; 32], class: &'a str) -> Self {
        Self { operation: OperationId::random(entropy.bytes()), contact, class }
    }
}

/// One message to be counted for its recipient, over all tenants.
#[derive(Debug, Clone, Copy)]
pub struct RecipientCount {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// The keyed digest of the canonical contact, the same for every tenant.
    pub recipient: [u8; 32],
    /// Most of any day.
    pub per_day: u32,
}

impl RecipientCount {
    /// Nothing but the day counts: what paces messages stands in the tenants' own books.
    const fn ceiling(&self) -> ResendPolicy {
        ResendPolicy { cooldown: Duration::ZERO, per_hour: self.per_day, per_day: self.per_day }
    }
}

/// Answer to [`EphemeralStore::count_mail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailVerdict {
    /// Counted: send it.
    Allowed,
    /// Not counted: the next one fits then.
    Refused(Wait),
}

/// One limit that a request is asked to pass.
#[derive(Debug, Clone, Copy)]
pub struct LimitCheck {
    /// Whose bucket it is, beside the subject: a word of `[a-z-]`.
    pub name: &'static str,
    /// Whom it counts.
    pub subject: LimitSubject,
    /// How much.
    pub rate: Rate,
    /// Whether being over it refuses the request, or is only told.
    pub enforced: bool,
}

/// Log-ins that one node compared since it last told.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// All of them.
    pub attempts: u64,
    /// Those that failed.
    pub failures: u64,
    /// Over which accounts, each once; at most [`MOST_TALLIED`].
    pub accounts: Vec<AttemptSubject>,
}

/// Accounts that one tally names at most.
pub const MOST_TALLIED: usize = 1_000;

/// A session that ended before its access tokens did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub session: SessionId,
    /// When its last access token has run out and the mark may be forgotten.
    pub until: Timestamp,
}

/// The store of what may expire. Used as `Arc<dyn EphemeralStore>`.
///
/// Every method may fail with [`EphemeralError`]; none hangs.
#[async_trait]
pub trait EphemeralStore: Send + Sync {
    /// At start-up: may this store be relied on? Refuses a Redis that may evict keys.
    async fn check(&self) -> Result<(), EphemeralError>;

    /// For readiness: does it answer? Also learns the store's epoch.
    async fn ping(&self) -> Result<(), EphemeralError>;

    /// Asks the store for its epoch, setting it if there is none, and remembers it for the calls
    /// that follow.
    async fn epoch(&self) -> Result<Epoch, EphemeralError>;

    /// Takes a place for one password attempt before anything is hashed.
    ///
    /// After [`Admission::Busy`] ask again under the *same* operation and attempt id, so that a
    /// call that was thought lost and ran late cannot take a second place.
    async fn reserve_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        ask: &Reserve,
    ) -> Result<Reservation, EphemeralError>;

    /// Storage has what [`Admission::Lapsed`] told at that version: attempts are admitted again.
    async fn confirm_lapsed(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        version: u64,
    ) -> Result<(), EphemeralError>;

    /// Writes a book from storage, only if it is missing or of another epoch. See the
    /// module's page for the order of calls.
    async fn seed_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        epoch: &Epoch,
        version: u64,
        counters: &BTreeMap<Lane, Counter>,
    ) -> Result<(), EphemeralError>;

    /// Ends an attempt with what became of it. [`Settlement::Void`] if its place is gone (lease
    /// run out, store emptied): no token may be issued.
    async fn settle_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        settle: Settle,
    ) -> Result<Settlement, EphemeralError>;

    /// Forgets every counter of a subject and gives the book's new version; `None` if the account
    /// is cold. Then seed and clear again: a seed read from storage before the reset could
    /// otherwise still bring the old lock back.
    async fn clear_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
    ) -> Result<Option<u64>, EphemeralError>;

    /// Ends the lock of one lane and begins its window anew; the consecutive count stays. `None` if
    /// the account is cold: seed and ask again.
    async fn lift_lock(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        lane: Lane,
    ) -> Result<Option<Lifted>, EphemeralError>;

    /// Books one send of a code, or says why not.
    async fn send_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        ask: &SendCode,
    ) -> Result<SendVerdict, EphemeralError>;

    /// Takes back the send booked at `sent_at`: it could not be written to the outbox.
    async fn give_back_send(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        lane: Lane,
        sent_at: Timestamp,
    ) -> Result<(), EphemeralError>;

    /// Counts a guess, then says what to compare it with.
    async fn guess_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        guess: &Guess,
    ) -> Result<TryVerdict, EphemeralError>;

    /// Ends a challenge that was answered rightly; true for one caller of N.
    async fn consume_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        consume: &Consume,
    ) -> Result<bool, EphemeralError>;

    /// Counts a mail to one address against its cooldown and its hour's and day's ceilings.
    async fn count_mail(
        &self,
        tenant: TenantId,
        resend: &ResendPolicy,
        mail: &MailCount<'_>,
    ) -> Result<MailVerdict, EphemeralError>;

    /// Takes back a mail that was counted and then not sent.
    async fn give_back_mail(&self, tenant: TenantId, mail: &MailCount<'_>) -> Result<(), EphemeralError>;

    /// Asks all limits of one request at once, and takes from all or from none.
    ///
    /// A call that may have run is not an admission: at worst one request too many was counted,
    /// never one too many let through.
    async fn check_limits(&self, tenant: TenantId, checks: &[LimitCheck]) -> Result<Verdict, EphemeralError>;

    /// Adds what a node compared to its tenant's window, and says whether that is an attack. Never
    /// repeated by itself: a tally that was lost is better than one counted twice.
    async fn count_compared(
        &self,
        tenant: TenantId,
        rule: &SprayRule,
        tally: &Tally,
    ) -> Result<SprayVerdict, EphemeralError>;

    /// Counts a message to a recipient against a day's ceiling over all tenants: the one book that is
    /// no tenant's, asked on its own since it lies in another slot than any tenant's.
    async fn count_recipient(&self, message: &RecipientCount) -> Result<MailVerdict, EphemeralError>;

    /// Takes back a message that was counted for a recipient and then not sent.
    async fn give_back_recipient(&self, message: &RecipientCount) -> Result<(), EphemeralError>;

    /// Takes a text message from every ceiling of its tenant, or from none.
    async fn take_budget(
        &self,
        tenant: TenantId,
        policy: &BudgetPolicy,
        spend: &Spend,
    ) -> Result<SpendVerdict, EphemeralError>;

    /// Gives back what was taken: the message could not be written to the outbox.
    async fn give_back_budget(&self, tenant: TenantId, spend: &Spend) -> Result<(), EphemeralError>;

    /// Counts a code to an unproven number of a region as come back. Never repeated by itself: one
    /// too few stops nothing that one too many would not have saved.
    async fn count_verified(&self, tenant: TenantId, region: &str) -> Result<(), EphemeralError>;

    /// What a tenant spent in the last hour and the last day.
    async fn budget_usage(&self, tenant: TenantId) -> Result<BudgetUsage, EphemeralError>;

    /// Leaves a grant under the digest of what its bearer will show, for `ttl`.
    async fn put_grant(
        &self,
        tenant: TenantId,
        digest: [u8; 32],
        challenge: ChallengeId,
        ttl: Duration,
    ) -> Result<(), EphemeralError>;

    /// Takes a grant: one caller of N gets it. Never repeated by itself, as a lost reply has taken
    /// it too; the bearer proves the contact again.
    async fn take_grant(&self, tenant: TenantId, digest: [u8; 32]) -> Result<Option<ChallengeId>, EphemeralError>;

    /// Marks a session as ended until its last access token has run out, and tells every node.
    async fn revoke(&self, revocation: Revocation) -> Result<(), EphemeralError>;

    /// The living marks of one tenant.
    async fn revocations(&self, tenant: TenantId) -> Result<Vec<Revocation>, EphemeralError>;

    /// Revocations as they happen on any node. What was told while this node could not listen is
    /// not repeated: storage is polled besides.
    fn subscribe(&self) -> broadcast::Receiver<Revocation>;
}

/// Revocations a slow listener may fall behind before it has to look them up instead.
const REVOCATION_BACKLOG: usize = 4_096;

/// Lower-case hexadecimal, for keys.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
