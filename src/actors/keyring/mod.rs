//! The signing keys of every tenant, unsealed once and kept in memory.
//!
//! A tenant's first token makes its first key: written sealed, and only if no node was faster. What
//! follows is `rotation`'s. Private halves are sealed under the master key with tenant and key id
//! as associated data, so a row copied to another tenant does not open (ASVS 13.3.3).
//!
//! Every node asks storage twice a second which keys changed, reads anew only those it holds, and lets go
//! of those whose tenant is no more. A
//! token that names an unknown key may make one node look again, once a second for each tenant:
//! invented key ids cost storage nothing.

mod rotation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;

pub use self::rotation::Rotated;
use super::failure::Failure;
use crate::clock::Clock;
use crate::crypto::digest;
use crate::crypto::keyset::{Algorithm, InvalidKey, Jwk, SigningKey, VerifyingKeys};
use crate::crypto::seal::{SealContext, SealError, Sealer};
use crate::domain::ids::TenantId;
use crate::domain::signing_key::KeyState;
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretSlice};
use crate::storage::{SigningKey as StoredKey, Storage, StorageError};
use crate::tenant::{TenantContext, Tenants};

/// How far back a poll reads again: transactions commit out of order, and clocks differ.
const OVERLAP: Duration = Duration::from_secs(60);

/// How soon an unknown key id may make a node look again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The keys of one tenant, ready for use.
#[derive(Debug)]
pub struct TenantKeys {
    /// Signs new tokens.
    pub signing: SigningKey,
    /// Checks presented ones.
    pub verifying: VerifyingKeys,
    /// The public halves as others fetch them.
    pub published: PublishedKeys,
    /// Where each of them is in its life.
    states: BTreeMap<String, KeyState>,
    /// Tells one reading from the next: what was verified under another may have lost its key.
    pub(super) generation: u64,
}

/// A JWKS (RFC 7517 §5), written once.
#[derive(Debug, Clone)]
pub struct PublishedKeys {
    /// The document.
    pub document: Bytes,
    /// Its entity tag, quotes included.
    pub etag: String,
}

impl PublishedKeys {
    fn new(keys: &[Jwk]) -> Result<Self, Failure> {
        let document = serde_json::to_string(&serde_json::json!({ "keys": keys })).map_err(|_| Failure::Internal)?;
        let etag = URL_SAFE_NO_PAD.encode(digest::token_digest(&document));
        Ok(Self { document: document.into(), etag: format!("\"{etag}\"") })
    }
}

/// All tenants' keys. Clones share the cache.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    cache: DashMap<TenantId, Arc<TenantKeys>, RandomState>,
    /// When an unknown key id last made this node look, by tenant.
    looked: DashMap<TenantId, Timestamp>,
    generations: AtomicU64,
    /// When the last poll began that was answered, in milliseconds.
    polled: AtomicI64,
    storage: Storage,
    sealer: Sealer,
    clock: Clock,
    entropy: Entropy,
}

impl Keyring {
    /// An empty cache over `storage`.
    #[must_use]
    pub fn new(storage: Storage, sealer: Sealer, clock: Clock, entropy: Entropy) -> Self {
        Self(Arc::new(Inner {
            cache: DashMap::default(),
            looked: DashMap::new(),
            generations: AtomicU64::new(0),
            polled: AtomicI64::new(clock.now().as_millis()),
            storage,
            sealer,
            clock,
            entropy,
        }))
    }

    /// The tenant's keys, if they are in memory.
    #[must_use]
    pub fn cached(&self, tenant: TenantId) -> Option<Arc<TenantKeys>> {
        self.0.cache.get(&tenant).map(|keys| Arc::clone(&keys))
    }

    /// The tenant's keys; the first caller loads or makes them.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if they are not in memory and storage is away.
    pub async fn of(&self, tenant: &TenantContext) -> Result<Arc<TenantKeys>, Failure> {
        if let Some(keys) = self.cached(tenant.id()) {
            return Ok(keys);
        }
        if let Some(keys) = self.read(tenant.id()).await? {
            return Ok(keys);
        }
        let now = self.0.clock.now();
        self.make(tenant.id(), tenant.policy().tokens.algorithm, KeyState::Active, now).await?;
        self.read(tenant.id()).await?.ok_or(Failure::Internal)
    }

