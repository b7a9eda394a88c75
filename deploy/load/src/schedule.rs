//! When each arrival is due, and what it comes for. Pure.
//!
//! The times depend on the asked rate alone, never on an answer: that is what makes the load
//! open. A server that slows down meets as many people as before.

use std::time::Duration;

use crate::options::Scenario;

/// What `mixed` is made of, in arrivals of a hundred: people are checked far more often than they
/// come in.
const MIXED: [(Scenario, u64); 5] = [
    (Scenario::TokenCheck, 70),
    (Scenario::Refresh, 15),
    (Scenario::LogIn, 9),
    (Scenario::Code, 3),
    (Scenario::SignUp, 3),
];

/// Steps through the hundred so that kinds come interleaved; it shares no divisor with it.
const STRIDE: u64 = 37;

/// The arrivals of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    scenario: Scenario,
    rate: u32,
    window: Duration,
}

impl Schedule {
    /// `rate` arrivals a second, evenly spaced, for `window`.
    pub(crate) const fn new(scenario: Scenario, rate: u32, window: Duration) -> Self {
        Self { scenario, rate, window }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        let arrivals = self.window.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(arrivals).unwrap_or(u64::MAX).max(1)
    }

    /// How long after the first one this one is due. Computed from its number alone: nothing adds up.
    pub(crate) fn offset(&self, arrival: u64) -> Duration {
        let nanos = u128::from(arrival) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// After this nothing is sent any more.
    pub(crate) const fn window(&self) -> Duration {
        self.window
    }

    /// What it comes for.
    pub(crate) fn kind(&self, arrival: u64) -> Scenario {
        if self.scenario != Scenario::Mixed {
            return self.scenario;
        }
        let mut slot = arrival.wrapping_mul(STRIDE) % 100;
        for (kind, weight) in MIXED {
            if slot < weight {
                return kind;
            }
            slot -= weight;
        }
        Scenario::TokenCheck
    }

    /// How many arrivals of a kind come in a stretch of the run, at most.
    pub(crate) fn arrivals(&self, kind: Scenario, stretch: Duration) -> usize {
        let weight = match self.scenario {
            Scenario::Mixed => MIXED.iter().find(|(mixed, _)| *mixed == kind).map_or(0, |(_, weight)| *weight),
            own => 100 * u64::from(own == kind),
        };
        if weight == 0 {
            return 0;
        }
        let nanos = stretch.min(self.window).as_nanos() * u128::from(self.rate) * u128::from(weight);
        // One for each end, and one more since a stretch may begin anywhere in the hundred.
        usize::try_from(nanos.div_ceil(100_000_000_000)).unwrap_or(usize::MAX).saturating_add(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn arrivals_are_evenly_spaced_and_do_not_drift() {
        let schedule = Schedule::new(Scenario::Refresh, 300, MINUTE);

        assert_eq!(schedule.len(), 18_000);
        assert_eq!(schedule.offset(0), Duration::ZERO);
        assert_eq!(schedule.offset(1), Duration::from_nanos(3_333_333));
        assert_eq!(schedule.offset(300), Duration::from_secs(1));
        assert_eq!(schedule.offset(18_000), MINUTE);
    }

    #[test]
    fn the_last_arrival_is_due_within_the_window() {
        for (rate, millis) in [(1, 1_000), (7, 2_300), (200, 30_000), (2_000, 1), (3, 100)] {
            let window = Duration::from_millis(millis);
            let schedule = Schedule::new(Scenario::Code, rate, window);
            assert!(schedule.offset(schedule.len() - 1) < window, "{rate}/s for {millis} ms");
        }
    }

    #[test]
    fn a_scenario_is_all_of_one_kind() {
        let schedule = Schedule::new(Scenario::LogIn, 10, MINUTE);

        assert!((0..schedule.len()).all(|arrival| schedule.kind(arrival) == Scenario::LogIn));
        assert_eq!(schedule.arrivals(Scenario::Refresh, MINUTE), 0);
        assert!(schedule.arrivals(Scenario::LogIn, MINUTE) >= 600);
    }

    #[test]
    fn a_mix_keeps_its_shares_in_every_hundred_and_is_interleaved() {
        let schedule = Schedule::new(Scenario::Mixed, 100, MINUTE);

        for (kind, weight) in MIXED {
            for start in [0, 100, 4_200] {
                let came = (start..start + 100).filter(|arrival| schedule.kind(*arrival) == kind).count();
                assert_eq!(came as u64, weight, "{kind:?} from {start}");
            }
        }
        let longest = (0..100).collect::<Vec<_>>();
        let runs = longest.chunk_by(|a, b| schedule.kind(*a) == schedule.kind(*b)).map(<[u64]>::len).max();
        assert!(runs < Some(12), "{runs:?} of one kind in a row");
    }

    #[test]
    fn no_stretch_of_a_run_brings_more_than_was_planned_for() {
        let schedule = Schedule::new(Scenario::Mixed, 90, MINUTE);

        for (kind, _) in MIXED {
            for seconds in [1, 3, 16, 60] {
                let stretch = Duration::from_secs(seconds);
                let planned = schedule.arrivals(kind, stretch);
                for from in (0..2_000).step_by(7) {
                    let within = (from..schedule.len())
                        .take_while(|arrival| schedule.offset(*arrival) <= schedule.offset(from) + stretch);
                    let came = within.filter(|arrival| schedule.kind(*arrival) == kind).count();
                    assert!(came <= planned, "{kind:?}: {came} in {seconds} s, planned {planned}");
                }
            }
        }
    }
}
