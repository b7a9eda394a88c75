//! A bounded map of books for the in-process store: sharded, swept in small steps, never full of
//! the dead.
//!
//! Each call locks one shard for the length of a pure function (never across an await) and looks
//! at two more books of that shard in turn, dropping those that are idle. So no call pays for a
//! great sweep, and a shelf nobody uses costs nothing. A full shelf refuses new books rather than
//! forget a living one: the same answer as a Redis that may not evict.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

use crate::domain::lockout::VERDICT_MEMORY;
use crate::domain::time::Timestamp;

const SHARDS: usize = 64;
const SWEPT_PER_CALL: usize = 2;

/// No place for another living book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the in-process store is full")]
pub(super) struct Full;

struct Entry<V> {
    book: Option<V>,
    keep_until: Timestamp,
}

struct Shard<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every key of `entries` once, in the order in which they are looked at.
    round: VecDeque<K>,
}

/// Books by key.
pub(super) struct Shelf<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    most_per_shard: usize,
}

impl<K: Clone + Eq + Hash, V> Shelf<K, V> {
    /// A shelf for about `most` books.
    pub(super) fn new(most: usize) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), round: VecDeque::new() });
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
        if shard.entries.len() >= self.most_per_shard {
            return Err(Full);
        }
        let mut book = None;
        let (answer, keep_until) = judge(&mut book);
        if book.is_some() {
            shard.round.push_back(key.clone());
            shard.entries.insert(key, Entry { book, keep_until: keep_until.max(now) + VERDICT_MEMORY });
        }
        Ok(answer)
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.round.clear();
        }
    }
}

impl<K: Clone + Eq + Hash, V> Shard<K, V> {
    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_PER_CALL {
            let Some(key) = self.round.pop_front() else { return };
            let living = self.entries.get(&key).is_some_and(|e| e.book.is_some() && e.keep_until > now);
            if living {
                self.round.push_back(key);
            } else {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn put(shelf: &Shelf<u32, u32>, key: u32, now: Timestamp) -> Result<(), Full> {
        shelf.visit(key, now, |book| {
            *book = Some(key);
            ((), now)
        })
    }

    fn held(shelf: &Shelf<u32, u32>) -> usize {
        shelf.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).sum()
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
}
