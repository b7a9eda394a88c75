//! The life of a tenant's signing keys: `next → active → retiring → gone`.
//!
//! ```text
//!            published, not yet used      signs          only verifies        nowhere
//!   made ─────────► next ───────────────► active ───────► retiring ──────────► gone
//!          at least PUBLISHED       `key_rotation`,      the life of the last
//!          before it signs          or told to           token, leeway, caches
//!                                       │                    │
//!                                       └── compromised ─────┴─────────────► gone at once
//! ```
//!
//! Verifiers elsewhere keep a tenant's JWKS for [`JWKS_MAX_AGE`], or for as long as they please. A key that
//! signed before their next look would make good tokens fail, and so would one that left while its last
//! token lives.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::TokenPolicy;
use super::time::Timestamp;

/// How a key signs (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256: small, quick, and every client library has it.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 (RFC 8037); by its older name, which more libraries read than `Ed25519`.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA PKCS#1 v1.5 with SHA-256, 3072 bits: for clients that know nothing else.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with SHA-256 over 32 random bytes. Never published: nobody but guichet can verify.
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Rs256, Self::Hs256];

    /// The `alg` value, exactly as it must be spelt.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// Reads [`Algorithm::as_str`] back, to the letter.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)
    }
}

/// How far the clocks of two nodes may differ (ASVS 9.2.1).
pub const LEEWAY: Duration = Duration::from_secs(30);

/// How long others may keep a JWKS, as its `Cache-Control` says.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);

/// How long a key is published before it signs, at the least. Common verifiers that never look again for
/// an unknown key keep what they have for ten minutes unless told otherwise (Envoy); half as much again
/// for a shared cache before them, and for a node that had not heard of the key when it was asked.
pub const PUBLISHED: Duration = Duration::from_secs(3 * 300);

/// How long before its turn a scheduled key is made, for caches slower than they should be.
const AHEAD: Duration = Duration::from_hours(24);

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Published; signs from `active_from` on.
    Next,
    /// Signs.
    Active,
    /// Signs no more; verifies until `gone_from`.
    Retiring,
    /// Verifies nothing.
    Gone,
}

impl KeyState {
    /// The word for storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Gone => "gone",
        }
    }

    /// Reads [`KeyState::as_str`] back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retiring, Self::Gone].into_iter().find(|state| state.as_str() == word)
    }
}

/// How soon another key is to sign, when an operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// Once everybody had time to read of it.
    #[default]
    Announced,
    /// Now: good tokens fail where others hold an older JWKS and do not look again.
    Now,
    /// Now, and what signed before verifies nothing any more: somebody else may hold it.
    Compromised,
}

/// What the schedule needs to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStanding {
    /// Its id.
    pub kid: String,
    /// How it signs; `None` if this version does not know the way.
    pub algorithm: Option<Algorithm>,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it begins (or began) to sign.
    pub active_from: Timestamp,
    /// When a retiring key is to go.
    pub gone_from: Option<Timestamp>,
}

/// One step in the life of a tenant's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStep {
    /// Make and publish a key that signs from then on.
    Make {
        /// How it signs.
        algorithm: Algorithm,
        /// When its turn comes.
        active_from: Timestamp,
    },
    /// `next` signs from now on; the key before it retires until then.
    Promote {
        /// Which.
        kid: String,
        /// When the key before it is to go.
        gone_from: Timestamp,
    },
    /// Take a key away: its time is over, or it was made for an algorithm nobody wants any more.
    Drop {
        /// Which.
        kid: String,
    },
}

