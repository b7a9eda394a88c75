//! A bounded map of books for the in-process store: sharded, swept in small steps, never full of
//! the dead.
//!
//! Each call locks one shard for the length of a pure function (never across an await) and looks
//! at two more books of that shard in turn, dropping those that are idle. So no call pays for a
//! great sweep, and a shelf nobody uses costs nothing. A full shelf refuses new books rather than
//! forget a living one: the same answer as a Redis that may not evict. One tenant finds it full a little
//! before, while the others still find room.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::TenantId;
use crate::domain::lockout::VERDICT_MEMORY;
use crate::domain::time::Timestamp;

const SHARDS: usize = 64;
const SWEPT_PER_CALL: usize = 2;

/// How many times the free places one tenant may hold (dynamic thresholds, Choudhury and Hahne 1998): alone it
/// fills eight ninths. Its books are spread over all shards by their hash, so each judges for itself.
const TIMES_FREE: usize = 8;

/// No place for another living book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the in-process store is full")]
pub(super) struct Full;

/// Names a book, and with it the tenant whose room it takes.
pub(super) trait Key: Clone + Eq + Hash {
    /// Whose room; none where a tenant has a single book or the book is no tenant's.
    fn tenant(&self) -> Option<TenantId> {
        None
    }
}

impl Key for TenantId {}

impl Key for [u8; 32] {}

impl<S: Clone + Eq + Hash> Key for (TenantId, S) {
    fn tenant(&self) -> Option<TenantId> {
        Some(self.0)
    }
}

impl<S: Clone + Eq + Hash, T: Clone + Eq + Hash> Key for (TenantId, S, T) {
    fn tenant(&self) -> Option<TenantId> {
        Some(self.0)
    }
}

struct Entry<V> {
    book: Option<V>,
    keep_until: Timestamp,
}

struct Shard<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every key of `entries` once, in the order in which they are looked at.
    round: VecDeque<K>,
    /// How many of `entries` are each tenant's; no tenant with none.
    held: HashMap<TenantId, usize>,
}

/// Books by key.
pub(super) struct Shelf<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    most_per_shard: usize,
}

impl<K: Key, V> Shelf<K, V> {
    /// A shelf for about `most` books.
    pub(super) fn new(most: usize) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), round: VecDeque::new(), held: HashMap::new() });
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::new(),
            most_per_shard: most.div_ceil(SHARDS),
        }
    }

    /// Runs `judge` on the book under `key`, alone with it. It may write one where there is none,
    /// take it away, and says until when what it leaves is worth keeping.
    pub(super) fn visit<R>(
        &self,
        key: K,
        now: Timestamp,
        judge: impl FnOnce(&mut Option<V>) -> (R, Timestamp),
    ) -> Result<R, Full> {
        let index = usize::try_from(self.hasher.hash_one(&key)).unwrap_or_default() % SHARDS;
        let mut shard = self.shards.get(index).ok_or(Full)?.lock().unwrap_or_else(PoisonError::into_inner);
        shard.sweep(now);
        if let Some(entry) = shard.entries.get_mut(&key) {
            let (answer, keep_until) = judge(&mut entry.book);
            entry.keep_until = keep_until.max(now) + VERDICT_MEMORY;
            return Ok(answer);
        }
        let free = self.most_per_shard.saturating_sub(shard.entries.len());
        if free == 0 || shard.held_beside(&key) >= TIMES_FREE * free {
            return Err(Full);
        }
        let mut book = None;
        let (answer, keep_until) = judge(&mut book);
        if book.is_some() {
            shard.insert(key, Entry { book, keep_until: keep_until.max(now) + VERDICT_MEMORY });
        }
        Ok(answer)
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.round.clear();
            shard.held.clear();
        }
    }
}

impl<K: Key, V> Shard<K, V> {
    /// Books of the tenant whose room `key` would take.
    fn held_beside(&self, key: &K) -> usize {
        key.tenant().and_then(|tenant| self.held.get(&tenant)).copied().unwrap_or_default()
    }

