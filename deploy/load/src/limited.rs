//! The `limits` scenario's side of the limit: what passed in which time, and whether waiting exactly
//! as long as a refusal says is enough.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::client::{self, Answer, Call, Door};
use crate::limits::{AskedFor, Held, LIMIT, Limit, PROBED, judge};

/// The limit let it pass, and its empty body was refused.
pub(crate) const PASSED: u16 = 400;

/// The limit refused it.
pub(crate) const REFUSED: u16 = 429;

/// What leads to [`LIMIT`].
const PATH: &str = "/api/auth/login";

/// How often each probe is made.
const PROBES: usize = 2;

/// A tenant with small limits, and what it did so far.
#[derive(Debug)]
pub(crate) struct Limited {
    tenant: String,
    course: Mutex<Course>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Course {
    /// Of the first request: when it was sent, and the first answer of any.
    first: Option<(Instant, Instant)>,
    /// When the last one was sent, and the last answer of any.
    last: Option<(Instant, Instant)>,
    admitted: u64,
}

impl Limited {
    pub(crate) fn new(slug: &str) -> Self {
        Self { tenant: format!("/t/{slug}"), course: Mutex::default() }
    }

    /// A request that the limit counts.
    pub(crate) fn call(&self, door: &Door) -> Call {
        self.to(door, PATH)
    }

    fn to(&self, door: &Door, path: &str) -> Call {
        door.post(&format!("{}{path}", self.tenant), &json!({}))
    }

    /// One was answered.
    pub(crate) fn note(&self, sent: Instant, status: u16) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = Instant::now();
        let (first, last) = (course.first.unwrap_or((sent, answered)), course.last.unwrap_or((sent, answered)));
        course.first = Some((first.0.min(sent), first.1.min(answered)));
        course.last = Some((last.0.max(sent), last.1.max(answered)));
        course.admitted += u64::from(status == PASSED);
    }

    /// Tries out `Retry-After`, each limit beside the others, then judges.
    pub(crate) async fn held(&self, door: &Door) -> Held {
        let course = *self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let asked_for = match (course.first, course.last) {
            (Some((sent, answered)), Some((last_sent, last_answered))) => AskedFor {
                least: last_sent.saturating_duration_since(answered),
                most: last_answered.saturating_duration_since(sent),
            },
            _ => AskedFor::default(),
        };
        let [a, b, c] = PROBED.map(|(limit, path)| self.probe(door, limit, path));
        let (a, b, c, d) = tokio::join!(a, b, c, self.probe(door, LIMIT, PATH));
        judge(&LIMIT, asked_for, course.admitted, &[a, b, c, d].concat())
    }

    /// Asks until it is refused, waits exactly as long as it is told, asks again: does that pass?
    async fn probe(&self, door: &Door, limit: Limit, path: &str) -> Vec<bool> {
        let mut kept = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            let refusal = self.refusal(door, limit, path).await;
            let Some(seconds) = refusal.and_then(|answer| answer.retry_after) else {
                kept.push(false);
                continue;
            };
            sleep(Duration::from_secs(seconds.min(limit.window.as_secs()))).await;
            let after = client::ask(self.to(door, path)).await;
            kept.push(after.is_ok_and(|answer| answer.status == PASSED));
        }
        kept
    }

    async fn refusal(&self, door: &Door, limit: Limit, path: &str) -> Option<Answer> {
        for _ in 0..=2 * limit.quota {
            let answer = client::ask(self.to(door, path)).await.ok()?;
            if answer.status == REFUSED {
                return Some(answer);
            }
        }
        None
    }
}
