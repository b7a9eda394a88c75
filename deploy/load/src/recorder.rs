//! Counts what was answered and how long it took, by request and by second.
//!
//! Times are of expected answers, and of those waited for in vain until the time-out: a refusal or a
//! refused connection is quick, and would make a server that fails look fast.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::{Answer, TIMED_OUT};

/// Longest time that is told apart; a run's bounds keep every answer far below.
const LONGEST_MICROS: u64 = 2 * 3_600 * 1_000_000;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As the scenario expects.
    Expected,
    /// 429 or 503, and whether it named the time to wait.
    Refused {
        /// It did.
        with_retry_after: bool,
    },
    /// Another answer.
    Unexpected,
}

impl Outcome {
    /// Judges an answer by the statuses that are right.
    pub(crate) fn of(answer: &Answer, expected: &[u16]) -> Self {
        if expected.contains(&answer.status) {
            Self::Expected
        } else if answer.is_refusal() {
            Self::Refused { with_retry_after: answer.retry_after.is_some_and(|seconds| seconds > 0) }
        } else {
            Self::Unexpected
        }
    }
}

/// Times in microseconds, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Times(Option<Histogram<u64>>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).ok())
    }
}

impl Times {
    fn note(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Milliseconds that so large a part took at most; 0 where nothing was noted.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.value_at_quantile(quantile) as f64 / 1_000.0)
    }

    /// Milliseconds of the slowest.
    pub(crate) fn max(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.max() as f64 / 1_000.0)
    }
}

/// One kind of request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// Sent.
    pub(crate) count: u64,
    /// Answers by status and code.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// No answer, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// 429 and 503 where another answer was expected.
    pub(crate) refused: u64,
    /// Of these, those that named a time to wait.
    pub(crate) with_retry_after: u64,
    /// Neither expected nor a refusal: other statuses, and no answer.
    pub(crate) unexpected: u64,
    /// From when it should have been sent to the end of its answer.
    pub(crate) times: Times,
}

/// One second of the run, by when its arrivals were due.
#[derive(Debug, Clone, Default)]
pub(crate) struct Second {
    /// Arrivals that came to their end as expected.
    pub(crate) good: u64,
    /// … that were refused or failed.
    pub(crate) bad: u64,
    /// … that were never sent.
    pub(crate) unsent: u64,
    /// Whole arrivals.
    pub(crate) times: Times,
}

/// What a run has told so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    /// By request.
    pub(crate) rows: BTreeMap<&'static str, Row>,
    /// Arrivals from when they were due to the end of their last answer.
    pub(crate) arrivals: Times,
    /// How long after they were due arrivals began.
    pub(crate) late: Times,
    /// Arrivals that came to their end.
    pub(crate) sent: u64,
    /// Arrivals that never began, by reason.
    pub(crate) unsent: BTreeMap<&'static str, u64>,
    /// The run's course.
    pub(crate) seconds: Vec<Second>,
}

/// An arrival that came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When it was due, from the run's start.
    pub(crate) due: Duration,
    /// How long after that it began.
    pub(crate) late: Duration,
    /// From when it was due to the end of its last answer.
    pub(crate) time: Duration,
    /// Whether every answer was expected.
    pub(crate) is_good: bool,
    /// Whether its time is one of those that count.
    pub(crate) is_timed: bool,
}

/// Where everybody under way notes what happened.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Book>);

impl Recorder {
    /// A request was answered, or not.
    pub(crate) fn request(&self, name: &'static str, time: Duration, what: &Result<(Outcome, String), String>) {
        let mut book = self.book();
        let row = book.rows.entry(name).or_default();
        row.count += 1;
        if is_timed(what) {
            row.times.note(time);
        }
        let known = match what {
            Ok((outcome, shown)) => {
                *row.statuses.entry(shown.clone()).or_default() += 1;
                outcome.clone()
            }
            Err(why) => {
                *row.errors.entry(why.clone()).or_default() += 1;
                Outcome::Unexpected
            }
        };
        match known {
            Outcome::Expected => {}
            Outcome::Refused { with_retry_after } => {
                row.refused += 1;
                row.with_retry_after += u64::from(with_retry_after);
            }
            Outcome::Unexpected => row.unexpected += 1,
        }
    }

    /// An arrival came to its end.
    pub(crate) fn arrival(&self, arrival: &Arrival) {
        let mut book = self.book();
        book.sent += 1;
        book.late.note(arrival.late);
        if arrival.is_timed {
            book.arrivals.note(arrival.time);
        }
        let second = second(&mut book.seconds, arrival.due);
        if arrival.is_timed {
            second.times.note(arrival.time);
        }
        second.good += u64::from(arrival.is_good);
        second.bad += u64::from(!arrival.is_good);
    }

