//! Changing a password one knows.

use std::time::Instant;

use super::attempts::{Attempts, Place, Unwritten};
use super::client::Client;
use super::{Deps, links};
use crate::actors::failure::Failure;
use crate::actors::hasher::Priority;
use crate::crypto::password_hash::Verification;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, SessionId};
use crate::domain::password::PasswordProblem;
use crate::ephemeral::AttemptSubject;
use crate::secret::SecretString;
use crate::telemetry;
use crate::tenant::TenantContext;

/// A change of password by someone signed in.
#[derive(Debug, Clone)]
pub struct ChangePassword {
    /// In which tenant.
    pub tenant: TenantContext,
    /// Who is signed in.
    pub account: AccountId,
    /// The acting session, the only one that stays.
    pub session: SessionId,
    /// The current password, normalised.
    pub current: SecretString,
    /// The new one, normalised, not yet judged.
    pub new: SecretString,
    /// Who asks.
    pub client: Client,
    /// Waiting for a place among the attempts ends then.
    pub deadline: Instant,
}

/// What it leads to.
#[derive(Debug)]
pub enum ChangePasswordOutcome {
    /// Changed; every other session and device is gone.
    Done,
    /// The current password is wrong; it counts like a failed log-in (ASVS 6.2.3).
    Refused,
    /// Locked by too many wrong ones, and the policy tells.
    Locked,
    /// The new password breaks a rule.
    Password(PasswordProblem),
}

/// Compares the current password through the same counter as a log-in, then sets the new one.
pub(super) async fn change(deps: &Deps, ask: ChangePassword) -> Result<ChangePasswordOutcome, Failure> {
    let tenant = &ask.tenant;
    let found = deps.storage.accounts().find_with_credential(tenant.id(), ask.account).await?;
    let Some((account, Some(credential))) = found else { return Ok(ChangePasswordOutcome::Refused) };
    let standing = ask.client.standing(deps, tenant, ask.account).await?;
    let subject = AttemptSubject::Account(ask.account);
    let attempts = Attempts { deps, tenant, subject, lane: standing.lane, account: Some(&account) };
    let attempt = match attempts.reserve(ask.deadline).await? {
        Place::Granted(attempt) => attempt,
        Place::Locked(lock) => {
            attempts.write_down(Unwritten::Lock(lock)).await?;
            return Ok(locked(tenant));
        }
        Place::Stopped => return Ok(locked(tenant)),
    };
    let phc = Some(credential.password_hash);
    let compared = deps.hasher.verify(tenant.id(), Priority::KnownDevice, ask.current, phc).await;
    if let Err(error) = compared {
        attempts.give_back(attempt).await;
        return Err(error.into());
    }
    metrics::counter!(telemetry::PASSWORD_VERIFICATIONS).increment(1);
    if compared == Ok(Verification::Differs) {
        let failed = attempts.fail(attempt).await?;
        if let Some(unwritten) = failed.unwritten {
            attempts.write_down(unwritten).await?;
        }
        return Ok(failed.lock.map_or(ChangePasswordOutcome::Refused, |_| locked(tenant)));
    }
    attempts.succeed(attempt).await?;

    let phc = match deps.hasher.choose(tenant.id(), links::choice(tenant, &account, ask.new)).await? {
        Ok(phc) => phc,
        Err(problem) => return Ok(ChangePasswordOutcome::Password(problem)),
    };
    let events = [deps.event(tenant, Some(account.id), EventKind::AuthnPasswordChange, Some("change"))];
    let messages: Vec<_> = links::password_changed(deps, tenant, &account).into_iter().collect();
    let notes = deps.notes(&messages, &events);
    let passwords = deps.storage.passwords();
    if !passwords.change(tenant.id(), account.id, ask.session, credential.version, &phc, &notes).await? {
        // Reset while it was compared: it is not the current one any more.
        return Ok(ChangePasswordOutcome::Refused);
    }
    deps.revocations.announce(tenant.id()).await;
    deps.postman.dispatch_all(messages);
    Ok(ChangePasswordOutcome::Done)
}

/// What a locked account says, as at log-in.
fn locked(tenant: &TenantContext) -> ChangePasswordOutcome {
    if tenant.policy().lockout.disclose { ChangePasswordOutcome::Locked } else { ChangePasswordOutcome::Refused }
}
