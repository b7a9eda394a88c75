//! The last step of every sign-in: a session, its tokens, and a device to remember.

use std::time::Duration;

use super::Deps;
use super::client::Client;
use crate::actors::failure::Failure;
use crate::actors::sessions::{AccessToken, issue};
use crate::crypto::digest;
use crate::domain::account::Account;
use crate::domain::contact::Contact;
use crate::domain::device::{DeviceKind, Standing, described};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId, DeviceId, SessionId};
use crate::domain::message::{Content, Message};
use crate::domain::session::{Proof, Session};
use crate::ephemeral::MailCount;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{NewDevice, Opened, Opening};
use crate::tenant::TenantContext;

/// What a person holds after signing in.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub account: Account,
    /// The access token.
    pub token: SecretString,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// Seconds the access token lives.
    pub expires_in: u64,
    /// A new device token, if trust was given now.
    pub device_token: Option<SecretString>,
}

/// How the person got here.
pub(super) struct Entry {
    pub proof: Proof,
    /// The challenge that was consumed; one of them opens one session.
    pub challenge: Option<ChallengeId>,
    /// The device that is already trusted, if it is.
    pub device: Option<DeviceId>,
    /// Whether an unknown device becomes trusted now.
    pub trust: bool,
    /// The version of the password that was compared, where one was.
    pub compared: Option<i64>,
    /// The contact whose code was answered, where no password was compared.
    pub answered: Option<Contact>,
}

/// A session made but not yet written, with what only the person may hold.
pub(super) struct Prepared {
    session: Session,
    devices: Vec<NewDevice>,
    compared: Option<i64>,
    answered: Option<Contact>,
    max_sessions: u32,
    refresh_token: SecretString,
    device_token: Option<SecretString>,
}

impl Prepared {
    /// What storage writes of it.
    pub(super) fn opening(&self) -> Opening<'_> {
        Opening {
            session: &self.session,
            refresh_digest: digest::token_digest(self.refresh_token.expose_secret()),
            devices: &self.devices,
            compared: self.compared,
            answered: self.answered.as_ref(),
            max_sessions: self.max_sessions,
        }
    }
}

/// Makes a session and the secrets that go with it.
pub(super) fn prepare(
    deps: &Deps,
    tenant: &TenantContext,
    account: AccountId,
    client: &Client,
    entry: &Entry,
) -> Prepared {
    let now = deps.clock.now();
    let refresh_token = digest::fresh_token(&deps.entropy);
    let fresh = entry.trust && entry.device.is_none();
    let (device, device_token) = if fresh { Some(token_device(deps, client)).unzip() } else { (None, None) };
    let mut devices: Vec<_> = device.into_iter().collect();
    // Codes by SMS know device tokens only; a password asks what the original API asked.
    if fresh && entry.proof == Proof::PasswordOnNewDevice {
        devices.extend(user_agent_device(deps, tenant, account, client));
    }
    let session = Session {
        tenant: tenant.id(),
        id: SessionId::at(now, deps.entropy.bytes()),
        account,
        client_id: client.client_id(),
        proof: entry.proof,
        challenge: entry.challenge,
        device: entry.device.or(devices.first().map(|device| device.id)),
        label: client.label(),
        authenticated_at: now,
        refreshed_at: now,
        expires_at: now + tenant.policy().tokens.refresh_absolute,
        ended_at: None,
    };
    let max_sessions = tenant.policy().tokens.max_sessions;
    let (compared, answered) = (entry.compared, entry.answered.clone());
    Prepared { session, devices, compared, answered, max_sessions, refresh_token, device_token }
}

/// Has the tenant's keys at hand before anything is spent: without them a consumed code would have
/// bought nothing.
pub(super) async fn have_keys(deps: &Deps, tenant: &TenantContext) -> Result<(), Failure> {
    deps.keyring.of(tenant).await.map(drop)
}

