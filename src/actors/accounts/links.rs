//! Mailed links: proving an address, asking for another link, setting a forgotten or a first password.
//!
//! A link's token is its id and a MAC that only guichet can make; storage holds neither token nor
//! MAC, and judges by conditional writes, so a link acts once on however many nodes and survives
//! an emptied Redis.

use std::sync::Arc;
use std::time::Duration;

use super::afterwards::Afterwards;
use super::{Deps, attempts};
use crate::actors::ask::ReplyPort;
use crate::actors::budget::{Booked, Outgoing, Receipt};
use crate::actors::directory::Who;
use crate::actors::failure::Failure;
use crate::actors::hasher::Choice;
use crate::crypto::digest;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, ChallengeId, KeyId};
use crate::domain::locale::Locale;
use crate::domain::message::{Content, LinkRef, Message};
use crate::domain::password::PasswordProblem;
use crate::domain::policy::ResendPolicy;
use crate::ephemeral::{MailCount, MailVerdict};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{Link, LinkPurpose, NewLink, Reset, Verified};
use crate::tenant::TenantContext;

/// The class of mails with a reset link that an administrator causes.
const ADMIN_RESET: &str = "admin_reset";

/// The link a token stands for, if the token is one of ours, for this purpose, and lives.
pub(super) async fn find(
    deps: &Deps,
    tenant: &TenantContext,
    purpose: LinkPurpose,
    token: &SecretString,
) -> Result<Option<(ChallengeId, Link)>, Failure> {
    let Some(presented) = digest::parse_link_token(token.expose_secret()) else { return Ok(None) };
    let found = deps.storage.links().find(tenant.id(), presented.link).await?;
    let now = deps.clock.now();
    let link = found.filter(|link| {
        link.purpose == purpose
            && link.expires_at > now
            && deps.digests.verify_link(tenant.id(), purpose.as_str(), link.account, &presented)
    });
    Ok(link.map(|link| (presented.link, link)))
}

/// Whether a token would still do something; asked by pages, which change nothing.
pub(super) async fn is_live(
    deps: &Deps,
    tenant: &TenantContext,
    purpose: LinkPurpose,
    token: &SecretString,
) -> Result<bool, Failure> {
    let found = find(deps, tenant, purpose, token).await?;
    Ok(found.is_some_and(|(_, link)| purpose == LinkPurpose::Verification || link.used_at.is_none()))
}

/// Proves an address. Used again within its life it answers yes again: people press twice.
pub(super) async fn verify_email(deps: &Deps, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
    let Some((id, link)) = find(deps, tenant, LinkPurpose::Verification, token).await? else { return Ok(false) };
    let events = [deps.event(tenant, Some(link.account), EventKind::UserVerified, Some("link"))];
    let verified = deps.storage.links().verify_email(tenant.id(), id, deps.clock.now(), &events).await?;
    Ok(!matches!(verified, Verified::Invalid))
}

/// The links that a person may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To prove an address.
    Verification,
    /// To set a new password.
    Reset,
}

impl Wanted {
    const fn purpose(self) -> LinkPurpose {
        match self {
            Self::Verification => LinkPurpose::Verification,
            Self::Reset => LinkPurpose::Reset,
        }
    }
}

