//! A backlog goes in one call, in batches that let others in between.

use std::time::Duration;

use guichet::domain::event::{Event, EventKind};
use guichet::storage::{Storage, SweepPace};

use super::{DAY, T0, a_tenant};
use crate::harness::databases::on_every_database;

const PACE: SweepPace = SweepPace { limit: 10, pause: Duration::from_millis(1), patience: Duration::from_secs(60) };

/// So many events that are past their time a year and a half later.
async fn with_events(storage: &Storage, number: usize) {
    let tenant = a_tenant(storage, "one").await;
    let event =
        Event { tenant, account: None, kind: EventKind::AuthnLoginFail, at: T0, cause: None, key: None, subject: None };
    storage.audit().record(&vec![event; number]).await.unwrap();
}

async fn a_backlog_of_many_batches_is_gone_after_one_call(storage: Storage) {
    with_events(&storage, 57).await;

    assert_eq!(storage.housekeeping().sweep_backlog(T0 + 500 * DAY, &PACE).await.unwrap(), 57);

    assert_eq!(storage.housekeeping().sweep(T0 + 500 * DAY, 10).await.unwrap().audit, 0);
}

async fn what_patience_is_not_enough_for_is_left_to_the_next_call(storage: Storage) {
    with_events(&storage, 25).await;
    let hasty = SweepPace { patience: Duration::ZERO, ..PACE };

    for removed in [10, 10, 5, 0] {
        assert_eq!(storage.housekeeping().sweep_backlog(T0 + 500 * DAY, &hasty).await.unwrap(), removed);
    }
}

on_every_database!(
    a_backlog_of_many_batches_is_gone_after_one_call,
    what_patience_is_not_enough_for_is_left_to_the_next_call,
);
