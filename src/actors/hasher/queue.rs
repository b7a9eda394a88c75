//! The waiting line of the hasher: bounded, and fair between tenants.
//!
//! Tenants take turns, so a flood of log-ins at one of them costs the others at most one turn
//! each round. Within a tenant, clients with a known device go first. When the line is full, the
//! newcomer is refused if its tenant already holds the longest share; otherwise the longest
//! share gives up its newest job (longest-queue drop), so no tenant can occupy the line.

use std::collections::{HashMap, VecDeque};

use crate::domain::ids::TenantId;

/// Who goes first within a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The client showed a device that the account knows.
    KnownDevice,
    /// Anybody else.
    Stranger,
}

/// A bounded line of jobs, fair between tenants.
#[derive(Debug)]
pub struct FairQueue<J> {
    capacity: usize,
    len: usize,
    shares: HashMap<TenantId, Share<J>>,
    /// Tenants with work, in the order of their turns.
    turns: VecDeque<TenantId>,
}

#[derive(Debug)]
struct Share<J> {
    known: VecDeque<J>,
    strangers: VecDeque<J>,
}

impl<J> Share<J> {
    fn len(&self) -> usize {
        self.known.len() + self.strangers.len()
    }

    fn pop_first(&mut self) -> Option<J> {
        self.known.pop_front().or_else(|| self.strangers.pop_front())
    }

    fn pop_newest(&mut self) -> Option<J> {
        self.strangers.pop_back().or_else(|| self.known.pop_back())
    }
}

impl<J> FairQueue<J> {
    /// An empty line of at most `capacity` jobs.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, len: 0, shares: HashMap::new(), turns: VecDeque::new() }
    }

    /// How many jobs wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues a job. In a full line one job goes away and is returned: this one, or the newest of
    /// the tenant that holds the most.
    pub fn push(&mut self, tenant: TenantId, priority: Priority, job: J) -> Option<J> {
        let shed = if self.len < self.capacity {
            None
        } else {
            match self.longest_other(tenant) {
                Some(longest) => self.drop_newest(longest),
                None => return Some(job),
            }
        };
        let share = self.shares.entry(tenant).or_insert_with(|| {
            self.turns.push_back(tenant);
            Share { known: VecDeque::new(), strangers: VecDeque::new() }
        });
        match priority {
            Priority::KnownDevice => share.known.push_back(job),
            Priority::Stranger => share.strangers.push_back(job),
        }
        self.len += 1;
        shed
    }

    /// The next job: one of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<J> {
        let tenant = self.turns.pop_front()?;
        let share = self.shares.get_mut(&tenant)?;
        let job = share.pop_first();
        if share.len() == 0 {
            self.shares.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.len -= usize::from(job.is_some());
        job
    }

    /// The tenant with the longest share, if that is longer than `tenant`'s would become.
    fn longest_other(&self, tenant: TenantId) -> Option<TenantId> {
        let own = self.shares.get(&tenant).map_or(0, Share::len);
        let (longest, share) = self.shares.iter().max_by_key(|(_, share)| share.len())?;
        (share.len() > own + 1).then_some(*longest)
    }

    fn drop_newest(&mut self, tenant: TenantId) -> Option<J> {
        let job = self.shares.get_mut(&tenant)?.pop_newest();
        self.len -= usize::from(job.is_some());
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u8) -> TenantId {
        TenantId::random([n; 16])
    }

    #[test]
    fn tenants_take_turns_however_long_one_line_is() {
        let mut queue = FairQueue::new(100);
        for n in 0..50 {
            assert_eq!(queue.push(tenant(1), Priority::Stranger, ("flood", n)), None);
        }
        queue.push(tenant(2), Priority::Stranger, ("quiet", 0));

        let served: Vec<_> = (0..2).filter_map(|_| queue.pop()).map(|(who, _)| who).collect();

        assert!(served.contains(&"quiet"), "{served:?}");
    }

    #[test]
    fn a_known_device_goes_before_strangers_of_its_tenant() {
        let mut queue = FairQueue::new(100);
        queue.push(tenant(1), Priority::Stranger, "stranger");
        queue.push(tenant(1), Priority::KnownDevice, "owner");

        assert_eq!(queue.pop(), Some("owner"));
    }

    #[test]
    fn in_a_full_line_the_flood_gives_way_to_the_quiet_tenant() {
        let mut queue = FairQueue::new(4);
        for n in 0..4 {
            queue.push(tenant(1), Priority::Stranger, n);
        }

        assert_eq!(queue.push(tenant(1), Priority::Stranger, 9), Some(9));
        assert_eq!(queue.push(tenant(2), Priority::Stranger, 10), Some(3));
        assert_eq!(queue.len(), 4);
        let mut left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 10]);
    }
}
