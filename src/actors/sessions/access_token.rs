//! Signs the access token of a session (RFC 9068). No phone or address goes in.

use crate::actors::failure::Failure;
use crate::actors::keyring::Keyring;
use crate::clock::Clock;
use crate::crypto::jwt::{self, AccessTokenClaims, Audience};
use crate::domain::app::FIRST_PARTY;
use crate::domain::ids::OperationId;
use crate::domain::session::{ACR, Session};
use crate::entropy::Entropy;
use crate::secret::SecretString;
use crate::tenant::TenantContext;

/// A signed token.
pub(in crate::actors) struct AccessToken {
    /// Its text.
    pub(in crate::actors) token: SecretString,
    /// Seconds it lives.
    pub(in crate::actors) expires_in: u64,
}

/// Whom tokens of that client are for; `None` if it is no client of the tenant's (any more).
pub(super) fn audience<'t>(tenant: &'t TenantContext, client_id: &str) -> Option<&'t str> {
    if client_id == FIRST_PARTY {
        return Some(tenant.policy().tokens.audience.as_deref().unwrap_or_else(|| tenant.issuer()));
    }
    let app = tenant.app(client_id.parse().ok()?)?;
    Some(&app.audience)
}

/// Signs a token that ends with its session at the latest. `test` says that the account was made
/// through a test identity.
pub(in crate::actors) async fn issue(
    keyring: &Keyring,
    clock: &Clock,
    entropy: &Entropy,
    tenant: &TenantContext,
    session: &Session,
    test: bool,
) -> Result<AccessToken, Failure> {
    let now = clock.now();
    // An app that was deleted within the last moments: as if it had been so all along.
    let audience = audience(tenant, &session.client_id).ok_or(Failure::Unavailable)?;
    let exp = session.expires_at.min(now + tenant.policy().tokens.access_ttl);
    let claims = AccessTokenClaims {
        iss: tenant.issuer().to_owned(),
        sub: session.account,
        aud: Audience::one(audience),
        client_id: session.client_id.clone(),
        iat: now,
        exp,
        jti: OperationId::random(entropy.bytes()).to_string(),
        sid: session.id,
        tid: tenant.slug().to_string(),
        amr: session.proof.amr().iter().map(|&method| method.to_owned()).collect(),
        acr: Some(ACR.to_owned()),
        auth_time: session.authenticated_at,
        scope: None,
        test,
    };
    let keys = keyring.of(tenant).await?;
    let token = jwt::sign(&keys.signing, &claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Failure::Internal
    })?;
    Ok(AccessToken { token, expires_in: now.until(exp).as_secs() })
}
