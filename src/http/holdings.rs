//! How much of something each one holds now: connections by peer, places by tenant.

use std::hash::Hash;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// Counts by key; who holds nothing is not remembered.
pub(super) struct Holdings<K>(DashMap<K, usize>);

impl<K: Clone + Eq + Hash> Holdings<K> {
    /// Nobody holds anything.
    pub(super) fn none() -> Self {
        Self(DashMap::new())
    }

    /// One more of this key's, unless it holds `most` already. Whoever took it gives it back.
    pub(super) fn take(&self, key: &K, most: usize) -> bool {
        match self.0.entry(key.clone()) {
            Entry::Occupied(held) if *held.get() >= most => false,
            Entry::Occupied(mut held) => {
                *held.get_mut() += 1;
                true
            }
            Entry::Vacant(none) => {
                none.insert(1);
                true
            }
        }
    }

    /// One less of this key's.
    pub(super) fn give_back(&self, key: &K) {
        if let Entry::Occupied(mut held) = self.0.entry(key.clone()) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
