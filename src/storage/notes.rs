//! What is told and written down together with a fact, in its transaction.

use std::time::Duration;

use sqlx::types::Json;
use sqlx::{Executor, Postgres, Sqlite};

use super::engine::{Database, Engine, Text, Tx};
use super::error::StorageError;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, KeyId, NodeId};
use crate::domain::message::Message;
use crate::domain::time::Timestamp;

/// A message is born leased to the node that wrote it, which sends it at once; others take it only
/// when the lease ends. PostgreSQL judges leases by its own clock, so that the nodes' need not agree.
const INSERT_MESSAGE: Text = Text {
    postgres: "
    INSERT INTO outbox (tenant_id, id, kind, recipient, locale, content, not_after, created_at,
                        state, node_id, lease_until, claim, attempts)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, (extract(epoch FROM now()) * 1000)::bigint + $10, 1, 0)",
    sqlite: "
    INSERT INTO outbox (tenant_id, id, kind, recipient, locale, content, not_after, created_at,
                        state, node_id, lease_until, claim, attempts)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $8 + $10, 1, 0)",
};

/// An event that comes late must leave no trace of a tenant that is gone. PostgreSQL holds the tenant's
/// row as a foreign key would: an end under way is waited for, and waits for this.
const INSERT_EVENT: Text = Text {
    postgres: "
    INSERT INTO audit (tenant_id, account_id, kind, at, cause, key_id, subject)
    SELECT id, $2, $3, $4, $5, $6, $7 FROM tenants WHERE id = $1 FOR KEY SHARE",
    sqlite: "
    INSERT INTO audit (tenant_id, account_id, kind, at, cause, key_id, subject)
    SELECT id, $2, $3, $4, $5, $6, $7 FROM tenants WHERE id = $1",
};

/// To whom a new message is leased, and for how long. Its claim number is 1.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// The node that writes and will send it.
    pub node: NodeId,
    /// After this another node may take it.
    pub lease: Duration,
}

/// The messages and audit events that go down with a fact.
#[derive(Debug, Clone, Copy)]
pub struct Notes<'a> {
    /// When the fact happened.
    pub now: Timestamp,
    /// Who sends the messages first.
    pub birth: Birth,
    /// What people are told.
    pub messages: &'a [Message],
    /// What the audit log says.
    pub events: &'a [Event],
}

/// Writes all of it.
pub(super) async fn write(tx: &mut Tx, notes: &Notes<'_>) -> Result<(), StorageError> {
    let text = tx.pick(INSERT_MESSAGE);
    for message in notes.messages {
        write_message(tx.on(), text, message, notes).await?;
    }
    write_events(tx, notes.events).await
}

/// Writes all of it, and nothing else. One message is a transaction by itself, as one statement is.
pub(super) async fn write_alone(db: &Database, notes: &Notes<'_>) -> Result<(), StorageError> {
    if let ([message], []) = (notes.messages, notes.events) {
        return write_message(db.write(), db.pick(INSERT_MESSAGE), message, notes).await;
    }
    let mut tx = db.begin().await?;
    write(&mut tx, notes).await?;
    tx.commit().await
}

/// Writes events alone.
pub(super) async fn write_events(tx: &mut Tx, events: &[Event]) -> Result<(), StorageError> {
    let text = tx.pick(INSERT_EVENT);
    for event in events {
        execute!(
            tx.on(),
            text,
            event.tenant.uuid(),
            event.account.map(AccountId::uuid),
            event.kind.as_str(),
            event.at.as_millis(),
            event.cause,
            event.key.map(KeyId::uuid),
            event.subject.as_deref(),
        )?;
    }
    Ok(())
}

async fn write_message<'c, P, S>(
    on: Engine<P, S>,
    text: &'static str,
    message: &Message,
    notes: &Notes<'_>,
) -> Result<(), StorageError>
where
    P: Executor<'c, Database = Postgres>,
    S: Executor<'c, Database = Sqlite>,
{
    execute!(
        on,
        text,
        message.tenant.uuid(),
        message.id.uuid(),
        message.to.kind().as_str(),
        message.to.as_str(),
        message.locale.tag(),
        Json(&message.content),
        message.not_after.as_millis(),
        notes.now.as_millis(),
        notes.birth.node.uuid(),
        millis(notes.birth.lease),
    )?;
    Ok(())
}

/// A length as the databases keep it.
pub(super) fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
