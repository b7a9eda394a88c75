//! Admission: beyond a fixed number of requests in work, the next is refused before it costs.
//!
//! Without it a slow dependency turns into a pile of waiting requests, and memory decides who is
//! refused. A refusal here touches no store and no actor.

use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) struct Admission(Semaphore);

impl Admission {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)))
    }

    /// A place, free again when the permit is dropped; never waits for one.
    pub(super) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire().ok()
    }
}
