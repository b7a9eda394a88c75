//! Messages waiting to be sent: claimed for a while, settled once.
//!
//! ```text
//!  born leased, claim 1 ──► settled: sent | dead
//!        │    ▲        └──► retry: leased to nobody until its time, then claimed anew (claim + 1)
//!        └────┘ lease ran out (a crash): claimed by any node (claim + 1)
//!  past not_after ──► expired
//! ```
//!
//! A settlement names the claim it was made under; a sender that lost its lease settles nothing.
//! Claims go round the tenants, so that ten thousand rows of one do not hold up another's first.

use std::time::Duration;

use sqlx::types::Uuid;

use super::engine::{Database, Text};
use super::error::StorageError;
use super::notes::{self, Notes, millis};
use crate::domain::contact::{Contact, ContactKind};
use crate::domain::ids::{MessageId, NodeId, TenantId};
use crate::domain::locale::Locale;
use crate::domain::message::Message;
use crate::domain::time::Timestamp;

/// `turn` is a row's place in its tenant's queue. PostgreSQL judges leases by its own clock and two
/// claimers pass each other's rows by; SQLite has one writer and one clock.
const CLAIM: Text = Text {
    postgres: "
    WITH due AS (
        SELECT tenant_id, id, created_at, row_number() OVER (PARTITION BY tenant_id ORDER BY created_at, id) AS turn
          FROM outbox
         WHERE state = 'queued' AND not_after > $1 AND lease_until <= extract(epoch FROM now()) * 1000
    ), picked AS (
        SELECT o.tenant_id, o.id
          FROM outbox o JOIN due ON due.tenant_id = o.tenant_id AND due.id = o.id
         WHERE o.state = 'queued' AND o.lease_until <= extract(epoch FROM now()) * 1000
         ORDER BY due.turn, due.created_at, o.id LIMIT $2
           FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE outbox
       SET claim = claim + 1, node_id = $3, lease_until = (extract(epoch FROM now()) * 1000)::bigint + $4
      FROM picked
     WHERE outbox.tenant_id = picked.tenant_id AND outbox.id = picked.id
    RETURNING outbox.tenant_id, outbox.id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at, claim, attempts",
    sqlite: "
    UPDATE outbox
       SET claim = claim + 1, node_id = $3, lease_until = $1 + $4
     WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM (
            SELECT tenant_id, id, created_at,
                   row_number() OVER (PARTITION BY tenant_id ORDER BY created_at, id) AS turn
              FROM outbox WHERE state = 'queued' AND not_after > $1 AND lease_until <= $1)
         ORDER BY turn, created_at, id LIMIT $2)
    RETURNING tenant_id, id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at, claim, attempts",
};

const SETTLE: &str = "
    UPDATE outbox SET state = $4, reason = $5, settled_at = $6
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'";

/// The next claim raises the number, so the one that is given back settles nothing more.
const RETRY: Text = Text {
    postgres: "
    UPDATE outbox
       SET attempts = attempts + 1, claim = claim + 1,
           lease_until = (extract(epoch FROM now()) * 1000)::bigint + $4
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
    sqlite: "
    UPDATE outbox SET attempts = attempts + 1, claim = claim + 1, lease_until = $5 + $4
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
};

/// Not while somebody is sending it: that settlement says more.
const EXPIRE: Text = Text {
    postgres: "
    UPDATE outbox SET state = 'expired', settled_at = $1
     WHERE state = 'queued' AND not_after <= $1 AND lease_until <= extract(epoch FROM now()) * 1000",
    sqlite: "
    UPDATE outbox SET state = 'expired', settled_at = $1
     WHERE state = 'queued' AND not_after <= $1 AND lease_until <= $1",
};

const DEPTH: &str = "SELECT count(*), min(created_at) FROM outbox WHERE state = 'queued'";

/// A message this node may send until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// What to send.
    pub message: Message,
    /// Names this claim when settling.
    pub claim: i64,
    /// How often it was tried and given back.
    pub attempts: u32,
}

/// What became of a claimed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled<'a> {
    /// Accepted by a provider.
    Sent,
    /// Not yet: to be claimed again after this long.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// Never.
    Dead {
        /// Why, in words without addresses.
        reason: &'a str,
    },
}

