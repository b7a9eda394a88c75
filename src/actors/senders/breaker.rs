//! Keeps messages away from a sender that fails, and finds out when it works again.
//!
//! ```text
//!  closed ──5 failures in a row──► open ──pause over──► one probe ──works──► closed
//!     ▲                             ▲                      └──fails──► open, twice as long
//! ```
//!
//! A failure is one of the sender itself: not reached, not let in, no answer. A refused message says
//! nothing against it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::delivery::{DeliveryError, Receipt, Stage};
use crate::domain::time::Timestamp;

/// Failures in a row that open it.
const PATIENCE: u32 = 5;

/// First pause, doubled with every failed probe, with up to half as much again of jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Leave to ask the sender; goes back with [`Breaker::record`] or [`Breaker::give_back`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    is_probe: bool,
}

/// The breaker of one sender of one line. What it remembers ends with the line's actor.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    openings: u32,
    open_until: Option<Timestamp>,
}

impl Breaker {
    /// May a message be given to the sender now? A probe that was let through and tells nothing within
    /// `patience` makes room for another.
    pub(super) fn admit(&self, now: Timestamp, patience: Duration) -> Result<Pass, Timestamp> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.open_until {
            None => Ok(Pass { is_probe: false }),
            Some(until) if now < until => Err(until),
            Some(_) => {
                state.open_until = Some(now + patience);
                Ok(Pass { is_probe: true })
            }
        }
    }

    /// Takes in how it went; `jitter` is random.
    pub(super) fn record(&self, pass: Pass, works: bool, now: Timestamp, jitter: u8) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if works {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        let is_open = state.open_until.is_some();
        // Of those under way when it opened, the failures are no news.
        if pass.is_probe || !is_open && state.failures >= PATIENCE {
            let pause = FIRST_PAUSE.saturating_mul(1 << state.openings.min(10)).min(LONGEST_PAUSE);
            state.open_until = Some(now + pause + pause * u32::from(jitter) / 510);
            state.openings = state.openings.saturating_add(1);
        }
    }

    /// The sender was not asked after all: if this was to be the probe, the next message may be it.
    pub(super) fn give_back(&self, pass: Pass, now: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pass.is_probe && state.open_until.is_some() {
            state.open_until = Some(now);
        }
    }

    /// Until when it lets nothing through, if it is open.
    pub(super) fn open_until(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open_until
    }
}

/// Does the outcome of a send speak for the sender's working?
pub(super) fn works(outcome: &Result<Receipt, DeliveryError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(DeliveryError::Refused { stage, .. }) => *stage > Stage::Auth,
        Err(DeliveryError::Temporary { .. } | DeliveryError::Unknown { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);
    const LIMIT: Duration = Duration::from_secs(15);

    fn fail(breaker: &Breaker, times: u32, now: Timestamp) {
        for _ in 0..times {
            let pass = breaker.admit(now, LIMIT).unwrap();
            breaker.record(pass, false, now, 0);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_starts_the_count_again() {
        let breaker = Breaker::default();
        fail(&breaker, 4, T0);
        let pass = breaker.admit(T0, LIMIT).unwrap();
        breaker.record(pass, true, T0, 0);
        fail(&breaker, 4, T0);
        assert_eq!(breaker.open_until(), None);

        fail(&breaker, 1, T0);

        assert_eq!(breaker.admit(T0, LIMIT), Err(T0 + FIRST_PAUSE));
    }

    #[test]
    fn a_probe_that_asked_nobody_leaves_its_place_to_the_next_message() {
        let breaker = Breaker::default();
        fail(&breaker, 5, T0);
        let later = T0 + FIRST_PAUSE;
        let probe = breaker.admit(later, LIMIT).unwrap();
        assert!(breaker.admit(later, LIMIT).is_err());

        breaker.give_back(probe, later);

        assert_eq!(breaker.admit(later, LIMIT), Ok(Pass { is_probe: true }));
    }

    #[test]
    fn after_the_pause_one_probe_goes_and_decides() {
        let breaker = Breaker::default();
        fail(&breaker, PATIENCE, T0);
        let later = T0 + FIRST_PAUSE;

        let probe = breaker.admit(later, LIMIT).unwrap();
        assert_eq!(breaker.admit(later, LIMIT), Err(later + LIMIT), "the others wait for it");
        breaker.record(probe, false, later, 0);
        assert_eq!(breaker.admit(later, LIMIT), Err(later + 2 * FIRST_PAUSE), "twice as long");

        let later = later + 2 * FIRST_PAUSE;
        let probe = breaker.admit(later, LIMIT).unwrap();
        breaker.record(probe, true, later, 0);
        assert!(breaker.admit(later, LIMIT).is_ok() && breaker.admit(later, LIMIT).is_ok());
    }

    #[test]
    fn failures_of_sends_that_were_under_way_do_not_lengthen_the_pause() {
        let breaker = Breaker::default();
        let passes: Vec<_> = (0..8).map(|_| breaker.admit(T0, LIMIT).unwrap()).collect();

        for pass in passes {
            breaker.record(pass, false, T0, 0);
        }

        assert_eq!(breaker.open_until(), Some(T0 + FIRST_PAUSE));
    }

    #[test]
    fn a_probe_that_tells_nothing_makes_room_for_another() {
        let breaker = Breaker::default();
        fail(&breaker, PATIENCE, T0);
        let later = T0 + FIRST_PAUSE;
        breaker.admit(later, LIMIT).unwrap();

        assert!(breaker.admit(later + LIMIT, LIMIT).is_ok());
    }

    #[test]
    fn a_refused_message_says_nothing_against_its_sender() {
        assert!(works(&Err(DeliveryError::refused(Stage::Recipient, "no"))));
        assert!(!works(&Err(DeliveryError::refused(Stage::Auth, "no"))));
        assert!(!works(&Err(DeliveryError::temporary(Stage::Connect, "time_out"))));
        assert!(!works(&Err(DeliveryError::unknown("time_out"))));
    }
}
