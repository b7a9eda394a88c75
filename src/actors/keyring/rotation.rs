//! Keys change by a schedule, or when an operator says so. The steps are
//! [`signing_key::due`]'s; each is one conditional write, so any number of nodes may take it.

use serde_json::json;

use super::{Keyring, context, unsealable, unusable};
use crate::actors::failure::Failure;
use crate::crypto::keyset::{self, Algorithm, GeneratedKey};
use crate::domain::event::Event;
use crate::domain::ids::{OperationId, TenantId};
use crate::domain::policy::TokenPolicy;
use crate::domain::signing_key::{self, KeyStanding, KeyState, KeyStep, PUBLISHED, Rotation};
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret as _, SecretSlice};
use crate::storage::SigningKey as StoredKey;
use crate::tenant::Tenants;

/// How often a rotation is begun again because other nodes changed the keys meanwhile.
const TRIES: usize = 5;

/// Which key is to sign, and from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its id.
    pub kid: String,
    /// Its turn.
    pub signs_from: Timestamp,
    /// Keys that verify nothing any more.
    pub gone: Vec<String>,
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

    /// Makes another key sign, and lets this node know at once. `by` says who wants it; the audit log is
    /// told of it with the change, for each key.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn rotate(
        &self,
        tenant: TenantId,
        policy: &TokenPolicy,
        rotation: Rotation,
        by: &Event,
    ) -> Result<Rotated, Failure> {
        for _ in 0..TRIES {
            if let Some(rotated) = self.try_rotate(tenant, policy, rotation, by).await? {
                if let Err(failure) = self.read(tenant).await {
                    tracing::error!(%failure, tenant.id = %tenant, "changed signing keys are read at the next poll only");
                }
                return Ok(rotated);
            }
        }
        Err(Failure::Unavailable)
    }

    /// One try; none if the keys changed meanwhile.
    async fn try_rotate(
        &self,
        tenant: TenantId,
        policy: &TokenPolicy,
        rotation: Rotation,
        by: &Event,
    ) -> Result<Option<Rotated>, Failure> {
        let now = self.0.clock.now();
        let stored = self.0.storage.signing_keys();
        let keys = stored.standings_of(tenant).await?;
        if !keys.iter().any(|key| key.state == KeyState::Active) {
            let key = self.new_key(tenant, policy.algorithm, KeyState::Active, now).await?;
            let is_kept = stored.insert_noted(&key, &[by.about(&key.kid, "key_activated")]).await?;
            return Ok(is_kept.then(|| Rotated { kid: key.kid, signs_from: now, gone: Vec::new() }));
        }
        let Some(kid) = self.next_key(tenant, &keys, policy.algorithm, rotation, now).await? else {
            return Ok(None);
        };
        match rotation {
            Rotation::Announced => {
                let events = [by.about(&kid, "key_announced")];
                let turn = stored.hasten(tenant, &kid, now + PUBLISHED, now, &events).await?;
                Ok(turn.map(|signs_from| Rotated { kid, signs_from, gone: Vec::new() }))
            }
            Rotation::Now => {
                let (gone_from, events) = (signing_key::gone_from(policy, now), [by.about(&kid, "key_activated")]);
                let promoted = stored.promote(tenant, &kid, gone_from, now, &events).await?;
                Ok(promoted.then(|| Rotated { kid, signs_from: now, gone: Vec::new() }))
            }
            Rotation::Compromised => {
                let gone = stored.replace_compromised(tenant, &kid, now, by).await?;
                Ok(gone.map(|gone| Rotated { kid, signs_from: now, gone }))
            }
        }
    }

    /// The tenant's next key of that algorithm; made if there is none, or if it lay beside a key that was
    /// stolen. None if another node was faster.
    async fn next_key(
        &self,
        tenant: TenantId,
        keys: &[KeyStanding],
        algorithm: Algorithm,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        match keys.iter().find(|key| key.state == KeyState::Next) {
            Some(next) if next.algorithm == Some(algorithm) && rotation != Rotation::Compromised => {
                return Ok(Some(next.kid.clone()));
            }
            Some(other) => {
                self.0.storage.signing_keys().drop_key(tenant, &other.kid, now).await?;
            }
            None => {}
        }
        self.make(tenant, algorithm, KeyState::Next, now + PUBLISHED).await
    }

    async fn take(&self, tenant: TenantId, step: KeyStep, now: Timestamp) -> Result<(), Failure> {
        let stored = self.0.storage.signing_keys();
        match step {
            KeyStep::Make { algorithm, active_from } => {
                if let Some(kid) = self.make(tenant, algorithm, KeyState::Next, active_from).await? {
                    tracing::info!(tenant.id = %tenant, key.id = kid, "a signing key was made and published");
                }
            }
            KeyStep::Promote { kid, gone_from } => {
                if stored.promote(tenant, &kid, gone_from, now, &[]).await? {
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

    /// Makes a key and keeps it. Its id; none if another node was faster, whose key is the one then.
    pub(super) async fn make(
        &self,
        tenant: TenantId,
        algorithm: Algorithm,
        state: KeyState,
        active_from: Timestamp,
    ) -> Result<Option<String>, Failure> {
        let key = self.new_key(tenant, algorithm, state, active_from).await?;
        let is_kept = self.0.storage.signing_keys().insert(&key).await?;
        Ok(is_kept.then_some(key.kid))
    }

    async fn new_key(
        &self,
        tenant: TenantId,
        algorithm: Algorithm,
        state: KeyState,
        active_from: Timestamp,
    ) -> Result<StoredKey, Failure> {
        let Made { kid, secret, public_jwk } = self.generate(algorithm).await?;
        let sealed = self.0.sealer.seal(secret.expose_secret(), &context(tenant, &kid), &self.0.entropy);
        let sealed_private = sealed.map_err(unsealable)?;
        let created_at = self.0.clock.now();
        Ok(StoredKey { tenant, kid, algorithm, sealed_private, public_jwk, state, active_from, created_at })
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