/// A request for a mailed link; the answer never tells whether anything was sent.
#[derive(Debug, Clone)]
pub struct LinkRequest {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical address.
    pub email: EmailAddress,
    /// The language asked for.
    pub locale: Option<Locale>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRequestOutcome {
    /// If there is something to send, it is on its way.
    Accepted,
    /// Too soon or too often for this address.
    Wait {
        /// How long until the next is allowed.
        wait: Duration,
    },
}

/// Counts the mail, answers, and only then has it looked whether there is anything to send: neither the
/// ceiling nor the time of this answer or the next tells who has an account.
pub(super) async fn mail(
    deps: &Arc<Deps>,
    afterwards: &Afterwards,
    who: Who,
    ask: LinkRequest,
    wanted: Wanted,
    reply: ReplyPort<Result<LinkRequestOutcome, Failure>>,
) {
    let counted = count(deps, &ask, wanted).await;
    let accepted = matches!(counted, Ok(LinkRequestOutcome::Accepted));
    let _nobody_waits = reply.send(counted);
    let Who::Account(id) = who else { return };
    if accepted {
        let deps = Arc::clone(deps);
        let issue = async move {
            if let Err(failure) = issue_if_served(&deps, id, &ask, wanted).await {
                tracing::warn!(%failure, "a link was asked for but could not be mailed");
            }
        };
        afterwards.see_to(Box::pin(issue)).await;
    }
}

async fn count(deps: &Deps, ask: &LinkRequest, wanted: Wanted) -> Result<LinkRequestOutcome, Failure> {
    let tenant = &ask.tenant;
    let to = deps.digests.contact(tenant.id(), &Contact::Email(ask.email.clone()));
    let mail = MailCount::new(&deps.entropy, *to.as_bytes(), wanted.purpose().as_str());
    Ok(match deps.ephemeral.count_mail(tenant.id(), &tenant.policy().link_mails, &mail).await? {
        MailVerdict::Refused(wait) => LinkRequestOutcome::Wait { wait: wait.left() },
        MailVerdict::Allowed => LinkRequestOutcome::Accepted,
    })
}

/// A verification link serves an address that is not proven yet, a reset link an enabled account; no
/// link serves a test account, whose mail nobody reads.
async fn issue_if_served(deps: &Deps, id: AccountId, ask: &LinkRequest, wanted: Wanted) -> Result<(), Failure> {
    let found = deps.storage.accounts().find(ask.tenant.id(), id).await?;
    let serves = |account: &Account| match wanted {
        Wanted::Verification => account.email_verified_at.is_none(),
        Wanted::Reset => !account.disabled,
    };
    let is_reached = |account: &Account| !account.test && !account.has_lapsed(deps.clock.now());
    match found.filter(|account| is_reached(account) && serves(account)) {
        Some(account) => issue(deps, &ask.tenant, wanted, &account, ask.locale).await,
        None => Ok(()),
    }
}

/// Mails a link to the account's own address, which may have changed since it was asked for.
async fn issue(
    deps: &Deps,
    tenant: &TenantContext,
    wanted: Wanted,
    account: &Account,
    locale: Option<Locale>,
) -> Result<(), Failure> {
    let Some((link, message)) = letter(deps, tenant, wanted, account, locale) else { return Ok(()) };
    let Booked::Taken(receipt) = deps.budget.book(&Outgoing::mail(tenant, &message.to)).await? else { return Ok(()) };
    let messages = [message];
    let issued = deps.storage.links().issue(&link, &deps.notes(&messages, &[])).await;
    if !matches!(issued, Ok(true)) {
        deps.budget.give_back(tenant, &receipt).await?;
    }
    if issued? {
        deps.postman.dispatch_all(messages.into());
    }
    Ok(())
}

/// A link and the mail that carries it; `None` for an account without an address.
fn letter(
    deps: &Deps,
    tenant: &TenantContext,
    wanted: Wanted,
    account: &Account,
    locale: Option<Locale>,
) -> Option<(NewLink, Message)> {
    let to = Contact::Email(account.email.clone()?);
    let policy = tenant.policy();
    let id = ChallengeId::random(deps.entropy.bytes());
    let reference = LinkRef { link: id, account: account.id };
    let (content, life) = match wanted {
        Wanted::Verification => (Content::Verification(reference), policy.verification_ttl),
        Wanted::Reset => (Content::PasswordReset(reference), policy.reset_ttl),
    };
    // An unproven registration ends with its own link, and with it every later one.
    let whole_life = deps.clock.now() + life;
    let expires_at = account.unverified_until.map_or(whole_life, |end| end.min(whole_life));
    let link = NewLink { id, tenant: tenant.id(), account: account.id, purpose: wanted.purpose(), expires_at };
    let message = deps.message(tenant, to, locale.or(account.locale), content, link.expires_at);
    Some((link, message))
}

/// A reset that an administrator begins: the person chooses the password, nobody else (ASVS 6.4.6).
#[derive(Debug, Clone)]
pub struct StartReset {
    /// In which tenant.
    pub tenant: TenantContext,
    /// Whose password.
    pub account: AccountId,
    /// Others know it: it opens nothing from now on, and every device and session goes.
    pub compromised: bool,
    /// With which key; none for the root key.
    pub key: Option<KeyId>,
}

/// What it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartResetOutcome {
    /// The link is on its way.
    Mailed,
    /// There is no such account.
    Unknown,
    /// The account has no address to mail it to.
    NoAddress,
    /// Too often for this address.
    Wait {
        /// How long until the next is allowed.
        wait: Duration,
    },
}

