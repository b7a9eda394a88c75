//! The audit log: who did what when, by ids only.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use sqlx::types::Uuid;

use super::engine::Database;
use super::error::StorageError;
use super::notes;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, KeyId, TenantId};
use crate::domain::time::Timestamp;

const PAGE: &str = "
    SELECT sequence, account_id, kind, at, cause, key_id, subject FROM audit
     WHERE tenant_id = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3";

/// Entries that one filtered page looks through at most.
const SCAN: i64 = 10_000;

/// `$3` is where the scan ends.
const FILTERED: &str = "
    SELECT sequence, account_id, kind, at, cause, key_id, subject FROM audit
     WHERE tenant_id = $1 AND sequence < $2 AND sequence >= $3
       AND ($4 IS NULL OR account_id = $4) AND ($5 IS NULL OR kind = $5)
     ORDER BY sequence DESC LIMIT $6";

const SCAN_ENDS: &str = "
    SELECT sequence FROM audit WHERE tenant_id = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT 1 OFFSET $3";

/// What a page of the log is asked for by.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter {
    /// About this account.
    pub account: Option<AccountId>,
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// Before this entry.
    pub before: Option<i64>,
    /// Entries at most.
    pub limit: u32,
}

/// One page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// Newest first; may be empty though there is more to look through.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none at the end.
    pub next: Option<i64>,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the log; the next page lies before it.
    pub sequence: i64,
    /// To which account, if one was known.
    pub account: Option<AccountId>,
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// A word of explanation.
    pub cause: Option<String>,
    /// With which admin key, if one was used.
    pub key: Option<KeyId>,
    /// To what, where that is no account.
    pub subject: Option<String>,
}

/// The audit log.
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    pub(super) db: &'a Database,
}

impl Audit<'_> {
    /// Writes events that go with no other fact, together.
    pub async fn record(&self, events: &[Event]) -> Result<(), StorageError> {
        let mut tx = self.db.begin().await?;
        notes::write_events(&mut tx, events).await?;
        tx.commit().await
    }

    /// A page of a tenant's log, newest first. It looks through a bounded number of entries.
    pub async fn find(&self, tenant: TenantId, filter: &AuditFilter) -> Result<AuditPage, StorageError> {
        let before = filter.before.unwrap_or(i64::MAX);
        let floor = if filter.account.is_none() && filter.kind.is_none() {
            None
        } else {
            fetch_optional!(self.db.read(), (i64,), SCAN_ENDS, tenant.uuid(), before, SCAN - 1)?
        };
        let floor = floor.map(|(sequence,)| sequence);
        let mut rows = fetch_all!(
            self.db.read(),
            AuditRow,
            FILTERED,
            tenant.uuid(),
            before,
            floor.unwrap_or(i64::MIN),
            filter.account.map(AccountId::uuid),
            filter.kind.map(EventKind::as_str),
            i64::from(filter.limit) + 1,
        )?;
        let full = rows.len() > filter.limit as usize;
        rows.truncate(filter.limit as usize);
        let next = if full { rows.last().map(|row| row.sequence) } else { floor };
        let entries = rows.into_iter().map(AuditRow::into_entry).collect::<Result<_, _>>()?;
        Ok(AuditPage { entries, next })
    }

    /// A tenant's log, newest first, from just before the entry `before`.
    pub async fn page(
        &self,
        tenant: TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StorageError> {
        let before = before.unwrap_or(i64::MAX);
        let rows = fetch_all!(self.db.read(), AuditRow, PAGE, tenant.uuid(), before, i64::from(limit))?;
        rows.into_iter().map(AuditRow::into_entry).collect()
    }
}

row! {
    struct AuditRow {
        sequence: i64,
        account_id: Option<Uuid>,
        kind: String,
        at: i64,
        cause: Option<String>,
        key_id: Option<Uuid>,
        subject: Option<String>,
    }
}

impl AuditRow {
    fn into_entry(self) -> Result<AuditEntry, StorageError> {
        let word: StrDeserializer<'_, Error> = self.kind.as_str().into_deserializer();
        Ok(AuditEntry {
            sequence: self.sequence,
            account: self.account_id.map(AccountId::from),
            kind: EventKind::deserialize(word).map_err(|_| StorageError::corrupt("audit.kind"))?,
            at: Timestamp::from_millis(self.at),
            cause: self.cause,
            key: self.key_id.map(KeyId::from),
            subject: self.subject,
        })
    }
}
