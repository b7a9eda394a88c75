//! The signing keys of every tenant, unsealed once and kept in memory.
//!
//! A tenant's first token makes its first key: written sealed, and only if no node was faster.
//! Private halves are sealed under the master key with tenant and key id as associated data, so
//! a row copied to another tenant does not open (ASVS 13.3.3).

use std::sync::Arc;

use dashmap::DashMap;

use super::failure::Failure;
use crate::clock::Clock;
use crate::crypto::keyset::{self, Algorithm, InvalidKey, Jwk, SigningKey, VerifyingKeys};
use crate::crypto::seal::{SealContext, SealError, Sealer};
use crate::domain::ids::TenantId;
use crate::entropy::Entropy;
use crate::secret::ExposeSecret as _;
use crate::storage::{SigningKey as StoredKey, Storage};

/// The keys of one tenant, ready for use.
#[derive(Debug)]
pub struct TenantKeys {
    /// Signs new tokens.
    pub signing: SigningKey,
    /// Checks presented ones.
    pub verifying: VerifyingKeys,
    /// The public halves, for the JWKS.
    pub public: Vec<Jwk>,
}

/// All tenants' keys. Clones share the cache.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    cache: DashMap<TenantId, Arc<TenantKeys>>,
    storage: Storage,
    sealer: Sealer,
    clock: Clock,
    entropy: Entropy,
}

impl Keyring {
    /// An empty cache over `storage`.
    #[must_use]
    pub fn new(storage: Storage, sealer: Sealer, clock: Clock, entropy: Entropy) -> Self {
        Self(Arc::new(Inner { cache: DashMap::new(), storage, sealer, clock, entropy }))
    }

    /// The tenant's keys; the first caller loads or makes them.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if they are not in memory and storage is away.
    pub async fn of(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, Failure> {
        if let Some(keys) = self.0.cache.get(&tenant) {
            return Ok(Arc::clone(&keys));
        }
        let keys = Arc::new(self.0.load(tenant).await?);
        self.0.cache.insert(tenant, Arc::clone(&keys));
        Ok(keys)
    }
}

impl Inner {
    async fn load(&self, tenant: TenantId) -> Result<TenantKeys, Failure> {
        if self.storage.signing_keys().active(tenant).await?.is_none() {
            self.make(tenant).await?;
        }
        let active = self.storage.signing_keys().active(tenant).await?.ok_or(Failure::Internal)?;
        let stored = self.storage.signing_keys().all(tenant).await?;
        let public = stored.iter().map(public_half).collect::<Result<Vec<_>, _>>()?;
        let secret = self.sealer.open(&active.sealed_private, &context(tenant, &active.kid)).map_err(unsealable)?;
        Ok(TenantKeys {
            signing: SigningKey::from_pkcs8(Algorithm::Es256, secret.expose_secret()).map_err(unusable)?,
            verifying: VerifyingKeys::new(&public).map_err(unusable)?,
            public,
        })
    }

    /// Makes a first key. Another node may be faster; then its key is the one.
    async fn make(&self, tenant: TenantId) -> Result<(), Failure> {
        let made = keyset::generate(Algorithm::Es256).map_err(unusable)?;
        let kid = made.public.kid().to_owned();
        let sealed = self.sealer.seal(made.secret.expose_secret(), &context(tenant, &kid), &self.entropy);
        let key = StoredKey {
            tenant,
            algorithm: Algorithm::Es256.as_str().to_owned(),
            sealed_private: sealed.map_err(unsealable)?,
            public_jwk: serde_json::to_value(&made.public).map_err(|_| Failure::Internal)?,
            active: true,
            created_at: self.clock.now(),
            kid,
        };
        self.storage.signing_keys().insert_active_if_none(&key).await?;
        Ok(())
    }
}

/// What a private half is sealed for.
pub(super) fn context(tenant: TenantId, kid: &str) -> SealContext<'_> {
    SealContext { tenant, kind: "signing_key", name: kid }
}

fn public_half(key: &StoredKey) -> Result<Jwk, Failure> {
    serde_json::from_value(key.public_jwk.clone()).map_err(|error| {
        tracing::error!(%error, key.id = key.kid, "a stored public key is corrupt");
        Failure::Internal
    })
}

fn unsealable(error: SealError) -> Failure {
    tracing::error!(%error, "a signing key cannot be unsealed");
    Failure::Internal
}

fn unusable(error: InvalidKey) -> Failure {
    tracing::error!(%error, "a signing key cannot be used");
    Failure::Internal
}
