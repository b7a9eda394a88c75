//! What a bearer or refresh token is worth, and how sessions end.
//!
//! No mailbox here: storage's conditional updates are the only order that two nodes share. Every
//! call ends within its deadline. `refresh` replaces refresh tokens; `oauth` is the same for
//! applications, by the OAuth RFCs; `access_token` signs.

mod access_token;
mod oauth;
mod refresh;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::access_token::{AccessToken, issue};
pub use self::oauth::{Introspection, OAuthClient};
pub use self::refresh::RefreshOutcome;
use super::failure::Failure;
use super::keyring::{Keyring, PublishedKeys};
use super::senders::Postman;
use super::tokens::{Revocations, Tokens};
use crate::clock::Clock;
use crate::crypto::digest::{self, Digests};
use crate::domain::account::Account;
use crate::domain::contact::Contact;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, DeviceId, SessionId};
use crate::domain::message::Message;
use crate::domain::session::{EndCause, Session};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::ephemeral::EphemeralStore;
use crate::secret::{ExposeSecret as _, SecretString};
pub use crate::storage::Device;
use crate::storage::{Birth, Notes, RefreshRow, Storage};
use crate::tenant::TenantContext;

/// How recent a sign-in must be for what cannot be undone (ASVS 7.5.1).
pub const FRESH: Duration = Duration::from_secs(300);

/// Somebody who showed a good access token of a living session.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub account: Account,
    /// Through which session.
    pub session: Session,
}

impl Caller {
    /// Whether they proved who they are recently enough for what cannot be undone.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.session.authenticated_at) <= FRESH
    }
}

/// The door for the front end.
#[derive(Clone)]
pub struct Sessions {
    /// What must survive.
    pub storage: Storage,
    /// What may expire.
    pub ephemeral: Arc<dyn EphemeralStore>,
    /// Signing keys.
    pub keyring: Keyring,
    /// What access tokens are worth.
    pub tokens: Tokens,
    /// Which sessions have ended.
    pub revocations: Revocations,
    /// Digests of contacts.
    pub digests: Arc<Digests>,
    /// Messages on their way.
    pub postman: Postman,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Who writes outbox rows here.
    pub birth: Birth,
    /// The longest any call takes.
    pub deadline: Duration,
}

impl Sessions {
    /// The public keys of a tenant, as its JWKS (RFC 7517).
    ///
    /// # Errors
    /// [`Failure`] if they are not in memory and storage is away.
    pub async fn public_keys(&self, tenant: &TenantContext) -> Result<PublishedKeys, Failure> {
        self.in_time(async { Ok(self.keyring.of(tenant).await?.published.clone()) }).await
    }

    /// Who shows this access token; `None` if it is not good, or its session is over.
    ///
    /// # Errors
    /// [`Failure`] if storage is away: these routes act on stored data anyway.
    pub async fn authenticate(&self, tenant: &TenantContext, token: &str) -> Result<Option<Caller>, Failure> {
        self.in_time(async {
            let Some(genuine) = self.tokens.genuine(tenant, token).await? else { return Ok(None) };
            let (claims, now) = (&genuine.claims, self.clock.now());
            let session = self.storage.sessions().find(tenant.id(), claims.sid).await?;
            let live = |s: &Session| s.account == claims.sub && s.is_live(&tenant.policy().tokens, now);
            let Some(session) = session.filter(live) else { return Ok(None) };
            let account = self.storage.accounts().find(tenant.id(), claims.sub).await?;
            Ok(account.filter(|account| !account.disabled).map(|account| Caller { account, session }))
        })
        .await
    }

