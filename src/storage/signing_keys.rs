//! Keys that sign tokens, sealed; the keyring actor opens them.

use sqlx::types::{Json, Uuid};

use super::engine::Database;
use super::error::StorageError;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;

const INSERT_ACTIVE: &str = "
    INSERT INTO signing_keys (tenant_id, kid, algorithm, sealed_private, public_jwk, active, created_at)
    VALUES ($1, $2, $3, $4, $5, TRUE, $6)
    ON CONFLICT DO NOTHING";

const ACTIVE: &str = "
    SELECT tenant_id, kid, algorithm, sealed_private, public_jwk, active, created_at
      FROM signing_keys WHERE tenant_id = $1 AND active";

const ALL: &str = "
    SELECT tenant_id, kid, algorithm, sealed_private, public_jwk, active, created_at
      FROM signing_keys WHERE tenant_id = $1 ORDER BY created_at DESC, kid";

/// One key pair of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct SigningKey {
    /// Whose.
    pub tenant: TenantId,
    /// Its id in token headers and JWKS.
    pub kid: String,
    /// The JWS algorithm (RFC 7518 §3.1).
    pub algorithm: String,
    /// The private part under the master key.
    pub sealed_private: Vec<u8>,
    /// The public part (RFC 7517).
    pub public_jwk: serde_json::Value,
    /// Whether new tokens are signed with it.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keys that sign tokens.
#[derive(Debug, Clone, Copy)]
pub struct SigningKeys<'a> {
    pub(super) db: &'a Database,
}

impl SigningKeys<'_> {
    /// Makes `key` the tenant's active one if there is none; of several nodes at once, one wins.
    pub async fn insert_active_if_none(&self, key: &SigningKey) -> Result<bool, StorageError> {
        let inserted = execute!(
            self.db.write(),
            INSERT_ACTIVE,
            key.tenant.uuid(),
            key.kid.as_str(),
            key.algorithm.as_str(),
            key.sealed_private.as_slice(),
            Json(&key.public_jwk),
            key.created_at.as_millis(),
        )?;
        Ok(inserted == 1)
    }

    /// The key that signs the tenant's new tokens.
    pub async fn active(&self, tenant: TenantId) -> Result<Option<SigningKey>, StorageError> {
        Ok(fetch_optional!(self.db.read(), KeyRow, ACTIVE, tenant.uuid())?.map(KeyRow::into_key))
    }

    /// Every key of the tenant, newest first.
    pub async fn all(&self, tenant: TenantId) -> Result<Vec<SigningKey>, StorageError> {
        Ok(fetch_all!(self.db.read(), KeyRow, ALL, tenant.uuid())?.into_iter().map(KeyRow::into_key).collect())
    }
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    tenant_id: Uuid,
    kid: String,
    algorithm: String,
    sealed_private: Vec<u8>,
    public_jwk: Json<serde_json::Value>,
    active: bool,
    created_at: i64,
}

impl KeyRow {
    fn into_key(self) -> SigningKey {
        SigningKey {
            tenant: self.tenant_id.into(),
            kid: self.kid,
            algorithm: self.algorithm,
            sealed_private: self.sealed_private,
            public_jwk: self.public_jwk.0,
            active: self.active,
            created_at: Timestamp::from_millis(self.created_at),
        }
    }
}
