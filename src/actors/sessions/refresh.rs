//! Replaces refresh tokens (RFC 9700 §4.14.2).

use std::time::Duration;

use super::{Sessions, access_token};
use crate::actors::failure::Failure;
use crate::crypto::{digest, seal};
use crate::domain::contact::Contact;
use crate::domain::event::EventKind;
use crate::domain::ids::MessageId;
use crate::domain::message::{Content, Message};
use crate::domain::session::{EndCause, Session};
use crate::domain::token::{RefreshVerdict, judge_refresh};
use crate::ephemeral::{MailCount, MailVerdict};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{RefreshRow, Rotation};
use crate::tenant::TenantContext;

/// How long a mail about a stolen token is worth sending.
const WORTH_TELLING: Duration = Duration::from_secs(86_400);

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
    /// Unknown, of another client, over, or spent: then the session has ended.
    Invalid,
}

impl Sessions {
    /// Replaces a refresh token, which is good for the client it was given to and no other.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn refresh(
        &self,
        tenant: &TenantContext,
        client_id: &str,
        presented: &SecretString,
    ) -> Result<RefreshOutcome, Failure> {
        self.in_time(async {
            // Whoever loses the race to rotate reads again and finds the winner's successor.
            for _ in 0..2 {
                if let Some(outcome) = self.try_refresh(tenant, client_id, presented).await? {
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
        client_id: &str,
        presented: &SecretString,
    ) -> Result<Option<RefreshOutcome>, Failure> {
        let digest = digest::token_digest(presented.expose_secret());
        let found = self.storage.sessions().find_by_refresh(tenant.id(), &digest).await?;
        // Another client's request says nothing about who stole what: nothing ends by it.
        let its_own = |row: &RefreshRow| row.session.client_id == client_id;
        let Some(row) = found.filter(its_own) else { return Ok(Some(RefreshOutcome::Invalid)) };
        if access_token::audience(tenant, client_id).is_none() {
            return Ok(Some(RefreshOutcome::Invalid));
        }
        match judge_refresh(&tenant.policy().tokens, &row.session, row.facts, self.clock.now()) {
            RefreshVerdict::Ended => Ok(Some(RefreshOutcome::Invalid)),
            RefreshVerdict::Rotate => self.rotate(tenant, presented, digest, &row).await,
            RefreshVerdict::Repeat => self.repeat(tenant, presented, &row).await.map(Some),
            RefreshVerdict::Reuse => {
                self.end_for_reuse(tenant, &row.session).await?;
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
        row: &RefreshRow,
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
        self.pair(tenant, row, successor).await.map(Some)
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
        self.pair(tenant, row, successor.to_owned().into()).await
    }

    async fn pair(
        &self,
        tenant: &TenantContext,
        row: &RefreshRow,
        refresh_token: SecretString,
    ) -> Result<RefreshOutcome, Failure> {
        let (keyring, session) = (&self.keyring, &row.session);
        let access = access_token::issue(keyring, &self.clock, &self.entropy, tenant, session, row.test).await?;
        Ok(RefreshOutcome::Refreshed { token: access.token, refresh_token, expires_in: access.expires_in })
    }

    /// A spent token came back: its session ends, and its owner is told by mail.
    async fn end_for_reuse(&self, tenant: &TenantContext, session: &Session) -> Result<(), Failure> {
        tracing::warn!(
            tenant.slug = %tenant.slug(),
            session.id = %session.id,
            "a spent refresh token came back; its session ends"
        );
        let kind = EventKind::AuthnTokenReuse;
        let events = [self.event(tenant, session.account, kind, Some(EndCause::Reuse.as_str()))];
        let (message, booked) = self.reuse_notice(tenant, session).await?.unzip();
        let messages = message.into_iter().collect();
        let ended = self.end_and_tell(tenant, session.id, EndCause::Reuse, &events, messages).await;
        // Nothing was written: another node was first, or storage is away.
        if !matches!(ended, Ok(true))
            && let Some(booked) = booked
            && let Err(error) = self.ephemeral.give_back_mail(tenant.id(), &booked).await
        {
            tracing::warn!(%error, "the booking of a mail that was not written could not be given back");
        }
        ended.map(drop)
    }

    /// A mail, within the ceiling of mails about safety, and its booking; nothing for whoever has no
    /// address.
    async fn reuse_notice(
        &self,
        tenant: &TenantContext,
        session: &Session,
    ) -> Result<Option<(Message, MailCount<'static>)>, Failure> {
        let account = self.storage.accounts().find(tenant.id(), session.account).await?;
        let Some((email, locale)) = account.and_then(|account| Some((account.email?, account.locale))) else {
            return Ok(None);
        };
        let to = Contact::Email(email);
        let mail = MailCount::new(&self.entropy, *self.digests.contact(tenant.id(), &to).as_bytes(), "security");
        let counted = self.ephemeral.count_mail(tenant.id(), &tenant.policy().security_mails, &mail).await;
        if !matches!(counted, Ok(MailVerdict::Allowed)) {
            // The ceiling is reached, or cannot be asked: the session ends all the same.
            return Ok(None);
        }
        let now = self.clock.now();
        let message = Message {
            id: MessageId::at(now, self.entropy.bytes()),
            tenant: tenant.id(),
            to,
            locale: locale.unwrap_or(tenant.policy().locale),
            content: Content::TokenReuse,
            not_after: now + WORTH_TELLING,
        };
        Ok(Some((message, mail)))
    }
}
