//! Which nodes run on this database, so that its master key is not taken from under them.
//!
//! ```text
//!   node:      presence written ──► master key read, waiting for a swap under way ──► runs, and again
//!   rotation:  master key swapped ──► presences read: any ──► nothing happened
//! ```
//!
//! Of a node that starts and a rotation at the same moment, whoever comes second sees the other.
//! A row with an end rather than a lock: it holds behind a pooler, through a lost connection, and ends by
//! itself with a node that was killed.

use std::time::Duration;

use super::engine::{Database, Text, Tx};
use super::error::StorageError;
use super::meta::MASTER_KEY;
use super::notes::millis;
use crate::domain::ids::NodeId;

/// Ends are judged by the database's clock, so that the nodes' need not agree.
const RENEW: Text = Text {
    postgres: "
    INSERT INTO meta (name, value) VALUES ($1, CAST((extract(epoch FROM now()) * 1000)::bigint + $2 AS TEXT))
    ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    sqlite: "
    INSERT INTO meta (name, value) VALUES ($1, CAST(unixepoch() * 1000 + $2 AS TEXT))
    ON CONFLICT (name) DO UPDATE SET value = excluded.value",
};

/// Waits for a rotation that has swapped it.
const KEY_IN_FORCE: Text = Text {
    postgres: "SELECT value FROM meta WHERE name = $1 FOR SHARE",
    sqlite: "SELECT value FROM meta WHERE name = $1",
};

const LEAVE: &str = "DELETE FROM meta WHERE name = $1";

/// Left by nodes that were killed. The case keeps other facts from being read as numbers.
const FORGET: Text = Text {
    postgres: "
    DELETE FROM meta
     WHERE CASE WHEN name LIKE 'node/%' THEN CAST(value AS BIGINT) <= (extract(epoch FROM now()) * 1000)::bigint
                ELSE FALSE END",
    sqlite: "
    DELETE FROM meta
     WHERE CASE WHEN name LIKE 'node/%' THEN CAST(value AS BIGINT) <= unixepoch() * 1000 ELSE FALSE END",
};

const RUNNING: Text = Text {
    postgres: "
    SELECT count(*) FROM meta
     WHERE CASE WHEN name LIKE 'node/%' THEN CAST(value AS BIGINT) > (extract(epoch FROM now()) * 1000)::bigint
                ELSE FALSE END",
    sqlite: "
    SELECT count(*) FROM meta
     WHERE CASE WHEN name LIKE 'node/%' THEN CAST(value AS BIGINT) > unixepoch() * 1000 ELSE FALSE END",
};

/// Nodes that run on this database.
#[derive(Debug, Clone, Copy)]
pub struct Nodes<'a> {
    pub(super) db: &'a Database,
}

impl Nodes<'_> {
    /// A node starts: it counts as running until the lease ends or is renewed. `false` if the master key
    /// of this fingerprint is not in force any more: it must not run, and does not count.
    pub async fn enter(&self, node: NodeId, fingerprint: &str, lease: Duration) -> Result<bool, StorageError> {
        execute!(self.db.write(), self.db.pick(FORGET))?;
        let may_run = self.renew(node, fingerprint, lease).await?;
        if !may_run {
            self.leave(node).await?;
        }
        Ok(may_run)
    }

    /// It still runs; the answer is the same.
    pub async fn renew(&self, node: NodeId, fingerprint: &str, lease: Duration) -> Result<bool, StorageError> {
        execute!(self.db.write(), self.db.pick(RENEW), name(node), millis(lease))?;
        let kept = fetch_optional!(self.db.write(), (String,), self.db.pick(KEY_IN_FORCE), MASTER_KEY)?;
        Ok(kept.is_none_or(|(kept,)| kept == fingerprint))
    }

    /// It stops.
    pub async fn leave(&self, node: NodeId) -> Result<(), StorageError> {
        execute!(self.db.write(), LEAVE, name(node)).map(drop)
    }
}

/// How many run, read in a transaction that has swapped the master key.
pub(super) async fn running(tx: &mut Tx) -> Result<u64, StorageError> {
    let text = tx.pick(RUNNING);
    let (count,) = fetch_optional!(tx.on(), (i64,), text)?.unwrap_or_default();
    Ok(u64::try_from(count).unwrap_or(0))
}

fn name(node: NodeId) -> String {
    format!("node/{node}")
}
