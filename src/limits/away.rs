//! For whom the store is away: those whose last question it failed to answer are judged by this node alone
//! for a moment, because every request would wait for it otherwise. By tenant, since each has a slot of its
//! own: where one primary of a cluster is down, the limits of everybody else stay shared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;

/// How long the store is not asked again.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Away {
    /// The last of all moments below: while the store is well, nothing else is looked at.
    until: AtomicI64,
    tenants: Mutex<HashMap<TenantId, Timestamp>>,
}

impl Default for Away {
    fn default() -> Self {
        Self { until: AtomicI64::new(i64::MIN), tenants: Mutex::default() }
    }
}

impl Away {
    /// Whether the store is not to be asked for this tenant now.
    pub(super) fn holds(&self, tenant: TenantId, now: Timestamp) -> bool {
        now.as_millis() < self.until.load(Ordering::Relaxed)
            && self.tenants().get(&tenant).is_some_and(|until| now < *until)
    }

    /// The store failed to answer for this tenant.
    pub(super) fn note(&self, tenant: TenantId, now: Timestamp) {
        let until = now + PAUSE;
        self.tenants().insert(tenant, until);
        self.until.fetch_max(until.as_millis(), Ordering::Relaxed);
    }

    /// Forgets whom it may be asked for again.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.tenants().retain(|_, until| now < *until);
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Timestamp>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenants_failure_leaves_the_limits_of_the_others_shared() {
        let [unlucky, other] = [1, 2].map(|n| TenantId::random([n; 16]));
        let (away, now) = (Away::default(), Timestamp::from_millis(1_000));

        away.note(unlucky, now);

        assert!(away.holds(unlucky, now));
        assert!(!away.holds(other, now));
        assert!(!away.holds(unlucky, now + PAUSE));
        away.sweep(now + PAUSE);
        assert!(away.tenants().is_empty());
    }
}
