//! The mirror of the lockout book, and locks that are announced once.

use std::time::Duration;

use guichet::domain::event::EventKind;
use guichet::domain::ids::{AttemptId, TenantId};
use guichet::domain::lockout::{Counter, Lane, Lock};
use guichet::storage::{Mirror, Notes, Storage};

use super::{T0, a_tenant, an_account, event, id, message, race, silent};
use crate::harness::databases::on_every_database;

fn failures(failures: u32, version: u64) -> Mirror {
    let counter = Counter { failures, consecutive: failures, ..Counter::default() };
    Mirror { lane: Lane::Strangers, counter, version }
}

fn a_lock(id: AttemptId) -> (Mirror, Lock) {
    let lock = Lock { id, until: T0 + Duration::from_mins(30), lapsed: false };
    let mut mirror = failures(5, 5);
    mirror.counter.lock = Some(lock);
    (mirror, lock)
}

async fn unlocks(storage: &Storage, tenant: TenantId) -> Vec<Option<String>> {
    let entries = storage.audit().page(tenant, None, 100).await.unwrap();
    entries.into_iter().filter(|entry| entry.kind == EventKind::AuthnLoginUnlock).map(|entry| entry.cause).collect()
}

async fn an_older_mirror_changes_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    let attempts = storage.attempts();

    for mirror in [failures(3, 3), failures(2, 2)] {
        attempts.mirror(tenant, account, &mirror).await.unwrap();
    }

    let (version, counters) = attempts.load(tenant, account).await.unwrap();
    assert_eq!((version, counters[&Lane::Strangers].failures), (3, 3));
}

async fn a_clean_counter_is_not_loaded_but_its_version_stays(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    let attempts = storage.attempts();

    for mirror in [failures(1, 1), failures(0, 2), failures(1, 1)] {
        attempts.mirror(tenant, account, &mirror).await.unwrap();
    }

    let (version, counters) = attempts.load(tenant, account).await.unwrap();
    assert_eq!((version, counters.len()), (2, 0));
}

async fn lanes_are_kept_apart_and_a_cleared_book_stays_cleared(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    let attempts = storage.attempts();
    let device = Mirror { lane: Lane::Device(id()), ..failures(4, 2) };
    attempts.mirror(tenant, account, &failures(1, 1)).await.unwrap();
    attempts.mirror(tenant, account, &device).await.unwrap();
    assert_eq!(attempts.load(tenant, account).await.unwrap().1.len(), 2);

    attempts.clear(tenant, account, 4, "reset", T0).await.unwrap();
    // Late mirrors of what was cleared, one of them of a lane without a row.
    attempts.mirror(tenant, account, &Mirror { lane: Lane::Device(id()), ..failures(1, 3) }).await.unwrap();
    attempts.mirror(tenant, account, &failures(2, 3)).await.unwrap();

    let (version, counters) = attempts.load(tenant, account).await.unwrap();
    assert_eq!((version, counters.len()), (4, 0));
    attempts.mirror(tenant, account, &failures(1, 5)).await.unwrap();
    assert_eq!(attempts.load(tenant, account).await.unwrap().0, 5);
}

async fn twenty_racers_record_one_lock_and_mail_once(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    let (racers, (mirror, lock)) = (storage.clone(), a_lock(id()));

    let recorded = race(
        20,
        move |_| {
            let storage = racers.clone();
            async move {
                let messages = [message(tenant, "awa@example.com")];
                let events = [event(tenant, account, EventKind::AuthnLoginLock)];
                let notes = Notes { messages: &messages, events: &events, ..silent(T0) };
                storage.attempts().record_lock(tenant, account, &mirror, &lock, None, &notes).await.unwrap()
            }
        },
        |newly| *newly,
    )
    .await;

    assert_eq!(recorded, 1);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 1);
    assert_eq!(storage.audit().page(tenant, None, 100).await.unwrap().len(), 1);
    assert_eq!(storage.attempts().load(tenant, account).await.unwrap().1[&Lane::Strangers].lock, Some(lock));
}

async fn an_expired_lock_gets_one_event_on_whichever_node(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    for _ in 0..5 {
        let (mirror, lock) = a_lock(id());
        storage.attempts().record_lock(tenant, account, &mirror, &lock, None, &silent(T0)).await.unwrap();
    }
    assert_eq!(storage.attempts().expire_locks(T0, 100).await.unwrap(), 0);
    let (racers, later) = (storage.clone(), T0 + Duration::from_mins(30));

    race(
        10,
        move |_| {
            let storage = racers.clone();
            async move { storage.attempts().expire_locks(later, 2).await.unwrap() }
        },
        |ended| *ended > 0,
    )
    .await;
    storage.attempts().expire_locks(later, 100).await.unwrap();

    assert_eq!(unlocks(&storage, tenant).await, vec![Some("expiry".to_owned()); 5]);
}

async fn clearing_ends_the_lock_with_its_cause_and_nothing_expires_later(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await.id;
    let (mirror, lock) = a_lock(id());
    storage.attempts().record_lock(tenant, account, &mirror, &lock, None, &silent(T0)).await.unwrap();

    storage.attempts().clear(tenant, account, 6, "admin", T0).await.unwrap();

    assert_eq!(storage.attempts().expire_locks(lock.until, 100).await.unwrap(), 0);
    assert_eq!(unlocks(&storage, tenant).await, [Some("admin".to_owned())]);
}

on_every_database!(
    an_older_mirror_changes_nothing,
    a_clean_counter_is_not_loaded_but_its_version_stays,
    lanes_are_kept_apart_and_a_cleared_book_stays_cleared,
    twenty_racers_record_one_lock_and_mail_once,
    an_expired_lock_gets_one_event_on_whichever_node,
    clearing_ends_the_lock_with_its_cause_and_nothing_expires_later,
);
