//! Removes what no longer matters, in bounded batches, for all tenants at once. A recurring service calls it.

use std::time::{Duration, Instant};

use super::devices;
use super::engine::Database;
use super::error::StorageError;
use crate::domain::device::TRUST_LIFE;
use crate::domain::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// The longest grace a tenant may set for repeating a refresh: after it no sealed successor is asked for.
const LONGEST_GRACE: Duration = Duration::from_mins(5);

const LINKS: &str =
    "DELETE FROM links WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM links WHERE expires_at <= $1 LIMIT $2)";

const PROOFS: &str = "
    DELETE FROM proofs WHERE (tenant_id, challenge_id) IN
        (SELECT tenant_id, challenge_id FROM proofs WHERE spent_at <= $1 LIMIT $2)";

/// The condition stands twice: an account proven between the two must stay.
const LAPSED: &str = "
    DELETE FROM accounts
     WHERE unverified_until <= $1
       AND (tenant_id, id) IN (SELECT tenant_id, id FROM accounts WHERE unverified_until <= $1 LIMIT $2)";

/// Refresh tokens go with their session, not before: a spent one that comes back must be known.
const EXPIRED_SESSIONS: &str = "
    DELETE FROM sessions WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM sessions WHERE expires_at <= $1 LIMIT $2)";

const ENDED_SESSIONS: &str = "
    DELETE FROM sessions WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM sessions WHERE ended_at <= $1 LIMIT $2)";

const SEALED: &str = "
    UPDATE refresh_tokens SET successor_sealed = NULL WHERE (tenant_id, digest) IN
        (SELECT tenant_id, digest FROM refresh_tokens
          WHERE replaced_at <= $1 AND successor_sealed IS NOT NULL LIMIT $2)";

const REVOCATIONS: &str = "
    DELETE FROM revocations WHERE (tenant_id, session_id) IN
        (SELECT tenant_id, session_id FROM revocations WHERE revoked_at <= $1 LIMIT $2)";

/// Those that tell of a changed contact stay as long as the delivery log: by them an erasure finds what
/// was sent to the contact before.
const MESSAGES: &str = "
    DELETE FROM outbox WHERE (tenant_id, id) IN
        (SELECT tenant_id, id FROM outbox
          WHERE settled_at <= $1 AND CAST(content AS TEXT) NOT LIKE '%\"contact_change%' LIMIT $2)";

const CHANGES_TOLD: &str =
    "DELETE FROM outbox WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM outbox WHERE settled_at <= $1 LIMIT $2)";

const DELIVERIES: &str =
    "DELETE FROM deliveries WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM deliveries WHERE at <= $1 LIMIT $2)";

const EARLY_RECEIPTS: &str = "
    DELETE FROM early_receipts WHERE (tenant_id, sender, reference, state) IN
        (SELECT tenant_id, sender, reference, state FROM early_receipts WHERE at <= $1 LIMIT $2)";

const LOCKS: &str =
    "DELETE FROM locks WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM locks WHERE ended_at <= $1 LIMIT $2)";

const KEYS: &str = "
    DELETE FROM signing_keys WHERE (tenant_id, kid) IN
        (SELECT tenant_id, kid FROM signing_keys WHERE state = 'gone' AND changed_at <= $1 LIMIT $2)";

const AUDIT: &str = "DELETE FROM audit WHERE sequence IN (SELECT sequence FROM audit WHERE at <= $1 LIMIT $2)";

/// How long the audit log is kept: a year, and a month to look back over it.
const AUDIT_KEPT: Duration = Duration::from_hours(400 * 24);

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Expired links.
    pub links: u64,
    /// Spent phone proofs, a day old.
    pub proofs: u64,
    /// Unproven registrations whose link has run out.
    pub accounts: u64,
    /// Sessions over for a day, with their refresh tokens.
    pub sessions: u64,
    /// Devices not used for so long that they are trusted no longer.
    pub devices: u64,
    /// Sealed successors past every grace.
    pub sealed_successors: u64,
    /// Revocations two days old, twice the longest life of an access token.
    pub revocations: u64,
    /// Settled messages, a week old; those of a changed contact, a month.
    pub messages: u64,
    /// Attempts at messages, 30 days old.
    pub deliveries: u64,
    /// Receipts that nothing was written down for within an hour.
    pub early_receipts: u64,
    /// Locks that ended 30 days ago.
    pub locks: u64,
    /// Signing keys that went a week ago.
    pub keys: u64,
    /// Audit events, 400 days old.
    pub audit: u64,
}

