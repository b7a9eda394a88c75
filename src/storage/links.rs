//! Mailed links (verification, reset, invitation, unlock): ids, ends and uses. The token in the mail is derived from the id
//! elsewhere, so nothing here opens anything.

use sqlx::types::Uuid;

use super::accounts;
use super::engine::{Database, Tx};
use super::error::StorageError;
use super::notes::{self, Notes};
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, ChallengeId, TenantId};
use crate::domain::time::Timestamp;

const INSERT: &str = "INSERT INTO links (tenant_id, id, account_id, purpose, expires_at) VALUES ($1, $2, $3, $4, $5)";

const FIND: &str = "SELECT account_id, purpose, expires_at, used_at FROM links WHERE tenant_id = $1 AND id = $2";

/// Of two uses at once, one changes the row.
const USE: &str = "
    UPDATE links SET used_at = $4
     WHERE tenant_id = $1 AND id = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $4";

const VOID_PASSWORD_LINKS: &str = "
    DELETE FROM links
     WHERE tenant_id = $1 AND account_id = $2 AND purpose IN ('reset', 'invitation') AND used_at IS NULL";

const VOID_ALL: &str = "DELETE FROM links WHERE tenant_id = $1 AND account_id = $2";

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Proves an address.
    Verification,
    /// Sets a new password.
    Reset,
    /// Sets the first password of an account that an administrator made.
    Invitation,
    /// Ends a lock before its time.
    Unlock,
}

impl LinkPurpose {
    /// The word for storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Reset => "reset",
            Self::Invitation => "invitation",
            Self::Unlock => "unlock",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let known = [Self::Verification, Self::Reset, Self::Invitation, Self::Unlock];
        known.into_iter().find(|purpose| purpose.as_str() == word)
    }
}

/// A link to be issued.
#[derive(Debug, Clone, Copy)]
pub struct NewLink {
    /// Its id.
    pub id: ChallengeId,
    /// In which tenant.
    pub tenant: TenantId,
    /// Whose it is.
    pub account: AccountId,
    /// What it is good for.
    pub purpose: LinkPurpose,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A link as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whose it is.
    pub account: AccountId,
    /// What it is good for.
    pub purpose: LinkPurpose,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// What became of a presented verification link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// The address is proven now.
    Verified(AccountId),
    /// It was proven before, and the link still lives: the same good answer.
    AlreadyVerified(AccountId),
    /// Unknown, expired, or not of this kind.
    Invalid,
}

/// Verification and reset links.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    pub(super) db: &'a Database,
}

impl Links<'_> {
    /// Issues a link together with the mail that carries it; `false`, and nothing is written, if the
    /// account is gone, or is not reached by where the mail goes any more.
    pub async fn issue(&self, link: &NewLink, notes: &Notes<'_>) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !is_deliverable(&mut tx, link, notes).await? {
            return Ok(false);
        }
        insert(&mut tx, link).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// One link.
    pub async fn find(&self, tenant: TenantId, id: ChallengeId) -> Result<Option<Link>, StorageError> {
        let row = fetch_optional!(self.db.read(), LinkRow, FIND, tenant.uuid(), id.uuid())?;
        row.map(LinkRow::into_link).transpose()
    }

    /// Proves the address a verification link was mailed to; `events` are written the first time.
    pub async fn verify_email(
        &self,
        tenant: TenantId,
        id: ChallengeId,
        now: Timestamp,
        events: &[Event],
    ) -> Result<Verified, StorageError> {
        let Some(link) = self.find(tenant, id).await? else { return Ok(Verified::Invalid) };
        if link.purpose != LinkPurpose::Verification || link.expires_at <= now {
            return Ok(Verified::Invalid);
        }
        let mut tx = self.db.begin().await?;
        if !accounts::lock(&mut tx, tenant, link.account).await? {
            return Ok(Verified::Invalid);
        }
        spend(&mut tx, tenant, id, LinkPurpose::Verification, now).await?;
        if !accounts::prove_email(&mut tx, tenant, link.account, now).await? {
            tx.commit().await?;
            return Ok(Verified::AlreadyVerified(link.account));
        }
        notes::write_events(&mut tx, events).await?;
        tx.commit().await?;
        Ok(Verified::Verified(link.account))
    }
}

/// Takes the account, and says whether the mails with the link go to a contact it has: a change of contact
/// makes older links void, and one that is issued meanwhile must not escape it.
pub(super) async fn is_deliverable(tx: &mut Tx, link: &NewLink, notes: &Notes<'_>) -> Result<bool, StorageError> {
    if !accounts::lock(tx, link.tenant, link.account).await? {
        return Ok(false);
    }
    for mail in notes.messages {
        if !accounts::is_reached_by(tx, link.tenant, link.account, &mail.to).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Inserts a link.
pub(super) async fn insert(tx: &mut Tx, link: &NewLink) -> Result<(), StorageError> {
    execute!(
        tx.on(),
        INSERT,
        link.tenant.uuid(),
        link.id.uuid(),
        link.account.uuid(),
        link.purpose.as_str(),
        link.expires_at.as_millis(),
    )
    .map(drop)
}

/// Uses a live link; `false` if it is not live, or somebody was first.
pub(super) async fn spend(
    tx: &mut Tx,
    tenant: TenantId,
    id: ChallengeId,
    purpose: LinkPurpose,
    now: Timestamp,
) -> Result<bool, StorageError> {
    Ok(execute!(tx.on(), USE, tenant.uuid(), id.uuid(), purpose.as_str(), now.as_millis())? == 1)
}

/// Makes every unused link that sets a password of the account worthless.
pub(super) async fn void_password_links(tx: &mut Tx, tenant: TenantId, account: AccountId) -> Result<(), StorageError> {
    execute!(tx.on(), VOID_PASSWORD_LINKS, tenant.uuid(), account.uuid()).map(drop)
}

/// Makes every link of the account worthless: they were mailed to an address it has no longer.
pub(super) async fn void_all(tx: &mut Tx, tenant: TenantId, account: AccountId) -> Result<(), StorageError> {
    execute!(tx.on(), VOID_ALL, tenant.uuid(), account.uuid()).map(drop)
}

row! {
    struct LinkRow {
        account_id: Uuid,
        purpose: String,
        expires_at: i64,
        used_at: Option<i64>,
    }
}

impl LinkRow {
    fn into_link(self) -> Result<Link, StorageError> {
        Ok(Link {
            account: self.account_id.into(),
            purpose: LinkPurpose::from_word(&self.purpose).ok_or_else(|| StorageError::corrupt("links.purpose"))?,
            expires_at: Timestamp::from_millis(self.expires_at),
            used_at: self.used_at.map(Timestamp::from_millis),
        })
    }
}
