//! Registering with e-mail and password.

use std::time::Duration;

use super::Deps;
use super::client::Client;
use super::{entry, links, test_identities};
use crate::actors::budget::{Booked, Outgoing, Receipt};
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId};
use crate::domain::message::{Content, LinkRef, Message};
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
    let to = Contact::Email(ask.email.clone());
    let (receipt, messages) = verification_mail(deps, &ask, &account, &link).await?;
    let events = [deps.event(tenant, Some(account.id), EventKind::UserCreated, Some("email"))];
    let registration = EmailRegistration { account: &account, password_hash: &phc, devices: &devices, link: &link };

    let registered = deps.storage.accounts().create_with_email(&registration, &deps.notes(&messages, &events)).await;
    // One message either way: what was booked for the newcomer's mail serves the owner's.
    let told = match &registered {
        Ok(EmailRegistered::Created) => true,
        Ok(EmailRegistered::EmailTaken) if !tenant.policy().discloses_existing && owner_may_be_told => {
            receipt.is_some() && tell_the_owner(deps, &ask, to).await?
        }
        _ => false,
    };
    if let Some(receipt) = receipt.filter(|_| !told) {
        deps.budget.give_back(tenant, &receipt).await?;
    }
    match registered? {
        EmailRegistered::Created => {
            if account.test {
                test_identities::note(deps, tenant, Some(account.id), "registered");
            }
            deps.postman.dispatch_all(messages);
            Ok(RegisterEmailOutcome::Accepted { device_token })
        }
        EmailRegistered::EmailTaken if tenant.policy().discloses_existing => Ok(RegisterEmailOutcome::Exists),
        EmailRegistered::EmailTaken => Ok(RegisterEmailOutcome::Accepted { device_token }),
    }
}

/// The mail with the link, unless the address had its day's messages (another link can be asked for
/// tomorrow) or is a test identity's.
async fn verification_mail(
    deps: &Deps,
    ask: &RegisterEmail,
    account: &Account,
    link: &NewLink,
) -> Result<(Option<Receipt>, Vec<Message>), Failure> {
    let to = Contact::Email(ask.email.clone());
    if account.test {
        return Ok((None, Vec::new()));
    }
    let Booked::Taken(receipt) = deps.budget.book(&Outgoing::mail(&ask.tenant, &to)).await? else {
        return Ok((None, Vec::new()));
    };
    let content = Content::Verification(LinkRef { link: link.id, account: account.id });
    Ok((Some(receipt), vec![deps.message(&ask.tenant, to, account.locale, content, link.expires_at)]))
}

/// A test identity's address counts as verified: no link can reach it.
fn account(deps: &Deps, ask: &RegisterEmail) -> Account {
    let now = deps.clock.now();
    let test = test_identities::code(&ask.tenant, &Contact::Email(ask.email.clone()), None).is_some();
    Account {
        tenant: ask.tenant.id(),
        id: AccountId::at(now, deps.entropy.bytes()),
        email: Some(ask.email.clone()),
        email_verified_at: test.then_some(now),
        phone: None,
        phone_as_given: ask.phone_as_given.clone(),
        username: Some(ask.username.clone()),
        first_name: None,
        last_name: None,
        locale: ask.client.locale,
        disabled: false,
        test,
        created_at: now,
        unverified_until: (!test).then(|| now + ask.tenant.policy().verification_ttl),
    }
}

/// Whether this address may get another mail about registrations.
async fn count_mail(deps: &Deps, ask: &RegisterEmail) -> Result<bool, Failure> {
    let to = deps.digests.contact(ask.tenant.id(), &Contact::Email(ask.email.clone()));
    let mail = MailCount::new(&deps.entropy, *to.as_bytes(), "registration");
    // No cooldown: an owner who has just registered is told of the next one at once.
    let ceiling = ResendPolicy { cooldown: Duration::ZERO, ..ask.tenant.policy().link_mails };
    let counted = deps.ephemeral.count_mail(ask.tenant.id(), &ceiling, &mail).await?;
    Ok(counted == MailVerdict::Allowed)
}

/// "Someone tried to register with your address", in the owner's language; false if nothing was
/// sent, since nobody reads a test account's mail.
async fn tell_the_owner(deps: &Deps, ask: &RegisterEmail, to: Contact) -> Result<bool, Failure> {
    let accounts = deps.storage.accounts();
    let owner = match accounts.find_id(ask.tenant.id(), &to).await? {
        Some(id) => accounts.find(ask.tenant.id(), id).await?,
        None => None,
    };
    if owner.as_ref().is_some_and(|owner| owner.test) {
        return Ok(false);
    }
    let not_after = deps.clock.now() + ask.tenant.policy().verification_ttl;
    let locale = owner.and_then(|owner| owner.locale);
    deps.post(deps.message(&ask.tenant, to, locale, Content::AlreadyRegistered, not_after)).await?;
    Ok(true)
}
