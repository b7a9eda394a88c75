//! How many people a run needs. Pure.
//!
//! A tenant lists at most 20 test identities, a new number can sign up once, and a known phone is
//! sent three codes an hour with a pause between them. So a fast run needs many tenants, and what
//! no number of tenants can give is refused before it begins.

use std::time::Duration;

use anyhow::ensure;

use crate::options::Scenario;
use crate::schedule::Schedule;

/// Test identities of a tenant, by guichet's own bound.
pub(crate) const PER_TENANT: usize = 20;

/// Time between two codes of a known device, by guichet's own rule of 30 s, with room for the answers
/// to come in.
pub(crate) const REST: Duration = Duration::from_secs(32);

/// Codes that a known device is sent in an hour, by the same rule.
pub(crate) const CODES_A_DEVICE: u32 = 3;

/// How many people of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Numbers that sign up during the run.
    pub(crate) newcomers: usize,
    /// Phones that signed up before it and come back with a code.
    pub(crate) phones: usize,
    /// People with e-mail and password.
    pub(crate) mailboxes: usize,
    /// Sessions to check and refresh.
    pub(crate) sessions: usize,
}

impl Plan {
    /// Enough for every arrival.
    pub(crate) fn of(schedule: &Schedule) -> Self {
        let window = schedule.window();
        let a_second = |kind| schedule.arrivals(kind, Duration::from_secs(1));
        let at_once = schedule.arrivals(Scenario::Code, REST);
        let in_all = schedule.arrivals(Scenario::Code, window).div_ceil(CODES_A_DEVICE as usize);
        // A session is refreshed by one arrival at a time: enough for answers that take a second.
        let exclusive = a_second(Scenario::Refresh).min(400);
        let shared = a_second(Scenario::TokenCheck).min(PER_TENANT);
        Self {
            newcomers: schedule.arrivals(Scenario::SignUp, window),
            phones: at_once.max(in_all),
            mailboxes: a_second(Scenario::LogIn).min(10 * PER_TENANT),
            sessions: exclusive.max(shared),
        }
    }

    /// How many there are in all.
    pub(crate) const fn people(&self) -> usize {
        self.newcomers + self.phones + self.mailboxes + self.sessions
    }

    /// How many tenants list them.
    ///
    /// # Errors
    /// More than `most`: with what would do.
    pub(crate) fn tenants(&self, most: usize) -> anyhow::Result<usize> {
        let (people, needed) = (self.people(), self.people().div_ceil(PER_TENANT));
        ensure!(
            needed <= most,
            "this needs {people} people and {most} tenants list {}: a number signs up once, a phone has {CODES_A_DEVICE} \
             codes an hour. Take a lower --rate, a shorter --for, or --tenants {needed} (at most 1000)",
            most * PER_TENANT
        );
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: Scenario, rate: u32, seconds: u64) -> Plan {
        Plan::of(&Schedule::new(scenario, rate, Duration::from_secs(seconds)))
    }

    #[test]
    fn every_newcomer_is_somebody_new() {
        let plan = plan(Scenario::SignUp, 20, 30);

        assert_eq!(plan, Plan { newcomers: 603, ..Plan::default() });
        assert_eq!(plan.tenants(100).unwrap(), 31);
    }

    #[test]
    fn a_phone_comes_back_after_its_rest_and_at_most_three_times() {
        assert_eq!(plan(Scenario::Code, 10, 10).phones, 103);
        assert_eq!(plan(Scenario::Code, 10, 60).phones, 323);
        assert_eq!(plan(Scenario::Code, 10, 300).phones, 1_001);
    }

    #[test]
    fn checks_need_few_people_and_refreshes_one_session_for_each_under_way() {
        assert_eq!(plan(Scenario::TokenCheck, 2_000, 600).people(), 20);
        assert_eq!(plan(Scenario::Refresh, 50, 600).people(), 53);
        assert_eq!(plan(Scenario::LogIn, 2_000, 600).people(), 200);
    }

    #[test]
    fn what_no_tenants_can_list_is_refused_with_what_would_do() {
        let error = plan(Scenario::SignUp, 200, 30).tenants(100).unwrap_err().to_string();

        assert!(error.contains("needs 6003 people") && error.contains("--tenants 301"), "{error}");
    }

    #[test]
    fn limits_need_nobody() {
        assert_eq!(plan(Scenario::Limits, 50, 30), Plan::default());
    }
}
