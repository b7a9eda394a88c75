//! Keys that sign tokens, sealed; the keyring actor opens them.
//!
//! Each step of a key's life is one conditional write, so any number of nodes may find it due.

use sqlx::types::{Json, Uuid};

use super::engine::Database;
use super::error::StorageError;
use super::notes;
use crate::domain::event::Event;
use crate::domain::ids::TenantId;
use crate::domain::signing_key::{Algorithm, KeyStanding, KeyState};
use crate::domain::time::Timestamp;

/// Nothing happens if the tenant has an active key, or a next one, already.
const INSERT: &str = "
    INSERT INTO signing_keys (tenant_id, kid, algorithm, sealed_private, public_jwk, active, created_at,
                              state, active_from, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $7)
    ON CONFLICT DO NOTHING";

const IN_USE: &str = "
    SELECT tenant_id, kid, algorithm, sealed_private, public_jwk, state, active_from, created_at
      FROM signing_keys WHERE tenant_id = $1 AND state <> 'gone' ORDER BY created_at DESC, kid";

const STANDINGS_OF: &str = "
    SELECT tenant_id, kid, algorithm, state, COALESCE(active_from, created_at) AS active_from, gone_from
      FROM signing_keys WHERE tenant_id = $1 AND state <> 'gone' ORDER BY created_at, kid";

const STANDINGS: &str = "
    SELECT tenant_id, kid, algorithm, state, COALESCE(active_from, created_at) AS active_from, gone_from
      FROM signing_keys WHERE state <> 'gone' ORDER BY tenant_id, created_at, kid";

const CHANGED_SINCE: &str = "SELECT tenant_id, kid, state FROM signing_keys WHERE changed_at >= $1";

const RETIRE_ACTIVE: &str = "
    UPDATE signing_keys SET state = 'retiring', active = FALSE, gone_from = $2, changed_at = $3
     WHERE tenant_id = $1 AND state = 'active'";

const ACTIVATE: &str = "
    UPDATE signing_keys SET state = 'active', active = TRUE, active_from = $3, changed_at = $3
     WHERE tenant_id = $1 AND kid = $2 AND state = 'next'";

const HASTEN: &str = "
    UPDATE signing_keys SET active_from = CASE WHEN active_from > $3 THEN $3 ELSE active_from END, changed_at = $4
     WHERE tenant_id = $1 AND kid = $2 AND state = 'next'
    RETURNING active_from";

/// The private part goes at once; the row stays until every node has read of it.
const DROP: &str = "
    UPDATE signing_keys SET state = 'gone', sealed_private = $3, changed_at = $4
     WHERE tenant_id = $1 AND kid = $2 AND state IN ('next', 'retiring')";

/// Whatever ever signed.
const DROP_SIGNED: &str = "
    UPDATE signing_keys SET state = 'gone', active = FALSE, sealed_private = $2, changed_at = $3
     WHERE tenant_id = $1 AND state IN ('active', 'retiring')
     RETURNING kid";

/// One key pair of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct SigningKey {
    /// Whose.
    pub tenant: TenantId,
    /// Its id in token headers and JWKS.
    pub kid: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The private part under the master key.
    pub sealed_private: Vec<u8>,
    /// The public part (RFC 7517); for a symmetric key nothing that verifies.
    pub public_jwk: serde_json::Value,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it begins to sign.
    pub active_from: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which state a key has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub kid: String,
    /// Where it is now.
    pub state: KeyState,
}

/// Keys that sign tokens.
#[derive(Debug, Clone, Copy)]
pub struct SigningKeys<'a> {
    pub(super) db: &'a Database,
}

