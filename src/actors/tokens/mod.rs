//! What an access token is worth, asked by gateways on every request: answered from memory.
//!
//! ```text
//!   token ─► verified? ── no ──► signature, issuer, tenant (keyring) ─► verified
//!               │ yes                                                      │
//!               └──────────► run out? session ended? audience? scope? ◄────┘
//! ```
//!
//! No store is asked on the way: keys and revocations are in memory before they are needed. If the
//! revocations could not be read for longer than the tenant's `tokens.max_stale`, nothing is judged
//! by them any more.

mod revocations;
mod verified;

use std::sync::Arc;
use std::time::Duration;

pub use self::revocations::Revocations;
pub use self::verified::{Genuine, Identity};
use self::verified::{Name, Verified};
use super::failure::Failure;
use super::keyring::{Keyring, TenantKeys};
use crate::clock::Clock;
use crate::crypto::jwt::{self, AccessTokenClaims, Expect, TokenRefused};
use crate::domain::time::Timestamp;
use crate::tenant::TenantContext;

/// What is asked of a token besides being good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs<'a> {
    /// It must be for this audience.
    pub audience: Option<&'a str>,
    /// It must have all these scopes, separated by spaces.
    pub scope: Option<&'a str>,
}

/// What a token is worth.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is good for what was asked.
    Good(Arc<Genuine>),
    /// It is not: bad, run out, revoked, of another tenant or for another audience.
    Invalid,
    /// It is good, for less than was asked.
    InsufficientScope,
}

/// The check. Clones share what it remembers.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    keyring: Keyring,
    revocations: Revocations,
    verified: Verified,
    clock: Clock,
    deadline: Duration,
}

impl Tokens {
    /// A check by those keys and revocations; no call takes longer than `deadline`.
    #[must_use]
    pub fn new(keyring: Keyring, revocations: Revocations, clock: Clock, deadline: Duration) -> Self {
        Self(Arc::new(Inner { keyring, revocations, verified: Verified::default(), clock, deadline }))
    }

    /// The verdict on a token seen before, at once; `None` if it must be looked at. Any bytes may be asked
    /// for: what is no token was never seen.
    #[must_use]
    pub fn recall(&self, tenant: &TenantContext, token: &[u8], needs: Needs<'_>) -> Option<Verdict> {
        let now = self.0.clock.now();
        if !self.is_fresh(tenant, now) {
            return None;
        }
        let keys = self.0.keyring.cached(tenant.id())?;
        let genuine = self.known(tenant, keys.generation, token)?;
        Some(self.judge(tenant, genuine, needs, now))
    }

    /// A token whose signature was checked with the keys that are in force, and that names its tenant as
    /// that is named now.
    fn known(&self, tenant: &TenantContext, generation: u64, token: &[u8]) -> Option<Arc<Genuine>> {
        let genuine = self.0.verified.find(&Name::new(tenant.id(), token))?;
        let is_named_so = genuine.claims.tid == **tenant.slug() && genuine.claims.iss == tenant.issuer();
        (genuine.generation == generation && is_named_so).then_some(genuine)
    }

    /// The verdict on a token.
    ///
    /// # Errors
    /// [`Failure`] if the revocations are too old to judge by, or the tenant's keys were never read, and
    /// storage is away.
    pub async fn check(&self, tenant: &TenantContext, token: &str, needs: Needs<'_>) -> Result<Verdict, Failure> {
        tokio::time::timeout(self.0.deadline, async {
            if !self.is_fresh(tenant, self.0.clock.now()) && !self.0.revocations.catch_up().await {
                return Err(Failure::Unavailable);
            }
            if let Some(verdict) = self.recall(tenant, token.as_bytes(), needs) {
                return Ok(verdict);
            }
            let verified = self.verify(tenant, token).await?;
            let now = self.0.clock.now();
            Ok(verified.map_or(Verdict::Invalid, |genuine| self.judge(tenant, genuine, needs, now)))
        })
        .await
        .unwrap_or(Err(Failure::Unavailable))
    }

    /// A token that is genuine and has not run out, whatever became of its session: for whoever asks
    /// storage about that anyway.
    pub(super) async fn genuine(&self, tenant: &TenantContext, token: &str) -> Result<Option<Arc<Genuine>>, Failure> {
        let keys = self.0.keyring.of(tenant).await?;
        let genuine = match self.known(tenant, keys.generation, token.as_bytes()) {
            Some(genuine) => Some(genuine),
            None => self.verify(tenant, token).await?,
        };
        Ok(genuine.filter(|genuine| !genuine.claims.has_run_out(self.0.clock.now())))
    }

    /// Checks the signature, and remembers it.
    async fn verify(&self, tenant: &TenantContext, token: &str) -> Result<Option<Arc<Genuine>>, Failure> {
        let keys = self.0.keyring.of(tenant).await?;
        let (keys, verified) = match self.signature(tenant, &keys, token) {
            // Another node may have made the key within the last half second.
            Err(TokenRefused::UnknownKey) => match self.0.keyring.look_again(tenant.id()).await? {
                Some(keys) => {
                    let verified = self.signature(tenant, &keys, token);
                    (keys, verified)
                }
                None => (keys, Err(TokenRefused::UnknownKey)),
            },
            verified => (keys, verified),
        };
        match verified {
            Ok(claims) => {
                let genuine = Arc::new(Genuine::new(claims, keys.generation));
                self.0.verified.insert(Name::new(tenant.id(), token.as_bytes()), Arc::clone(&genuine));
                Ok(Some(genuine))
            }
            Err(refused) => {
                tracing::debug!(%refused, "an access token was refused");
                Ok(None)
            }
        }
    }

    fn signature(
        &self,
        tenant: &TenantContext,
        keys: &TenantKeys,
        token: &str,
    ) -> Result<AccessTokenClaims, TokenRefused> {
        let expect = Expect { issuer: tenant.issuer(), tenant: tenant.slug(), now: self.0.clock.now() };
        jwt::verify(token, &keys.verifying, &expect)
    }

    fn is_fresh(&self, tenant: &TenantContext, now: Timestamp) -> bool {
        self.0.revocations.age(now) <= tenant.policy().tokens.max_stale
    }

    /// What may change while a token is remembered is judged every time.
    fn judge(&self, tenant: &TenantContext, genuine: Arc<Genuine>, needs: Needs<'_>, now: Timestamp) -> Verdict {
        let claims = &genuine.claims;
        let is_over = claims.has_run_out(now) || self.0.revocations.holds(tenant.id(), claims.sid);
        if is_over || needs.audience.is_some_and(|audience| !claims.aud.contains(audience)) {
            return Verdict::Invalid;
        }
        let granted = claims.scope.as_deref().unwrap_or_default();
        let has = |scope: &str| granted.split(' ').any(|one| one == scope);
        let asked = needs.scope.unwrap_or_default();
        if asked.split(' ').filter(|scope| !scope.is_empty()).all(has) {
            Verdict::Good(genuine)
        } else {
            Verdict::InsufficientScope
        }
    }
}