/// How much waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Rows neither sent nor given up.
    pub waiting: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

/// Messages waiting to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Outbox<'a> {
    pub(super) db: &'a Database,
}

impl Outbox<'_> {
    /// Writes messages and events that go with no fact of storage's own: a code's challenge lives
    /// in the ephemeral store.
    pub async fn enqueue(&self, notes: &Notes<'_>) -> Result<(), StorageError> {
        let mut tx = self.db.begin().await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await
    }

    /// Takes up to `batch` messages whose lease has ended, of all tenants in turn, for `lease`. A row
    /// that cannot be read is settled as dead and holds up no other.
    pub async fn claim(
        &self,
        node: NodeId,
        batch: u32,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StorageError> {
        let (at, batch) = (now.as_millis(), i64::from(batch));
        let text = self.db.pick(CLAIM);
        let mut rows = fetch_all!(self.db.write(), OutboxRow, text, at, batch, node.uuid(), millis(lease))?;
        rows.sort_by_key(|row| (row.created_at, row.id));
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let (tenant, id, claim) = (row.tenant_id.into(), MessageId::from(row.id), row.claim);
            match row.into_claimed() {
                Ok(message) => claimed.push(message),
                Err(error) => {
                    tracing::error!(%error, message.id = %id, "a message cannot be read and is given up");
                    let dead = Settled::Dead { reason: "unreadable" };
                    if let Err(error) = self.settle(tenant, id, claim, dead, now).await {
                        tracing::warn!(%error, message.id = %id, "an unreadable message was not settled");
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// Writes down what became of a message; `false` if this claim is not the newest any more.
    pub async fn settle(
        &self,
        tenant: TenantId,
        id: MessageId,
        claim: i64,
        settled: Settled<'_>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (tenant, id, now) = (tenant.uuid(), id.uuid(), now.as_millis());
        let (state, reason) = match settled {
            Settled::Retry { after } => {
                let text = self.db.pick(RETRY);
                return Ok(execute!(self.db.write(), text, tenant, id, claim, millis(after), now)? == 1);
            }
            Settled::Sent => ("sent", None),
            Settled::Dead { reason } => ("dead", Some(reason)),
        };
        Ok(execute!(self.db.write(), SETTLE, tenant, id, claim, state, reason, now)? == 1)
    }

    /// Gives up what is past its life and not being sent. Returns how many.
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StorageError> {
        execute!(self.db.write(), self.db.pick(EXPIRE), now.as_millis())
    }

    /// How much waits, over all tenants.
    pub async fn depth(&self) -> Result<Depth, StorageError> {
        let row = fetch_optional!(self.db.read(), (i64, Option<i64>), DEPTH)?;
        let (waiting, oldest) = row.unwrap_or_default();
        Ok(Depth { waiting: u64::try_from(waiting).unwrap_or(0), oldest: oldest.map(Timestamp::from_millis) })
    }
}

#[derive(sqlx::FromRow)]
struct OutboxRow {
    tenant_id: Uuid,
    id: Uuid,
    kind: String,
    recipient: String,
    locale: String,
    content: String,
    not_after: i64,
    created_at: i64,
    claim: i64,
    attempts: i64,
}

impl OutboxRow {
    fn into_claimed(self) -> Result<Claimed, StorageError> {
        let kind = [ContactKind::Email, ContactKind::Phone].into_iter().find(|kind| kind.as_str() == self.kind);
        let kind = kind.ok_or_else(|| StorageError::corrupt("outbox.kind"))?;
        let to = Contact::from_canonical(kind, &self.recipient);
        Ok(Claimed {
            message: Message {
                id: self.id.into(),
                tenant: self.tenant_id.into(),
                to: to.map_err(|_| StorageError::corrupt("outbox.recipient"))?,
                locale: Locale::from_tag(&self.locale).ok_or_else(|| StorageError::corrupt("outbox.locale"))?,
                content: serde_json::from_str(&self.content).map_err(|_| StorageError::corrupt("outbox.content"))?,
                not_after: Timestamp::from_millis(self.not_after),
            },
            claim: self.claim,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
        })
    }
}
