//! Devices an account trusts, by digest. What a proof is worth, and for how long, is judged in
//! `domain::device`.

use sqlx::types::Uuid;

use super::accounts;
use super::engine::{Database, Tx};
use super::error::StorageError;
use super::notes;
use super::sessions;
use crate::domain::device::{DeviceKind, DeviceProof, KnownDevice, MOST_TRUSTED};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, DeviceId, SessionId, TenantId};
use crate::domain::time::Timestamp;

const FIND: &str = "
    SELECT id, kind, trusted_from, last_seen_at FROM devices
     WHERE tenant_id = $1 AND account_id = $2 AND kind = $3 AND digest = $4";

/// Trusting the same device again keeps its id, and with it its counter and its sessions.
const TRUST: &str = "
    INSERT INTO devices (tenant_id, id, account_id, kind, digest, trusted_from, label, created_at, last_seen_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
    ON CONFLICT (tenant_id, account_id, kind, digest)
    DO UPDATE SET trusted_from = excluded.trusted_from, label = excluded.label, last_seen_at = excluded.last_seen_at
    RETURNING id";

const LIST: &str = "
    SELECT id, kind, trusted_from, label, created_at, last_seen_at FROM devices
     WHERE tenant_id = $1 AND account_id = $2 ORDER BY last_seen_at DESC, id LIMIT 100";

const TOUCH: &str = "
    UPDATE devices SET last_seen_at = CASE WHEN last_seen_at < $4 THEN $4 ELSE last_seen_at END
     WHERE tenant_id = $1 AND account_id = $2 AND id = $3";

const DELETE: &str = "DELETE FROM devices WHERE tenant_id = $1 AND account_id = $2 AND id = $3";

const DELETE_ALL: &str = "DELETE FROM devices WHERE tenant_id = $1 AND account_id = $2 RETURNING id";

/// `$3` is the device just trusted, which never leaves in favour of another; `$4` how many others stay.
const DELETE_SURPLUS: &str = "
    DELETE FROM devices
     WHERE tenant_id = $1 AND account_id = $2 AND id <> $3
       AND id NOT IN (SELECT id FROM devices
                       WHERE tenant_id = $1 AND account_id = $2 AND id <> $3
                       ORDER BY last_seen_at DESC, id DESC LIMIT $4)
    RETURNING id";

/// The condition stands twice: a device that signs in between the two must stay.
const DELETE_UNUSED: &str = "
    DELETE FROM devices
     WHERE last_seen_at <= $1
       AND (tenant_id, id) IN (SELECT tenant_id, id FROM devices WHERE last_seen_at <= $1 LIMIT $2)
    RETURNING tenant_id, account_id, id";

/// The lane ends with its device.
const DELETE_LANE: &str = "DELETE FROM attempts WHERE tenant_id = $1 AND account_id = $2 AND lane = $3";

/// `$3` is the session whose device stays.
const DELETE_OTHERS: &str = "
    DELETE FROM devices
     WHERE tenant_id = $1 AND account_id = $2
       AND id NOT IN (SELECT device_id FROM sessions
                       WHERE tenant_id = $1 AND account_id = $2 AND id = $3 AND device_id IS NOT NULL)";

/// A device to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Its id, unless the account knows the device already.
    pub id: DeviceId,
    /// How it is recognised.
    pub kind: DeviceKind,
    /// Of the device token or the `User-Agent`.
    pub digest: [u8; 32],
    /// The address prefix it is trusted at, for `UserAgent` devices.
    pub trusted_from: Option<String>,
    /// What the person may recognise it by.
    pub label: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// A trusted device, for its owner's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// How it is recognised.
    pub known: KnownDevice,
    /// What the person may recognise it by.
    pub label: Option<String>,
    /// When it was first trusted.
    pub created_at: Timestamp,
}

/// Trusted devices.
#[derive(Debug, Clone, Copy)]
pub struct Devices<'a> {
    pub(super) db: &'a Database,
}

