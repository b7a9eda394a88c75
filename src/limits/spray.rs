//! This node's tally of compared passwords, told to the store now and then, and what it answered.
//!
//! Nothing of it is on the path of a log-in but one short lock: who is under attack is known from
//! the last answer, at most a few seconds old.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::domain::ids::TenantId;
use crate::domain::limits::spray::SPRAY;
use crate::domain::time::Timestamp;
use crate::ephemeral::{AttemptSubject, EphemeralStore, MOST_TALLIED, Tally};
use crate::telemetry::{SPRAYS, causes};

#[derive(Default)]
pub(super) struct Spray {
    tallies: Mutex<HashMap<TenantId, Counted>>,
    alarms: Mutex<HashMap<TenantId, Timestamp>>,
}

/// What was compared in one tenant since it was last told.
#[derive(Default)]
struct Counted {
    attempts: u64,
    failures: u64,
    accounts: HashSet<AttemptSubject>,
}

impl Spray {
    pub(super) fn note(&self, tenant: TenantId, subject: AttemptSubject, failed: bool) {
        let mut tallies = locked(&self.tallies);
        let counted = tallies.entry(tenant).or_default();
        counted.attempts += 1;
        if failed {
            counted.failures += 1;
            // Far more than the rule asks for; the others are counted as failures all the same.
            if counted.accounts.len() < MOST_TALLIED {
                counted.accounts.insert(subject);
            }
        }
    }

    pub(super) fn is_under_attack(&self, tenant: TenantId, now: Timestamp) -> bool {
        locked(&self.alarms).get(&tenant).is_some_and(|until| *until > now)
    }

    /// One call per tenant with something to tell; the tenants whose alarm is new. Where the store fails,
    /// what became of that tally is unknown, and the others wait for the next round.
    pub(super) async fn tell(&self, store: &dyn EphemeralStore, clock: &Clock) -> Vec<TenantId> {
        let counted = std::mem::take(&mut *locked(&self.tallies));
        let now = clock.steady();
        locked(&self.alarms).retain(|_, until| *until > now);
        let mut newly = Vec::new();
        let mut untold = counted.into_iter();
        while let Some((tenant, Counted { attempts, failures, accounts })) = untold.next() {
            let tally = Tally { attempts, failures, accounts: accounts.into_iter().collect() };
            let verdict = match store.count_compared(tenant, &SPRAY, &tally).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(error = causes(&error), "what was compared could not be told");
                    self.put_back(untold);
                    break;
                }
            };
            if let Some(alarm) = verdict.alarm {
                locked(&self.alarms).insert(tenant, clock.steady() + alarm.left());
            }
            if verdict.newly {
                metrics::counter!(SPRAYS).increment(1);
                newly.push(tenant);
            }
        }
        newly
    }

    fn put_back(&self, untold: impl Iterator<Item = (TenantId, Counted)>) {
        let mut tallies = locked(&self.tallies);
        for (tenant, Counted { attempts, failures, accounts }) in untold {
            let counted = tallies.entry(tenant).or_default();
            counted.attempts += attempts;
            counted.failures += failures;
            let room = MOST_TALLIED.saturating_sub(counted.accounts.len());
            counted.accounts.extend(accounts.into_iter().take(room));
        }
    }
}

fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
