//! Applications of tenants.

use sqlx::types::{Json, Uuid};

use super::engine::{Database, Tx};
use super::error::StorageError;
use super::{notes, tenants};
use crate::domain::app::App;
use crate::domain::event::Event;
use crate::domain::ids::{AppId, TenantId};
use crate::domain::time::Timestamp;

const INSERT: &str = "
    INSERT INTO apps (tenant_id, id, name, audience, origins, secret_digest, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant_id, audience) DO NOTHING";

const ALL: &str = "
    SELECT tenant_id, id, name, audience, CAST(origins AS TEXT) AS origins, secret_digest, created_at
      FROM apps ORDER BY created_at, id";

const OF_TENANT: &str = "
    SELECT tenant_id, id, name, audience, CAST(origins AS TEXT) AS origins, secret_digest, created_at
      FROM apps WHERE tenant_id = $1 ORDER BY created_at, id";

const UPDATE: &str = "
    UPDATE apps SET name = $3, audience = $4, origins = $5, secret_digest = $6 WHERE tenant_id = $1 AND id = $2";

const DELETE: &str = "DELETE FROM apps WHERE tenant_id = $1 AND id = $2";

/// Applications of tenants.
#[derive(Debug, Clone, Copy)]
pub struct Apps<'a> {
    pub(super) db: &'a Database,
}

impl Apps<'_> {
    /// Makes an app; every node's directory shows it within a poll. False if another has its audience.
    pub async fn create(&self, tenant: TenantId, app: &App, event: &Event) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let inserted = execute!(
            tx.on(),
            INSERT,
            tenant.uuid(),
            app.id.uuid(),
            app.name.as_str(),
            app.audience.as_str(),
            Json(&app.origins),
            app.secret_digest.as_slice(),
            app.created_at.as_millis(),
        )?;
        if inserted == 1 {
            finish(tx, event).await?;
        }
        Ok(inserted == 1)
    }

    /// A tenant's apps, oldest first.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<App>, StorageError> {
        let rows = fetch_all!(self.db.read(), AppRow, OF_TENANT, tenant.uuid())?;
        rows.into_iter().map(|row| row.into_app().map(|(_, app)| app)).collect()
    }

    /// Writes all but the id and the age of an app; false if there is none such.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if another app has its audience.
    pub async fn update(&self, tenant: TenantId, app: &App, event: &Event) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let updated = execute!(
            tx.on(),
            UPDATE,
            tenant.uuid(),
            app.id.uuid(),
            app.name.as_str(),
            app.audience.as_str(),
            Json(&app.origins),
            app.secret_digest.as_slice(),
        )?;
        if updated == 1 {
            finish(tx, event).await?;
        }
        Ok(updated == 1)
    }

    /// Removes an app; false if there is none such.
    pub async fn delete(&self, tenant: TenantId, app: AppId, event: &Event) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let deleted = execute!(tx.on(), DELETE, tenant.uuid(), app.uuid())?;
        if deleted == 1 {
            finish(tx, event).await?;
        }
        Ok(deleted == 1)
    }
}

async fn finish(mut tx: Tx, event: &Event) -> Result<(), StorageError> {
    notes::write_events(&mut tx, std::slice::from_ref(event)).await?;
    tenants::directory_changed(&mut tx).await?;
    tx.commit().await
}

/// Every tenant's apps, for the directory; one that cannot be read holds up no other.
pub(super) async fn all(db: &Database) -> Result<Vec<(Uuid, App)>, StorageError> {
    let rows = fetch_all!(db.read(), AppRow, ALL)?;
    let readable = |row: AppRow| row.into_app().inspect_err(|error| tracing::error!(%error, "an app cannot be read"));
    Ok(rows.into_iter().filter_map(|row| readable(row).ok()).collect())
}

/// One tenant's apps.
pub(super) async fn of(db: &Database, tenant: Uuid) -> Result<Vec<App>, StorageError> {
    Apps { db }.list(TenantId::from(tenant)).await
}

row! {
    struct AppRow {
        tenant_id: Uuid,
        id: Uuid,
        name: String,
        audience: String,
        origins: String,
        secret_digest: Vec<u8>,
        created_at: i64,
    }
}

impl AppRow {
    fn into_app(self) -> Result<(Uuid, App), StorageError> {
        let app = App {
            id: self.id.into(),
            name: self.name,
            audience: self.audience,
            origins: serde_json::from_str(&self.origins).map_err(|_| StorageError::corrupt("apps.origins"))?,
            secret_digest: self.secret_digest.try_into().map_err(|_| StorageError::corrupt("apps.secret_digest"))?,
            created_at: Timestamp::from_millis(self.created_at),
        };
        Ok((self.tenant_id, app))
    }
}
