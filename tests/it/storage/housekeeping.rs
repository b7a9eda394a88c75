//! A backlog goes in one call, in batches that let others in between.

use std::time::Duration;

use guichet::domain::device::TRUST_LIFE;
use guichet::domain::event::{Event, EventKind};
use guichet::domain::lockout::{Counter, Lane};
use guichet::domain::session::Session;
use guichet::storage::{Mirror, Storage, SweepPace};

use super::{DAY, T0, a_tenant, an_account, device, open, session};
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

async fn a_device_goes_with_its_lane_when_its_trust_has_run_out(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (unused, used) = (device(), device());
    for device in [&unused, &used] {
        let opened = Session { device: Some(device.id), ..session(&account, T0) };
        open(&storage, &opened, Some(device)).await;
        let lane = Lane::Device(device.id);
        let counter = Counter { failures: 1, consecutive: 1, ..Counter::default() };
        storage.attempts().mirror(tenant, account.id, &Mirror { lane, counter, version: 1 }).await.unwrap();
    }
    let later = Session { device: Some(used.id), ..session(&account, T0 + DAY) };
    open(&storage, &later, None).await;

    let early = storage.housekeeping().sweep(T0 + TRUST_LIFE - Duration::from_millis(1), 100).await.unwrap();
    let due = storage.housekeeping().sweep(T0 + TRUST_LIFE, 100).await.unwrap();

    assert_eq!((early.devices, due.devices), (0, 1));
    let kept: Vec<_> = storage.devices().list(tenant, account.id).await.unwrap().iter().map(|d| d.known.id).collect();
    assert_eq!(kept, [used.id]);
    let (_, lanes) = storage.attempts().load(tenant, account.id).await.unwrap();
    assert_eq!(lanes.into_keys().collect::<Vec<_>>(), [Lane::Device(used.id)]);
    let told = storage.audit().page(tenant, None, 10).await.unwrap();
    assert_eq!((told.len(), told[0].kind, told[0].cause.as_deref()), (1, EventKind::DeviceForgotten, Some("unused")));
}

on_every_database!(
    a_device_goes_with_its_lane_when_its_trust_has_run_out,
    a_backlog_of_many_batches_is_gone_after_one_call,
    what_patience_is_not_enough_for_is_left_to_the_next_call,
);
