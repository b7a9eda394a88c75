//! Admission: beyond a fixed number of requests in work, the next is refused before it costs, and no
//! tenant has all of them to itself.
//!
//! Without it a slow dependency turns into a pile of waiting requests, and memory decides who is
//! refused. A refusal here touches no store and no actor.
//!
//! Each [`Lane`] has as many places, so what waits in one takes none of another: while log-ins wait for a
//! store that does not answer, tokens are checked and keys are told.
//!
//! A tenant may hold at most [`OF_THE_FREE`] times the places of a lane that are still free. Alone it may
//! thus fill all but a ninth of them, two that flood all but a seventeenth, and whoever holds little finds
//! one; nothing is set aside for tenants that do not come.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::holdings::Holdings;

/// How many times the free places one tenant may hold.
const OF_THE_FREE: usize = 8;

/// Which of a listener's places a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// Of whatever may wait: for a body, a hash, a store.
    #[default]
    General,
    /// Of what gateways and probes ask: it wants no body, and mostly comes from memory.
    Checks,
    /// Of messages of token checks on their way in: who sends them may be slow, and then keeps no other
    /// check waiting.
    Messages,
}

/// The places of all lanes.
pub(super) struct Admission {
    general: Places,
    checks: Places,
    messages: Places,
}

impl Admission {
    /// With that many in each lane.
    pub(super) fn new(max_in_flight: usize) -> Self {
        let places = || Places::new(max_in_flight);
        Self { general: places(), checks: places(), messages: places() }
    }

    /// A place, free again when it is dropped; never waits for one.
    pub(super) fn admit(&self, lane: Lane) -> Option<Place<'_>> {
        let lane = match lane {
            Lane::General => &self.general,
            Lane::Checks => &self.checks,
            Lane::Messages => &self.messages,
        };
        Some(Place { _permit: lane.free.try_acquire().ok()?, lane })
    }
}

/// The places of one lane.
struct Places {
    free: Semaphore,
    /// Places held, by the slug of tenants that hold any; of messages, by the peer that sends them.
    held: Holdings<Arc<str>>,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { free: Semaphore::new(count.min(Semaphore::MAX_PERMITS)), held: Holdings::none() }
    }
}

/// A place of an admitted request, until dropped.
pub struct Place<'a> {
    lane: &'a Places,
    _permit: SemaphorePermit<'a>,
}

impl<'a> Place<'a> {
    /// Counts it as its tenant's, unless that holds too many already.
    pub(in crate::http) fn share(&self, tenant: &Arc<str>) -> Option<Share<'a>> {
        let most = OF_THE_FREE * self.lane.free.available_permits();
        let held = &self.lane.held;
        held.take(tenant, most + 1).then(|| Share { held, tenant: Arc::clone(tenant) })
    }
}

/// One place of a tenant's, until dropped.
pub(in crate::http) struct Share<'a> {
    held: &'a Holdings<Arc<str>>,
    tenant: Arc<str>,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.held.give_back(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of one tenant that are let in, each holding its place.
    fn flood<'a>(admission: &'a Admission, tenant: &str) -> Vec<(Place<'a>, Share<'a>)> {
        let tenant = Arc::from(tenant);
        std::iter::from_fn(|| {
            let place = admission.admit(Lane::General)?;
            let share = place.share(&tenant)?;
            Some((place, share))
        })
        .collect()
    }

    #[test]
    fn a_tenant_that_floods_leaves_places_to_the_others_and_so_do_two() {
        let admission = Admission::new(1_800);

        let first = flood(&admission, "first");
        let second = flood(&admission, "second");

        assert_eq!((first.len(), second.len()), (1_600, 177));
        let neighbour = admission.admit(Lane::General).and_then(|place| place.share(&Arc::from("neighbour")));
        assert!(neighbour.is_some());
        drop(neighbour);
        drop(first);
        assert!(flood(&admission, "second").len() > 1_000, "what is free again is for everybody");
        drop(second);
        assert!(admission.general.held.is_empty());
    }

    #[test]
    fn where_there_are_few_places_everybody_may_still_have_one() {
        for places in 1..10 {
            let admission = Admission::new(places);
            let held = flood(&admission, "alone");
            assert_eq!(held.len(), if places == 1 { 1 } else { places - 1 }, "of {places}");
        }
    }

    #[test]
    fn a_lane_that_is_full_takes_no_place_of_another() {
        let admission = Admission::new(3);
        let all = |lane| std::iter::from_fn(|| admission.admit(lane)).collect::<Vec<_>>();

        let general = all(Lane::General);

        assert_eq!((general.len(), all(Lane::Checks).len(), all(Lane::Messages).len()), (3, 3, 3));
        let checks = all(Lane::Checks);
        assert!(admission.admit(Lane::Checks).is_none(), "as bounded as any");
        drop(general);
        assert!(admission.admit(Lane::General).is_some());
        drop(checks);
    }
}
