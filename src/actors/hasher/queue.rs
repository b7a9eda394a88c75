//! The waiting line of the hasher: bounded, and fair between tenants.
//!
//! Tenants take turns (start-time fair queueing, Goyal et al. 1996): each job takes its tenant's next
//! turn, and the lowest turn goes first. A tenant that took few of late may take up to four in a
//! row, so that beside a flood at another its jobs wait for a thread and for little else; one that
//! asks for more than its share waits for the others. A tenant behind its share, none of whose jobs is
//! under way, may have one overtake those that are. A job that is worth doing no more when it is looked at takes
//! no turn. Within a tenant, clients with a known device go first. When the line is full, the longest
//! share gives up its newest job (longest-queue drop), so no tenant can occupy the line; where that is the
//! newcomer's own, a known device takes the place of its newest stranger, and any other newcomer is refused.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::domain::ids::TenantId;

/// Turns by which a tenant that took none may lag behind the others, and catch up at once.
const CREDIT: u64 = 4;

/// Tenants without work that are remembered before anybody looks which may be forgotten.
const MOST_IDLE: usize = 64;

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
    /// Of tenants with work, and of those whose last turn still counts.
    shares: HashMap<TenantId, Share<J>>,
    /// Tenants with work by their next turn; of the same turn, whoever came first.
    turns: BTreeSet<(u64, u64, TenantId)>,
    /// The highest turn taken.
    now: u64,
    /// How many came into `turns`.
    comers: u64,
}

#[derive(Debug)]
struct Share<J> {
    known: VecDeque<J>,
    strangers: VecDeque<J>,
    next_turn: u64,
    /// Jobs taken and not yet done.
    under_way: usize,
}

impl<J> Default for Share<J> {
    fn default() -> Self {
        Self { known: VecDeque::new(), strangers: VecDeque::new(), next_turn: 0, under_way: 0 }
    }
}

impl<J> Share<J> {
    fn len(&self) -> usize {
        self.known.len() + self.strangers.len()
    }

    /// Whether its next job may overtake what is under way, where the highest turn taken is `now`.
    const fn may_overtake(&self, now: u64) -> bool {
        self.under_way == 0 && self.next_turn < now
    }

    /// Whether nothing of it waits or is under way.
    fn is_idle(&self) -> bool {
        self.len() == 0 && self.under_way == 0
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
        // As if some turns had been taken already, or the first to come could lag behind none.
        Self { capacity, len: 0, shares: HashMap::new(), turns: BTreeSet::new(), now: CREDIT, comers: 0 }
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

    /// Queues a job. In a full line one job goes away and is returned: the newest of the tenant that holds
    /// the most; where that is this tenant, its newest stranger's before a known device, or else this one.
    pub fn push(&mut self, tenant: TenantId, priority: Priority, job: J) -> Option<J> {
        let shed = if self.len < self.capacity {
            None
        } else {
            match self.longest_other(tenant) {
                Some(longest) => self.drop_newest(longest),
                None => return Some(self.push_among_own(tenant, priority, job)),
            }
        };
        let share = self.shares.entry(tenant).or_default();
        if share.len() == 0 {
            share.next_turn = share.next_turn.max(self.now.saturating_sub(CREDIT));
            self.turns.insert((share.next_turn, self.comers, tenant));
            self.comers += 1;
        }
        match priority {
            Priority::KnownDevice => share.known.push_back(job),
            Priority::Stranger => share.strangers.push_back(job),
        }
        self.len += 1;
        shed
    }

    /// In a line where no other tenant is to give way: the job that goes away.
    fn push_among_own(&mut self, tenant: TenantId, priority: Priority, job: J) -> J {
        let share = self.shares.get_mut(&tenant).filter(|_| priority == Priority::KnownDevice);
        match share.and_then(|share| Some((share.strangers.pop_back()?, share))) {
            Some((stranger, share)) => {
                share.known.push_back(job);
                stranger
            }
            None => job,
        }
    }

    /// The next job: one of the tenant whose turn it is. It is under way until it is [`done`](Self::done).
    /// Those before it that are `stale` are dropped, and take no turn.
    pub fn pop(&mut self, stale: impl Fn(&J) -> bool) -> Option<(TenantId, J)> {
        loop {
            let first = *self.turns.first()?;
            if let Some(taken) = self.take(first, &stale) {
                return Some(taken);
            }
        }
    }

    /// The next job that may overtake those under way; those before it that are `stale` are dropped.
    pub fn pop_overtaking(&mut self, stale: impl Fn(&J) -> bool) -> Option<(TenantId, J)> {
        loop {
            let first = self.overtaking()?;
            if let Some(taken) = self.take(first, &stale) {
                return Some(taken);
            }
        }
    }

    /// Whether some job may overtake those under way.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        self.overtaking().is_some()
    }

