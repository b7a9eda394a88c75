//! What a bearer or refresh token is worth, and how sessions end.
//!
//! No mailbox here: storage's conditional updates are the only order that two nodes share. Every
//! call ends within its deadline.

use std::future::Future;
use std::time::Duration;

use super::failure::Failure;
use super::keyring::Keyring;
use crate::clock::Clock;
use crate::crypto::digest;
use crate::crypto::jwt::{self, AccessTokenClaims, Audience, Expect};
use crate::crypto::keyset::Jwk;
use crate::crypto::seal;
use crate::domain::account::Account;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, DeviceId, SessionId};
use crate::domain::session::{EndCause, Session};
use crate::domain::time::Timestamp;
use crate::domain::token::{RefreshVerdict, judge_refresh};
use crate::entropy::Entropy;
use crate::ephemeral::{EphemeralStore, Revocation};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{Birth, Device, Notes, RefreshRow, Rotation, Storage};
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

/// What a refresh earns.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// A new pair (or, within the grace, the same refresh token as before).
    Refreshed {
        /// The access token.
        token: SecretString,
        /// The refresh token.
        refresh_token: SecretString,
        /// Seconds the access token lives.
        expires_in: u64,
    },
    /// Unknown, over, or spent: then the session has ended.
    Invalid,
}

/// The door for the front end.
#[derive(Clone)]
pub struct Sessions {
    /// What must survive.
    pub storage: Storage,
    /// Where revocations are told to other nodes.
    pub ephemeral: std::sync::Arc<dyn EphemeralStore>,
    /// Signing keys.
    pub keyring: Keyring,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Who writes outbox rows here.
    pub birth: Birth,
    /// The longest any call takes.
    pub deadline: Duration,
}

/// Signs the access token of a session (RFC 9068). No phone or address goes in.
pub(super) async fn access_token(
    keyring: &Keyring,
    clock: &Clock,
    entropy: &Entropy,
    tenant: &TenantContext,
    session: &Session,
) -> Result<SecretString, Failure> {
    let now = clock.now();
    let tokens = &tenant.policy().tokens;
    let audience = tokens.audience.as_deref().unwrap_or_else(|| tenant.issuer());
    let claims = AccessTokenClaims {
        iss: tenant.issuer().to_owned(),
        sub: session.account,
        aud: Audience::one(audience),
        client_id: session.client_id.clone(),
        iat: now,
        exp: now + tokens.access_ttl,
        jti: crate::domain::ids::OperationId::random(entropy.bytes()).to_string(),
        sid: session.id,
        tid: tenant.slug().to_string(),
        amr: session.proof.amr().iter().map(|&method| method.to_owned()).collect(),
        auth_time: session.authenticated_at,
        scope: None,
        test: false,
    };
    let keys = keyring.of(tenant.id()).await?;
    jwt::sign(&keys.signing, &claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Failure::Internal
    })
}

impl Sessions {
    /// The public keys of a tenant, for its JWKS (RFC 7517).
    ///
    /// # Errors
    /// [`Failure`] if they are not in memory and storage is away.
    pub async fn public_keys(&self, tenant: &TenantContext) -> Result<Vec<Jwk>, Failure> {
        self.in_time(async { Ok(self.keyring.of(tenant.id()).await?.public.clone()) }).await
    }

    /// Who shows this access token; `None` if it is not good, or its session is over.
    ///
    /// # Errors
    /// [`Failure`] if storage is away: these routes act on stored data anyway.
    pub async fn authenticate(&self, tenant: &TenantContext, token: &str) -> Result<Option<Caller>, Failure> {
        self.in_time(async {
            let keys = self.keyring.of(tenant.id()).await?;
            let now = self.clock.now();
            let expect = Expect { issuer: tenant.issuer(), tenant: tenant.slug(), now };
            let claims = match jwt::verify(token, &keys.verifying, &expect) {
                Ok(claims) => claims,
                Err(refused) => {
                    tracing::debug!(%refused, "an access token was refused");
                    return Ok(None);
                }
            };
            let session = self.storage.sessions().find(tenant.id(), claims.sid).await?;
            let live = |s: &Session| s.account == claims.sub && s.is_live(&tenant.policy().tokens, now);
            let Some(session) = session.filter(live) else { return Ok(None) };
            let account = self.storage.accounts().find(tenant.id(), claims.sub).await?;
            Ok(account.filter(|account| !account.disabled).map(|account| Caller { account, session }))
        })
        .await
    }

    /// Replaces a refresh token (RFC 9700 §4.14.2).
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn refresh(&self, tenant: &TenantContext, presented: &SecretString) -> Result<RefreshOutcome, Failure> {
        self.in_time(async {
            // Whoever loses the race to rotate reads again and finds the winner's successor.
            for _ in 0..2 {
                if let Some(outcome) = self.try_refresh(tenant, presented).await? {
                    return Ok(outcome);
                }
            }
            Err(Failure::Unavailable)
        })
        .await
    }