/// What is due for a tenant's keys at `now`. A tenant without an active key has none at all: its
/// first token makes one.
#[must_use]
pub fn due(keys: &[KeyStanding], policy: &TokenPolicy, now: Timestamp) -> Vec<KeyStep> {
    let in_state = |state| keys.iter().find(move |key| key.state == state);
    let over = |key: &&KeyStanding| key.state == KeyState::Retiring && key.gone_from.is_none_or(|end| now >= end);
    let mut steps: Vec<_> = keys.iter().filter(over).map(|key| KeyStep::Drop { kid: key.kid.clone() }).collect();
    let Some(active) = in_state(KeyState::Active) else { return steps };
    let wanted = |key: &KeyStanding| key.algorithm == Some(policy.algorithm);
    match in_state(KeyState::Next) {
        Some(next) if !wanted(next) => steps.push(KeyStep::Drop { kid: next.kid.clone() }),
        Some(next) if now >= next.active_from => {
            steps.push(KeyStep::Promote { kid: next.kid.clone(), gone_from: gone_from(policy, now) });
        }
        Some(_) => {}
        None => {
            let end = if wanted(active) { active.active_from + policy.key_rotation } else { now };
            if now + AHEAD >= end {
                let active_from = end.max(now + PUBLISHED);
                steps.push(KeyStep::Make { algorithm: policy.algorithm, active_from });
            }
        }
    }
    steps
}

/// When a key that signs no more from `now` on is to go.
#[must_use]
pub fn gone_from(policy: &TokenPolicy, now: Timestamp) -> Timestamp {
    now + policy.access_ttl + LEEWAY + JWKS_MAX_AGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Policy, Profile};

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn key(kid: &str, state: KeyState, active_from: Timestamp) -> KeyStanding {
        let gone_from = (state == KeyState::Retiring).then_some(active_from);
        KeyStanding { kid: kid.to_owned(), algorithm: Some(Algorithm::Es256), state, active_from, gone_from }
    }

    fn policy() -> TokenPolicy {
        Policy::of(Profile::Classic).tokens
    }

    #[test]
    fn a_key_is_published_long_before_it_signs_and_stays_until_its_last_token_has_run_out() {
        let active = key("a", KeyState::Active, T0);
        let eve = T0 + 89 * DAY;

        assert_eq!(due(std::slice::from_ref(&active), &policy(), eve - Duration::from_millis(1)), []);
        let turn = T0 + 90 * DAY;
        let make = KeyStep::Make { algorithm: Algorithm::Es256, active_from: turn };
        assert_eq!(due(std::slice::from_ref(&active), &policy(), eve), [make]);
        let next = key("n", KeyState::Next, turn);
        assert_eq!(due(&[active.clone(), next.clone()], &policy(), turn - Duration::from_millis(1)), []);
        let gone_from = turn + Duration::from_secs(3_600 + 30 + 300);
        assert_eq!(due(&[active, next], &policy(), turn), [KeyStep::Promote { kid: "n".to_owned(), gone_from }]);
    }

    #[test]
    fn a_key_that_comes_late_is_still_published_first() {
        let late = T0 + 400 * DAY;

        let steps = due(&[key("a", KeyState::Active, T0)], &policy(), late);

        assert_eq!(steps, [KeyStep::Make { algorithm: Algorithm::Es256, active_from: late + PUBLISHED }]);
    }

    #[test]
    fn another_algorithm_makes_a_next_key_of_its_own() {
        let policy = TokenPolicy { algorithm: Algorithm::EdDsa, ..policy() };
        let active = key("a", KeyState::Active, T0);

        let make = KeyStep::Make { algorithm: Algorithm::EdDsa, active_from: T0 + PUBLISHED };
        assert_eq!(due(std::slice::from_ref(&active), &policy, T0), [make]);
        let drop = KeyStep::Drop { kid: "n".to_owned() };
        assert_eq!(due(&[active, key("n", KeyState::Next, T0)], &policy, T0), [drop]);
    }

    #[test]
    fn a_retiring_key_goes_in_its_time() {
        let keys = [key("r", KeyState::Retiring, T0), key("a", KeyState::Active, T0)];

        assert_eq!(due(&keys, &policy(), T0 - Duration::from_millis(1)), []);
        assert_eq!(due(&keys, &policy(), T0), [KeyStep::Drop { kid: "r".to_owned() }]);
    }
}
