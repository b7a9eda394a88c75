//! The mirror of the lockout book, and the locks that were announced.
//!
//! The ephemeral store judges attempts; this is what an emptied one is seeded from, so that losing it
//! unlocks nobody. Mirrors may arrive out of order: each carries the book's version and an older one
//! changes nothing. A cleared book leaves a marker row (lane `*`) against mirrors from before.

use std::collections::BTreeMap;

use sqlx::types::{Json, Uuid};

use super::accounts;
use super::engine::{Database, Tx};
use super::error::StorageError;
use super::links::{self, LinkPurpose, NewLink};
use super::notes::{self, Notes};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, ChallengeId, TenantId};
use crate::domain::lockout::{Counter, Lane, Lock};
use crate::domain::time::Timestamp;

const LOAD: &str = "SELECT lane, counter, version FROM attempts WHERE tenant_id = $1 AND account_id = $2";

/// A clean counter is kept as such, for its version.
const MIRROR: &str = "
    INSERT INTO attempts (tenant_id, account_id, lane, counter, version)
    SELECT $1, $2, $3, $4, $5
     WHERE NOT EXISTS (SELECT 1 FROM attempts
                        WHERE tenant_id = $1 AND account_id = $2 AND lane = '*' AND version >= $5)
    ON CONFLICT (tenant_id, account_id, lane)
    DO UPDATE SET counter = excluded.counter, version = excluded.version WHERE attempts.version < excluded.version";

const CLEAR_LANES: &str =
    "DELETE FROM attempts WHERE tenant_id = $1 AND account_id = $2 AND lane <> '*' AND version <= $3";

const MARK_CLEARED: &str = "
    INSERT INTO attempts (tenant_id, account_id, lane, counter, version) VALUES ($1, $2, '*', $3, $4)
    ON CONFLICT (tenant_id, account_id, lane)
    DO UPDATE SET version = excluded.version WHERE attempts.version < excluded.version";

const INSERT_LOCK: &str = "
    INSERT INTO locks (tenant_id, id, account_id, lane, locked_until) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, id) DO NOTHING";

const END_LOCKS: &str = "
    UPDATE locks SET ended_at = $3, end_cause = $4
     WHERE tenant_id = $1 AND account_id = $2 AND ended_at IS NULL
    RETURNING id";

/// Not those that ran out already: their expiry is what ended them.
const LIFT_LOCKS: &str = "
    UPDATE locks SET ended_at = $4, end_cause = 'link'
     WHERE tenant_id = $1 AND account_id = $2 AND lane = $3 AND ended_at IS NULL AND locked_until > $4
    RETURNING id";

const DUE: &str = "
    UPDATE locks SET ended_at = $1, end_cause = 'expiry'
     WHERE ended_at IS NULL
       AND (tenant_id, id) IN (SELECT tenant_id, id FROM locks
                                WHERE ended_at IS NULL AND locked_until <= $1 ORDER BY locked_until LIMIT $2)
    RETURNING tenant_id, account_id, locked_until";

/// One lane of the book after a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Which lane.
    pub lane: Lane,
    /// How it stands.
    pub counter: Counter,
    /// The book's version then.
    pub version: u64,
}

/// The mirror of the lockout book, and locks.
#[derive(Debug, Clone, Copy)]
pub struct Attempts<'a> {
    pub(super) db: &'a Database,
}

