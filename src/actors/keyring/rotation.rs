//! Keys change by a schedule, or when an operator says so. The steps are
//! [`signing_key::due`]'s; each is one conditional write, so any number of nodes may take it.

use serde_json::json;

use super::{Keyring, context, unsealable, unusable};
use crate::actors::failure::Failure;
use crate::crypto::keyset::{self, Algorithm, GeneratedKey};
use crate::domain::ids::{OperationId, TenantId};
use crate::domain::policy::TokenPolicy;
use crate::domain::signing_key::{self, KeyStanding, KeyState, KeyStep, PUBLISHED};
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret as _, SecretSlice};
use crate::storage::SigningKey as StoredKey;
use crate::tenant::Tenants;

/// Which key is to sign, and from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its id.
    pub kid: String,
    /// Its turn.
    pub signs_from: Timestamp,
}

impl Keyring {
    /// Takes every step that is due, for every tenant.
    ///
    /// # Errors
    /// [`Failure`] if storage is away; one tenant's broken key holds up no other.
    pub async fn rotate_due(&self, tenants: &Tenants) -> Result<(), Failure> {
        let standings = self.0.storage.signing_keys().standings().await?;
        let now = self.0.clock.now();
        for of_one in standings.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((tenant, _)) = of_one.first() else { continue };
            let keys: Vec<_> = of_one.iter().map(|(_, key)| key.clone()).collect();
            let policy = tenants.snapshot().by_id(*tenant).map(|tenant| tenant.policy().tokens.clone());
            let Some(policy) = policy else { continue };
            for step in signing_key::due(&keys, &policy, now) {
                if let Err(failure) = self.take(*tenant, step, now).await {
                    tracing::error!(%failure, tenant.id = %tenant, "a signing key could not be rotated");
                }
            }
        }
        Ok(())
    }

    /// Makes another key sign: as soon as everybody had time to read of it, or `at_once`, which fails
    /// good tokens where others still hold an older JWKS and do not look again.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn rotate(&self, tenant: TenantId, policy: &TokenPolicy, at_once: bool) -> Result<Rotated, Failure> {
        let now = self.0.clock.now();
        let keys = self.0.storage.signing_keys().standings_of(tenant).await?;
        if !keys.iter().any(|key| key.state == KeyState::Active) {
            let kid = self.make(tenant, policy.algorithm, KeyState::Active, now).await?;
            return Ok(Rotated { kid, signs_from: now });
        }
        let signs_from = if at_once { now } else { now + PUBLISHED };
        let kid = self.next_key(tenant, &keys, policy.algorithm, signs_from, now).await?;
        if at_once {
            self.take(tenant, signing_key::promote(kid.clone(), policy, now), now).await?;
        }
        Ok(Rotated { kid, signs_from })
    }

    /// The tenant's next key, its turn no later than `active_from`; made if there is none of that
    /// algorithm.
    async fn next_key(
        &self,
        tenant: TenantId,
        keys: &[KeyStanding],
        algorithm: Algorithm,
        active_from: Timestamp,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let stored = self.0.storage.signing_keys();
        match keys.iter().find(|key| key.state == KeyState::Next) {
            Some(next) if next.algorithm == Some(algorithm) => {
                stored.hasten(tenant, &next.kid, active_from, now).await?;
                Ok(next.kid.clone())
            }
            other => {
                if let Some(other) = other {
                    stored.drop_key(tenant, &other.kid, now).await?;
                }
                self.make(tenant, algorithm, KeyState::Next, active_from).await
            }
        }
    }

    async fn take(&self, tenant: TenantId, step: KeyStep, now: Timestamp) -> Result<(), Failure> {
        let stored = self.0.storage.signing_keys();
        match step {
            KeyStep::Make { algorithm, active_from } => {
                let kid = self.make(tenant, algorithm, KeyState::Next, active_from).await?;
                tracing::info!(tenant.id = %tenant, key.id = kid, "a signing key was made and published");
            }
            KeyStep::Promote { kid, gone_from } => {
                if stored.promote(tenant, &kid, gone_from, now).await? {
                    tracing::info!(tenant.id = %tenant, key.id = kid, "a signing key signs from now on");
                }
            }
            KeyStep::Drop { kid } => {
                if stored.drop_key(tenant, &kid, now).await? {
                    tracing::info!(tenant.id = %tenant, key.id = kid, "a signing key is gone");
                }
            }
        }
        Ok(())
    }

    /// Makes a key. Another node may be faster; then its key is the one. The id of the key made.
    pub(super) async fn make(
        &self,
        tenant: TenantId,
        algorithm: Algorithm,
        state: KeyState,
        active_from: Timestamp,
    ) -> Result<String, Failure> {
        let Made { kid, secret, public_jwk } = self.generate(algorithm).await?;
        let sealed = self.0.sealer.seal(secret.expose_secret(), &context(tenant, &kid), &self.0.entropy);
        let key = StoredKey {
            tenant,
            algorithm,
            sealed_private: sealed.map_err(unsealable)?,
            public_jwk,
            state,
            active_from,
            created_at: self.0.clock.now(),
            kid,
        };
        self.0.storage.signing_keys().insert(&key).await?;
        Ok(key.kid)
    }

    async fn generate(&self, algorithm: Algorithm) -> Result<Made, Failure> {
        if algorithm == Algorithm::Hs256 {
            let kid = OperationId::random(self.0.entropy.bytes()).to_string();
            let public_jwk = json!({ "kty": "oct", "alg": algorithm.as_str(), "kid": kid });
            return Ok(Made { secret: keyset::generate_secret(&self.0.entropy), public_jwk, kid });
        }
        // An RSA key takes most of a second: off the async threads.
        let made = tokio::task::spawn_blocking(move || keyset::generate(algorithm)).await;
        let GeneratedKey { secret, public } = made.map_err(|_| Failure::Internal)?.map_err(unusable)?;
        let public_jwk = serde_json::to_value(&public).map_err(|_| Failure::Internal)?;
        Ok(Made { kid: public.kid().to_owned(), secret, public_jwk })
    }
}

/// A key about to be kept.
struct Made {
    kid: String,
    secret: SecretSlice<u8>,
    public_jwk: serde_json::Value,
}