    /// Of the tenants behind their share, the first that may. Only those with work under way are passed
    /// over, so it is found within as many steps as there are threads.
    fn overtaking(&self) -> Option<(u64, u64, TenantId)> {
        let mut behind = self.turns.iter().take_while(|(turn, ..)| *turn < self.now);
        behind.find(|(.., tenant)| self.shares.get(tenant).is_some_and(|share| share.may_overtake(self.now))).copied()
    }

    /// The first job of the tenant at that place that is worth doing. Without one the tenant has nothing
    /// that waits, and keeps the turn.
    fn take(&mut self, place: (u64, u64, TenantId), stale: impl Fn(&J) -> bool) -> Option<(TenantId, J)> {
        let (turn, _, tenant) = place;
        self.turns.remove(&place);
        let share = self.shares.get_mut(&tenant)?;
        let waited = share.len();
        let worth_doing = std::iter::from_fn(|| share.pop_first()).find(|job| !stale(job));
        self.len -= waited - share.len();
        let Some(job) = worth_doing else {
            self.forget_idle();
            return None;
        };
        share.next_turn = turn + 1;
        share.under_way += 1;
        if share.len() > 0 {
            self.turns.insert((share.next_turn, self.comers, tenant));
            self.comers += 1;
        }
        self.now = self.now.max(turn);
        Some((tenant, job))
    }

    /// A job of this tenant that was popped is under way no more.
    pub fn done(&mut self, tenant: TenantId) {
        if let Some(share) = self.shares.get_mut(&tenant) {
            share.under_way = share.under_way.saturating_sub(1);
        }
        self.forget_idle();
    }

    /// Lets go of tenants without work whose turns count no more; with nobody waiting, of all.
    fn forget_idle(&mut self) {
        if self.turns.is_empty() {
            self.shares.retain(|_, share| !share.is_idle());
        } else if self.shares.len() > 2 * self.turns.len() + MOST_IDLE {
            let counts = self.now.saturating_sub(CREDIT);
            self.shares.retain(|_, share| !share.is_idle() || share.next_turn > counts);
        }
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

    const fn none_stale<J>(_: &J) -> bool {
        false
    }

    /// Takes the next job and has it done.
    fn serve<J>(queue: &mut FairQueue<J>) -> Option<J> {
        let (tenant, job) = queue.pop(none_stale)?;
        queue.done(tenant);
        Some(job)
    }

    #[test]
    fn tenants_take_turns_however_long_one_line_is() {
        let mut queue = FairQueue::new(100);
        for n in 0..50 {
            assert_eq!(queue.push(tenant(1), Priority::Stranger, ("flood", n)), None);
        }
        queue.push(tenant(2), Priority::Stranger, ("quiet", 0));

        let served: Vec<_> = (0..2).filter_map(|_| serve(&mut queue)).map(|(who, _)| who).collect();

        assert!(served.contains(&"quiet"), "{served:?}");
    }

    #[test]
    fn a_tenant_that_took_few_turns_goes_before_a_flood_and_does_not_become_one() {
        let mut queue = FairQueue::new(100);
        for _ in 0..50 {
            queue.push(tenant(1), Priority::Stranger, "flood");
        }
        let served = |queue: &mut FairQueue<&'static str>, n| -> String {
            (0..n).filter_map(|_| serve(queue)).map(|who| &who[..1]).collect()
        };
        assert_eq!(served(&mut queue, 10), "ffffffffff");

        for _ in 0..10 {
            queue.push(tenant(2), Priority::Stranger, "quiet");
        }

        assert_eq!(served(&mut queue, 13), "qqqqqfqfqfqfq");
        // One after another is no way around it.
        for _ in 0..3 {
            assert_eq!(served(&mut queue, 2), "fq");
            queue.push(tenant(2), Priority::Stranger, "quiet");
        }
    }

