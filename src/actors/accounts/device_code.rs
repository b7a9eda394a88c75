//! Confirming a new device: the mailed code's answer.

use std::time::Duration;

use super::client::Client;
use super::codes::{self, Answer, Checked, Destination};
use super::entry::{self, Entry, SignedIn};
use super::{Deps, directory_id};
use crate::actors::directory::Who;
use crate::actors::failure::Failure;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::ids::ChallengeId;
use crate::domain::lockout::Lane;
use crate::domain::otp::CodePurpose;
use crate::domain::session::Proof;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

/// The answer to the code that was mailed after a right password on a new device.
#[derive(Debug, Clone)]
pub struct ConfirmDevice {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical address.
    pub email: EmailAddress,
    /// The digits, tidied.
    pub code: SecretString,
    /// The challenge meant, if the client kept its id.
    pub challenge: Option<ChallengeId>,
    /// Who asks.
    pub client: Client,
}

/// What a code's answer leads to, whichever way the code was sent.
#[derive(Debug)]
pub enum CodeOutcome {
    /// Signed in.
    SignedIn(Box<SignedIn>),
    /// Wrong.
    Wrong,
    /// No code waits for an answer.
    Expired,
    /// Too many wrong answers today.
    Ceiling {
        /// How long until one is taken again.
        wait: Duration,
    },
    /// An administrator disabled the account.
    Disabled,
}

/// Judges the answer; the device is trusted from then on.
pub(super) async fn confirm(deps: &Deps, who: Who, ask: &ConfirmDevice) -> Result<CodeOutcome, Failure> {
    entry::have_keys(deps, &ask.tenant).await?;
    let id = directory_id(who);
    let found = deps.storage.accounts().find_with_credential(ask.tenant.id(), id).await?;
    let answer = Answer {
        tenant: &ask.tenant,
        purpose: CodePurpose::NewDevice,
        to: Destination { subject: codes::account_subject(id), contact: Contact::Email(ask.email.clone()) },
        account: found.as_ref().map(|(account, _)| account),
        lane: Lane::Strangers,
        wanted: ask.challenge,
        code: ask.code.expose_secret(),
        credential: found.as_ref().and_then(|(_, credential)| Some(credential.as_ref()?.version)),
    };
    let challenge = match accepted(codes::check(deps, &answer).await?) {
        Ok(challenge) => challenge,
        Err(refusal) => return Ok(refusal),
    };
    let Some((account, Some(credential))) = found else { return Ok(CodeOutcome::Expired) };
    if account.disabled {
        return Ok(CodeOutcome::Disabled);
    }
    let (proof, compared) = (Proof::PasswordOnNewDevice, Some(credential.version));
    let entry = Entry { proof, challenge: Some(challenge), device: None, trust: true, compared, answered: None };
    let opened = entry::open(deps, &ask.tenant, &account, &ask.client, entry).await?;
    Ok(opened.map_or(CodeOutcome::Expired, |entry| CodeOutcome::SignedIn(Box::new(entry))))
}

/// The challenge that was answered rightly, or what its answer leads to instead.
pub(super) fn accepted(checked: Checked) -> Result<ChallengeId, CodeOutcome> {
    match checked {
        Checked::Right(challenge) => Ok(challenge),
        Checked::Wrong => Err(CodeOutcome::Wrong),
        Checked::Expired => Err(CodeOutcome::Expired),
        Checked::Ceiling { wait } => Err(CodeOutcome::Ceiling { wait }),
    }
}
