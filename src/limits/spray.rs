//! This node's tally of compared passwords, told to the store now and then, and what it answered.
//!
//! Nothing of it is on the path of a log-in but one short lock: who is under attack is known from
//! the last answer, at most a few seconds old.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::domain::ids::TenantId;
use crate::domain::limits::spray::{SPRAY, SprayVerdict};
use crate::domain::time::Timestamp;
use crate::ephemeral::{AttemptSubject, EphemeralError, EphemeralStore, MOST_TALLIED, Tally};
use crate::telemetry::{SPRAYS, causes};

/// Tallies that the store may fail to take in one round: it may be away for one tenant alone (a primary of a
/// cluster is down), or for all of them, each of whom would wait for its deadline.
const MOST_FAILURES: usize = 5;

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
    /// what became of that tally is unknown; where it fails too often, the others wait for the next round.
    pub(super) async fn tell(&self, store: &dyn EphemeralStore, clock: &Clock) -> Vec<TenantId> {
        let count = |tenant, tally| async move { store.count_compared(tenant, &SPRAY, &tally).await };
        self.tell_with(count, clock).await
    }

    async fn tell_with<F>(&self, count: impl Fn(TenantId, Tally) -> F, clock: &Clock) -> Vec<TenantId>
    where
        F: Future<Output = Result<SprayVerdict, EphemeralError>>,
    {
        let counted = std::mem::take(&mut *locked(&self.tallies));
        let now = clock.steady();
        locked(&self.alarms).retain(|_, until| *until > now);
        let (mut newly, mut failures_left) = (Vec::new(), MOST_FAILURES);
        let mut untold = counted.into_iter();
        while let Some((tenant, Counted { attempts, failures, accounts })) = untold.next() {
            let tally = Tally { attempts, failures, accounts: accounts.into_iter().collect() };
            let verdict = match count(tenant, tally).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(error = causes(&error), "what was compared could not be told");
                    failures_left -= 1;
                    if failures_left == 0 {
                        self.put_back(untold);
                        break;
                    }
                    continue;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: usize) -> TenantId {
        let [.., high, low] = n.to_be_bytes();
        TenantId::random([high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
    }

    /// Tells what one log-in in each of so many tenants left: how often the store was asked, and for whom it took it.
    async fn tell(spray: &Spray, tenants: usize, is_away: impl Fn(TenantId) -> bool) -> (usize, HashSet<TenantId>) {
        for n in 0..tenants {
            spray.note(tenant(n), AttemptSubject::Shadow(1), true);
        }
        let (asked, taken) = (Mutex::new(0), Mutex::new(HashSet::new()));
        let count = |tenant, _| {
            *locked(&asked) += 1;
            if is_away(tenant) {
                return std::future::ready(Err(EphemeralError::Unavailable("a primary is down".into())));
            }
            locked(&taken).insert(tenant);
            std::future::ready(Ok(SprayVerdict { alarm: None, newly: false }))
        };
        spray.tell_with(count, &Clock::system()).await;
        (asked.into_inner().unwrap(), taken.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_tenant_whose_store_is_away_keeps_no_other_from_being_told() {
        let spray = Spray::default();
        let away = [tenant(3), tenant(4)];

        let (asked, taken) = tell(&spray, 50, |tenant| away.contains(&tenant)).await;

        assert_eq!((asked, taken.len()), (50, 48));
    }

    #[tokio::test]
    async fn a_store_that_is_away_for_all_ends_the_round_and_the_others_are_told_in_the_next() {
        let spray = Spray::default();

        let (asked, _) = tell(&spray, 50, |_| true).await;
        let (_, taken) = tell(&spray, 0, |_| false).await;

        assert_eq!((asked, taken.len()), (MOST_FAILURES, 50 - MOST_FAILURES));
    }
}