impl SigningKeys<'_> {
    /// Keeps a new key, `next` or `active`, if the tenant has none in that state; of several nodes at
    /// once, one wins.
    pub async fn insert(&self, key: &SigningKey) -> Result<bool, StorageError> {
        self.insert_noted(key, &[]).await
    }

    /// The same, and these events if it was kept.
    pub async fn insert_noted(&self, key: &SigningKey, events: &[Event]) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let inserted = execute!(
            tx.on(),
            INSERT,
            key.tenant.uuid(),
            key.kid.as_str(),
            key.algorithm.as_str(),
            key.sealed_private.as_slice(),
            Json(&key.public_jwk),
            key.state == KeyState::Active,
            key.created_at.as_millis(),
            key.state.as_str(),
            key.active_from.as_millis(),
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The tenant's keys that sign or verify, newest first.
    pub async fn in_use(&self, tenant: TenantId) -> Result<Vec<SigningKey>, StorageError> {
        fetch_all!(self.db.read(), KeyRow, IN_USE, tenant.uuid())?.into_iter().map(KeyRow::into_key).collect()
    }

    /// Where the tenant's keys are in their lives.
    pub async fn standings_of(&self, tenant: TenantId) -> Result<Vec<KeyStanding>, StorageError> {
        let rows = fetch_all!(self.db.read(), StandingRow, STANDINGS_OF, tenant.uuid())?;
        rows.into_iter().map(|row| row.into_standing().map(|(_, standing)| standing)).collect()
    }

    /// The same for every tenant, one tenant's keys after another's; one that cannot be read holds up no
    /// other.
    pub async fn standings(&self) -> Result<Vec<(TenantId, KeyStanding)>, StorageError> {
        let rows = fetch_all!(self.db.read(), StandingRow, STANDINGS)?;
        let readable = |row: StandingRow| {
            row.into_standing().inspect_err(|error| tracing::error!(%error, "a signing key cannot be read")).ok()
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// Keys of all tenants that changed since a moment. Ask again from a minute before the last
    /// answer: transactions commit out of order.
    pub async fn changed_since(&self, since: Timestamp) -> Result<Vec<KeyChange>, StorageError> {
        let rows = fetch_all!(self.db.read(), (Uuid, String, String), CHANGED_SINCE, since.as_millis())?;
        let change = |(tenant, kid, state): (Uuid, String, String)| {
            Ok(KeyChange { tenant: tenant.into(), kid, state: state_of(&state)? })
        };
        rows.into_iter().map(change).collect()
    }

    /// `kid` signs from now on; the key before it only verifies, until `gone_from`. `false` if it was
    /// not next.
    pub async fn promote(
        &self,
        tenant: TenantId,
        kid: &str,
        gone_from: Timestamp,
        now: Timestamp,
        events: &[Event],
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        execute!(tx.on(), RETIRE_ACTIVE, tenant.uuid(), gone_from.as_millis(), now.as_millis())?;
        if execute!(tx.on(), ACTIVATE, tenant.uuid(), kid, now.as_millis())? == 0 {
            return Ok(false);
        }
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// `kid` signs from now on, and every key that signed before is gone, which `event` then tells of
    /// each, and of `kid`. The ids of those that are gone; none if `kid` was not next.
    pub async fn replace_compromised(
        &self,
        tenant: TenantId,
        kid: &str,
        now: Timestamp,
        event: &Event,
    ) -> Result<Option<Vec<String>>, StorageError> {
        let (mut tx, wiped): (_, &[u8]) = (self.db.begin().await?, &[]);
        let dropped = fetch_all!(tx.on(), (String,), DROP_SIGNED, tenant.uuid(), wiped, now.as_millis())?;
        if execute!(tx.on(), ACTIVATE, tenant.uuid(), kid, now.as_millis())? == 0 {
            return Ok(None);
        }
        let mut events: Vec<_> = dropped.iter().map(|(gone,)| event.about(gone, "key_compromised")).collect();
        events.push(event.about(kid, "key_activated"));
        notes::write_events(&mut tx, &events).await?;
        tx.commit().await?;
        Ok(Some(dropped.into_iter().map(|(gone,)| gone).collect()))
    }

    /// The next key's turn comes at `latest`, unless sooner is planned; when that is. `None`, and nothing
    /// is written, if it is not next any more.
    pub async fn hasten(
        &self,
        tenant: TenantId,
        kid: &str,
        latest: Timestamp,
        now: Timestamp,
        events: &[Event],
    ) -> Result<Option<Timestamp>, StorageError> {
        let mut tx = self.db.begin().await?;
        let turn = fetch_optional!(tx.on(), (i64,), HASTEN, tenant.uuid(), kid, latest.as_millis(), now.as_millis())?;
        let Some((active_from,)) = turn else { return Ok(None) };
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(Some(Timestamp::from_millis(active_from)))
    }

    /// Takes a next or retiring key away for good.
    pub async fn drop_key(&self, tenant: TenantId, kid: &str, now: Timestamp) -> Result<bool, StorageError> {
        let wiped: &[u8] = &[];
        Ok(execute!(self.db.write(), DROP, tenant.uuid(), kid, wiped, now.as_millis())? == 1)
    }
}

fn state_of(word: &str) -> Result<KeyState, StorageError> {
    KeyState::from_word(word).ok_or_else(|| StorageError::corrupt("signing_keys.state"))
}

row! {
    struct KeyRow {
        tenant_id: Uuid,
        kid: String,
        algorithm: String,
        sealed_private: Vec<u8>,
        public_jwk: Json<serde_json::Value>,
        state: String,
        active_from: Option<i64>,
        created_at: i64,
    }
}

impl KeyRow {
    fn into_key(self) -> Result<SigningKey, StorageError> {
        let algorithm = Algorithm::from_word(&self.algorithm);
        Ok(SigningKey {
            tenant: self.tenant_id.into(),
            kid: self.kid,
            algorithm: algorithm.ok_or_else(|| StorageError::corrupt("signing_keys.algorithm"))?,
            sealed_private: self.sealed_private,
            public_jwk: self.public_jwk.0,
            state: state_of(&self.state)?,
            active_from: Timestamp::from_millis(self.active_from.unwrap_or(self.created_at)),
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
}

row! {
    struct StandingRow {
        tenant_id: Uuid,
        kid: String,
        algorithm: String,
        state: String,
        active_from: i64,
        gone_from: Option<i64>,
    }
}

impl StandingRow {
    fn into_standing(self) -> Result<(TenantId, KeyStanding), StorageError> {
        let standing = KeyStanding {
            algorithm: Algorithm::from_word(&self.algorithm),
            state: state_of(&self.state)?,
            active_from: Timestamp::from_millis(self.active_from),
            gone_from: self.gone_from.map(Timestamp::from_millis),
            kid: self.kid,
        };
        Ok((self.tenant_id.into(), standing))
    }
}
