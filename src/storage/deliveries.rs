//! The delivery log: one row per attempt at a message, and what receipts said of it later.
//!
//! ```text
//!  attempt ── written with the hand-over or settlement it belongs to ──► deliveries
//!  receipt ── found by sender and reference ──► state moves forward
//!        └── not found while a message is with that sender ──► kept as early, matched by the settlement
//! ```
//!
//! A row names no person: the recipient is a keyed digest, and there is neither text nor code. It
//! outlives the message, whose state is joined while that is still there.

use std::time::Duration;

use sqlx::types::Uuid;

use super::engine::{Database, Text, Tx};
use super::error::StorageError;
use super::notes::millis;
use crate::domain::delivery::DeliveryState;
use crate::domain::ids::{DeliveryId, MessageId, TenantId};
use crate::domain::message::Channel;
use crate::domain::time::Timestamp;

const INSERT: &str = "
    INSERT INTO deliveries (tenant_id, id, message_id, sender, channel, template, attempt, at, latency,
                            state, stage, code, reference, recipient)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

const PAGE: &str = "
    SELECT d.id, d.message_id, d.sender, d.channel, d.template, d.attempt, d.at, d.latency, d.state, d.told_at,
           d.stage, d.code, d.reference, d.recipient, o.state AS message_state, o.reason AS message_reason
      FROM deliveries d LEFT JOIN outbox o ON o.tenant_id = d.tenant_id AND o.id = d.message_id
     WHERE d.tenant_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3";

const PAGE_OF_RECIPIENT: &str = "
    SELECT d.id, d.message_id, d.sender, d.channel, d.template, d.attempt, d.at, d.latency, d.state, d.told_at,
           d.stage, d.code, d.reference, d.recipient, o.state AS message_state, o.reason AS message_reason
      FROM deliveries d LEFT JOIN outbox o ON o.tenant_id = d.tenant_id AND o.id = d.message_id
     WHERE d.tenant_id = $1 AND d.id < $2 AND d.recipient = $4 ORDER BY d.id DESC LIMIT $3";

const OF_MESSAGE: &str =
    "SELECT sender, state FROM deliveries WHERE tenant_id = $1 AND message_id = $2 ORDER BY attempt";

const FIND: &str = "
    SELECT id, message_id FROM deliveries
     WHERE tenant_id = $1 AND sender = $2 AND reference = $3 ORDER BY id DESC LIMIT 1";

/// A message before its deliveries, as whoever erases a person takes them.
const HOLD_MESSAGE: Text = Text {
    postgres: "SELECT id FROM outbox WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE",
    sqlite: "SELECT id FROM outbox WHERE tenant_id = $1 AND id = $2",
};

/// Of two receipts at once, the second waits for the first and moves nothing back.
const HOLD: Text = Text {
    postgres: "SELECT state FROM deliveries WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    sqlite: "SELECT state FROM deliveries WHERE tenant_id = $1 AND id = $2",
};

const IS_KNOWN: &str = "SELECT count(*) FROM deliveries WHERE tenant_id = $1 AND sender = $2 AND reference = $3";

const TELL: &str = "
    UPDATE deliveries SET state = $3, code = COALESCE($4, code), told_at = $5 WHERE tenant_id = $1 AND id = $2";

/// Only while a message is with that sender: anything else it reports is none of ours.
const KEEP_EARLY: &str = "
    INSERT INTO early_receipts (tenant_id, sender, reference, state, code, at)
    SELECT $1, $2, $3, $4, $5, $6
     WHERE EXISTS (SELECT 1 FROM outbox
                    WHERE tenant_id = $1 AND handed_to = $2 AND state = 'queued' AND handed_at IS NOT NULL)
    ON CONFLICT DO NOTHING";

const TAKE_EARLY: &str = "
    DELETE FROM early_receipts WHERE tenant_id = $1 AND sender = $2 AND reference = $3 RETURNING state, code";

/// A message goes to its next sender once: not after a second sender's failure.
const AGAIN: &str = "
    UPDATE outbox
       SET state = 'queued', reason = 'undelivered', settled_at = NULL, lease_until = 0, claim = claim + 1,
           attempts = attempts + 1, handed_at = NULL, handed_to = NULL
     WHERE tenant_id = $1 AND id = $2 AND state = 'sent' AND not_after > $3
       AND 1 = (SELECT count(*) FROM deliveries
                 WHERE tenant_id = $1 AND message_id = $2 AND state IN ('undelivered', 'delivered'))";

/// Whole rows: what a provider calls a message leads to a person too.
const FORGET: &str = "DELETE FROM deliveries WHERE tenant_id = $1 AND recipient = $2";

