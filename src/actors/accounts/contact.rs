//! Changing the address or number one signs in with.
//!
//! ```text
//!   change ──► a code to the NEW contact ──► confirm ──► swapped in one transaction, old and new told
//! ```
//!
//! A text that tells of it costs what any other does, and is not sent where none is; the change goes on.
//!
//! Who may begin is the front end's to judge (a sign-in of the last minutes). The code is derived from
//! the account's challenge and the new contact, so it is worth nothing to another account or for
//! another contact, and its tries and sends are the account's. What one contact is sent is counted
//! besides, or many accounts could send to one stranger.

use std::time::Duration;

use super::Deps;
use super::codes::{self, Answer, CodeSend, Destination, Issued, Waiting};
use super::device_code::{CodeOutcome, accepted};
use crate::actors::budget::{Booked, Outgoing, Receipt};
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, ContactKind};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, SessionId};
use crate::domain::locale::Locale;
use crate::domain::lockout::Lane;
use crate::domain::message::{Channel, Content, Message};
use crate::domain::otp::CodePurpose;
use crate::domain::policy::ResendPolicy;
use crate::ephemeral::{MailCount, MailVerdict};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{ContactChange, ContactChanged};
use crate::tenant::TenantContext;

/// For how long the notice of a change is worth telling.
const WORTH_TELLING: Duration = Duration::from_hours(24);

/// A wish to be reached elsewhere, by someone who has just signed in.
#[derive(Debug, Clone)]
pub struct ChangeContact {
    /// In which tenant.
    pub tenant: TenantContext,
    /// Who is signed in.
    pub account: AccountId,
    /// The new contact, canonical.
    pub contact: Contact,
    /// The language asked for.
    pub locale: Option<Locale>,
}

/// What it leads to. Where the policy does not tell who exists, the same whoever has the contact.
#[derive(Debug)]
pub enum ChangeContactOutcome {
    /// A code is on its way to the new contact.
    Sent {
        /// How long the code is good for.
        life: Duration,
        /// How long until it may be sent again.
        cooldown: Duration,
    },
    /// Too soon or too often.
    Wait {
        /// How long until the next send is allowed.
        wait: Duration,
    },
    /// It is somebody else's, and the policy tells.
    Exists,
}

/// Sends a code to the new contact.
pub(super) async fn change(deps: &Deps, ask: &ChangeContact) -> Result<ChangeContactOutcome, Failure> {
    let tenant = &ask.tenant;
    if tenant.policy().discloses_existing && is_someone_elses(deps, ask).await? {
        return Ok(ChangeContactOutcome::Exists);
    }
    let counted = match count(deps, ask).await? {
        Ok(counted) => counted,
        Err(wait) => return Ok(ChangeContactOutcome::Wait { wait }),
    };
    let outcome = send_code(deps, ask).await;
    if !matches!(outcome, Ok(ChangeContactOutcome::Sent { .. })) {
        deps.give_back_warning(tenant, &counted).await;
    }
    outcome
}

async fn send_code(deps: &Deps, ask: &ChangeContact) -> Result<ChangeContactOutcome, Failure> {
    let tenant = &ask.tenant;
    // Known to be somebody's, so that no test identity's fixed code ever moves a contact.
    let account = deps.storage.accounts().find(tenant.id(), ask.account).await?;
    let send = CodeSend {
        tenant,
        purpose: CodePurpose::ContactChange,
        to: Destination { subject: codes::account_subject(ask.account), contact: ask.contact.clone() },
        account: account.as_ref(),
        lane: Lane::Strangers,
        client: None,
        locale: ask.locale,
        credential: None,
    };
    let issued = codes::issue(deps, &send, |code| Content::ContactChangeCode { code, account: ask.account }).await?;
    Ok(match issued {
        Issued::Sent(Waiting { life, .. }) => {
            ChangeContactOutcome::Sent { life, cooldown: tenant.policy().resend.cooldown }
        }
        Issued::Cooling { wait, .. } | Issued::Ceiling { wait } => ChangeContactOutcome::Wait { wait },
    })
}

/// A registration that lapsed holds nothing.
async fn is_someone_elses(deps: &Deps, ask: &ChangeContact) -> Result<bool, Failure> {
    let accounts = deps.storage.accounts();
    let holder = accounts.find_id(ask.tenant.id(), &ask.contact).await?;
    let Some(holder) = holder.filter(|holder| *holder != ask.account) else { return Ok(false) };
    let holder = accounts.find(ask.tenant.id(), holder).await?;
    Ok(holder.is_some_and(|holder| !holder.has_lapsed(deps.clock.now())))
}

/// Counts what the contact may be sent; how long until the next one fits, if this one does not. Without a
/// cooldown: the account's own keeps the pace, and two would not end together.
async fn count(deps: &Deps, ask: &ChangeContact) -> Result<Result<MailCount<'static>, Duration>, Failure> {
    let to = deps.digests.contact(ask.tenant.id(), &ask.contact);
    let mail = MailCount::new(&deps.entropy, *to.as_bytes(), CodePurpose::ContactChange.as_str());
    let ceiling = ResendPolicy { cooldown: Duration::ZERO, ..ask.tenant.policy().resend };
    Ok(match deps.ephemeral.count_mail(ask.tenant.id(), &ceiling, &mail).await? {
        MailVerdict::Allowed => Ok(mail),
        MailVerdict::Refused(wait) => Err(wait.left()),
    })
}

