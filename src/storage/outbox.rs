//! Messages waiting to be sent: claimed for a while, marked as handed over, settled once.
//!
//! ```text
//!  born leased, claim 1 ──► handed over ──► settled: sent | dead | expired
//!        │    ▲        └──────────────┴──► retry: leased to nobody until its time, then claimed anew
//!        └────┘ lease ran out (a crash): claimed by any node (claim + 1)
//!                 └ with the mark of a hand-over: it may have left, and the claim says so
//! ```
//!
//! Marking and settling name the claim they are made under; a sender that lost its lease marks and
//! settles nothing. What was tried is written to the delivery log in the same transaction.
//!
//! Claims go line by line, a line being one tenant's messages of one channel, so that ten thousand
//! rows of one do not hold up another's first, and a line that takes nothing more costs nothing.
//! Each step is one index probe, however much waits.

use std::time::Duration;

use sqlx::types::Uuid;

use super::deliveries::{self, Attempt};
use super::engine::{Database, Text};
use super::error::StorageError;
use super::notes::{self, Notes, millis};
use crate::domain::contact::{Contact, ContactKind};
use crate::domain::ids::{MessageId, NodeId, TenantId};
use crate::domain::locale::Locale;
use crate::domain::message::{Channel, Message};
use crate::domain::time::Timestamp;

/// Hops from tenant to tenant over the index instead of reading every row. PostgreSQL judges leases by
/// its own clock; SQLite has one writer and one clock.
const LINES: Text = Text {
    postgres: "
    WITH RECURSIVE waiting (tenant_id, n) AS (
        SELECT tenant_id, 1 FROM
            (SELECT tenant_id FROM outbox WHERE state = 'queued' AND tenant_id > $2 ORDER BY tenant_id LIMIT 1) AS first
        UNION ALL
        SELECT (SELECT tenant_id FROM outbox
                 WHERE state = 'queued' AND tenant_id > waiting.tenant_id ORDER BY tenant_id LIMIT 1), n + 1
          FROM waiting WHERE tenant_id IS NOT NULL AND n < $3
    )
    SELECT tenant_id,
           EXISTS (SELECT 1 FROM outbox o WHERE o.tenant_id = w.tenant_id AND kind = 'email' AND state = 'queued'
                      AND lease_until <= (extract(epoch FROM now()) * 1000)::bigint AND (not_after > $1 OR handed_at IS NOT NULL)),
           EXISTS (SELECT 1 FROM outbox o WHERE o.tenant_id = w.tenant_id AND kind = 'phone' AND state = 'queued'
                      AND lease_until <= (extract(epoch FROM now()) * 1000)::bigint AND (not_after > $1 OR handed_at IS NOT NULL))
      FROM waiting w WHERE tenant_id IS NOT NULL ORDER BY tenant_id",
    sqlite: "
    WITH RECURSIVE waiting (tenant_id, n) AS (
        SELECT tenant_id, 1 FROM
            (SELECT tenant_id FROM outbox WHERE state = 'queued' AND tenant_id > $2 ORDER BY tenant_id LIMIT 1) AS first
        UNION ALL
        SELECT (SELECT tenant_id FROM outbox
                 WHERE state = 'queued' AND tenant_id > waiting.tenant_id ORDER BY tenant_id LIMIT 1), n + 1
          FROM waiting WHERE tenant_id IS NOT NULL AND n < $3
    )
    SELECT tenant_id,
           EXISTS (SELECT 1 FROM outbox o WHERE o.tenant_id = w.tenant_id AND kind = 'email' AND state = 'queued'
                      AND lease_until <= $1 AND (not_after > $1 OR handed_at IS NOT NULL)),
           EXISTS (SELECT 1 FROM outbox o WHERE o.tenant_id = w.tenant_id AND kind = 'phone' AND state = 'queued'
                      AND lease_until <= $1 AND (not_after > $1 OR handed_at IS NOT NULL))
      FROM waiting w WHERE tenant_id IS NOT NULL ORDER BY tenant_id",
};

