//! Admission: beyond a fixed number of requests in work, the next is refused before it costs, and no
//! tenant has all of them to itself.
//!
//! Without it a slow dependency turns into a pile of waiting requests, and memory decides who is
//! refused. A refusal here touches no store and no actor.
//!
//! A tenant may hold at most [`OF_THE_FREE`] times the places that are still free. Alone it may thus
//! fill all but a ninth of them, two that flood all but a seventeenth, and whoever holds little finds
//! one; nothing is set aside for tenants that do not come.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many times the free places one tenant may hold.
const OF_THE_FREE: usize = 8;

pub(super) struct Admission {
    places: Semaphore,
    /// Places held, by the slug of tenants that hold any.
    held: DashMap<Arc<str>, usize>,
}

impl Admission {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self { places: Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)), held: DashMap::new() }
    }

    /// A place, free again when the permit is dropped; never waits for one.
    pub(super) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Counts an admitted request as its tenant's, unless that holds too many already.
    pub(super) fn share(&self, tenant: &Arc<str>) -> Option<Share<'_>> {
        let most = OF_THE_FREE * self.places.available_permits();
        match self.held.entry(Arc::clone(tenant)) {
            Entry::Occupied(held) if *held.get() > most => return None,
            Entry::Occupied(mut held) => *held.get_mut() += 1,
            Entry::Vacant(none) => drop(none.insert(1)),
        }
        Some(Share { held: &self.held, tenant: Arc::clone(tenant) })
    }
}

/// One place of a tenant's, until dropped.
pub(super) struct Share<'a> {
    held: &'a DashMap<Arc<str>, usize>,
    tenant: Arc<str>,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) = self.held.entry(Arc::clone(&self.tenant)) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of one tenant that are let in, each holding its place.
    fn flood<'a>(admission: &'a Admission, tenant: &str) -> Vec<(SemaphorePermit<'a>, Share<'a>)> {
        let tenant = Arc::from(tenant);
        std::iter::from_fn(|| {
            let permit = admission.admit()?;
            Some((permit, admission.share(&tenant)?))
        })
        .collect()
    }

    #[test]
    fn a_tenant_that_floods_leaves_places_to_the_others_and_so_do_two() {
        let admission = Admission::new(1_800);

        let first = flood(&admission, "first");
        let second = flood(&admission, "second");

        assert_eq!((first.len(), second.len()), (1_600, 177));
        let (neighbour, permit) = (Arc::from("neighbour"), admission.admit());
        assert!(permit.is_some() && admission.share(&neighbour).is_some());
        drop(first);
        assert!(flood(&admission, "second").len() > 1_000, "what is free again is for everybody");
        drop(second);
        assert!(admission.held.is_empty());
    }

    #[test]
    fn where_there_are_few_places_everybody_may_still_have_one() {
        for places in 1..10 {
            let admission = Admission::new(places);
            let held = flood(&admission, "alone");
            assert_eq!(held.len(), if places == 1 { 1 } else { places - 1 }, "of {places}");
        }
    }
}
