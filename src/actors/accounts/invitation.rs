//! Inviting a person: an administrator names the address, its owner chooses the password (ASVS 6.4.1).
//!
//! What is made is an account like an unproven registration's, without a password. It ends with its
//! link and frees its address; following the link proves the address ([`links::accept_invitation`]).
//!
//! [`links::accept_invitation`]: super::links

use std::time::Duration;

use super::{Deps, links};
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId, KeyId};
use crate::domain::locale::Locale;
use crate::domain::message::{Channel, Content, LinkRef};
use crate::domain::time::Timestamp;
use crate::storage::{Invited, LinkPurpose, NewLink};
use crate::tenant::TenantContext;

/// A person to be invited.
#[derive(Debug, Clone)]
pub struct Invite {
    /// Into which tenant.
    pub tenant: TenantContext,
    /// The canonical address.
    pub email: EmailAddress,
    /// What the person is called, if the administrator says.
    pub username: Option<String>,
    /// The language of the mail, if the administrator says.
    pub locale: Option<Locale>,
    /// With which key; none for the root key.
    pub key: Option<KeyId>,
}

/// What it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteOutcome {
    /// The link is on its way.
    Invited {
        /// The account that awaits its owner.
        account: AccountId,
        /// When the link ends, and with it the account.
        expires: Timestamp,
    },
    /// The address belongs to somebody who needs no invitation.
    Exists,
    /// Too often for this address.
    Wait {
        /// How long until the next is allowed.
        wait: Duration,
    },
}

/// Invites; whoever did not follow an earlier invitation gets another link, and the earlier is void.
pub(super) async fn invite(deps: &Deps, ask: &Invite) -> Result<InviteOutcome, Failure> {
    let (tenant, to) = (&ask.tenant, Contact::Email(ask.email.clone()));
    if !deps.postman.can_send(tenant, Channel::Email) {
        tracing::error!("an invitation was asked for, but there is no sender");
        return Err(Failure::Unavailable);
    }
    let standing = deps.storage.accounts().find_id(tenant.id(), &to).await?;
    let standing = match standing {
        Some(id) => deps.storage.accounts().find(tenant.id(), id).await?,
        None => None,
    };
    let waiting = standing.filter(|account| !account.has_lapsed(deps.clock.now()));
    if waiting.as_ref().is_some_and(Account::is_verified) {
        return Ok(InviteOutcome::Exists);
    }
    let (receipt, counted) = match links::book_for_admin(deps, tenant, &to, "invitation").await? {
        Ok(booked) => booked,
        Err(wait) => return Ok(InviteOutcome::Wait { wait }),
    };

    let now = deps.clock.now();
    let expires = now + tenant.policy().invitation_ttl;
    let account = waiting.clone().unwrap_or_else(|| account(deps, ask, expires));
    let link = NewLink {
        id: ChallengeId::random(deps.entropy.bytes()),
        tenant: tenant.id(),
        account: account.id,
        purpose: LinkPurpose::Invitation,
        expires_at: expires,
    };
    let content = Content::Invitation(LinkRef { link: link.id, account: account.id });
    let messages = [deps.message(tenant, to, ask.locale.or(account.locale), content, expires)];
    let kind = if waiting.is_some() { EventKind::AuthzAdmin } else { EventKind::UserCreated };
    let events = [deps.admin_event(tenant, account.id, kind, "invitation", ask.key)];
    let notes = deps.notes(&messages, &events);
    let invited = if waiting.is_some() {
        deps.storage.accounts().invite_again(&link, &notes).await
    } else {
        deps.storage.accounts().invite(&account, &link, &notes).await
    };
    if !matches!(invited, Ok(Invited::Invited)) {
        deps.give_back_warning(tenant, &counted).await;
        deps.budget.give_back(tenant, &receipt).await?;
    }
    match invited? {
        Invited::Taken => Ok(InviteOutcome::Exists),
        Invited::Invited => {
            deps.postman.dispatch_all(messages.into());
            Ok(InviteOutcome::Invited { account: account.id, expires })
        }
    }
}

fn account(deps: &Deps, ask: &Invite, expires: Timestamp) -> Account {
    let now = deps.clock.now();
    Account {
        tenant: ask.tenant.id(),
        id: AccountId::at(now, deps.entropy.bytes()),
        email: Some(ask.email.clone()),
        email_verified_at: None,
        phone: None,
        phone_as_given: None,
        username: ask.username.clone(),
        first_name: None,
        last_name: None,
        locale: ask.locale,
        disabled: false,
        created_at: now,
        unverified_until: Some(expires),
        test: false,
    }
}
