//! Sign-ins, their refresh tokens and their ends.
//!
//! A challenge opens one session and a refresh token has one successor, both by the database's own
//! judgement. Every end also writes a revocation, which all nodes poll: it outlives the session and
//! even the account, so that a token of an erased person is refused like any other.

use sqlx::types::Uuid;

use super::accounts;
use super::devices::{self, NewDevice};
use super::engine::{Database, Tx};
use super::error::StorageError;
use super::notes::{self, Notes};
use crate::domain::contact::Contact;
use crate::domain::ids::{AccountId, ChallengeId, DeviceId, SessionId, TenantId};
use crate::domain::session::{EndCause, Proof, Session};
use crate::domain::time::Timestamp;
use crate::domain::token::RefreshFacts;

const INSERT: &str = "
    INSERT INTO sessions (tenant_id, id, account_id, client_id, proof, challenge_id, device_id, label,
                          authenticated_at, refreshed_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (tenant_id, challenge_id) DO NOTHING";

const INSERT_TOKEN: &str = "INSERT INTO refresh_tokens (tenant_id, digest, session_id) VALUES ($1, $2, $3)";

const FIND: &str = "
    SELECT tenant_id, id, account_id, client_id, proof, challenge_id, device_id, label,
           authenticated_at, refreshed_at, expires_at, ended_at
      FROM sessions WHERE tenant_id = $1 AND id = $2";

const FIND_LIVE: &str = "
    SELECT tenant_id, id, account_id, client_id, proof, challenge_id, device_id, label,
           authenticated_at, refreshed_at, expires_at, ended_at
      FROM sessions
     WHERE tenant_id = $1 AND id = $2 AND account_id = $3 AND ended_at IS NULL AND expires_at > $4";

const LIST: &str = "
    SELECT tenant_id, id, account_id, client_id, proof, challenge_id, device_id, label,
           authenticated_at, refreshed_at, expires_at, ended_at
      FROM sessions
     WHERE tenant_id = $1 AND account_id = $2 AND ended_at IS NULL AND expires_at > $3
     ORDER BY authenticated_at DESC, id DESC";

const FIND_BY_TOKEN: &str = "
    SELECT s.tenant_id, s.id, s.account_id, s.client_id, s.proof, s.challenge_id, s.device_id, s.label,
           s.authenticated_at, s.refreshed_at, s.expires_at, s.ended_at,
           t.replaced_at, t.successor_sealed, n.replaced_at AS successor_replaced_at, a.test
      FROM refresh_tokens t
      JOIN sessions s ON s.tenant_id = t.tenant_id AND s.id = t.session_id
      JOIN accounts a ON a.tenant_id = s.tenant_id AND a.id = s.account_id
      LEFT JOIN refresh_tokens n ON n.tenant_id = t.tenant_id AND n.digest = t.successor_digest
     WHERE t.tenant_id = $1 AND t.digest = $2";

/// Changes nothing if the session is over. Comes before the token: whatever deletes a session takes
/// it before its tokens too.
const REFRESH: &str = "
    UPDATE sessions SET refreshed_at = $3
     WHERE tenant_id = $1 AND ended_at IS NULL AND expires_at > $3
       AND id = (SELECT session_id FROM refresh_tokens
                  WHERE tenant_id = $1 AND digest = $2 AND replaced_at IS NULL)
    RETURNING id";

/// Of any number of callers at once, one replaces the token; the others' refresh is taken back.
const REPLACE_TOKEN: &str = "
    UPDATE refresh_tokens SET replaced_at = $3, successor_digest = $4, successor_sealed = $5
     WHERE tenant_id = $1 AND digest = $2 AND replaced_at IS NULL";

/// `$3` is the session just opened, which never ends in favour of itself; `$6` how many others stay.
const END_SURPLUS: &str = "
    UPDATE sessions SET ended_at = $4, end_cause = $5
     WHERE tenant_id = $1 AND account_id = $2 AND id <> $3 AND ended_at IS NULL AND expires_at > $4
       AND id NOT IN (SELECT id FROM sessions
                       WHERE tenant_id = $1 AND account_id = $2 AND id <> $3 AND ended_at IS NULL AND expires_at > $4
                       ORDER BY authenticated_at DESC, id DESC LIMIT $6)
    RETURNING id";

const END: &str = "
    UPDATE sessions SET ended_at = $3, end_cause = $4
     WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL
    RETURNING account_id";

/// `$5` is the session that stays; NULL for none.
const END_OTHERS: &str = "
    UPDATE sessions SET ended_at = $3, end_cause = $4
     WHERE tenant_id = $1 AND account_id = $2 AND ended_at IS NULL AND ($5 IS NULL OR id <> $5)
    RETURNING id";

/// A password that was compared, and a code that was mailed after it, open nothing any more.
const VOID_COMPARED: &str = "UPDATE credentials SET version = version + 1 WHERE tenant_id = $1 AND account_id = $2";

const END_ON_DEVICE: &str = "
    UPDATE sessions SET ended_at = $4, end_cause = $5
     WHERE tenant_id = $1 AND account_id = $2 AND device_id = $3 AND ended_at IS NULL";

/// The account's ends that are not told yet.
const REVOKE_ENDED: &str = "
    INSERT INTO revocations (tenant_id, session_id, revoked_at)
    SELECT tenant_id, id, ended_at FROM sessions
     WHERE tenant_id = $1 AND account_id = $2 AND ended_at IS NOT NULL
    ON CONFLICT (tenant_id, session_id) DO NOTHING";

const REVOKED_SINCE: &str = "
    SELECT tenant_id, session_id, revoked_at FROM revocations WHERE revoked_at >= $1 ORDER BY revoked_at, session_id";

/// A session to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The session. Its `device` is replaced by the id of the first of `devices`, if there is one.
    pub session: &'a Session,
    /// SHA-256 of its first refresh token.
    pub refresh_digest: [u8; 32],
    /// Devices that become trusted with it, in the same transaction.
    pub devices: &'a [NewDevice],
    /// The version of the password that was compared; `None` if the proof was no password.
    pub compared: Option<i64>,
    /// The contact whose code was answered; `None` if a password was compared, whose version tells of a
    /// changed contact too.
    pub answered: Option<&'a Contact>,
    /// How many live sessions the account may have, this one included.
    pub max_sessions: u32,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is open.
    Opened {
        /// The oldest sessions, ended to make room.
        ended: Vec<SessionId>,
        /// The id under which the first new device is trusted (an older one if the account knew it).
        device: Option<DeviceId>,
    },
    /// Its challenge has opened a session before.
    ChallengeSpent,
    /// What it was opened on holds no longer: the password or the contact was changed, the account
    /// disabled or erased, or the trusted device forgotten while the sign-in was judged.
    Stale,
}

