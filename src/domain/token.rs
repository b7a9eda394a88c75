//! What a presented refresh token earns.
//!
//! Every use replaces the token. A replaced one that comes back is either a lost answer (a retry,
//! a second tab) or a theft, and the two look alike; so within the grace, *and while the successor
//! is itself unused*, the same successor is given again, and anything else ends the whole session
//! (RFC 9700 §4.14.2, ASVS 10.4.5).

use super::policy::TokenPolicy;
use super::session::Session;
use super::time::Timestamp;

/// A refresh token as storage knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshFacts {
    /// When it was replaced, if it was.
    pub replaced_at: Option<Timestamp>,
    /// Whether its successor has itself been replaced.
    pub successor_used: bool,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshVerdict {
    /// Replace it (conditionally: another caller may be first).
    Rotate,
    /// Give the same successor again.
    Repeat,
    /// A spent token came back: end the session.
    Reuse,
    /// The session is over.
    Ended,
}

/// Judges a known refresh token of `session` at `now`.
#[must_use]
pub fn judge_refresh(policy: &TokenPolicy, session: &Session, token: RefreshFacts, now: Timestamp) -> RefreshVerdict {
    if !session.is_live(policy, now) {
        return RefreshVerdict::Ended;
    }
    match token.replaced_at {
        None => RefreshVerdict::Rotate,
        Some(at) if !token.successor_used && now.since(at) <= policy.refresh_grace => RefreshVerdict::Repeat,
        Some(_) => RefreshVerdict::Reuse,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::{AccountId, SessionId, TenantId};
    use crate::domain::policy::{Policy, Profile};
    use crate::domain::session::Proof;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn session() -> Session {
        Session {
            tenant: TenantId::random([1; 16]),
            id: SessionId::random([2; 16]),
            account: AccountId::random([3; 16]),
            client_id: "first-party".to_owned(),
            proof: Proof::Password,
            challenge: None,
            device: None,
            label: None,
            authenticated_at: T0,
            refreshed_at: T0,
            expires_at: T0 + Duration::from_secs(30 * 86_400),
            ended_at: None,
        }
    }

    #[test]
    fn every_case_of_a_presented_refresh_token() {
        let strict = Policy::of(Profile::AsvsL1).tokens;
        let at = |seconds| T0 + Duration::from_secs(seconds);
        let fresh = RefreshFacts { replaced_at: None, successor_used: false };
        let replaced = |successor_used| RefreshFacts { replaced_at: Some(T0), successor_used };
        let cases = [
            ("unused", fresh, at(1), RefreshVerdict::Rotate),
            ("within the grace", replaced(false), at(30), RefreshVerdict::Repeat),
            ("after the grace", replaced(false), at(31), RefreshVerdict::Reuse),
            ("successor used", replaced(true), at(1), RefreshVerdict::Reuse),
            ("idle too long", fresh, at(14 * 86_400), RefreshVerdict::Ended),
        ];
        for (case, token, now, expected) in cases {
            assert_eq!(judge_refresh(&strict, &session(), token, now), expected, "{case}");
        }
        let ended = Session { ended_at: Some(T0), ..session() };
        assert_eq!(judge_refresh(&strict, &ended, fresh, at(1)), RefreshVerdict::Ended);
    }

    #[test]
    fn refreshing_daily_never_outlives_the_absolute_end() {
        let strict = Policy::of(Profile::AsvsL1).tokens;
        let fresh = RefreshFacts { replaced_at: None, successor_used: false };
        let day = |n: u64| T0 + Duration::from_secs(n * 86_400);
        let kept = Session { refreshed_at: day(29), ..session() };

        assert_eq!(judge_refresh(&strict, &kept, fresh, day(29)), RefreshVerdict::Rotate);
        assert_eq!(judge_refresh(&strict, &kept, fresh, day(30)), RefreshVerdict::Ended);
    }
}
