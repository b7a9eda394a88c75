//! What applications may ask about tokens: the OAuth endpoints behind their syntax.

use std::sync::Arc;

use super::{Sessions, access_token};
use crate::actors::failure::Failure;
use crate::actors::tokens::{Genuine, Needs, Verdict};
use crate::crypto::digest;
use crate::domain::app::FIRST_PARTY;
use crate::domain::session::{EndCause, Session};
use crate::domain::token::{RefreshVerdict, judge_refresh};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

/// Who asks at an OAuth endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// Its `client_id`.
    pub id: String,
    /// Whether it showed a secret: an app, and not the tenant's own public client.
    pub is_confidential: bool,
}

impl OAuthClient {
    /// The client of these credentials; `None` if they are not right. `first-party` is a public
    /// client: it has no secret and may show none.
    #[must_use]
    pub fn authenticate(tenant: &TenantContext, id: &str, secret: Option<&SecretString>) -> Option<Self> {
        let Some(secret) = secret else {
            return (id == FIRST_PARTY).then(|| Self { id: id.to_owned(), is_confidential: false });
        };
        let app = tenant.app(id.parse().ok()?)?;
        let shown = digest::token_digest(secret.expose_secret());
        let is_right = digest::constant_time_eq(&shown, &app.secret_digest);
        is_right.then(|| Self { id: app.id.to_string(), is_confidential: true })
    }
}

/// What a token is (RFC 7662 §2.2).
#[derive(Debug)]
pub enum Introspection {
    /// Not good here and now, for whatever reason.
    Inactive,
    /// An access token.
    Access(Arc<Genuine>),
    /// A refresh token that was not used yet, and its session.
    Refresh(Session),
}

/// Ours are opaque or JWTs, and only those have dots: what the caller takes it for does not matter.
fn is_jwt(token: &SecretString) -> bool {
    token.expose_secret().contains('.')
}

impl Sessions {
    /// What a token of the tenant is worth. Access tokens are judged from memory.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn introspect(&self, tenant: &TenantContext, token: &SecretString) -> Result<Introspection, Failure> {
        if is_jwt(token) {
            return Ok(match self.tokens.check(tenant, token.expose_secret(), Needs::default()).await? {
                Verdict::Good(genuine) => Introspection::Access(genuine),
                Verdict::Invalid | Verdict::InsufficientScope => Introspection::Inactive,
            });
        }
        self.in_time(async {
            let digest = digest::token_digest(token.expose_secret());
            let found = self.storage.sessions().find_by_refresh(tenant.id(), &digest).await?;
            let Some(row) = found else { return Ok(Introspection::Inactive) };
            let verdict = judge_refresh(&tenant.policy().tokens, &row.session, row.facts, self.clock.now());
            let has_client = access_token::audience(tenant, &row.session.client_id).is_some();
            let is_active = verdict == RefreshVerdict::Rotate && has_client;
            Ok(if is_active { Introspection::Refresh(row.session) } else { Introspection::Inactive })
        })
        .await
    }

    /// Ends the session of a token, if it was given to this client; anything else changes nothing
    /// (RFC 7009 §2.1).
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn revoke(
        &self,
        tenant: &TenantContext,
        client: &OAuthClient,
        token: &SecretString,
    ) -> Result<(), Failure> {
        self.in_time(async {
            let session = if is_jwt(token) {
                let genuine = self.tokens.genuine(tenant, token.expose_secret()).await?;
                let its_own = genuine.filter(|genuine| genuine.claims.client_id == client.id);
                its_own.map(|genuine| (genuine.claims.sub, genuine.claims.sid))
            } else {
                let digest = digest::token_digest(token.expose_secret());
                let found = self.storage.sessions().find_by_refresh(tenant.id(), &digest).await?;
                let its_own = found.filter(|row| row.session.client_id == client.id);
                its_own.map(|row| (row.session.account, row.session.id))
            };
            match session {
                Some((account, session)) => self.end_one(tenant, account, session, EndCause::Logout).await.map(drop),
                None => Ok(()),
            }
        })
        .await
    }
}