/// Mails a reset link because an administrator says so.
pub(super) async fn start_reset(deps: &Deps, ask: &StartReset) -> Result<StartResetOutcome, Failure> {
    let tenant = &ask.tenant;
    let found = deps.storage.accounts().find(tenant.id(), ask.account).await?;
    let Some(account) = found.filter(|account| !account.has_lapsed(deps.clock.now())) else {
        return Ok(StartResetOutcome::Unknown);
    };
    let Some((link, message)) = letter(deps, tenant, Wanted::Reset, &account, None) else {
        return Ok(StartResetOutcome::NoAddress);
    };
    let cause = if ask.compromised { "compromised" } else { "reset" };
    let events = [deps.admin_event(tenant, account.id, EventKind::AuthzAdmin, cause, ask.key)];
    let counted = match count_for_admin(deps, tenant, &message.to, ADMIN_RESET).await? {
        Ok(counted) => counted,
        Err(wait) => return Ok(StartResetOutcome::Wait { wait }),
    };
    let outcome = if ask.compromised {
        // A security mail: whoever floods the address must not keep its password from being withdrawn.
        withdraw(deps, tenant, &link, message, &events).await
    } else {
        mail_reset(deps, tenant, &link, message, &events).await
    };
    if !matches!(outcome, Ok(StartResetOutcome::Mailed)) {
        deps.give_back_warning(tenant, &counted).await;
    }
    outcome
}

/// Mails the link, if the recipient's day has room for it.
async fn mail_reset(
    deps: &Deps,
    tenant: &TenantContext,
    link: &NewLink,
    message: Message,
    events: &[Event],
) -> Result<StartResetOutcome, Failure> {
    let receipt = match deps.budget.book_mail(tenant, &message.to).await? {
        Ok(receipt) => receipt,
        Err(wait) => return Ok(StartResetOutcome::Wait { wait }),
    };
    let messages = [message];
    let issued = deps.storage.links().issue(link, &deps.notes(&messages, events)).await;
    if !matches!(issued, Ok(true)) {
        deps.budget.give_back(tenant, &receipt).await?;
    }
    if !issued? {
        // Gone, or reached elsewhere, since it was read: the next try finds which.
        return Err(Failure::Unavailable);
    }
    deps.postman.dispatch_all(messages.into());
    Ok(StartResetOutcome::Mailed)
}

/// Puts a password that nobody knows in the place of one that others know.
async fn withdraw(
    deps: &Deps,
    tenant: &TenantContext,
    link: &NewLink,
    message: Message,
    events: &[Event],
) -> Result<StartResetOutcome, Failure> {
    // A hash like any other, so that a log-in takes as long as before.
    let unknowable = deps.hasher.hash(tenant.id(), digest::fresh_token(&deps.entropy)).await?;
    let messages = [message];
    if !deps.storage.passwords().withdraw(link, &unknowable, &deps.notes(&messages, events)).await? {
        return Err(Failure::Unavailable);
    }
    deps.revocations.announce(tenant.id()).await;
    deps.postman.dispatch_all(messages.into());
    Ok(StartResetOutcome::Mailed)
}

/// Takes a mail that an administrator causes from what its class may send to the address and from the
/// recipient's day, or from neither; how long until the next one fits, if this one does not.
pub(super) async fn book_for_admin<'a>(
    deps: &Deps,
    tenant: &TenantContext,
    to: &Contact,
    class: &'a str,
) -> Result<Result<(Receipt, MailCount<'a>), Duration>, Failure> {
    let counted = match count_for_admin(deps, tenant, to, class).await? {
        Ok(counted) => counted,
        Err(wait) => return Ok(Err(wait)),
    };
    let booked = deps.budget.book_mail(tenant, to).await;
    if !matches!(booked, Ok(Ok(_))) {
        deps.give_back_warning(tenant, &counted).await;
    }
    Ok(booked?.map(|receipt| (receipt, counted)))
}

/// Without a cooldown: there is nobody here who presses twice. Whoever does not write the mail gives it back.
async fn count_for_admin<'a>(
    deps: &Deps,
    tenant: &TenantContext,
    to: &Contact,
    class: &'a str,
) -> Result<Result<MailCount<'a>, Duration>, Failure> {
    let mail = MailCount::new(&deps.entropy, *deps.digests.contact(tenant.id(), to).as_bytes(), class);
    let ceiling = ResendPolicy { cooldown: Duration::ZERO, ..tenant.policy().link_mails };
    Ok(match deps.ephemeral.count_mail(tenant.id(), &ceiling, &mail).await? {
        MailVerdict::Allowed => Ok(mail),
        MailVerdict::Refused(wait) => Err(wait.left()),
    })
}

