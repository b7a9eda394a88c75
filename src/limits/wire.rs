//! What a limit says in header fields: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), both lists of strings with parameters (RFC 9651).
//!
//! On success only the caller's own limits are told; how busy the tenant is, is nobody's business
//! until it refuses. Limits by contact or account never come here. Where a client and the site around
//! it stand under one name, the first of the two is told: a name may be in a list once.

use std::fmt::Write as _;

use super::{Refusal, Standing};
use crate::domain::limits::LimitKey;
use crate::domain::time::seconds_rounded_up;

/// Both fields' values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// `RateLimit-Policy`: what is allowed.
    pub policy: String,
    /// `RateLimit`: what is left of it.
    pub state: String,
}

/// What an admitted request is told, if there is anything to tell.
#[must_use]
pub fn on_success(standings: &[Standing]) -> Option<Fields> {
    fields(standings.iter().filter(|standing| is_the_callers_own(standing)))
}

/// What a refused one is told: what it violated, so that no `t` lies beyond `Retry-After`.
#[must_use]
pub fn on_refusal(refusal: &Refusal) -> Option<Fields> {
    fields(refusal.standings.iter().filter(|standing| standing.over))
}

/// The names of the violated limits, for the problem document.
#[must_use]
pub fn violated(refusal: &Refusal) -> Vec<&'static str> {
    let mut names: Vec<_> =
        refusal.standings.iter().filter(|standing| standing.over).map(|standing| standing.name.as_str()).collect();
    names.dedup();
    names
}

fn is_the_callers_own(standing: &Standing) -> bool {
    matches!(standing.name.key(), LimitKey::Client | LimitKey::App)
}

fn fields<'a>(standings: impl Iterator<Item = &'a Standing>) -> Option<Fields> {
    let (mut policy, mut state) = (String::new(), String::new());
    let mut last = None;
    for standing in standings.filter(|standing| last.replace(standing.name) != Some(standing.name)) {
        let comma = if policy.is_empty() { "" } else { ", " };
        let Standing { name, rate, remaining, more_in, .. } = standing;
        let (q, w, t) = (rate.requests, seconds_rounded_up(rate.window), seconds_rounded_up(*more_in));
        // Names are of our own table, `[a-z-]`; writing to a string cannot fail.
        let _ = write!(policy, "{comma}\"{name}\";q={q};w={w}");
        let _ = write!(state, "{comma}\"{name}\";r={remaining};t={t}");
    }
    (!policy.is_empty()).then_some(Fields { policy, state })
}