    /// Puts a book under a key that has none.
    fn insert(&mut self, key: K, entry: Entry<V>) {
        if let Some(tenant) = key.tenant() {
            *self.held.entry(tenant).or_default() += 1;
        }
        self.round.push_back(key.clone());
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &K) {
        let removed = self.entries.remove(key);
        if let Some(tenant) = key.tenant().filter(|_| removed.is_some())
            && let Some(held) = self.held.get_mut(&tenant)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&tenant);
            }
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_PER_CALL {
            let Some(key) = self.round.pop_front() else { return };
            let living = self.entries.get(&key).is_some_and(|e| e.book.is_some() && e.keep_until > now);
            if living {
                self.round.push_back(key);
            } else {
                self.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    impl Key for u32 {}

    fn put<K: Key>(shelf: &Shelf<K, u32>, key: K, now: Timestamp) -> Result<(), Full> {
        shelf.visit(key, now, |book| {
            *book = Some(7);
            ((), now)
        })
    }

    fn held<K: Key>(shelf: &Shelf<K, u32>) -> usize {
        shelf.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).sum()
    }

    fn held_by_tenants<K: Key>(shelf: &Shelf<K, u32>) -> usize {
        shelf.shards.iter().map(|shard| shard.lock().unwrap().held.values().sum::<usize>()).sum()
    }

    #[test]
    fn a_full_shelf_refuses_newcomers_until_old_books_are_idle() {
        let shelf = Shelf::new(SHARDS * 20);
        let refused = (0..5_000).filter(|key| put(&shelf, *key, T0).is_err()).count();
        assert!(refused >= 5_000 - SHARDS * 20);

        let later = T0 + VERDICT_MEMORY + Duration::from_millis(1);

        assert!((5_000..5_100).all(|key| put(&shelf, key, later).is_ok()));
    }

    #[test]
    fn idle_books_leave_in_small_steps() {
        let shelf = Shelf::new(1_000_000);
        for key in 0..1_000 {
            put(&shelf, key, T0).unwrap();
        }
        let later = T0 + VERDICT_MEMORY + Duration::from_millis(1);
        for _ in 0..100 {
            for key in 0..256 {
                put(&shelf, key, later).unwrap();
            }
        }

        assert!(held(&shelf) < 400, "{}", held(&shelf));
    }

    #[test]
    fn a_tenant_fills_no_more_than_its_part_and_the_others_still_find_room() {
        let (shelf, most) = (Shelf::new(SHARDS * 400), SHARDS * 356);
        let (greedy, modest) = (TenantId::random([1; 16]), TenantId::random([2; 16]));

        let taken = (0..100_000_u32).filter(|n| put(&shelf, (greedy, *n), T0).is_ok()).count();

        assert_eq!((taken, held(&shelf), held_by_tenants(&shelf)), (most, most, most));
        assert!((0..100).all(|n| put(&shelf, (modest, n), T0).is_ok()));
        assert!(put(&shelf, (greedy, 100_001), T0).is_err());
    }

    #[test]
    fn a_tenants_idle_books_are_room_again() {
        let (shelf, tenant) = (Shelf::new(SHARDS * 40), TenantId::random([1; 16]));
        for n in 0..10_000_u32 {
            let _full_at_the_end = put(&shelf, (tenant, n), T0);
        }
        let later = T0 + VERDICT_MEMORY + Duration::from_millis(1);

        assert!((10_000..10_100).all(|n| put(&shelf, (tenant, n), later).is_ok()));

        assert_eq!(held(&shelf), held_by_tenants(&shelf));
        let long_after = later + VERDICT_MEMORY + Duration::from_millis(1);
        for shard in &shelf.shards {
            let mut shard = shard.lock().unwrap();
            while !shard.entries.is_empty() {
                shard.sweep(long_after);
            }
            assert!(shard.held.is_empty());
        }
    }
}
