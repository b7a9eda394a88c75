//! The end of a tenant: first it disappears, then what it owned goes, in batches, then its row.
//!
//! From the first step on no directory shows it, so its tokens, keys and routes are worth nothing on
//! any node within a poll, however long the rest takes. Each step can be repeated: a purge that was
//! broken off goes on where it stopped.

use std::collections::BTreeMap;

use sqlx::types::Uuid;

use super::engine::Database;
use super::error::StorageError;
use super::tenants::directory_changed;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;

/// Rows one statement removes at most: each must end within the statement time-out.
const BATCH: i64 = 500;

const END: &str = "UPDATE tenants SET ending_at = $2 WHERE id = $1 AND ending_at IS NULL";
const ENDING: &str = "SELECT id FROM tenants WHERE slug = $1 AND ending_at IS NOT NULL";
const DELETE: &str = "DELETE FROM tenants WHERE id = $1";

/// The rows of one table that a tenant owns.
struct Family {
    table: &'static str,
    count: &'static str,
    /// Removes a batch of them; none where they go with the tenant's row or an account.
    remove: Option<&'static str>,
}

macro_rules! family {
    ($table:literal) => {
        Family { table: $table, count: concat!("SELECT count(*) FROM ", $table, " WHERE tenant_id = $1"), remove: None }
    };
    ($table:literal, $id:literal) => {
        Family {
            remove: Some(concat!(
                "DELETE FROM ",
                $table,
                " WHERE tenant_id = $1 AND ",
                $id,
                " IN (SELECT ",
                $id,
                " FROM ",
                $table,
                " WHERE tenant_id = $1 LIMIT $2)"
            )),
            ..family!($table)
        }
    };
}

/// Everything with a tenant's id on it. A test compares it with the schema.
const FAMILIES: &[Family] = &[
    // With an account goes all that hangs on it.
    family!("accounts", "id"),
    family!("contacts"),
    family!("credentials"),
    family!("links"),
    family!("devices"),
    family!("attempts"),
    family!("locks"),
    family!("sessions"),
    family!("refresh_tokens"),
    // Many, and held by no account.
    family!("outbox", "id"),
    family!("deliveries", "id"),
    family!("early_receipts", "reference"),
    family!("audit", "sequence"),
    family!("revocations", "session_id"),
    family!("proofs", "challenge_id"),
    // Few.
    family!("apps"),
    family!("admin_keys"),
    family!("settings_versions"),
    family!("signing_keys"),
    family!("tenant_domains"),
];

/// How many rows of each table a tenant owned when its end began or went on.
pub type Purged = BTreeMap<&'static str, u64>;

/// The end of tenants.
#[derive(Debug, Clone, Copy)]
pub struct TenantEnd<'a> {
    pub(super) db: &'a Database,
}

impl TenantEnd<'_> {
    /// Takes a tenant out of every directory; false if it was out already.
    pub async fn begin(&self, tenant: TenantId, at: Timestamp) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let begun = execute!(tx.on(), END, tenant.uuid(), at.as_millis())? == 1;
        directory_changed(&mut tx).await?;
        tx.commit().await?;
        Ok(begun)
    }

    /// The tenant of that slug whose end was begun and not finished.
    pub async fn unfinished(&self, slug: &str) -> Result<Option<TenantId>, StorageError> {
        let found = fetch_optional!(self.db.read(), (Uuid,), ENDING, slug)?;
        Ok(found.map(|(id,)| TenantId::from(id)))
    }

    /// Removes all that a tenant owned, and says how much that was.
    pub async fn finish(&self, tenant: TenantId) -> Result<Purged, StorageError> {
        let purged = self.count(tenant).await?;
        for remove in FAMILIES.iter().filter_map(|family| family.remove) {
            while execute!(self.db.write(), remove, tenant.uuid(), BATCH)? > 0 {}
        }
        let mut tx = self.db.begin().await?;
        execute!(tx.on(), DELETE, tenant.uuid())?;
        // What came in late and hangs on no row; from now on nothing can.
        for remove in FAMILIES.iter().filter_map(|family| family.remove) {
            execute!(tx.on(), remove, tenant.uuid(), BATCH)?;
        }
        tx.commit().await?;
        Ok(purged)
    }

    async fn count(&self, tenant: TenantId) -> Result<Purged, StorageError> {
        let mut counts = Purged::new();
        for family in FAMILIES {
            let (count,) = fetch_optional!(self.db.read(), (i64,), family.count, tenant.uuid())?.unwrap_or_default();
            counts.insert(family.table, u64::try_from(count).unwrap_or(0));
        }
        Ok(counts)
    }
}
