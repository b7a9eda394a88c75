//! Registering with e-mail and password.

use super::Deps;
use super::client::Client;
use super::entry;
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId, OperationId};
use crate::domain::message::{Content, LinkRef};
use crate::domain::password::{self, PasswordProblem};
use crate::ephemeral::{MailCount, MailVerdict};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{EmailRegistered, EmailRegistration, LinkPurpose, NewLink};
use crate::tenant::TenantContext;

/// A registration with e-mail and password.
#[derive(Debug, Clone)]
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
    let context = [ask.email.as_str(), ask.email.local_part(), ask.username.as_str(), tenant.name()];
    if let Err(problem) = password::check(&tenant.policy().password, ask.password.expose_secret(), &context) {
        return Ok(RegisterEmailOutcome::Password(problem));
    }
    // Hashed before looking: the time must not tell who exists.
    let phc = deps.hasher.hash(tenant.id(), ask.password.clone()).await?;

    let now = deps.clock.now();
    let account = account(deps, &ask);
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
            tell_the_owner(deps, &ask).await?;
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

/// "Someone tried to register with your address", within the ceiling of such mails.
async fn tell_the_owner(deps: &Deps, ask: &RegisterEmail) -> Result<(), Failure> {
    let to = Contact::Email(ask.email.clone());
    let mail = MailCount {
        operation: OperationId::random(deps.entropy.bytes()),
        contact: *deps.digests.contact(ask.tenant.id(), &to).as_bytes(),
        class: "already_registered",
    };
    let counted = deps.ephemeral.count_mail(ask.tenant.id(), &ask.tenant.policy().link_mails, &mail).await?;
    if counted == MailVerdict::Allowed {
        let not_after = deps.clock.now() + ask.tenant.policy().verification_ttl;
        let message = deps.message(&ask.tenant, to, None, Content::AlreadyRegistered, not_after);
        deps.post(message).await?;
    }
    Ok(())
}