impl Attempts<'_> {
    /// The book as last mirrored: its version and the counters that are not clean.
    pub async fn load(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<(u64, BTreeMap<Lane, Counter>), StorageError> {
        let rows = fetch_all!(self.db.read(), LaneRow, LOAD, tenant.uuid(), account.uuid())?;
        let mut newest = 0;
        let mut counters = BTreeMap::new();
        for LaneRow { lane, counter, version } in rows {
            newest = newest.max(u64::try_from(version).map_err(|_| StorageError::corrupt("attempts.version"))?);
            if !counter.0.is_clean() {
                let lane = Lane::from_label(&lane).ok_or_else(|| StorageError::corrupt("attempts.lane"))?;
                counters.insert(lane, counter.0);
            }
        }
        Ok((newest, counters))
    }

    /// Keeps a lane's new state, unless something newer is kept or the account is gone.
    pub async fn mirror(&self, tenant: TenantId, account: AccountId, mirror: &Mirror) -> Result<(), StorageError> {
        let mut tx = self.db.begin().await?;
        if accounts::lock(&mut tx, tenant, account).await? {
            put(&mut tx, tenant, account, mirror).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Records a lock and the state that made it, with the link that ends it if one is mailed. `true` for the first to do so, whose notes (the
    /// owner's mail, the event) are written; `false` for everyone after.
    pub async fn record_lock(
        &self,
        tenant: TenantId,
        account: AccountId,
        mirror: &Mirror,
        lock: &Lock,
        unlock: Option<&NewLink>,
        notes: &Notes<'_>,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !accounts::lock(&mut tx, tenant, account).await? {
            return Ok(false);
        }
        let (lane, until) = (mirror.lane.label(), lock.until.as_millis());
        let inserted = execute!(tx.on(), INSERT_LOCK, tenant.uuid(), lock.id.uuid(), account.uuid(), lane, until)?;
        if inserted == 1 {
            put(&mut tx, tenant, account, mirror).await?;
            if let Some(link) = unlock {
                links::insert(&mut tx, link).await?;
            }
            notes::write(&mut tx, notes).await?;
        }
        tx.commit().await?;
        Ok(inserted == 1)
    }

    /// Spends an unlock link: ends the locks of the lane whose state `mirror` is now, each with its
    /// event. `false` if the link is not live or somebody was first.
    pub async fn lift(
        &self,
        tenant: TenantId,
        account: AccountId,
        link: ChallengeId,
        mirror: &Mirror,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !accounts::lock(&mut tx, tenant, account).await?
            || !links::spend(&mut tx, tenant, link, LinkPurpose::Unlock, now).await?
        {
            return Ok(false);
        }
        put(&mut tx, tenant, account, mirror).await?;
        let (lane, at) = (mirror.lane.label(), now.as_millis());
        let ended = fetch_all!(tx.on(), (Uuid,), LIFT_LOCKS, tenant.uuid(), account.uuid(), lane, at)?;
        let events: Vec<_> = ended.iter().map(|_| unlocked(tenant, account, "link", now)).collect();
        notes::write_events(&mut tx, &events).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets every counter up to the book's `version` and ends every lock, each with its event.
    pub async fn clear(
        &self,
        tenant: TenantId,
        account: AccountId,
        version: u64,
        cause: &'static str,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut tx = self.db.begin().await?;
        if accounts::lock(&mut tx, tenant, account).await? {
            clear_book(&mut tx, tenant, account, Some(version), cause, now).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Ends locks that ran out, of all tenants, at most `limit`; each gets its event once, on
    /// whichever node. Returns how many.
    pub async fn expire_locks(&self, now: Timestamp, limit: u32) -> Result<usize, StorageError> {
        let mut tx = self.db.begin().await?;
        let due = fetch_all!(tx.on(), (Uuid, Uuid, i64), DUE, now.as_millis(), i64::from(limit))?;
        let events: Vec<_> = due
            .iter()
            .map(|&(tenant, account, until)| {
                unlocked(tenant.into(), account.into(), "expiry", Timestamp::from_millis(until))
            })
            .collect();
        notes::write_events(&mut tx, &events).await?;
        tx.commit().await?;
        Ok(due.len())
    }
}

/// Clears the book within a transaction that holds the account; without a `version`, past every
/// mirror that is kept.
pub(super) async fn clear_book(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    version: Option<u64>,
    cause: &'static str,
    now: Timestamp,
) -> Result<(), StorageError> {
    let version = if let Some(version) = version {
        stored(version)
    } else {
        let rows = fetch_all!(tx.on(), LaneRow, LOAD, tenant.uuid(), account.uuid())?;
        rows.iter().map(|row| row.version).max().unwrap_or(0).saturating_add(1)
    };
    execute!(tx.on(), CLEAR_LANES, tenant.uuid(), account.uuid(), version)?;
    execute!(tx.on(), MARK_CLEARED, tenant.uuid(), account.uuid(), Json(Counter::default()), version)?;
    let ended = fetch_all!(tx.on(), (Uuid,), END_LOCKS, tenant.uuid(), account.uuid(), now.as_millis(), cause)?;
    let events: Vec<_> = ended.iter().map(|_| unlocked(tenant, account, cause, now)).collect();
    notes::write_events(tx, &events).await
}

async fn put(tx: &mut Tx, tenant: TenantId, account: AccountId, mirror: &Mirror) -> Result<(), StorageError> {
    let (lane, version) = (mirror.lane.label(), stored(mirror.version));
    execute!(tx.on(), MIRROR, tenant.uuid(), account.uuid(), lane, Json(mirror.counter), version).map(drop)
}

const fn unlocked(tenant: TenantId, account: AccountId, cause: &'static str, at: Timestamp) -> Event {
    Event {
        tenant,
        account: Some(account),
        kind: EventKind::AuthnLoginUnlock,
        at,
        cause: Some(cause),
        key: None,
        subject: None,
    }
}

fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

row! {
    struct LaneRow {
        lane: String,
        counter: Json<Counter>,
        version: i64,
    }
}