/// One attempt at a message, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id; sorts by time.
    pub id: DeliveryId,
    /// In which tenant.
    pub tenant: TenantId,
    /// Of which message.
    pub message: MessageId,
    /// The sender's name; empty if none was to be asked.
    pub sender: String,
    /// How it travels.
    pub channel: Channel,
    /// The template's name.
    pub template: &'static str,
    /// The how-manieth of its message, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long the sender took to answer.
    pub latency: Duration,
    /// What became of it.
    pub state: DeliveryState,
    /// How far it came, if it failed.
    pub stage: Option<&'static str>,
    /// Why it failed: our word or the provider's code.
    pub code: Option<String>,
    /// What the provider calls it.
    pub reference: Option<String>,
    /// Keyed digest of the contact.
    pub recipient: [u8; 32],
}

/// An attempt as stored, and what became of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id; sorts by time.
    pub id: DeliveryId,
    /// Of which message.
    pub message: MessageId,
    /// The sender's name; empty if none was to be asked.
    pub sender: String,
    /// `sms` or `email`.
    pub channel: String,
    /// The template's name.
    pub template: String,
    /// The how-manieth of its message, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long the sender took to answer.
    pub latency: Duration,
    /// What is known of it.
    pub state: DeliveryState,
    /// When a receipt last changed the state.
    pub told_at: Option<Timestamp>,
    /// How far it came, if it failed.
    pub stage: Option<String>,
    /// Why it failed: our word or the provider's code.
    pub code: Option<String>,
    /// What the provider calls it.
    pub reference: Option<String>,
    /// Keyed digest of the contact.
    pub recipient: [u8; 32],
    /// `queued`, `sent`, `dead` or `expired`; none once the message is swept.
    pub message_state: Option<String>,
    /// Why the message is dead or waits.
    pub message_reason: Option<String>,
}

/// What a provider says of a message it took.
#[derive(Debug, Clone, Copy)]
pub struct Receipt<'a> {
    /// Whose sender.
    pub tenant: TenantId,
    /// The sender's name.
    pub sender: &'a str,
    /// What the provider calls the message.
    pub reference: &'a str,
    /// The news.
    pub state: DeliveryState,
    /// The provider's code, if it failed.
    pub code: Option<&'a str>,
}

/// What a receipt changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The delivery's state is another one now.
    Changed,
    /// The same, and its message waits for the next sender.
    SentAgain,
    /// Kept until the message's own answer is written down.
    Early,
    /// Nothing: old news, or none of ours.
    Ignored,
}

/// The delivery log.
#[derive(Debug, Clone, Copy)]
pub struct Deliveries<'a> {
    pub(super) db: &'a Database,
}

