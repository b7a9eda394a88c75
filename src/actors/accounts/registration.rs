//! Registering with e-mail and password.

use std::time::Duration;

use super::Deps;
use super::client::Client;
use super::{entry, links};
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId, OperationId};
use crate::domain::message::{Content, LinkRef};
use crate::domain::password::PasswordProblem;
use crate::domain::policy::ResendPolicy;
use crate::ephemeral::{MailCount, MailVerdict};
use crate::secret::SecretString;
use crate::storage::{EmailRegistered, EmailRegistration, LinkPurpose, NewLink};
use crate::tenant::TenantContext;

/// A registration with e-mail and password.
#[derive(Clone)]
pub struct RegisterEmail {
    /// In which tenant.
    pub tenant: TenantContext,
    /// What the person wants to be called.
    pub username: String,
    /// The canonical address.
    pub email: EmailAddress,
    /// The password, normalised, not yet judged.
    pub password: SecretString,
    /// `phoneNumber`, kept as given: it serves for codes only after it was proven.
    pub phone_as_given: Option<String>,
    /// Who asks; the registering device is trusted.
    pub client: Client,
}

/// What it leads to.
#[derive(Debug)]
pub enum RegisterEmailOutcome {
    /// Registered, or (where the policy does not tell) perhaps not: a mail says more.
    Accepted {
        /// The registering device's token; a mere decoy if nothing was made.
        device_token: SecretString,
    },
    /// The address has an account, and the policy tells.
    Exists,
    /// The password breaks a rule.
    Password(PasswordProblem),
}

/// Registers, and mails a verification link. An address that has an account is told so by mail
/// where the answer must not tell; the work is the same in both cases.
pub(super) async fn register(deps: &Deps, ask: RegisterEmail) -> Result<RegisterEmailOutcome, Failure> {
    let tenant = &ask.tenant;
    // Hashed and counted before looking: neither time nor an outage may tell who exists.
    let account = account(deps, &ask);
    let phc = match deps.hasher.choose(tenant.id(), links::choice(tenant, &account, ask.password.clone())).await? {
        Ok(phc) => phc,
        Err(problem) => return Ok(RegisterEmailOutcome::Password(problem)),
    };
    let owner_may_be_told = count_mail(deps, &ask).await?;

    let now = deps.clock.now();
    let (device, device_token) = entry::token_device(deps, &ask.client);
    let mut devices = vec![device];
    devices.extend(entry::user_agent_device(deps, tenant, account.id, &ask.client));
    let link = NewLink {
        id: ChallengeId::random(deps.entropy.bytes()),
        tenant: tenant.id(),
        account: account.id,
        purpose: LinkPurpose::Verification,
        expires_at: now + tenant.policy().verification_ttl,
    };
    let content = Content::Verification(LinkRef { link: link.id, account: account.id });
    let to = Contact::Email(ask.email.clone());
    let message = deps.message(tenant, to, account.locale, content, link.expires_at);
    let events = [deps.event(tenant, Some(account.id), EventKind::UserCreated, Some("email"))];
    let registration = EmailRegistration { account: &account, password_hash: &phc, devices: &devices, link: &link };

    let messages = [message];
    match deps.storage.accounts().create_with_email(&registration, &deps.notes(&messages, &events)).await? {
        EmailRegistered::Created => {
            let [message] = messages;
            deps.postman.dispatch(message);
            Ok(RegisterEmailOutcome::Accepted { device_token })
        }
        EmailRegistered::EmailTaken if tenant.policy().discloses_existing => Ok(RegisterEmailOutcome::Exists),
        EmailRegistered::EmailTaken => {
            if owner_may_be_told {
                tell_the_owner(deps, &ask).await?;
            }
            Ok(RegisterEmailOutcome::Accepted { device_token })
        }
    }
}

fn account(deps: &Deps, ask: &RegisterEmail) -> Account {
    let now = deps.clock.now();
    Account {
        tenant: ask.tenant.id(),
        id: AccountId::at(now, deps.entropy.bytes()),
        email: Some(ask.email.clone()),
        email_verified_at: None,
        phone: None,
        phone_as_given: ask.phone_as_given.clone(),
        username: Some(ask.username.clone()),
        first_name: None,
        last_name: None,
        locale: ask.client.locale,
        disabled: false,
        created_at: now,
        unverified_until: Some(now + ask.tenant.policy().verification_ttl),
    }
}

/// Whether this address may get another mail about registrations.
async fn count_mail(deps: &Deps, ask: &RegisterEmail) -> Result<bool, Failure> {
    let mail = MailCount {
        operation: OperationId::random(deps.entropy.bytes()),
        contact: *deps.digests.contact(ask.tenant.id(), &Contact::Email(ask.email.clone())).as_bytes(),
        class: "registration",
    };
    // No cooldown: an owner who has just registered is told of the next one at once.
    let ceiling = ResendPolicy { cooldown: Duration::ZERO, ..ask.tenant.policy().link_mails };
    let counted = deps.ephemeral.count_mail(ask.tenant.id(), &ceiling, &mail).await?;
    Ok(counted == MailVerdict::Allowed)
}

/// "Someone tried to register with your address", in the owner's language.
async fn tell_the_owner(deps: &Deps, ask: &RegisterEmail) -> Result<(), Failure> {
    let to = Contact::Email(ask.email.clone());
    let accounts = deps.storage.accounts();
    let locale = match accounts.find_id(ask.tenant.id(), &to).await? {
        Some(id) => accounts.find(ask.tenant.id(), id).await?.and_then(|owner| owner.locale),
        None => None,
    };
    let not_after = deps.clock.now() + ask.tenant.policy().verification_ttl;
    deps.post(deps.message(&ask.tenant, to, locale, Content::AlreadyRegistered, not_after)).await
}
