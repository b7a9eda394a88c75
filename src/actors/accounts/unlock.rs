//! Ending a lock before its time: by the link in its mail, or by an administrator.
//!
//! The link lets strangers try again and begins their window anew; their consecutive count stays, so
//! that following every lock's link never puts off the hard stop. An administrator zeroes everything.

use super::{Deps, attempts, links};
use crate::actors::failure::Failure;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, KeyId};
use crate::secret::SecretString;
use crate::storage::LinkPurpose;
use crate::tenant::TenantContext;

/// Follows the link of a lock's mail; `false` if it does nothing any more.
pub(super) async fn by_link(deps: &Deps, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
    let found = links::find(deps, tenant, LinkPurpose::Unlock, token).await?;
    match found.filter(|(_, link)| link.used_at.is_none()) {
        Some((id, link)) => attempts::lift(deps, tenant, link.account, id).await,
        None => Ok(false),
    }
}

/// Zeroes every lane of an account and ends its locks; `false` if there is no such account.
pub(super) async fn by_admin(
    deps: &Deps,
    tenant: &TenantContext,
    account: AccountId,
    key: Option<KeyId>,
) -> Result<bool, Failure> {
    if deps.storage.accounts().find(tenant.id(), account).await?.is_none() {
        return Ok(false);
    }
    attempts::clear(deps, tenant, account, "admin").await?;
    // The unlocks above tell of locks; this tells who did it, even where nothing was locked.
    let event = deps.admin_event(tenant, account, EventKind::AuthzAdmin, "unlock", key);
    deps.storage.audit().record(&[event]).await?;
    Ok(true)
}