    /// Whose session a refresh token belongs to, if it is a living one's; spent tokens count too,
    /// since whoever logs out may hold the one before the last.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub async fn owner_of_refresh(
        &self,
        tenant: &TenantContext,
        presented: &SecretString,
    ) -> Result<Option<(AccountId, SessionId)>, Failure> {
        self.in_time(async {
            let digest = digest::token_digest(presented.expose_secret());
            let found = self.storage.sessions().find_by_refresh(tenant.id(), &digest).await?;
            let live = |row: &RefreshRow| row.session.is_live(&tenant.policy().tokens, self.clock.now());
            Ok(found.filter(live).map(|row| (row.session.account, row.session.id)))
        })
        .await
    }

    /// Ends one session of an account; false if it has none such.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn end(&self, tenant: &TenantContext, account: AccountId, session: SessionId) -> Result<bool, Failure> {
        self.in_time(async {
            let now = self.clock.now();
            if self.storage.sessions().find_live_of(tenant.id(), session, account, now).await?.is_none() {
                return Ok(false);
            }
            self.end_one(tenant, account, session, EndCause::Logout).await
        })
        .await
    }

    /// Ends every session of an account.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn end_all(&self, tenant: &TenantContext, account: AccountId) -> Result<(), Failure> {
        self.in_time(async {
            let events = [self.event(tenant, account, EventKind::AuthnTokenRevoked, Some("logout_all"))];
            let notes = Notes { now: self.clock.now(), birth: self.birth, messages: &[], events: &events };
            let ended = self.storage.sessions().end_all(tenant.id(), account, None, EndCause::Logout, &notes).await?;
            self.revocations.tell(tenant.id(), &ended).await;
            Ok(())
        })
        .await
    }

    /// The account's living sessions, newest first.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub async fn list(&self, tenant: &TenantContext, account: AccountId) -> Result<Vec<Session>, Failure> {
        self.in_time(async {
            let now = self.clock.now();
            let sessions = self.storage.sessions().list(tenant.id(), account, now).await?;
            Ok(sessions.into_iter().filter(|s| s.is_live(&tenant.policy().tokens, now)).collect())
        })
        .await
    }

    /// The account's trusted devices.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub async fn devices(&self, tenant: &TenantContext, account: AccountId) -> Result<Vec<Device>, Failure> {
        self.in_time(async { Ok(self.storage.devices().list(tenant.id(), account).await?) }).await
    }

    /// Trusts a device no longer and ends its sessions; false if it was not trusted.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn forget_device(
        &self,
        tenant: &TenantContext,
        account: AccountId,
        device: DeviceId,
    ) -> Result<bool, Failure> {
        self.in_time(async {
            let events = [self.event(tenant, account, EventKind::DeviceForgotten, Some("owner"))];
            let forgotten =
                self.storage.devices().forget(tenant.id(), account, device, self.clock.now(), &events).await?;
            if forgotten {
                self.revocations.announce(tenant.id()).await;
            }
            Ok(forgotten)
        })
        .await
    }

    /// Trusts no device of the account any more and ends their sessions.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn forget_devices(&self, tenant: &TenantContext, account: AccountId) -> Result<(), Failure> {
        self.in_time(async {
            let events = [self.event(tenant, account, EventKind::DeviceForgotten, Some("owner_all"))];
            if self.storage.devices().forget_all(tenant.id(), account, self.clock.now(), &events).await? {
                self.revocations.announce(tenant.id()).await;
            }
            Ok(())
        })
        .await
    }

    /// Erases the person.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn erase(&self, tenant: &TenantContext, account: AccountId) -> Result<bool, Failure> {
        self.in_time(async {
            let events = [self.event(tenant, account, EventKind::UserDeleted, Some("owner"))];
            let (accounts, now) = (self.storage.accounts(), self.clock.now());
            let digest = |contact: &Contact| *self.digests.contact(tenant.id(), contact).as_bytes();
            let erased = accounts.erase(tenant.id(), account, now, &events, digest).await?;
            if erased {
                self.revocations.announce(tenant.id()).await;
            }
            Ok(erased)
        })
        .await
    }

    async fn end_one(
        &self,
        tenant: &TenantContext,
        account: AccountId,
        session: SessionId,
        cause: EndCause,
    ) -> Result<bool, Failure> {
        let events = [self.event(tenant, account, EventKind::AuthnTokenRevoked, Some(cause.as_str()))];
        self.end_and_tell(tenant, session, cause, &events, Vec::new()).await
    }

    /// Ends a session, and tells the other nodes and whoever there are messages for.
    async fn end_and_tell(
        &self,
        tenant: &TenantContext,
        session: SessionId,
        cause: EndCause,
        events: &[Event],
        messages: Vec<Message>,
    ) -> Result<bool, Failure> {
        let notes = Notes { now: self.clock.now(), birth: self.birth, messages: &messages, events };
        let ended = self.storage.sessions().end(tenant.id(), session, cause, &notes).await?;
        if ended {
            self.revocations.tell(tenant.id(), &[session]).await;
            self.postman.dispatch_all(messages);
        }
        Ok(ended)
    }

    fn event(&self, tenant: &TenantContext, account: AccountId, kind: EventKind, cause: Option<&'static str>) -> Event {
        Event {
            tenant: tenant.id(),
            account: Some(account),
            kind,
            at: self.clock.now(),
            cause,
            key: None,
            subject: None,
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.deadline, work).await.unwrap_or(Err(Failure::Unavailable))
    }
}
