//! A master key is not taken from under nodes that run, nor does one start on a key that is over.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use guichet::domain::ids::{NodeId, TenantId};
use guichet::domain::settings::Settings;
use guichet::storage::{KeyRotated, Resealed, Resealer, Storage};

use super::{a_tenant, id};
use crate::harness::databases::on_every_database;

const LEASE: Duration = Duration::from_mins(1);

/// Seals as if both keys were one, once `meanwhile` has ended.
struct Seals<F>(F);

impl<F: Fn() + Sync> Resealer for Seals<F> {
    fn settings(&self, _: TenantId, settings: &Settings) -> Option<Settings> {
        (self.0)();
        Some(settings.clone())
    }

    fn signing_key(&self, _: TenantId, _: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

async fn rotate(storage: &Storage, old: &str, new: &str) -> KeyRotated {
    storage.master_key_rotation().run(old, new, &Seals(|| ())).await.unwrap()
}

async fn the_master_key_stays_while_a_node_runs(storage: Storage) {
    assert!(storage.meta().confirm_master_key("one").await.unwrap());
    let (here, there) = (id::<NodeId>(), id::<NodeId>());
    for node in [here, there] {
        assert!(storage.nodes().enter(node, "one", LEASE).await.unwrap());
        assert!(storage.nodes().renew(node, "one", LEASE).await.unwrap());
    }

    assert_eq!(rotate(&storage, "one", "two").await, KeyRotated::InUse(2));
    storage.nodes().leave(here).await.unwrap();
    assert_eq!(rotate(&storage, "one", "two").await, KeyRotated::InUse(1));
    storage.nodes().leave(there).await.unwrap();

    assert!(matches!(rotate(&storage, "one", "two").await, KeyRotated::Done(_)));
    assert_eq!(rotate(&storage, "one", "three").await, KeyRotated::OtherKey);
    assert!(!storage.nodes().enter(here, "one", LEASE).await.unwrap());
    assert!(storage.nodes().enter(there, "two", LEASE).await.unwrap());
}

async fn a_node_that_was_killed_counts_until_its_lease_ends(storage: Storage) {
    assert!(storage.meta().confirm_master_key("one").await.unwrap());
    let node = id::<NodeId>();
    assert!(storage.nodes().enter(node, "one", LEASE).await.unwrap());
    assert_eq!(rotate(&storage, "one", "two").await, KeyRotated::InUse(1));

    assert!(storage.nodes().renew(node, "one", Duration::ZERO).await.unwrap());

    assert_eq!(rotate(&storage, "one", "two").await, KeyRotated::Done(Resealed::default()));
    assert!(!storage.nodes().renew(node, "one", LEASE).await.unwrap(), "it was only stalled");
}

async fn a_node_that_starts_during_a_rotation_waits_and_is_refused(storage: Storage) {
    assert!(storage.meta().confirm_master_key("one").await.unwrap());
    a_tenant(&storage, "acme").await;
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (told, entered) = mpsc::channel();
    let starting = storage.clone();
    let node = tokio::spawn(async move {
        begun.await.unwrap();
        let may_run = starting.nodes().enter(id::<NodeId>(), "one", LEASE).await.unwrap();
        told.send(may_run).ok();
        may_run
    });
    let (begin, entered) = (Mutex::new(Some(begin)), Mutex::new(entered));
    let seals = Seals(|| {
        if let Some(begin) = begin.lock().unwrap().take() {
            begin.send(()).unwrap();
            let wait = || entered.lock().unwrap().recv_timeout(Duration::from_millis(300));
            // The node's task must not wait for this thread.
            let early = tokio::task::block_in_place(wait);
            assert!(early.is_err(), "it did not wait: {early:?}");
        }
    });

    let rotated = storage.master_key_rotation().run("one", "two", &seals).await.unwrap();

    assert!(matches!(rotated, KeyRotated::Done(_)));
    assert!(!node.await.unwrap());
}

on_every_database!(
    the_master_key_stays_while_a_node_runs,
    a_node_that_was_killed_counts_until_its_lease_ends,
    a_node_that_starts_during_a_rotation_waits_and_is_refused,
);