impl Deliveries<'_> {
    /// Up to `limit` attempts, newest first, older than `before`; with `recipient`, those to that
    /// contact alone.
    pub async fn page(
        &self,
        tenant: TenantId,
        recipient: Option<[u8; 32]>,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StorageError> {
        let before = before.map_or(Uuid::max(), DeliveryId::uuid);
        let (db, tenant, limit) = (self.db.read(), tenant.uuid(), i64::from(limit));
        let rows = match recipient {
            None => fetch_all!(db, DeliveryRow, PAGE, tenant, before, limit)?,
            Some(digest) => fetch_all!(db, DeliveryRow, PAGE_OF_RECIPIENT, tenant, before, limit, digest.as_slice())?,
        };
        rows.into_iter().map(DeliveryRow::into_delivery).collect()
    }

    /// Who was asked to take a message, oldest first, and what became of that.
    pub async fn of_message(
        &self,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Vec<(String, DeliveryState)>, StorageError> {
        let rows = fetch_all!(self.db.read(), (String, String), OF_MESSAGE, tenant.uuid(), message.uuid())?;
        rows.into_iter().map(|(sender, word)| Ok((sender, state(&word)?))).collect()
    }

    /// Takes in a receipt: early, late, repeated and out of order as they come. If it says that the
    /// message was given up and one of `senders` was not asked yet, the message waits for it, once.
    pub async fn note(&self, receipt: &Receipt<'_>, senders: &[&str], now: Timestamp) -> Result<Noted, StorageError> {
        if let Some(noted) = self.tell(receipt, senders, now).await? {
            return Ok(noted);
        }
        let kept = execute!(
            self.db.write(),
            KEEP_EARLY,
            receipt.tenant.uuid(),
            receipt.sender,
            receipt.reference,
            receipt.state.as_str(),
            receipt.code,
            now.as_millis(),
        )?;
        // The settlement may have been written in between: of the two, whoever looks last sees the other.
        match self.match_early(receipt.tenant, receipt.sender, receipt.reference, senders, now).await? {
            Noted::Ignored if kept == 1 => Ok(Noted::Early),
            Noted::Ignored => Ok(self.tell(receipt, senders, now).await?.unwrap_or(Noted::Ignored)),
            noted => Ok(noted),
        }
    }

    /// Applies what was told of a reference before it was written down; for the one who wrote it.
    pub async fn match_early(
        &self,
        tenant: TenantId,
        sender: &str,
        reference: &str,
        senders: &[&str],
        now: Timestamp,
    ) -> Result<Noted, StorageError> {
        let known = fetch_optional!(self.db.read(), (i64,), IS_KNOWN, tenant.uuid(), sender, reference)?;
        if known.is_none_or(|(count,)| count == 0) {
            return Ok(Noted::Ignored);
        }
        let rows = fetch_all!(self.db.write(), (String, Option<String>), TAKE_EARLY, tenant.uuid(), sender, reference)?;
        let mut told = Vec::with_capacity(rows.len());
        for (word, code) in rows {
            told.push((state(&word)?, code));
        }
        told.sort_by_key(|(state, _)| *state);
        let mut last = Noted::Ignored;
        for (state, code) in told {
            let receipt = Receipt { tenant, sender, reference, state, code: code.as_deref() };
            last = self.tell(&receipt, senders, now).await?.unwrap_or(last);
        }
        Ok(last)
    }

    /// Moves a delivery forward; `None` if there is none of that reference.
    async fn tell(
        &self,
        receipt: &Receipt<'_>,
        senders: &[&str],
        now: Timestamp,
    ) -> Result<Option<Noted>, StorageError> {
        let tenant = receipt.tenant.uuid();
        let mut tx = self.db.begin().await?;
        let found = fetch_optional!(tx.on(), (Uuid, Uuid), FIND, tenant, receipt.sender, receipt.reference)?;
        let Some((id, message)) = found else { return Ok(None) };
        let is_lost = receipt.state == DeliveryState::Undelivered;
        if is_lost {
            let text = tx.pick(HOLD_MESSAGE);
            fetch_optional!(tx.on(), (Uuid,), text, tenant, message)?;
        }
        let text = tx.pick(HOLD);
        let Some((known,)) = fetch_optional!(tx.on(), (String,), text, tenant, id)? else { return Ok(None) };
        if !state(&known)?.yields_to(receipt.state) {
            // Nothing has changed; dropped, it would hold the rows a little longer.
            tx.commit().await?;
            return Ok(Some(Noted::Ignored));
        }
        let (news, now) = (receipt.state.as_str(), now.as_millis());
        execute!(tx.on(), TELL, tenant, id, news, receipt.code, now)?;
        let mut noted = Noted::Changed;
        if is_lost {
            let asked = fetch_all!(tx.on(), (String, String), OF_MESSAGE, tenant, message)?;
            let is_open = |name: &str| !asked.iter().any(|(sender, _)| sender == name);
            if senders.iter().any(|name| is_open(name)) && execute!(tx.on(), AGAIN, tenant, message, now)? == 1 {
                noted = Noted::SentAgain;
            }
        }
        tx.commit().await?;
        Ok(Some(noted))
    }
}

/// Removes what is known of messages to a contact; what is under way to it is written down no more, since
/// its message is gone.
pub(super) async fn forget(tx: &mut Tx, tenant: TenantId, recipient: [u8; 32]) -> Result<(), StorageError> {
    execute!(tx.on(), FORGET, tenant.uuid(), recipient.as_slice()).map(drop)
}

/// Writes attempts down.
pub(super) async fn insert(tx: &mut Tx, attempts: &[Attempt]) -> Result<(), StorageError> {
    for attempt in attempts {
        execute!(
            tx.on(),
            INSERT,
            attempt.tenant.uuid(),
            attempt.id.uuid(),
            attempt.message.uuid(),
            attempt.sender.as_str(),
            attempt.channel.as_str(),
            attempt.template,
            i64::from(attempt.number),
            attempt.at.as_millis(),
            millis(attempt.latency),
            attempt.state.as_str(),
            attempt.stage,
            attempt.code.as_deref(),
            attempt.reference.as_deref(),
            attempt.recipient.as_slice(),
        )?;
    }
    Ok(())
}

fn state(word: &str) -> Result<DeliveryState, StorageError> {
    DeliveryState::from_word(word).ok_or_else(|| StorageError::corrupt("deliveries.state"))
}

row! {
    struct DeliveryRow {
        id: Uuid,
        message_id: Uuid,
        sender: String,
        channel: String,
        template: String,
        attempt: i64,
        at: i64,
        latency: i64,
        state: String,
        told_at: Option<i64>,
        stage: Option<String>,
        code: Option<String>,
        reference: Option<String>,
        recipient: Vec<u8>,
        message_state: Option<String>,
        message_reason: Option<String>,
    }
}

impl DeliveryRow {
    fn into_delivery(self) -> Result<Delivery, StorageError> {
        Ok(Delivery {
            id: self.id.into(),
            message: self.message_id.into(),
            sender: self.sender,
            channel: self.channel,
            template: self.template,
            number: u32::try_from(self.attempt).unwrap_or(u32::MAX),
            at: Timestamp::from_millis(self.at),
            latency: Duration::from_millis(u64::try_from(self.latency).unwrap_or(0)),
            state: state(&self.state)?,
            told_at: self.told_at.map(Timestamp::from_millis),
            stage: self.stage,
            code: self.code,
            reference: self.reference,
            recipient: self.recipient.try_into().map_err(|_| StorageError::corrupt("deliveries.recipient"))?,
            message_state: self.message_state,
            message_reason: self.message_reason,
        })
    }
}