/// The answer to the code that was sent to the new contact.
#[derive(Debug, Clone)]
pub struct ConfirmContact {
    /// In which tenant.
    pub tenant: TenantContext,
    /// Who is signed in.
    pub account: AccountId,
    /// The acting session, the only one that stays.
    pub session: SessionId,
    /// The new contact, canonical.
    pub contact: Contact,
    /// The digits, tidied.
    pub code: SecretString,
}

/// What it leads to.
#[derive(Debug)]
pub enum ConfirmContactOutcome {
    /// The contact is the new one; the person as they are now.
    Changed(Box<Account>),
    /// The code was not accepted.
    Refused(CodeOutcome),
    /// Somebody else has the contact, and the policy tells.
    Exists,
}

/// Judges the answer and puts the new contact in the old one's place.
pub(super) async fn confirm(deps: &Deps, ask: &ConfirmContact) -> Result<ConfirmContactOutcome, Failure> {
    let tenant = &ask.tenant;
    let expired = Ok(ConfirmContactOutcome::Refused(CodeOutcome::Expired));
    let Some(account) = deps.storage.accounts().find(tenant.id(), ask.account).await? else { return expired };
    let answer = Answer {
        tenant,
        purpose: CodePurpose::ContactChange,
        to: Destination { subject: codes::account_subject(ask.account), contact: ask.contact.clone() },
        account: Some(&account),
        lane: Lane::Strangers,
        wanted: None,
        code: ask.code.expose_secret(),
        credential: None,
    };
    let proof = match accepted(codes::check(deps, &answer).await?) {
        Ok(challenge) => challenge,
        Err(refusal) => return Ok(ConfirmContactOutcome::Refused(refusal)),
    };
    let old = of_kind(&account, ask.contact.kind());
    let change = ContactChange {
        tenant: tenant.id(),
        account: account.id,
        old: old.as_ref(),
        new: &ask.contact,
        proof,
        keep: ask.session,
    };
    let (messages, receipts) = notices(deps, tenant, &account, &ask.contact).await;
    let events = [deps.event(tenant, Some(account.id), EventKind::UserUpdated, Some("contact"))];
    let changed = deps.storage.accounts().change_contact(&change, &deps.notes(&messages, &events)).await;
    if !matches!(changed, Ok(ContactChanged::Changed)) {
        for receipt in &receipts {
            deps.budget.give_back(tenant, receipt).await?;
        }
    }
    match changed? {
        ContactChanged::Changed => {
            deps.revocations.announce(tenant.id()).await;
            deps.postman.dispatch_all(messages);
            let account = deps.storage.accounts().find(tenant.id(), account.id).await?;
            Ok(account.map_or(ConfirmContactOutcome::Refused(CodeOutcome::Expired), |account| {
                ConfirmContactOutcome::Changed(Box::new(account))
            }))
        }
        ContactChanged::Taken if tenant.policy().discloses_existing => Ok(ConfirmContactOutcome::Exists),
        ContactChanged::Taken | ContactChanged::Stale => expired,
    }
}

fn of_kind(account: &Account, kind: ContactKind) -> Option<Contact> {
    match kind {
        ContactKind::Email => account.email.clone().map(Contact::Email),
        ContactKind::Phone => account.phone.clone().map(Contact::Phone),
    }
}

/// "Your contact was changed", wherever its owner may be reached: before, after, and the other way
/// (ASVS 6.3.7; NIST 800-63B-4 §4.6). With what was paid for those that are texts.
async fn notices(
    deps: &Deps,
    tenant: &TenantContext,
    account: &Account,
    new: &Contact,
) -> (Vec<Message>, Vec<Receipt>) {
    let mut reached: Vec<Contact> =
        [ContactKind::Email, ContactKind::Phone].into_iter().filter_map(|kind| of_kind(account, kind)).collect();
    if !reached.contains(new) {
        reached.push(new.clone());
    }
    let not_after = deps.clock.now() + WORTH_TELLING;
    let content = Content::ContactChanged { account: account.id };
    let (mut messages, mut receipts) = (Vec::new(), Vec::new());
    for to in reached.into_iter().filter(|to| deps.postman.can_send(tenant, to.channel())) {
        if to.channel() == Channel::Sms {
            let Some(receipt) = pay(deps, tenant, account, &to).await else { continue };
            receipts.push(receipt);
        }
        messages.push(deps.message(tenant, to, account.locale, content.clone(), not_after));
    }
    (messages, receipts)
}

/// Pays for a text to a number that the account has proven, now or before; `None` if it is not to be sent.
async fn pay(deps: &Deps, tenant: &TenantContext, account: &Account, to: &Contact) -> Option<Receipt> {
    match deps.budget.book(&Outgoing { tenant, to, proven: true, client: None }).await {
        Ok(Booked::Taken(receipt)) => Some(receipt),
        Ok(Booked::Withheld) => {
            tracing::warn!(account.id = %account.id, "a text about a changed contact was withheld");
            None
        }
        Err(failure) => {
            tracing::warn!(%failure, account.id = %account.id, "a text about a changed contact could not be paid for");
            None
        }
    }
}
