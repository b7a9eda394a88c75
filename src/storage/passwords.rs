//! Setting a new password, by a mailed link or knowing the old one. Either way it is one
//! transaction: nobody is left signed in by a password that no longer holds.

use super::accounts;
use super::attempts;
use super::devices;
use super::engine::Database;
use super::error::StorageError;
use super::links::{self, LinkPurpose, NewLink};
use super::notes::{self, Notes};
use super::sessions;
use crate::domain::ids::{AccountId, ChallengeId, SessionId, TenantId};
use crate::domain::session::EndCause;
use crate::secret::SecretString;

/// What became of a presented reset link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The password is the new one.
    Done(AccountId),
    /// The link is unknown, expired, used or of another kind; nothing changed.
    Invalid,
}

/// Setting a new password.
#[derive(Debug, Clone, Copy)]
pub struct Passwords<'a> {
    pub(super) db: &'a Database,
}

impl Passwords<'_> {
    /// Spends a reset link. The address is proven by it; every device and session before it is
    /// dropped, every lock ended, every other reset link void.
    pub async fn reset(
        &self,
        tenant: TenantId,
        link: ChallengeId,
        password_hash: &SecretString,
        notes: &Notes<'_>,
    ) -> Result<Reset, StorageError> {
        self.set(tenant, link, LinkPurpose::Reset, password_hash, notes).await
    }

    /// Spends an invitation, which sets the first password, and for the rest is a reset.
    pub async fn accept_invitation(
        &self,
        tenant: TenantId,
        link: ChallengeId,
        password_hash: &SecretString,
        notes: &Notes<'_>,
    ) -> Result<Reset, StorageError> {
        self.set(tenant, link, LinkPurpose::Invitation, password_hash, notes).await
    }

    async fn set(
        &self,
        tenant: TenantId,
        link: ChallengeId,
        purpose: LinkPurpose,
        password_hash: &SecretString,
        notes: &Notes<'_>,
    ) -> Result<Reset, StorageError> {
        let links = links::Links { db: self.db };
        let Some(account) = links.find(tenant, link).await?.map(|link| link.account) else {
            return Ok(Reset::Invalid);
        };
        let mut tx = self.db.begin().await?;
        // The account before the link: every writer takes them in this order.
        if !accounts::lock(&mut tx, tenant, account).await?
            || !links::spend(&mut tx, tenant, link, purpose, notes.now).await?
        {
            return Ok(Reset::Invalid);
        }
        accounts::put_credential(&mut tx, tenant, account, password_hash).await?;
        accounts::prove_email(&mut tx, tenant, account, notes.now).await?;
        devices::drop_all(&mut tx, tenant, account, None).await?;
        sessions::end_others(&mut tx, tenant, account, None, EndCause::PasswordChange, notes.now).await?;
        attempts::clear_book(&mut tx, tenant, account, None, "reset", notes.now).await?;
        links::void_password_links(&mut tx, tenant, account).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(Reset::Done(account))
    }

    /// Makes a password that is known to others worthless: `unknowable` takes its place, every device
    /// and session is dropped and every older link void; `link` is the way back in. `false`, and nothing
    /// changed, if the account is gone, or is not reached by where the link goes any more.
    pub async fn withdraw(
        &self,
        link: &NewLink,
        unknowable: &SecretString,
        notes: &Notes<'_>,
    ) -> Result<bool, StorageError> {
        let (tenant, account) = (link.tenant, link.account);
        let mut tx = self.db.begin().await?;
        if !links::is_deliverable(&mut tx, link, notes).await? {
            return Ok(false);
        }
        accounts::put_credential(&mut tx, tenant, account, unknowable).await?;
        devices::drop_all(&mut tx, tenant, account, None).await?;
        sessions::end_others(&mut tx, tenant, account, None, EndCause::PasswordChange, notes.now).await?;
        links::void_password_links(&mut tx, tenant, account).await?;
        links::insert(&mut tx, link).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Sets a new password for someone signed in as `keep`, whose session and device stay; all
    /// others go, and so do reset links. `compared` is the version of the password they knew: `false`
    /// if it holds no longer, or the account is disabled or gone.
    pub async fn change(
        &self,
        tenant: TenantId,
        account: AccountId,
        keep: SessionId,
        compared: i64,
        password_hash: &SecretString,
        notes: &Notes<'_>,
    ) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        if !accounts::lock(&mut tx, tenant, account).await?
            || !accounts::still_stands(&mut tx, tenant, account, Some(compared)).await?
        {
            return Ok(false);
        }
        accounts::put_credential(&mut tx, tenant, account, password_hash).await?;
        devices::drop_all(&mut tx, tenant, account, Some(keep)).await?;
        sessions::end_others(&mut tx, tenant, account, Some(keep), EndCause::PasswordChange, notes.now).await?;
        links::void_password_links(&mut tx, tenant, account).await?;
        notes::write(&mut tx, notes).await?;
        tx.commit().await?;
        Ok(true)
    }
}
