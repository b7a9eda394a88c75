//! Keys to the admin API, by digest.

use sqlx::types::Uuid;

use super::engine::Database;
use super::error::StorageError;
use super::notes;
use crate::domain::event::Event;
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;

const INSERT: &str = "
    INSERT INTO admin_keys (tenant_id, id, role, name, digest, created_at) VALUES ($1, $2, $3, $4, $5, $6)";

/// The digest says whose key it is.
const BY_DIGEST: &str = "SELECT tenant_id, id, role, name, digest, created_at FROM admin_keys WHERE digest = $1";

const OF_TENANT: &str = "
    SELECT tenant_id, id, role, name, digest, created_at
      FROM admin_keys WHERE tenant_id = $1 ORDER BY created_at, id";

const DELETE: &str = "DELETE FROM admin_keys WHERE tenant_id = $1 AND id = $2";

/// A key to the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// Its id, which the audit log names.
    pub id: KeyId,
    /// The only tenant it sees.
    pub tenant: TenantId,
    /// What it may do there.
    pub role: Role,
    /// What people call it.
    pub name: String,
    /// SHA-256 of it: 256 random bits need no slow hash.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keys to the admin API.
#[derive(Debug, Clone, Copy)]
pub struct AdminKeys<'a> {
    pub(super) db: &'a Database,
}

impl AdminKeys<'_> {
    /// Keeps a new key.
    pub async fn create(&self, key: &AdminKey, event: &Event) -> Result<(), StorageError> {
        let mut tx = self.db.begin().await?;
        execute!(
            tx.on(),
            INSERT,
            key.tenant.uuid(),
            key.id.uuid(),
            key.role.as_str(),
            key.name.as_str(),
            key.digest.as_slice(),
            key.created_at.as_millis(),
        )?;
        notes::write_events(&mut tx, std::slice::from_ref(event)).await?;
        tx.commit().await
    }

    /// The key of that digest, whosever it is.
    pub async fn find_by_digest(&self, digest: &[u8; 32]) -> Result<Option<AdminKey>, StorageError> {
        let found = fetch_optional!(self.db.read(), KeyRow, BY_DIGEST, digest.as_slice())?;
        found.map(KeyRow::into_key).transpose()
    }

    /// A tenant's keys, oldest first.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<AdminKey>, StorageError> {
        let rows = fetch_all!(self.db.read(), KeyRow, OF_TENANT, tenant.uuid())?;
        rows.into_iter().map(KeyRow::into_key).collect()
    }

    /// Forgets a key, which opens nothing from now on; false if there is none such.
    pub async fn delete(&self, tenant: TenantId, key: KeyId, event: &Event) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if execute!(tx.on(), DELETE, tenant.uuid(), key.uuid())? == 0 {
            return Ok(false);
        }
        notes::write_events(&mut tx, std::slice::from_ref(event)).await?;
        tx.commit().await?;
        Ok(true)
    }
}

row! {
    struct KeyRow {
        tenant_id: Uuid,
        id: Uuid,
        role: String,
        name: String,
        digest: Vec<u8>,
        created_at: i64,
    }
}

impl KeyRow {
    fn into_key(self) -> Result<AdminKey, StorageError> {
        Ok(AdminKey {
            id: self.id.into(),
            tenant: self.tenant_id.into(),
            role: Role::from_word(&self.role).ok_or_else(|| StorageError::corrupt("admin_keys.role"))?,
            name: self.name,
            digest: self.digest.try_into().map_err(|_| StorageError::corrupt("admin_keys.digest"))?,
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
}