/// Opens the session; `None` if its challenge already opened another, or what was judged holds no
/// longer.
pub(super) async fn open(
    deps: &Deps,
    tenant: &TenantContext,
    account: &Account,
    client: &Client,
    entry: Entry,
) -> Result<Option<SignedIn>, Failure> {
    have_keys(deps, tenant).await?;
    let prepared = prepare(deps, tenant, account.id, client, &entry);
    let kind = EventKind::AuthnLoginSuccess;
    let mut events = vec![deps.event(tenant, Some(account.id), kind, Some(entry.proof.as_str()))];
    if prepared.devices.iter().any(|device| device.kind == DeviceKind::UserAgent) {
        events.push(deps.event(tenant, Some(account.id), EventKind::DeviceTrusted, None));
    }
    let (message, booked) = new_device_notice(deps, tenant, account, client, &entry).await.unzip();
    let messages: Vec<_> = message.into_iter().collect();
    let opened = deps.storage.sessions().open(&prepared.opening(), &deps.notes(&messages, &events)).await;
    if !matches!(opened, Ok(Opened::Opened { .. }))
        && let Some(booked) = booked
    {
        deps.give_back_warning(tenant, &booked).await;
    }
    match opened? {
        Opened::ChallengeSpent | Opened::Stale => Ok(None),
        Opened::Opened { ended, .. } => {
            deps.revocations.tell(tenant.id(), &ended).await;
            deps.postman.dispatch_all(messages);
            finish(deps, tenant, account.clone(), prepared).await.map(Some)
        }
    }
}

/// A mail to the account's proven address when a device becomes trusted by a proof that did not come
/// through that mailbox (ASVS 6.3.5): whoever has taken the number over cannot do so unseen. Within the
/// ceiling of mails about safety, with the booking under it; where that cannot be asked, the sign-in goes
/// on without.
async fn new_device_notice(
    deps: &Deps,
    tenant: &TenantContext,
    account: &Account,
    client: &Client,
    entry: &Entry,
) -> Option<(Message, MailCount<'static>)> {
    const WORTH_TELLING: Duration = Duration::from_secs(86_400);
    let is_new = entry.trust && entry.device.is_none() && entry.proof == Proof::Sms;
    let email = account.email.clone().filter(|_| is_new && account.email_verified_at.is_some())?;
    let to = Contact::Email(email);
    // A mailed code has confirmed its `User-Agent` before, where that counts.
    let is_known = client.standing(deps, tenant, account.id).await.is_ok_and(Standing::is_trusted);
    if is_known || !deps.postman.can_send(tenant, to.channel()) {
        return None;
    }
    let booked = deps.book_warning(tenant, &to, "new_device").await.ok()??;
    let device = client.user_agent.as_deref().and_then(described);
    let content = Content::NewDevice { device, network: client.address_prefix.clone() };
    Some((deps.message(tenant, to, account.locale, content, deps.clock.now() + WORTH_TELLING), booked))
}

/// Signs the access token of a session that is written.
pub(super) async fn finish(
    deps: &Deps,
    tenant: &TenantContext,
    account: Account,
    prepared: Prepared,
) -> Result<SignedIn, Failure> {
    let issued = issue(&deps.keyring, &deps.clock, &deps.entropy, tenant, &prepared.session, account.test).await?;
    let AccessToken { token, expires_in } = issued;
    Ok(SignedIn {
        account,
        token,
        refresh_token: prepared.refresh_token,
        expires_in,
        device_token: prepared.device_token,
    })
}

/// A device recognised by a token of its own.
pub(super) fn token_device(deps: &Deps, client: &Client) -> (NewDevice, SecretString) {
    let token = digest::fresh_token(&deps.entropy);
    let digest = digest::token_digest(token.expose_secret());
    (new_device(deps, client, DeviceKind::Token, digest, None), token)
}

/// A device recognised by its `User-Agent`, as the original API did (`classic` only).
pub(super) fn user_agent_device(
    deps: &Deps,
    tenant: &TenantContext,
    account: AccountId,
    client: &Client,
) -> Option<NewDevice> {
    let agent = client.user_agent.as_deref().filter(|_| tenant.policy().trusts_user_agent)?;
    let digest = deps.digests.user_agent(tenant.id(), account, agent);
    Some(new_device(deps, client, DeviceKind::UserAgent, digest, client.address_prefix.clone()))
}

fn new_device(
    deps: &Deps,
    client: &Client,
    kind: DeviceKind,
    digest: [u8; 32],
    trusted_from: Option<String>,
) -> NewDevice {
    let now = deps.clock.now();
    let id = DeviceId::at(now, deps.entropy.bytes());
    NewDevice { id, kind, digest, trusted_from, label: client.label(), created_at: now }
}

/// Hashes a password anew at today's cost and stores it in place of `compared`, the hash it matched,
/// unless that was replaced meanwhile.
pub(super) async fn rehash(
    deps: &Deps,
    account: &Account,
    password: SecretString,
    compared: &SecretString,
) -> Result<(), Failure> {
    let fresh = deps.hasher.hash(account.tenant, password).await?;
    deps.storage.accounts().rehash(account.tenant, account.id, compared, &fresh).await?;
    Ok(())
}