impl Swept {
    /// Whether some kind came to `limit`, and may have more.
    fn reached(&self, limit: u32) -> bool {
        self.rows().into_iter().any(|rows| rows >= u64::from(limit))
    }

    fn rows(&self) -> [u64; 13] {
        let Self { links, proofs, accounts, sessions, devices, sealed_successors, revocations, .. } = *self;
        let Self { messages, deliveries, early_receipts, locks, keys, audit, .. } = *self;
        [
            links,
            proofs,
            accounts,
            sessions,
            devices,
            sealed_successors,
            revocations,
            messages,
            deliveries,
            early_receipts,
            locks,
            keys,
            audit,
        ]
    }
}

/// How a backlog is removed.
#[derive(Debug, Clone, Copy)]
pub struct SweepPace {
    /// Rows of each kind that one round removes at most.
    pub limit: u32,
    /// Between two rounds: whoever waits for the database goes first.
    pub pause: Duration,
    /// No round begins later than that after the first; what is left then waits for the next call.
    pub patience: Duration,
}

/// Removal of what no longer matters.
#[derive(Debug, Clone, Copy)]
pub struct Housekeeping<'a> {
    pub(super) db: &'a Database,
}

impl Housekeeping<'_> {
    /// Rounds until one comes to no limit: a backlog grown faster than one round removes does not stay.
    /// How many rows went.
    pub async fn sweep_backlog(&self, now: Timestamp, pace: &SweepPace) -> Result<u64, StorageError> {
        let began = Instant::now();
        let mut removed = 0;
        loop {
            let swept = self.sweep(now, pace.limit).await?;
            removed += swept.rows().into_iter().sum::<u64>();
            if !swept.reached(pace.limit) || began.elapsed() + pace.pause >= pace.patience {
                return Ok(removed);
            }
            tokio::time::sleep(pace.pause).await;
        }
    }

    /// One round: at most `limit` rows of each kind. If any count reaches the limit there may be more.
    pub async fn sweep(&self, now: Timestamp, limit: u32) -> Result<Swept, StorageError> {
        let expired = self.remove(EXPIRED_SESSIONS, now - DAY, limit).await?;
        let ended = self.remove(ENDED_SESSIONS, now - DAY, limit).await?;
        let settled = self.remove(MESSAGES, now - 7 * DAY, limit).await?;
        let changes_told = self.remove(CHANGES_TOLD, now - 31 * DAY, limit).await?;
        Ok(Swept {
            links: self.remove(LINKS, now, limit).await?,
            proofs: self.remove(PROOFS, now - DAY, limit).await?,
            accounts: self.remove(LAPSED, now, limit).await?,
            sessions: expired + ended,
            devices: devices::forget_unused(self.db, now - TRUST_LIFE, limit, now).await?,
            sealed_successors: self.remove(SEALED, now - LONGEST_GRACE, limit).await?,
            revocations: self.remove(REVOCATIONS, now - 2 * DAY, limit).await?,
            messages: settled + changes_told,
            deliveries: self.remove(DELIVERIES, now - 30 * DAY, limit).await?,
            early_receipts: self.remove(EARLY_RECEIPTS, now - DAY / 24, limit).await?,
            locks: self.remove(LOCKS, now - 30 * DAY, limit).await?,
            keys: self.remove(KEYS, now - 7 * DAY, limit).await?,
            audit: self.remove(AUDIT, now - AUDIT_KEPT, limit).await?,
        })
    }

    async fn remove(&self, statement: &'static str, until: Timestamp, limit: u32) -> Result<u64, StorageError> {
        execute!(self.db.write(), statement, until.as_millis(), i64::from(limit))
    }
}
