//! The limit that `limits` sets and goes above, and what an exact limit would have done. Pure.

use std::time::Duration;

use serde::Serialize;

/// The limit of the run, by client: so many at once, and so many more in each window.
pub(crate) const LIMIT: Limit = Limit { name: "login-client", quota: 20, window: Duration::from_secs(10) };

/// Those whose `Retry-After` is tried out after the run: small, so that they are reached at once.
pub(crate) const PROBED: [(Limit, &str); 3] = [
    (Limit { name: "code-client", quota: 5, window: Duration::from_secs(10) }, "/auth/request-code"),
    (Limit { name: "register-client", quota: 5, window: Duration::from_secs(10) }, "/api/auth/register"),
    (Limit { name: "refresh-client", quota: 5, window: Duration::from_secs(10) }, "/api/auth/refresh"),
];

/// Least rate that is clearly above [`LIMIT`] from the first second on.
pub(crate) const LEAST_RATE: u32 = 20;

/// Requests of one client in a window, all of them at once after a quiet one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// As the settings call it.
    pub(crate) name: &'static str,
    /// Requests.
    pub(crate) quota: u32,
    /// In which time.
    pub(crate) window: Duration,
}

impl Limit {
    /// How many an exact limit lets pass when it is asked without pause for so long.
    pub(crate) fn exact(&self, asked_for: Duration) -> u64 {
        let refilled = asked_for.as_nanos() * u128::from(self.quota) / self.window.as_nanos().max(1);
        u64::from(self.quota) + u64::try_from(refilled).unwrap_or(u64::MAX)
    }
}

/// How the limits held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    /// The limit that was gone above.
    pub(crate) limit: String,
    /// How many passed.
    pub(crate) admitted: u64,
    /// How many an exact limit lets pass at least, …
    pub(crate) exact_from: u64,
    /// … and at most.
    pub(crate) exact_to: u64,
    /// Whether it was between these.
    pub(crate) is_exact: bool,
    /// Refusals after which exactly `Retry-After` was waited and the next request passed.
    pub(crate) retry_after_kept: u64,
    /// … and the next request was refused again, or the refusal named no time.
    pub(crate) retry_after_broken: u64,
}

/// For how long the limit was asked, as far as that can be told from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AskedFor {
    /// From the first answer to the last request.
    pub(crate) least: Duration,
    /// From the first request to the last answer.
    pub(crate) most: Duration,
}

/// Compares what passed with what should have. One more or less is the moment of a refill, which
/// nobody outside can place; answers that were slow to come widen it by what they hide.
pub(crate) fn judge(limit: &Limit, asked_for: AskedFor, admitted: u64, probes: &[bool]) -> Held {
    let exact_from = limit.exact(asked_for.least).saturating_sub(1);
    let exact_to = limit.exact(asked_for.most) + 1;
    let kept = probes.iter().filter(|kept| **kept).count() as u64;
    Held {
        limit: format!("{}: {} at once, {} in {} s", limit.name, limit.quota, limit.quota, limit.window.as_secs()),
        admitted,
        exact_from,
        exact_to,
        is_exact: (exact_from..=exact_to).contains(&admitted),
        retry_after_kept: kept,
        retry_after_broken: probes.len() as u64 - kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_limit_lets_its_quota_pass_and_then_its_rate() {
        for (millis, exact) in [(0, 20), (499, 20), (500, 21), (3_000, 26), (10_000, 40), (30_250, 80)] {
            assert_eq!(LIMIT.exact(Duration::from_millis(millis)), exact, "{millis} ms");
        }
    }

    fn asked_for(least: u64, most: u64) -> AskedFor {
        AskedFor { least: Duration::from_millis(least), most: Duration::from_millis(most) }
    }

    #[test]
    fn one_more_or_less_is_exact_and_two_are_not() {
        for (admitted, is_exact) in [(24, false), (25, true), (26, true), (27, true), (28, false)] {
            let held = judge(&LIMIT, asked_for(3_000, 3_004), admitted, &[]);
            assert_eq!((held.exact_from, held.exact_to, held.is_exact), (25, 27, is_exact), "{admitted}");
        }
    }

    #[test]
    fn what_slow_answers_hide_is_not_held_against_the_limit() {
        let held = judge(&LIMIT, asked_for(2_000, 4_000), 29, &[]);

        assert_eq!((held.exact_from, held.exact_to, held.is_exact), (23, 29, true));
    }

    #[test]
    fn every_probe_counts_as_kept_or_broken() {
        let held = judge(&LIMIT, AskedFor::default(), 20, &[true, false, true]);

        assert_eq!((held.retry_after_kept, held.retry_after_broken), (2, 1));
    }
}