    async fn try_refresh(
        &self,
        tenant: &TenantContext,
        presented: &SecretString,
    ) -> Result<Option<RefreshOutcome>, Failure> {
        let digest = digest::token_digest(presented.expose_secret());
        let Some(row) = self.storage.sessions().find_by_refresh(tenant.id(), &digest).await? else {
            return Ok(Some(RefreshOutcome::Invalid));
        };
        let now = self.clock.now();
        match judge_refresh(&tenant.policy().tokens, &row.session, row.facts, now) {
            RefreshVerdict::Ended => Ok(Some(RefreshOutcome::Invalid)),
            RefreshVerdict::Rotate => self.rotate(tenant, presented, digest, &row.session).await,
            RefreshVerdict::Repeat => self.repeat(tenant, presented, &row).await.map(Some),
            RefreshVerdict::Reuse => {
                tracing::warn!(tenant.slug = %tenant.slug(), "a spent refresh token came back; its session ends");
                let event = EventKind::AuthnTokenReuse;
                self.end_one(tenant, row.session.account, row.session.id, EndCause::Reuse, event).await?;
                Ok(Some(RefreshOutcome::Invalid))
            }
        }
    }

    /// `None` if another caller was first.
    async fn rotate(
        &self,
        tenant: &TenantContext,
        presented: &SecretString,
        old_digest: [u8; 32],
        session: &Session,
    ) -> Result<Option<RefreshOutcome>, Failure> {
        let successor = digest::fresh_token(&self.entropy);
        let sealed =
            seal::seal_under_token(presented.expose_secret(), successor.expose_secret().as_bytes(), &self.entropy);
        let rotation = Rotation {
            old_digest,
            new_digest: digest::token_digest(successor.expose_secret()),
            sealed_successor: &sealed.map_err(|_| Failure::Internal)?,
        };
        if !self.storage.sessions().rotate(tenant.id(), &rotation, self.clock.now()).await? {
            return Ok(None);
        }
        self.pair(tenant, session, successor).await.map(Some)
    }

    /// The same successor for every caller within the grace.
    async fn repeat(
        &self,
        tenant: &TenantContext,
        presented: &SecretString,
        row: &RefreshRow,
    ) -> Result<RefreshOutcome, Failure> {
        let sealed = row.successor_sealed.as_deref().ok_or(Failure::Internal)?;
        let successor = seal::open_under_token(presented.expose_secret(), sealed).map_err(|_| Failure::Internal)?;
        let successor = std::str::from_utf8(successor.expose_secret()).map_err(|_| Failure::Internal)?;
        self.pair(tenant, &row.session, successor.to_owned().into()).await
    }

    async fn pair(
        &self,
        tenant: &TenantContext,
        session: &Session,
        refresh_token: SecretString,
    ) -> Result<RefreshOutcome, Failure> {
        let token = access_token(&self.keyring, &self.clock, &self.entropy, tenant, session).await?;
        let expires_in = tenant.policy().tokens.access_ttl.as_secs();
        Ok(RefreshOutcome::Refreshed { token, refresh_token, expires_in })
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
            self.end_one(tenant, account, session, EndCause::Logout, EventKind::AuthnTokenRevoked).await
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
            for session in ended {
                self.tell(tenant, session).await;
            }
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
            Ok(self.storage.devices().forget(tenant.id(), account, device, self.clock.now(), &events).await?)
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
            Ok(self.storage.accounts().erase(tenant.id(), account, self.clock.now(), &events).await?)
        })
        .await
    }

    async fn end_one(
        &self,
        tenant: &TenantContext,
        account: AccountId,
        session: SessionId,
        cause: EndCause,
        kind: EventKind,
    ) -> Result<bool, Failure> {
        let events = [self.event(tenant, account, kind, Some(cause.as_str()))];
        let ended = self.storage.sessions().end(tenant.id(), session, cause, self.clock.now(), &events).await?;
        if ended {
            self.tell(tenant, session).await;
        }
        Ok(ended)
    }

    /// Tells the other nodes at once. Storage has it already and every node polls, so a store
    /// that is away delays the news and loses nothing.
    pub(super) async fn tell(&self, tenant: &TenantContext, session: SessionId) {
        let until = self.clock.now() + tenant.policy().tokens.access_ttl;
        let revocation = Revocation { tenant: tenant.id(), session, until };
        if let Err(error) = self.ephemeral.revoke(revocation).await {
            tracing::warn!(%error, "a revocation waits to be polled");
        }
    }

    fn event(&self, tenant: &TenantContext, account: AccountId, kind: EventKind, cause: Option<&'static str>) -> Event {
        Event { tenant: tenant.id(), account: Some(account), kind, at: self.clock.now(), cause, key: None }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.deadline, work).await.unwrap_or(Err(Failure::Unavailable))
    }
}