/// A refresh token and the session it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRow {
    /// The session.
    pub session: Session,
    /// What the verdict needs to know about the token.
    pub facts: RefreshFacts,
    /// The token's successor, sealed under a key derived from the token.
    pub successor_sealed: Option<Vec<u8>>,
    /// Whether its account was made through a test identity.
    pub test: bool,
}

/// One replacement of a refresh token.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// SHA-256 of the token presented.
    pub old_digest: [u8; 32],
    /// SHA-256 of its successor.
    pub new_digest: [u8; 32],
    /// The successor, sealed under a key derived from the token presented.
    pub sealed_successor: &'a [u8],
}

/// A session whose tokens are refused from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// In which tenant.
    pub tenant: TenantId,
    /// Which.
    pub session: SessionId,
    /// Since when.
    pub at: Timestamp,
}

/// Sign-ins, their refresh tokens and their ends.
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    pub(super) db: &'a Database,
}

impl Sessions<'_> {
    /// Opens a session, if what it is opened on still holds; beyond the account's maximum the
    /// oldest end.
    pub async fn open(&self, opening: &Opening<'_>, notes: &Notes<'_>) -> Result<Opened, StorageError> {
        let session = opening.session;
        let mut tx = self.db.begin().await?;
        if !accounts::lock(&mut tx, session.tenant, session.account).await?
            || !accounts::still_stands(&mut tx, session.tenant, session.account, opening.compared).await?
        {
            return Ok(Opened::Stale);
        }
        if let Some(contact) = opening.answered
            && !accounts::is_reached_by(&mut tx, session.tenant, session.account, contact).await?
        {
            return Ok(Opened::Stale);
        }
        let opened = insert(&mut tx, opening, notes.now).await?;
        if matches!(opened, Opened::Opened { .. }) {
            notes::write(&mut tx, notes).await?;
            tx.commit().await?;
        }
        Ok(opened)
    }

    /// One session, ended or not.
    pub async fn find(&self, tenant: TenantId, id: SessionId) -> Result<Option<Session>, StorageError> {
        let row = fetch_optional!(self.db.read(), SessionRow, FIND, tenant.uuid(), id.uuid())?;
        row.map(SessionRow::into_session).transpose()
    }

    /// One session if it is `account`'s and neither ended nor expired (idleness is policy's to judge).
    pub async fn find_live_of(
        &self,
        tenant: TenantId,
        id: SessionId,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<Session>, StorageError> {
        let (session, account) = (id.uuid(), account.uuid());
        let now = now.as_millis();
        let row = fetch_optional!(self.db.read(), SessionRow, FIND_LIVE, tenant.uuid(), session, account, now)?;
        row.map(SessionRow::into_session).transpose()
    }

    /// The account's sessions that are neither ended nor expired, newest first, at most 100.
    pub async fn list(
        &self,
        tenant: TenantId,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<Session>, StorageError> {
        let rows = fetch_all!(self.db.read(), SessionRow, LIST, tenant.uuid(), account.uuid(), now.as_millis())?;
        rows.into_iter().map(SessionRow::into_session).collect()
    }

    /// A refresh token by its digest, spent or not.
    pub async fn find_by_refresh(
        &self,
        tenant: TenantId,
        digest: &[u8; 32],
    ) -> Result<Option<RefreshRow>, StorageError> {
        let row = fetch_optional!(self.db.read(), TokenRow, FIND_BY_TOKEN, tenant.uuid(), digest.as_slice())?;
        row.map(TokenRow::into_refresh).transpose()
    }

    /// Replaces an unspent token of a live session; `false` if somebody was first or it is over.
    pub async fn rotate(
        &self,
        tenant: TenantId,
        rotation: &Rotation<'_>,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let (old, at) = (rotation.old_digest.as_slice(), now.as_millis());
        let refreshed = fetch_optional!(tx.on(), (Uuid,), REFRESH, tenant.uuid(), old, at)?;
        let Some((session,)) = refreshed else { return Ok(false) };
        let replaced = execute!(
            tx.on(),
            REPLACE_TOKEN,
            tenant.uuid(),
            old,
            at,
            rotation.new_digest.as_slice(),
            rotation.sealed_successor,
        )?;
        if replaced == 0 {
            return Ok(false);
        }
        execute!(tx.on(), INSERT_TOKEN, tenant.uuid(), rotation.new_digest.as_slice(), session)?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends a session; `false` if there is none or it has ended, and then nothing is written.
    pub async fn end(
        &self,
        tenant: TenantId,
        id: SessionId,
        cause: EndCause,
        notes: &Notes<'_>,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let (session, at, cause) = (id.uuid(), notes.now.as_millis(), cause.as_str());
        let ended = fetch_optional!(tx.on(), (Uuid,), END, tenant.uuid(), session, at, cause)?;
        let Some((account,)) = ended else { return Ok(false) };
        execute!(tx.on(), REVOKE_ENDED, tenant.uuid(), account)?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends the account's sessions but `except`, and the sign-ins under way; returns those it ended.
    pub async fn end_all(
        &self,
        tenant: TenantId,
        account: AccountId,
        except: Option<SessionId>,
        cause: EndCause,
        notes: &Notes<'_>,
    ) -> Result<Vec<SessionId>, StorageError> {
        let mut tx = self.db.begin().await?;
        accounts::lock(&mut tx, tenant, account).await?;
        let ended = end_others(&mut tx, tenant, account, except, cause, notes.now).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Ends of all tenants since a moment, oldest first. Ask again from a minute before the last
    /// answer: transactions commit out of order.
    pub async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StorageError> {
        let rows = fetch_all!(self.db.read(), (Uuid, Uuid, i64), REVOKED_SINCE, since.as_millis())?;
        let revocation = |(tenant, session, at): (Uuid, Uuid, i64)| Revocation {
            tenant: tenant.into(),
            session: session.into(),
            at: Timestamp::from_millis(at),
        };
        Ok(rows.into_iter().map(revocation).collect())
    }
}

/// Opens a session within a transaction that holds the account.
pub(super) async fn insert(tx: &mut Tx, opening: &Opening<'_>, now: Timestamp) -> Result<Opened, StorageError> {
    let session = opening.session;
    let (tenant, account) = (session.tenant.uuid(), session.account.uuid());
    let mut device = None;
    for new in opening.devices {
        let trusted = devices::trust(tx, session.tenant, session.account, new).await?;
        device = device.or(Some(trusted));
    }
    if let (None, Some(known)) = (device, session.device)
        && !devices::touch(tx, session.tenant, session.account, known, now).await?
    {
        return Ok(Opened::Stale);
    }
    let inserted = execute!(
        tx.on(),
        INSERT,
        tenant,
        session.id.uuid(),
        account,
        session.client_id.as_str(),
        session.proof.as_str(),
        session.challenge.map(ChallengeId::uuid),
        device.or(session.device).map(DeviceId::uuid),
        session.label.as_deref(),
        session.authenticated_at.as_millis(),
        session.refreshed_at.as_millis(),
        session.expires_at.as_millis(),
    )?;
    if inserted == 0 {
        return Ok(Opened::ChallengeSpent);
    }
    execute!(tx.on(), INSERT_TOKEN, tenant, opening.refresh_digest.as_slice(), session.id.uuid())?;
    let ended = fetch_all!(
        tx.on(),
        (Uuid,),
        END_SURPLUS,
        tenant,
        account,
        session.id.uuid(),
        now.as_millis(),
        EndCause::TooMany.as_str(),
        i64::from(opening.max_sessions) - 1,
    )?;
    if !ended.is_empty() {
        execute!(tx.on(), REVOKE_ENDED, tenant, account)?;
    }
    Ok(Opened::Opened { ended: ended.into_iter().map(|(id,)| id.into()).collect(), device })
}

/// Whether a session of the account is neither ended nor expired, read in a transaction that holds the
/// account.
pub(super) async fn is_open(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let (session, account, now) = (id.uuid(), account.uuid(), now.as_millis());
    Ok(fetch_optional!(tx.on(), SessionRow, FIND_LIVE, tenant.uuid(), session, account, now)?.is_some())
}

/// Ends the account's sessions but `except`, and the sign-ins under way.
pub(super) async fn end_others(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    except: Option<SessionId>,
    cause: EndCause,
    now: Timestamp,
) -> Result<Vec<SessionId>, StorageError> {
    let (at, cause, except) = (now.as_millis(), cause.as_str(), except.map(SessionId::uuid));
    let ended = fetch_all!(tx.on(), (Uuid,), END_OTHERS, tenant.uuid(), account.uuid(), at, cause, except)?;
    execute!(tx.on(), REVOKE_ENDED, tenant.uuid(), account.uuid())?;
    execute!(tx.on(), VOID_COMPARED, tenant.uuid(), account.uuid())?;
    Ok(ended.into_iter().map(|(id,)| id.into()).collect())
}

/// Ends the sessions that were opened on a device.
pub(super) async fn end_on_device(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    device: DeviceId,
    now: Timestamp,
) -> Result<(), StorageError> {
    let (at, cause) = (now.as_millis(), EndCause::DeviceForgotten.as_str());
    execute!(tx.on(), END_ON_DEVICE, tenant.uuid(), account.uuid(), device.uuid(), at, cause)?;
    execute!(tx.on(), REVOKE_ENDED, tenant.uuid(), account.uuid()).map(drop)
}

/// Revokes every open session of an account that is about to be erased. Ends them first, as whoever ends
/// one of them does: the other way round the two would wait for each other.
pub(super) async fn revoke_all(
    tx: &mut Tx,
    tenant: TenantId,
    account: AccountId,
    now: Timestamp,
) -> Result<(), StorageError> {
    let (at, none) = (now.as_millis(), None::<Uuid>);
    execute!(tx.on(), END_OTHERS, tenant.uuid(), account.uuid(), at, "erased", none)?;
    execute!(tx.on(), REVOKE_ENDED, tenant.uuid(), account.uuid()).map(drop)
}

row! {
    struct SessionRow {
        tenant_id: Uuid,
        id: Uuid,
        account_id: Uuid,
        client_id: String,
        proof: String,
        challenge_id: Option<Uuid>,
        device_id: Option<Uuid>,
        label: Option<String>,
        authenticated_at: i64,
        refreshed_at: i64,
        expires_at: i64,
        ended_at: Option<i64>,
    }
}

impl SessionRow {
    fn into_session(self) -> Result<Session, StorageError> {
        Ok(Session {
            tenant: self.tenant_id.into(),
            id: self.id.into(),
            account: self.account_id.into(),
            client_id: self.client_id,
            proof: Proof::from_word(&self.proof).ok_or_else(|| StorageError::corrupt("sessions.proof"))?,
            challenge: self.challenge_id.map(ChallengeId::from),
            device: self.device_id.map(DeviceId::from),
            label: self.label,
            authenticated_at: Timestamp::from_millis(self.authenticated_at),
            refreshed_at: Timestamp::from_millis(self.refreshed_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
        })
    }
}

row! {
    struct TokenRow {
        ..session: SessionRow,
        replaced_at: Option<i64>,
        successor_sealed: Option<Vec<u8>>,
        successor_replaced_at: Option<i64>,
        test: bool,
    }
}

impl TokenRow {
    fn into_refresh(self) -> Result<RefreshRow, StorageError> {
        Ok(RefreshRow {
            session: self.session.into_session()?,
            facts: RefreshFacts {
                replaced_at: self.replaced_at.map(Timestamp::from_millis),
                successor_used: self.successor_replaced_at.is_some(),
            },
            successor_sealed: self.successor_sealed,
            test: self.test,
        })
    }
}
