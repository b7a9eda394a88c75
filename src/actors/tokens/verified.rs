//! Tokens whose signature was checked a moment ago: looking one up costs a fortieth of checking it.
//!
//! Kept are *claims*, by tenant and SHA-256 of the text; never a verdict. Whoever finds some here
//! still asks whether they have run out, whether the session stands and for whom they are. An ECDSA
//! token has two spellings, and so at most two places here: neither outlives its session.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::HeaderValue;
use lru::LruCache;

use crate::crypto::digest;
use crate::crypto::jwt::AccessTokenClaims;
use crate::domain::ids::TenantId;

/// Parts that are locked apart, so that cores seldom meet.
const SHARDS: usize = 64;

/// Tokens each part keeps; beyond it the one not asked for longest goes. About 60 MB in all.
const PER_SHARD: usize = 1_000;

/// A token that is genuine, and what an answer about it says.
#[derive(Debug)]
pub struct Genuine {
    /// What it claims.
    pub claims: AccessTokenClaims,
    /// Whose it is, as apps are told; none if a claim cannot stand in a header field.
    pub identity: Option<Identity>,
    /// The reading of the keys it was checked with.
    pub(super) generation: u64,
}

/// Claims as header values: written once, told with every check.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `sub`.
    pub subject: HeaderValue,
    /// `tid`.
    pub tenant: HeaderValue,
    /// `sid`.
    pub session: HeaderValue,
    /// `aud`; several stand side by side.
    pub audience: HeaderValue,
    /// `scope`; empty if there is none.
    pub scope: HeaderValue,
}

impl Identity {
    fn of(claims: &AccessTokenClaims) -> Option<Self> {
        let value = |text: String| HeaderValue::from_maybe_shared(Bytes::from(text)).ok();
        Some(Self {
            subject: value(claims.sub.to_string())?,
            tenant: value(claims.tid.clone())?,
            session: value(claims.sid.to_string())?,
            audience: value(claims.aud.iter().collect::<Vec<_>>().join(" "))?,
            scope: value(claims.scope.clone().unwrap_or_default())?,
        })
    }
}

impl Genuine {
    pub(super) fn new(claims: AccessTokenClaims, generation: u64) -> Self {
        Self { identity: Identity::of(&claims), claims, generation }
    }
}

/// A token of a tenant, by its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    tenant: TenantId,
    digest: [u8; 32],
}

impl Name {
    pub(super) fn new(tenant: TenantId, token: &[u8]) -> Self {
        Self { tenant, digest: digest::token_digest(token) }
    }
}

/// A fast hash will do: only what is genuine gets in, so nobody chooses the names.
type Shard = Mutex<LruCache<Name, Arc<Genuine>, RandomState>>;

/// The cache.
pub(super) struct Verified {
    shards: Vec<Shard>,
}

impl Default for Verified {
    fn default() -> Self {
        // Unbounded, for a bounded one takes all its room at once; `insert` keeps the bound.
        let shard = || Mutex::new(LruCache::unbounded_with_hasher(RandomState::default()));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }
}

impl Verified {
    pub(super) fn find(&self, name: &Name) -> Option<Arc<Genuine>> {
        let mut shard = self.shard(name)?.lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(name).map(Arc::clone)
    }

    pub(super) fn insert(&self, name: Name, genuine: Arc<Genuine>) {
        let Some(shard) = self.shard(&name) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.put(name, genuine);
        if shard.len() > PER_SHARD {
            shard.pop_lru();
        }
    }

    fn shard(&self, name: &Name) -> Option<&Shard> {
        // Any bits of a digest will do.
        self.shards.get(usize::from(name.digest[0]) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::jwt::Audience;
    use crate::domain::ids::{AccountId, SessionId};
    use crate::domain::time::Timestamp;

    fn genuine() -> Arc<Genuine> {
        let claims = AccessTokenClaims {
            iss: String::new(),
            sub: AccountId::random([1; 16]),
            aud: Audience::one("a"),
            client_id: String::new(),
            iat: Timestamp::default(),
            exp: Timestamp::default(),
            jti: String::new(),
            sid: SessionId::random([2; 16]),
            tid: String::new(),
            amr: Vec::new(),
            acr: None,
            auth_time: Timestamp::default(),
            scope: None,
            test: false,
        };
        Arc::new(Genuine::new(claims, 0))
    }

    #[test]
    fn one_tenants_token_is_not_found_as_anothers() {
        let verified = Verified::default();
        verified.insert(Name::new(TenantId::random([1; 16]), b"token"), genuine());

        assert!(verified.find(&Name::new(TenantId::random([1; 16]), b"token")).is_some());
        assert!(verified.find(&Name::new(TenantId::random([2; 16]), b"token")).is_none());
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let verified = Verified::default();
        let tenant = TenantId::random([1; 16]);
        for n in 0..2 * SHARDS * PER_SHARD {
            verified.insert(Name::new(tenant, n.to_string().as_bytes()), genuine());
        }

        let held: usize = verified.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(held <= SHARDS * PER_SHARD, "{held}");
    }
}