    /// An arrival was never sent.
    pub(crate) fn unsent(&self, due: Duration, why: &'static str) {
        let mut book = self.book();
        *book.unsent.entry(why).or_default() += 1;
        second(&mut book.seconds, due).unsent += 1;
    }

    /// All that was noted.
    pub(crate) fn told(&self) -> Book {
        self.book().clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_timed(what: &Result<(Outcome, String), String>) -> bool {
    match what {
        Ok((outcome, _)) => *outcome == Outcome::Expected,
        Err(why) => why == TIMED_OUT,
    }
}

fn second(seconds: &mut Vec<Second>, due: Duration) -> &mut Second {
    let at = usize::try_from(due.as_secs()).unwrap_or_default();
    if seconds.len() <= at {
        seconds.resize(at + 1, Second::default());
    }
    #[expect(clippy::indexing_slicing, reason = "it was just made that long")]
    &mut seconds[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MS: Duration = Duration::from_millis(1);

    fn answer(status: u16, retry_after: Option<u64>) -> Answer {
        Answer { status, retry_after, json: json!({"code": "because"}), bytes: 0 }
    }

    #[test]
    fn an_answer_is_expected_refused_or_neither() {
        for (status, retry_after, outcome) in [
            (200, None, Outcome::Expected),
            (201, None, Outcome::Unexpected),
            (429, Some(3), Outcome::Refused { with_retry_after: true }),
            (429, Some(0), Outcome::Refused { with_retry_after: false }),
            (503, None, Outcome::Refused { with_retry_after: false }),
            (500, None, Outcome::Unexpected),
        ] {
            assert_eq!(Outcome::of(&answer(status, retry_after), &[200]), outcome, "{status} {retry_after:?}");
        }
        assert_eq!(Outcome::of(&answer(429, None), &[400, 429]), Outcome::Expected);
    }

    #[test]
    fn every_request_is_counted_once_in_its_row() {
        let recorder = Recorder::default();
        let told = |answer: &Answer| Ok((Outcome::of(answer, &[200]), answer.shown()));

        recorder.request("check", MS, &told(&answer(200, None)));
        recorder.request("check", 2 * MS, &told(&answer(429, Some(1))));
        recorder.request("check", 3 * MS, &Err(TIMED_OUT.to_owned()));
        recorder.request("check", MS, &Err("no connection".to_owned()));
        recorder.request("refresh", MS, &told(&answer(500, None)));

        let book = recorder.told();
        assert_eq!(book.rows.len(), 2);
        let check = &book.rows["check"];
        assert_eq!((check.count, check.refused, check.with_retry_after, check.unexpected), (4, 1, 1, 2));
        assert_eq!(check.statuses, BTreeMap::from([("200".to_owned(), 1), ("429 because".to_owned(), 1)]));
        assert_eq!((check.errors[TIMED_OUT], check.errors["no connection"]), (1, 1));
        assert_eq!(book.rows["refresh"].unexpected, 1);
    }

    #[test]
    fn what_fails_fast_does_not_look_fast() {
        let recorder = Recorder::default();

        recorder.request("check", 100 * MS, &Ok((Outcome::Expected, "200".to_owned())));
        recorder.request("check", MS, &Ok((Outcome::Refused { with_retry_after: true }, "429".to_owned())));
        recorder.request("check", MS, &Err("no connection".to_owned()));
        recorder.request("check", 900 * MS, &Err(TIMED_OUT.to_owned()));

        let times = &recorder.told().rows["check"].times;
        assert!((99.0..101.0).contains(&times.at(0.5)), "{}", times.at(0.5));
        assert!((899.0..901.0).contains(&times.max()), "{}", times.max());
    }

    #[test]
    fn an_arrival_belongs_to_the_second_it_was_due_in() {
        let recorder = Recorder::default();
        let arrival = |due, time, is_good| Arrival { due, late: Duration::ZERO, time, is_good, is_timed: is_good };
        recorder.arrival(&arrival(2_999 * MS, 5_000 * MS, true));
        recorder.arrival(&arrival(500 * MS, MS, false));
        recorder.unsent(Duration::from_secs(1), "no slot");

        let book = recorder.told();

        let course: Vec<_> = book.seconds.iter().map(|second| (second.good, second.bad, second.unsent)).collect();
        assert_eq!(course, [(0, 1, 0), (0, 0, 1), (1, 0, 0)]);
        assert_eq!((book.sent, book.unsent["no slot"]), (2, 1));
    }
}