/// A new password behind a mailed link.
#[derive(Debug, Clone)]
pub struct ResetPassword {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The token of the link.
    pub token: SecretString,
    /// The password, normalised, not yet judged.
    pub password: SecretString,
}

/// What it leads to.
#[derive(Debug)]
pub enum ResetPasswordOutcome {
    /// Set. Older sessions and devices are gone, the lock is lifted, no token is given.
    Done,
    /// Not a link that lives.
    Invalid,
    /// The password breaks a rule.
    Password(PasswordProblem),
}

/// Sets the password. Works while the account is locked, and unlocks it: whoever reads the mail
/// is the owner.
pub(super) async fn reset_password(deps: &Arc<Deps>, ask: ResetPassword) -> Result<ResetPasswordOutcome, Failure> {
    set_password(deps, ask, LinkPurpose::Reset).await
}

/// Sets the first password of somebody who was invited, and proves the address.
pub(super) async fn accept_invitation(deps: &Arc<Deps>, ask: ResetPassword) -> Result<ResetPasswordOutcome, Failure> {
    set_password(deps, ask, LinkPurpose::Invitation).await
}

async fn set_password(
    deps: &Arc<Deps>,
    ask: ResetPassword,
    purpose: LinkPurpose,
) -> Result<ResetPasswordOutcome, Failure> {
    let tenant = &ask.tenant;
    let found = find(deps, tenant, purpose, &ask.token).await?;
    let Some((id, link)) = found.filter(|(_, link)| link.used_at.is_none()) else {
        return Ok(ResetPasswordOutcome::Invalid);
    };
    let account = deps.storage.accounts().find(tenant.id(), link.account).await?;
    let Some(account) = account else { return Ok(ResetPasswordOutcome::Invalid) };
    let phc = match deps.hasher.choose(tenant.id(), choice(tenant, &account, ask.password)).await? {
        Ok(phc) => phc,
        Err(problem) => return Ok(ResetPasswordOutcome::Password(problem)),
    };

    let passwords = deps.storage.passwords();
    let (done, messages) = if purpose == LinkPurpose::Invitation {
        let events = [deps.event(tenant, Some(account.id), EventKind::UserVerified, Some("invitation"))];
        let done = passwords.accept_invitation(tenant.id(), id, &phc, &deps.notes(&[], &events)).await?;
        (done, Vec::new())
    } else {
        let events = [deps.event(tenant, Some(account.id), EventKind::AuthnPasswordChange, Some("reset"))];
        let messages: Vec<_> = password_changed(deps, tenant, &account).into_iter().collect();
        (passwords.reset(tenant.id(), id, &phc, &deps.notes(&messages, &events)).await?, messages)
    };
    match done {
        Reset::Invalid => Ok(ResetPasswordOutcome::Invalid),
        Reset::Done(account) => {
            deps.revocations.announce(tenant.id()).await;
            attempts::clear_surely(deps, tenant, account).await;
            deps.postman.dispatch_all(messages);
            Ok(ResetPasswordOutcome::Done)
        }
    }
}

/// A password its owner wants to set, with the words an attacker would try for them.
pub(super) fn choice(tenant: &TenantContext, account: &Account, password: SecretString) -> Choice {
    let email = account.email.as_ref();
    let context = [email.map(EmailAddress::as_str), email.map(EmailAddress::local_part)]
        .into_iter()
        .chain([account.username.as_deref(), Some(tenant.name())])
        .flatten()
        .map(str::to_owned)
        .collect();
    Choice { policy: tenant.policy().password, password, context }
}

/// The notice that the password is another one now.
pub(super) fn password_changed(deps: &Deps, tenant: &TenantContext, account: &Account) -> Option<Message> {
    const WORTH_TELLING: Duration = Duration::from_secs(86_400);
    let to = account.notice_contact()?;
    let not_after = deps.clock.now() + WORTH_TELLING;
    Some(deps.message(tenant, to, account.locale, Content::PasswordChanged, not_after))
}

/// The account a link is about, for its URL.
#[must_use]
pub fn token(digests: &digest::Digests, tenant: &TenantContext, purpose: LinkPurpose, link: &LinkRef) -> SecretString {
    let account: AccountId = link.account;
    digests.link_token(tenant.id(), purpose.as_str(), account, link.link)
}
