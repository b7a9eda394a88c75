//! Another master key takes the place of the one that everything here is sealed under.
//!
//! One transaction: a process that dies in it changed nothing, and nobody ever finds some secrets
//! under one key and some under the other.

use sqlx::types::{Json, Uuid};

use super::engine::Database;
use super::error::StorageError;
use super::meta::MASTER_KEY;
use super::nodes;
use crate::domain::ids::TenantId;
use crate::domain::settings::Settings;

/// Held by the row until the end: of two at once, the second finds another key than it opens.
const SWAP: &str = "UPDATE meta SET value = $3 WHERE name = $1 AND value = $2";

const IN_FORCE: &str = "SELECT id, CAST(settings AS TEXT) AS settings FROM tenants";
const REPLACE: &str = "UPDATE tenants SET settings = $2 WHERE id = $1";

const VERSIONS: &str = "SELECT tenant_id, version, CAST(settings AS TEXT) AS settings FROM settings_versions";
const REPLACE_VERSION: &str = "UPDATE settings_versions SET settings = $3 WHERE tenant_id = $1 AND version = $2";

/// Keys that are gone keep their name only.
const KEYS: &str = "SELECT tenant_id, kid, sealed_private FROM signing_keys WHERE length(sealed_private) > 0";
const REPLACE_KEY: &str = "UPDATE signing_keys SET sealed_private = $3 WHERE tenant_id = $1 AND kid = $2";

/// It names people by digests under the old key, by which nobody would find them any more: not to show them
/// what they were sent, nor to forget them.
const FORGET_DELIVERIES: &str = "DELETE FROM deliveries";

/// Opens under the old key and seals under the new; none if something does not open.
pub trait Resealer: Sync {
    /// A settings document's credentials.
    fn settings(&self, tenant: TenantId, settings: &Settings) -> Option<Settings>;
    /// The private half of the signing key of that id.
    fn signing_key(&self, tenant: TenantId, kid: &str, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRotated {
    /// The new key is in force.
    Done(Resealed),
    /// The old key is not this database's; nothing was done.
    OtherKey,
    /// That many nodes run, and would go on sealing under the old key; nothing was done.
    InUse(u64),
}

/// How much was sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Settings documents, earlier versions included.
    pub documents: u64,
    /// Signing keys.
    pub signing_keys: u64,
}

/// The master key's traces in the database.
#[derive(Debug, Clone, Copy)]
pub struct MasterKeyRotation<'a> {
    pub(super) db: &'a Database,
}

impl MasterKeyRotation<'_> {
    /// Seals everything anew and notes the new key's fingerprint in the old one's place.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] names what does not open; then nothing was changed either.
    pub async fn run(&self, old: &str, new: &str, resealer: &dyn Resealer) -> Result<KeyRotated, StorageError> {
        let mut done = Resealed::default();
        let mut tx = self.db.begin().await?;
        if execute!(tx.on(), SWAP, MASTER_KEY, old, new)? == 0 {
            return Ok(KeyRotated::OtherKey);
        }
        // After the swap, which a node that starts now waits for.
        let running = nodes::running(&mut tx).await?;
        if running > 0 {
            return Ok(KeyRotated::InUse(running));
        }
        let reseal = |tenant: Uuid, text: &str, column: &str| {
            let settings = serde_json::from_str(text).map_err(|_| StorageError::corrupt(column))?;
            resealer.settings(tenant.into(), &settings).ok_or_else(|| StorageError::corrupt(column))
        };
        for (tenant, text) in fetch_all!(tx.on(), (Uuid, String), IN_FORCE)? {
            execute!(tx.on(), REPLACE, tenant, Json(reseal(tenant, &text, "tenants.settings")?))?;
        }
        for (tenant, version, text) in fetch_all!(tx.on(), (Uuid, i64, String), VERSIONS)? {
            let settings = Json(reseal(tenant, &text, "settings_versions.settings")?);
            done.documents += execute!(tx.on(), REPLACE_VERSION, tenant, version, settings)?;
        }
        for (tenant, kid, sealed) in fetch_all!(tx.on(), (Uuid, String, Vec<u8>), KEYS)? {
            let resealed = resealer.signing_key(tenant.into(), &kid, &sealed);
            let resealed = resealed.ok_or_else(|| StorageError::corrupt("signing_keys.sealed_private"))?;
            done.signing_keys += execute!(tx.on(), REPLACE_KEY, tenant, kid.as_str(), resealed.as_slice())?;
        }
        execute!(tx.on(), FORGET_DELIVERIES)?;
        tx.commit().await?;
        Ok(KeyRotated::Done(done))
    }
}