/// Those overdue for longest first, as the index has them. Two claimers pass each other's rows by.
const CLAIM: Text = Text {
    postgres: "
    WITH picked AS (
        SELECT id FROM outbox
         WHERE tenant_id = $1 AND kind = $2 AND state = 'queued'
           AND lease_until <= (extract(epoch FROM now()) * 1000)::bigint AND (not_after > $3 OR handed_at IS NOT NULL)
         ORDER BY lease_until LIMIT $4
           FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox
       SET claim = claim + 1, node_id = $5, lease_until = (extract(epoch FROM now()) * 1000)::bigint + $6
      FROM picked
     WHERE outbox.tenant_id = $1 AND outbox.id = picked.id
    RETURNING outbox.tenant_id, outbox.id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at,
              claim, attempts, handed_at, handed_to",
    sqlite: "
    UPDATE outbox
       SET claim = claim + 1, node_id = $5, lease_until = $3 + $6
     WHERE tenant_id = $1 AND id IN (
        SELECT id FROM outbox
         WHERE tenant_id = $1 AND kind = $2 AND state = 'queued' AND lease_until <= $3
           AND (not_after > $3 OR handed_at IS NOT NULL)
         ORDER BY lease_until LIMIT $4)
    RETURNING tenant_id, id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at,
              claim, attempts, handed_at, handed_to",
};

/// Not while somebody is sending it, nor when somebody may have sent it: those say more.
const EXPIRED: Text = Text {
    postgres: "
    SELECT tenant_id, id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at,
           claim, attempts, handed_at, handed_to
      FROM outbox
     WHERE state = 'queued' AND not_after <= $1 AND handed_at IS NULL
       AND lease_until <= (extract(epoch FROM now()) * 1000)::bigint
     ORDER BY not_after LIMIT $2",
    sqlite: "
    SELECT tenant_id, id, kind, recipient, locale, CAST(content AS TEXT) AS content, not_after, created_at,
           claim, attempts, handed_at, handed_to
      FROM outbox
     WHERE state = 'queued' AND not_after <= $1 AND handed_at IS NULL AND lease_until <= $1
     ORDER BY not_after LIMIT $2",
};

/// Renews the lease too: the sender has all of its own deadline from here.
const HAND_OVER: Text = Text {
    postgres: "
    UPDATE outbox
       SET handed_at = $4, handed_to = $5, lease_until = (extract(epoch FROM now()) * 1000)::bigint + $6
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
    sqlite: "
    UPDATE outbox SET handed_at = $4, handed_to = $5, lease_until = $4 + $6
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
};

const SETTLE: &str = "
    UPDATE outbox SET state = $4, reason = $5, settled_at = $6
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'";

/// The next claim raises the number, so the one that is given back settles nothing more.
const RETRY: Text = Text {
    postgres: "
    UPDATE outbox
       SET attempts = attempts + $6, reason = $7, claim = claim + 1, handed_at = NULL, handed_to = NULL,
           lease_until = (extract(epoch FROM now()) * 1000)::bigint + $4
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
    sqlite: "
    UPDATE outbox
       SET attempts = attempts + $6, reason = $7, claim = claim + 1, handed_at = NULL, handed_to = NULL,
           lease_until = $5 + $4
     WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND state = 'queued'",
};

const DEPTH: &str = "SELECT count(*), min(created_at) FROM outbox WHERE state = 'queued'";

/// A message this node may send until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// What to send.
    pub message: Message,
    /// When it was written.
    pub created_at: Timestamp,
    /// Names this claim when marking and settling.
    pub claim: i64,
    /// How often it was tried and given back.
    pub attempts: u32,
    /// A hand-over that nobody told the end of: it may have left.
    pub handed: Option<HandedOver>,
}

/// A message was given to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The sender's name.
    pub to: String,
    /// When.
    pub at: Timestamp,
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
        /// Whether it was tried, or only waited for its turn.
        tried: bool,
        /// Why, in words without addresses.
        reason: &'a str,
    },
    /// Never.
    Dead {
        /// Why, in words without addresses.
        reason: &'a str,
    },
    /// It is not worth sending any more.
    Expired,
}