    #[test]
    fn a_tenant_behind_its_share_overtakes_what_is_under_way_once_at_a_time() {
        let mut queue = FairQueue::new(100);
        for _ in 0..50 {
            queue.push(tenant(1), Priority::Stranger, "flood");
        }
        for _ in 0..10 {
            serve(&mut queue);
        }
        let under_way = queue.pop(none_stale);
        assert_eq!(under_way, Some((tenant(1), "flood")));
        assert_eq!(queue.pop_overtaking(none_stale), None, "nobody overtakes itself");

        for _ in 0..10 {
            queue.push(tenant(2), Priority::Stranger, "quiet");
        }
        let mut overtook = 0;
        while queue.pop_overtaking(none_stale).is_some() {
            assert_eq!(queue.pop_overtaking(none_stale), None, "one at a time");
            queue.done(tenant(2));
            overtook += 1;
        }

        assert_eq!(overtook, CREDIT, "until it has had its share");
    }

    #[test]
    fn alone_nobody_overtakes() {
        let mut queue = FairQueue::new(100);
        for _ in 0..3 {
            queue.push(tenant(1), Priority::Stranger, "burst");
        }

        let under_way = queue.pop(none_stale);

        assert!(under_way.is_some() && !queue.is_overtaken());
    }

    #[test]
    fn tenants_that_are_gone_are_forgotten_also_while_others_wait() {
        let mut queue = FairQueue::new(10_000);
        for _ in 0..5_000 {
            queue.push(tenant(1), Priority::Stranger, 0);
        }
        for n in 0..1_000_u16 {
            let [high, low] = n.to_be_bytes();
            let passing = TenantId::random([high, low, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
            queue.push(passing, Priority::Stranger, 1);
            let _served = (serve(&mut queue), serve(&mut queue));
        }

        assert!(queue.shares.len() < 2 * MOST_IDLE, "{}", queue.shares.len());
        while serve(&mut queue).is_some() {}
        assert!(queue.shares.is_empty());
    }

    #[test]
    fn a_known_device_goes_before_strangers_of_its_tenant() {
        let mut queue = FairQueue::new(100);
        queue.push(tenant(1), Priority::Stranger, "stranger");
        queue.push(tenant(1), Priority::KnownDevice, "owner");

        assert_eq!(serve(&mut queue), Some("owner"));
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
        let mut left: Vec<_> = std::iter::from_fn(|| serve(&mut queue)).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 10]);
    }

    #[test]
    fn in_a_full_line_a_known_device_takes_the_place_of_its_own_tenants_newest_stranger() {
        let mut queue = FairQueue::new(3);
        for n in 0..3 {
            queue.push(tenant(1), Priority::Stranger, n);
        }

        assert_eq!(queue.push(tenant(1), Priority::KnownDevice, 10), Some(2));
        assert_eq!(queue.push(tenant(1), Priority::KnownDevice, 11), Some(1));
        assert_eq!(queue.push(tenant(1), Priority::KnownDevice, 12), Some(0));
        assert_eq!(queue.push(tenant(1), Priority::KnownDevice, 13), Some(13), "no stranger is left to give way");
        assert_eq!(queue.push(tenant(1), Priority::Stranger, 14), Some(14));

        assert_eq!(queue.len(), 3);
        assert_eq!(std::iter::from_fn(|| serve(&mut queue)).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(queue.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn what_is_not_worth_doing_any_more_costs_its_tenant_no_turn() {
        let mut queue = FairQueue::new(100);
        for _ in 0..50 {
            queue.push(tenant(1), Priority::Stranger, "flood");
        }
        for _ in 0..10 {
            serve(&mut queue);
        }
        for _ in 0..30 {
            queue.push(tenant(2), Priority::Stranger, "stale");
        }
        queue.push(tenant(2), Priority::Stranger, "quiet");
        let stale = |job: &&str| *job == "stale";

        let under_way = queue.pop_overtaking(stale);

        assert_eq!(under_way, Some((tenant(2), "quiet")));
        assert_eq!(queue.len(), 40);
        queue.done(tenant(2));
        for _ in 0..CREDIT {
            queue.push(tenant(2), Priority::Stranger, "quiet");
            assert_eq!(queue.pop(stale), Some((tenant(2), "quiet")), "it was charged for one hash and no more");
            queue.done(tenant(2));
        }
    }

    #[test]
    fn a_line_of_nothing_worth_doing_is_emptied_and_forgotten() {
        let mut queue = FairQueue::new(100);
        for n in 0..50 {
            queue.push(tenant(n), Priority::Stranger, n);
            queue.push(tenant(n), Priority::KnownDevice, n);
        }

        assert_eq!(queue.pop(|_| true), None);

        assert!(queue.is_empty() && queue.turns.is_empty() && queue.shares.is_empty());
        queue.push(tenant(1), Priority::Stranger, 1);
        assert_eq!(serve(&mut queue), Some(1));
    }
}
