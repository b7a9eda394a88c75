//! Test identities as the stories see them. The rules stand in [`crate::domain::test_identity`].

use super::Deps;
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::Contact;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, TenantId};
use crate::domain::settings::BadSetting;
use crate::domain::test_identity::TestIdentities;
use crate::storage::Storage;
use crate::telemetry;
use crate::tenant::TenantContext;

/// Which of the listed identities cannot be saved, since an ordinary account has the contact.
///
/// Asked when settings are saved; an account made later makes its identity inert by itself.
///
/// # Errors
/// [`Failure`] if storage is away.
pub async fn test_identities_taken(
    storage: &Storage,
    tenant: TenantId,
    identities: &TestIdentities,
) -> Result<Vec<BadSetting>, Failure> {
    let mut taken = Vec::new();
    for (at, contact) in identities.contacts().enumerate() {
        let Some(id) = storage.accounts().find_id(tenant, contact).await? else { continue };
        if storage.accounts().find(tenant, id).await?.is_some_and(|account| !account.test) {
            let path = format!("test_identities[{at}]").into();
            taken.push(BadSetting { path, reason: "an account has this contact".to_owned() });
        }
    }
    Ok(taken)
}

/// The fixed code of a contact, if it is a test identity now.
pub(super) fn code<'a>(tenant: &'a TenantContext, contact: &Contact, account: Option<&Account>) -> Option<&'a str> {
    tenant.policy().test_identities.code(contact, account)
}

/// Every use is on record: `sent`, `right`, `wrong`, `registered`.
pub(super) fn note(deps: &Deps, tenant: &TenantContext, account: Option<AccountId>, cause: &'static str) {
    metrics::counter!(telemetry::TEST_IDENTITY_USES).increment(1);
    deps.auditor.record(deps.event(tenant, account, EventKind::TestIdentityUsed, Some(cause)));
}