/// Tenants with messages waiting, and which of their channels have one that may be claimed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// The lines with something to claim.
    pub due: Vec<(TenantId, Channel)>,
    /// Where to go on; none at the end.
    pub next: Option<TenantId>,
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
        notes::write_alone(self.db, notes).await
    }

    /// The lines of up to `tenants` tenants that have messages waiting, from the one after `after`.
    pub async fn lines(&self, after: Option<TenantId>, tenants: u32, now: Timestamp) -> Result<Lines, StorageError> {
        let after = after.map_or(Uuid::nil(), TenantId::uuid);
        let (text, tenants) = (self.db.pick(LINES), i64::from(tenants));
        let rows = fetch_all!(self.db.read(), (Uuid, bool, bool), text, now.as_millis(), after, tenants)?;
        let is_full = i64::try_from(rows.len()) == Ok(tenants);
        let next = rows.last().filter(|_| is_full).map(|(tenant, ..)| TenantId::from(*tenant));
        let channels = |(tenant, email, sms): (Uuid, bool, bool)| {
            [(email, Channel::Email), (sms, Channel::Sms)]
                .into_iter()
                .filter_map(move |(due, channel)| due.then_some((TenantId::from(tenant), channel)))
        };
        Ok(Lines { due: rows.into_iter().flat_map(channels).collect(), next })
    }

    /// Takes up to `room` messages of one line whose lease has ended, for `lease`. A row that cannot be
    /// read is settled as dead and holds up no other.
    pub async fn claim(
        &self,
        (tenant, channel): (TenantId, Channel),
        room: u32,
        node: NodeId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claimed>, StorageError> {
        let (text, kind) = (self.db.pick(CLAIM), kind_of(channel).as_str());
        let mut rows = fetch_all!(
            self.db.write(),
            OutboxRow,
            text,
            tenant.uuid(),
            kind,
            now.as_millis(),
            i64::from(room),
            node.uuid(),
            millis(lease),
        )?;
        rows.sort_by_key(|row| (row.created_at, row.id));
        self.readable(rows, now).await
    }

    /// Up to `limit` messages past their life that nobody is sending, for the caller to settle.
    pub async fn expired(&self, limit: u32, now: Timestamp) -> Result<Vec<Claimed>, StorageError> {
        let text = self.db.pick(EXPIRED);
        let rows = fetch_all!(self.db.read(), OutboxRow, text, now.as_millis(), i64::from(limit))?;
        self.readable(rows, now).await
    }

    async fn readable(&self, rows: Vec<OutboxRow>, now: Timestamp) -> Result<Vec<Claimed>, StorageError> {
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let (tenant, id, claim) = (row.tenant_id.into(), MessageId::from(row.id), row.claim);
            match row.into_claimed() {
                Ok(message) => claimed.push(message),
                Err(error) => {
                    tracing::error!(%error, message.id = %id, "a message cannot be read and is given up");
                    let dead = Settled::Dead { reason: "unreadable" };
                    if let Err(error) = self.settle(tenant, id, claim, dead, &[], now).await {
                        tracing::warn!(%error, message.id = %id, "an unreadable message was not settled");
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// Notes that a message is about to be given to the sender of that name, which answers within
    /// `lease`; `tried` is what was tried before. `false` if this claim is not the newest any more: it
    /// must not be given.
    pub async fn hand_over(
        &self,
        claimed: &Claimed,
        sender: &str,
        lease: Duration,
        tried: &[Attempt],
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (tenant, id) = (claimed.message.tenant.uuid(), claimed.message.id.uuid());
        let text = self.db.pick(HAND_OVER);
        if tried.is_empty() {
            let write = self.db.write();
            return Ok(execute!(write, text, tenant, id, claimed.claim, now.as_millis(), sender, millis(lease))? == 1);
        }
        let mut tx = self.db.begin().await?;
        let marked = execute!(tx.on(), text, tenant, id, claimed.claim, now.as_millis(), sender, millis(lease))? == 1;
        if marked {
            deliveries::insert(&mut tx, tried).await?;
            tx.commit().await?;
        }
        Ok(marked)
    }

    /// Writes down what became of a message and what was tried; `false`, and nothing is written, if this
    /// claim is not the newest any more.
    pub async fn settle(
        &self,
        tenant: TenantId,
        id: MessageId,
        claim: i64,
        settled: Settled<'_>,
        tried: &[Attempt],
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let (tenant, id, now) = (tenant.uuid(), id.uuid(), now.as_millis());
        let (state, reason) = match settled {
            Settled::Retry { .. } => ("queued", None),
            Settled::Sent => ("sent", None),
            Settled::Dead { reason } => ("dead", Some(reason)),
            Settled::Expired => ("expired", None),
        };
        let changed = if let Settled::Retry { after, tried, reason } = settled {
            let text = tx.pick(RETRY);
            execute!(tx.on(), text, tenant, id, claim, millis(after), now, i64::from(tried), reason)?
        } else {
            execute!(tx.on(), SETTLE, tenant, id, claim, state, reason, now)?
        };
        if changed == 1 {
            deliveries::insert(&mut tx, tried).await?;
            tx.commit().await?;
        }
        Ok(changed == 1)
    }

    /// How much waits, over all tenants.
    pub async fn depth(&self) -> Result<Depth, StorageError> {
        let row = fetch_optional!(self.db.read(), (i64, Option<i64>), DEPTH)?;
        let (waiting, oldest) = row.unwrap_or_default();
        Ok(Depth { waiting: u64::try_from(waiting).unwrap_or(0), oldest: oldest.map(Timestamp::from_millis) })
    }
}

const fn kind_of(channel: Channel) -> ContactKind {
    match channel {
        Channel::Email => ContactKind::Email,
        Channel::Sms => ContactKind::Phone,
    }
}

row! {
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
        handed_at: Option<i64>,
        handed_to: Option<String>,
    }
}

impl OutboxRow {
    fn into_claimed(self) -> Result<Claimed, StorageError> {
        let kind = [ContactKind::Email, ContactKind::Phone].into_iter().find(|kind| kind.as_str() == self.kind);
        let kind = kind.ok_or_else(|| StorageError::corrupt("outbox.kind"))?;
        let to = Contact::from_canonical(kind, &self.recipient);
        let handed = self.handed_to.zip(self.handed_at);
        Ok(Claimed {
            message: Message {
                id: self.id.into(),
                tenant: self.tenant_id.into(),
                to: to.map_err(|_| StorageError::corrupt("outbox.recipient"))?,
                locale: Locale::from_tag(&self.locale).ok_or_else(|| StorageError::corrupt("outbox.locale"))?,
                content: serde_json::from_str(&self.content).map_err(|_| StorageError::corrupt("outbox.content"))?,
                not_after: Timestamp::from_millis(self.not_after),
            },
            created_at: Timestamp::from_millis(self.created_at),
            handed: handed.map(|(to, at)| HandedOver { to, at: Timestamp::from_millis(at) }),
            claim: self.claim,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
        })
    }
}