impl Devices<'_> {
    /// The device that offers this proof, if the account trusts it.
    pub async fn find(
        &self,
        tenant: TenantId,
        account: AccountId,
        proof: DeviceProof,
    ) -> Result<Option<KnownDevice>, StorageError> {
        let (kind, digest) = match proof {
            DeviceProof::Token(digest) => (DeviceKind::Token, digest),
            DeviceProof::UserAgent(digest) => (DeviceKind::UserAgent, digest),
        };
        let (tenant, account) = (tenant.uuid(), account.uuid());
        let row = fetch_optional!(
            self.db.read(),
            (Uuid, String, Option<String>, i64),
            FIND,
            tenant,
            account,
            word(kind),
            digest.as_slice()
        )?;
        row.map(known).transpose()
    }

    /// Trusts a device; its id from now on (an older one if the account knew it). Beyond the most that one
    /// account trusts, those leave that signed in least recently.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if the account is gone.
    pub async fn trust(
        &self,
        tenant: TenantId,
        account: AccountId,
        device: &NewDevice,
    ) -> Result<DeviceId, StorageError> {
        let mut tx = self.db.begin().await?;
        let id = trust(&mut tx, tenant, account, device).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The account's devices, last seen first, at most 100.
    pub async fn list(&self, tenant: TenantId, account: AccountId) -> Result<Vec<Device>, StorageError> {
        let rows = fetch_all!(self.db.read(), DeviceRow, LIST, tenant.uuid(), account.uuid())?;
        rows.into_iter().map(DeviceRow::into_device).collect()
    }

    /// Trusts a device no longer and ends its sessions; `false` if it was not trusted.
    pub async fn forget(
        &self,
        tenant: TenantId,
        account: AccountId,
        id: DeviceId,
        now: Timestamp,
        events: &[Event],
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        accounts::lock(&mut tx, tenant, account).await?;
        if execute!(tx.on(), DELETE, tenant.uuid(), account.uuid(), id.uuid())? == 0 {
            return Ok(false);
        }
        end_with(&mut tx, tenant, account, id, now).await?;
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Trusts no device any more and ends their sessions; `false` if none was trusted.
    pub async fn forget_all(
        &self,
        tenant: TenantId,
        account: AccountId,
        now: Timestamp,
        events: &[Event],
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        accounts::lock(&mut tx, tenant, account).await?;
        let forgotten = fetch_all!(tx.on(), (Uuid,), DELETE_ALL, tenant.uuid(), account.uuid())?;
        if forgotten.is_empty() {
            return Ok(false);
        }
        for (id,) in forgotten {
            end_with(&mut tx, tenant, account, id.into(), now).await?;
        }
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Ends what a device had that is trusted no longer: its counter and its sessions.
async fn end_with(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    id: DeviceId,
    now: Timestamp,
) -> Result<(), StorageError> {
    execute!(tx.on(), DELETE_LANE, tenant.uuid(), account.uuid(), id.to_string())?;
    sessions::end_on_device(tx, tenant, account, id, now).await
}

/// Notes within a transaction that a device signed in; `false` if it is trusted no longer.
pub(super) async fn touch(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    id: DeviceId,
    now: Timestamp,
) -> Result<bool, StorageError> {
    Ok(execute!(tx.on(), TOUCH, tenant.uuid(), account.uuid(), id.uuid(), now.as_millis())? == 1)
}

/// Trusts a device within a transaction. What has to make room for it leaves its sessions: nobody said
/// that it is lost.
pub(super) async fn trust(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    device: &NewDevice,
) -> Result<DeviceId, StorageError> {
    let row = fetch_optional!(
        tx.on(),
        (Uuid,),
        TRUST,
        tenant.uuid(),
        device.id.uuid(),
        account.uuid(),
        word(device.kind),
        device.digest.as_slice(),
        device.trusted_from.as_deref(),
        device.label.as_deref(),
        device.created_at.as_millis(),
    )?;
    let id = row.map_or(device.id, |(id,)| id.into());
    make_room(tx, tenant, account, id, device.created_at).await?;
    Ok(id)
}

async fn make_room(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    newest: DeviceId,
    now: Timestamp,
) -> Result<(), StorageError> {
    let others = i64::from(MOST_TRUSTED) - 1;
    let (of_tenant, of_account) = (tenant.uuid(), account.uuid());
    let gone = fetch_all!(tx.on(), (Uuid,), DELETE_SURPLUS, of_tenant, of_account, newest.uuid(), others)?;
    let mut events = Vec::with_capacity(gone.len());
    for (id,) in gone {
        execute!(tx.on(), DELETE_LANE, of_tenant, of_account, DeviceId::from(id).to_string())?;
        events.push(forgotten(tenant, account, "surplus", now));
    }
    notes::write_events(tx, &events).await
}

/// Forgets devices of all tenants that did not sign in after `until`, at most `limit`; how many. Their
/// sessions stay. One statement after the other: together they would hold many accounts' rows at once.
pub(super) async fn forget_unused(
    db: &Database,
    until: Timestamp,
    limit: u32,
    now: Timestamp,
) -> Result<u64, StorageError> {
    let gone = fetch_all!(db.write(), (Uuid, Uuid, Uuid), DELETE_UNUSED, until.as_millis(), i64::from(limit))?;
    let mut events = Vec::with_capacity(gone.len());
    for &(tenant, account, id) in &gone {
        execute!(db.write(), DELETE_LANE, tenant, account, DeviceId::from(id).to_string())?;
        events.push(forgotten(tenant.into(), account.into(), "unused", now));
    }
    if !events.is_empty() {
        let mut tx = db.begin().await?;
        notes::write_events(&mut tx, &events).await?;
        tx.commit().await?;
    }
    Ok(gone.len() as u64)
}

const fn forgotten(tenant: TenantId, account: AccountId, cause: &'static str, at: Timestamp) -> Event {
    let (account, kind, cause) = (Some(account), EventKind::DeviceForgotten, Some(cause));
    Event { tenant, account, kind, at, cause, key: None, subject: None }
}

/// Trusts none of the account's devices any more, but the one of the session `keep`.
pub(super) async fn drop_all(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    keep: Option<SessionId>,
) -> Result<(), StorageError> {
    execute!(tx.on(), DELETE_OTHERS, tenant.uuid(), account.uuid(), keep.map(SessionId::uuid)).map(drop)
}

const fn word(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Token => "token",
        DeviceKind::UserAgent => "user_agent",
    }
}

fn known(
    (id, kind, trusted_from, last_seen_at): (Uuid, String, Option<String>, i64),
) -> Result<KnownDevice, StorageError> {
    let kind = [DeviceKind::Token, DeviceKind::UserAgent].into_iter().find(|known| word(*known) == kind);
    let kind = kind.ok_or_else(|| StorageError::corrupt("devices.kind"))?;
    Ok(KnownDevice { id: id.into(), kind, trusted_from, last_seen_at: Timestamp::from_millis(last_seen_at) })
}

row! {
    struct DeviceRow {
        id: Uuid,
        kind: String,
        trusted_from: Option<String>,
        label: Option<String>,
        created_at: i64,
        last_seen_at: i64,
    }
}

impl DeviceRow {
    fn into_device(self) -> Result<Device, StorageError> {
        Ok(Device {
            known: known((self.id, self.kind, self.trusted_from, self.last_seen_at))?,
            label: self.label,
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
}