    /// Looks again for keys of a tenant, because a token names one that is not in memory; `None` if
    /// that was done less than a second ago.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub async fn look_again(&self, tenant: TenantId) -> Result<Option<Arc<TenantKeys>>, Failure> {
        let now = self.0.clock.now();
        let due = {
            let mut looked = self.0.looked.entry(tenant).or_default();
            let due = now.since(*looked) >= LOOK_AGAIN;
            if due {
                *looked = now;
            }
            due
        };
        if due { self.read(tenant).await } else { Ok(None) }
    }

    /// Lets go of the keys of tenants that are no more, and reads anew what changed since the last round,
    /// of those in memory.
    ///
    /// # Errors
    /// [`StorageError`] if storage does not answer; the next round reads further back.
    pub async fn refresh(&self, tenants: &Tenants) -> Result<(), StorageError> {
        self.forget_ended(tenants);
        let now = self.0.clock.now();
        let last = Timestamp::from_millis(self.0.polled.load(Ordering::SeqCst)).min(now);
        let changes = self.0.storage.signing_keys().changed_since(last - OVERLAP).await?;
        let news = |tenant: TenantId, kid: &str, state: KeyState| {
            let known = self.cached(tenant)?.states.get(kid).copied().unwrap_or(KeyState::Gone);
            (known != state).then_some(tenant)
        };
        let stale: BTreeSet<_> =
            changes.iter().filter_map(|change| news(change.tenant, &change.kid, change.state)).collect();
        for tenant in stale {
            // One tenant's broken key holds up no other; what it had goes on.
            if let Err(failure) = self.read(tenant).await {
                tracing::error!(%failure, tenant.id = %tenant, "changed signing keys cannot be read");
            }
        }
        self.0.polled.store(now.as_millis(), Ordering::SeqCst);
        Ok(())
    }

    fn forget_ended(&self, tenants: &Tenants) {
        let directory = tenants.snapshot();
        self.0.cache.retain(|tenant, _| directory.by_id(*tenant).is_some());
        self.0.looked.retain(|tenant, _| directory.by_id(*tenant).is_some());
    }

    /// Reads a tenant's keys into memory; `None` if it has none.
    async fn read(&self, tenant: TenantId) -> Result<Option<Arc<TenantKeys>>, Failure> {
        let stored = self.0.storage.signing_keys().in_use(tenant).await?;
        let Some(active) = stored.iter().find(|key| key.state == KeyState::Active) else { return Ok(None) };
        let signing = self.signing_key(active)?;
        let asymmetric = stored.iter().filter(|key| key.algorithm != Algorithm::Hs256);
        let public = asymmetric.map(public_half).collect::<Result<Vec<_>, _>>()?;
        let mut verifying = VerifyingKeys::new(&public).map_err(unusable)?;
        for key in stored.iter().filter(|key| key.algorithm == Algorithm::Hs256) {
            let secret = self.open(key)?;
            verifying = verifying.with_secret(&key.kid, secret.expose_secret()).map_err(unusable)?;
        }
        let keys = Arc::new(TenantKeys {
            signing,
            verifying,
            published: PublishedKeys::new(&public)?,
            states: stored.into_iter().map(|key| (key.kid, key.state)).collect(),
            generation: self.0.generations.fetch_add(1, Ordering::SeqCst),
        });
        self.0.cache.insert(tenant, Arc::clone(&keys));
        Ok(Some(keys))
    }

    fn signing_key(&self, key: &StoredKey) -> Result<SigningKey, Failure> {
        let secret = self.open(key)?;
        match key.algorithm {
            Algorithm::Hs256 => SigningKey::symmetric(&key.kid, secret.expose_secret()),
            algorithm => SigningKey::from_pkcs8(algorithm, secret.expose_secret()),
        }
        .map_err(unusable)
    }

    fn open(&self, key: &StoredKey) -> Result<SecretSlice<u8>, Failure> {
        self.0.sealer.open(&key.sealed_private, &context(key.tenant, &key.kid)).map_err(unsealable)
    }
}

/// What a private half is sealed for.
pub(in crate::actors) fn context(tenant: TenantId, kid: &str) -> SealContext<'_> {
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
