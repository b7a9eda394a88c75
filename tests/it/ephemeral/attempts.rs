//! Attempts and locks: reserve, verify, settle, on two nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use guichet::domain::ids::{AccountId, DeviceId, TenantId};
use guichet::domain::lockout::{Admission, AttemptOutcome, Counter, Lane, Lock, Settlement};
use guichet::domain::policy::LockoutPolicy;
use guichet::ephemeral::{AttemptSubject, Reservation, Settle};

use super::{LEASE, MILLISECOND, Nodes, on_every_store, policy, seed};

const STRANGERS: Lane = Lane::Strangers;

fn device() -> Lane {
    Lane::Device(DeviceId::random([9; 16]))
}

async fn the_fifth_failure_locks_for_the_duration(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    for _ in 0..4 {
        assert_eq!(nodes.fail(whose, STRANGERS).await.lock, None);
    }

    let lock = nodes.fail(whose, STRANGERS).await.lock.unwrap();

    assert!(!lock.lapsed);
    assert_eq!(nodes.reserve(whose, STRANGERS).await.1, Admission::Locked(lock));
    nodes.clock.advance(policy().duration);
    assert_eq!(nodes.reserve(whose, STRANGERS).await.1, Admission::Admitted);
}

async fn refusals_while_locked_neither_count_nor_lengthen(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    for _ in 0..5 {
        nodes.fail(whose, STRANGERS).await;
    }
    let Admission::Locked(lock) = nodes.reserve(whose, STRANGERS).await.1 else { panic!("not locked") };

    for _ in 0..50 {
        nodes.clock.advance(MILLISECOND);
        assert_eq!(nodes.reserve(whose, STRANGERS).await.1, Admission::Locked(lock));
    }
}

async fn strangers_cannot_lock_a_known_device_nor_its_success_free_them(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    for _ in 0..5 {
        nodes.fail(whose, STRANGERS).await;
    }

    let (attempt, admission) = nodes.reserve(whose, device()).await;
    assert_eq!(admission, Admission::Admitted);
    nodes.settle(whose, attempt, AttemptOutcome::Success).await;

    assert!(matches!(nodes.reserve(whose, STRANGERS).await.1, Admission::Locked(_)));
}

async fn a_success_zeroes_its_counter_and_a_return_leaves_it(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    for _ in 0..4 {
        nodes.fail(whose, STRANGERS).await;
    }

    let (attempt, _) = nodes.reserve(whose, STRANGERS).await;
    let returned = nodes.settle(whose, attempt, AttemptOutcome::Returned).await;
    let (attempt, _) = nodes.reserve(whose, STRANGERS).await;
    let success = nodes.settle(whose, attempt, AttemptOutcome::Success).await;

    assert!(matches!(returned, Settlement::Settled { counter, version: 4, changed: false } if counter.failures == 4));
    assert_eq!(success, Settlement::Settled { counter: Counter::default(), version: 5, changed: true });
}

async fn four_hundred_at_once_share_five_places(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    let nodes = Arc::new(nodes);
    let fire = (0..400).map(|n| {
        let nodes = Arc::clone(&nodes);
        tokio::spawn(async move {
            let ask = nodes.ask(STRANGERS);
            nodes.node(n % 2).reserve_attempt(whose.0, whose.1, &policy(), &ask).await.unwrap()
        })
    });
    let fire: Vec<_> = fire.collect();

    let mut admitted = 0;
    for shot in fire {
        match shot.await.unwrap() {
            Reservation::Decided(Admission::Admitted) => admitted += 1,
            Reservation::Decided(Admission::Busy) => {}
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(admitted, 5);
}

async fn an_unsettled_attempt_counts_as_a_failure_and_its_settlement_is_void(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    let mut attempts = Vec::new();
    for _ in 0..5 {
        attempts.push(nodes.reserve(whose, STRANGERS).await.0);
    }
    assert_eq!(nodes.reserve(whose, STRANGERS).await.1, Admission::Busy);

    nodes.clock.advance(LEASE);

    assert_eq!(nodes.settle(whose, attempts[0], AttemptOutcome::Success).await, Settlement::Void);
    let Admission::Locked(lock) = nodes.reserve(whose, STRANGERS).await.1 else { panic!("not locked") };
    assert!(lock.lapsed);
}

async fn a_repeated_call_gets_the_first_verdict(nodes: Nodes) {
    let (tenant, subject) = nodes.warm_account().await;
    let ask = nodes.ask(STRANGERS);
    let settle = Settle { operation: nodes.operation(), attempt: ask.attempt, outcome: AttemptOutcome::Failure };

    for node in [0, 1, 0] {
        let reservation = nodes.node(node).reserve_attempt(tenant, subject, &policy(), &ask).await.unwrap();
        assert_eq!(reservation, Reservation::Decided(Admission::Admitted));
    }
    let first = nodes.one.settle_attempt(tenant, subject, &policy(), settle).await.unwrap();
    let repeated = nodes.other.settle_attempt(tenant, subject, &policy(), settle).await.unwrap();

    assert_eq!(repeated, first);
    assert!(matches!(first, Settlement::Settled { counter, .. } if counter.failures == 1));
}

async fn failures_are_forgotten_with_their_window_but_the_streak_stops_hard(nodes: Nodes) {
    let (tenant, subject) = nodes.warm_account().await;
    let strict = LockoutPolicy { hard_limit: Some(6), ..policy() };
    for n in 0..6 {
        let ask = nodes.ask(STRANGERS);
        let reservation = nodes.one.reserve_attempt(tenant, subject, &strict, &ask).await.unwrap();
        assert_eq!(reservation, Reservation::Decided(Admission::Admitted), "{n}");
        let settle = Settle { operation: nodes.operation(), attempt: ask.attempt, outcome: AttemptOutcome::Failure };
        let settled = nodes.other.settle_attempt(tenant, subject, &strict, settle).await.unwrap();
        let Settlement::Settled { counter, .. } = settled else { panic!("void") };
        assert_eq!((counter.failures, counter.consecutive), (1, n + 1));
        // Short of the moment at which the idle book could be swept.
        nodes.clock.advance(strict.window);
    }

    let stopped = nodes.one.reserve_attempt(tenant, subject, &strict, &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(stopped, Reservation::Decided(Admission::Stopped));
    assert_eq!(nodes.other.clear_attempts(tenant, subject, &policy()).await.unwrap(), Some(7));
    let freed = nodes.one.reserve_attempt(tenant, subject, &strict, &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(freed, Reservation::Decided(Admission::Admitted));
}

async fn an_account_is_cold_until_it_is_seeded_and_a_second_seed_is_nothing(nodes: Nodes) {
    let (tenant, account) = (TenantId::random(nodes.draw()), AccountId::random(nodes.draw()));
    let subject = AttemptSubject::Account(account);
    let until = nodes.clock.now() + policy().duration;
    let lock = Lock { id: nodes.ask(STRANGERS).attempt, until, lapsed: false };
    let locked = Counter { failures: 5, window_ends: until, consecutive: 5, lock: Some(lock) };

    let cold = nodes.one.reserve_attempt(tenant, subject, &policy(), &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(cold, Reservation::Cold);
    assert_eq!(nodes.one.clear_attempts(tenant, subject, &policy()).await.unwrap(), None);
    seed(nodes.node(0), tenant, AttemptSubject::Account(account), 41, &BTreeMap::from([(STRANGERS, locked)])).await;
    seed(nodes.node(1), tenant, AttemptSubject::Account(account), 3, &BTreeMap::new()).await;

    assert_eq!(nodes.reserve((tenant, subject), STRANGERS).await.1, Admission::Locked(lock));
    assert_eq!(nodes.other.clear_attempts(tenant, subject, &policy()).await.unwrap(), Some(42));
}

async fn an_emptied_store_unlocks_nobody_and_voids_what_was_in_flight(nodes: Nodes) {
    let whose = nodes.warm_account().await;
    let (attempt, _) = nodes.reserve(whose, STRANGERS).await;

    nodes.flush().await;

    assert_eq!(nodes.settle(whose, attempt, AttemptOutcome::Success).await, Settlement::Void);
    let cold = nodes.one.reserve_attempt(whose.0, whose.1, &policy(), &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(cold, Reservation::Cold);
}

/// The store is emptied between the reading of the facts and the seed.
async fn a_seed_under_an_old_epoch_admits_nobody_who_knows_the_new_one(nodes: Nodes) {
    let (tenant, account) = (TenantId::random(nodes.draw()), AccountId::random(nodes.draw()));
    let subject = AttemptSubject::Account(account);
    let old = nodes.one.epoch().await.unwrap();

    nodes.flush().await;
    nodes.one.seed_attempts(tenant, AttemptSubject::Account(account), &old, 0, &BTreeMap::new()).await.unwrap();
    let new = nodes.one.epoch().await.unwrap();

    assert_ne!(new, old);
    let cold = nodes.one.reserve_attempt(tenant, subject, &policy(), &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(cold, Reservation::Cold);
    nodes.one.seed_attempts(tenant, AttemptSubject::Account(account), &new, 0, &BTreeMap::new()).await.unwrap();
    assert_eq!(nodes.reserve((tenant, subject), STRANGERS).await.1, Admission::Admitted);
}

/// A node that slept through the change of epochs meets that seed before anybody corrects it.
async fn whoever_was_admitted_by_a_seed_under_an_old_epoch_gets_no_token(nodes: Nodes) {
    let (tenant, account) = (TenantId::random(nodes.draw()), AccountId::random(nodes.draw()));
    let subject = AttemptSubject::Account(account);
    let old = nodes.one.epoch().await.unwrap();
    nodes.other.epoch().await.unwrap();

    nodes.flush().await;
    nodes.one.seed_attempts(tenant, AttemptSubject::Account(account), &old, 0, &BTreeMap::new()).await.unwrap();
    let ask = nodes.ask(STRANGERS);
    // In process every node knows the epoch at once, so there it is cold; in Redis it is admitted.
    nodes.other.reserve_attempt(tenant, subject, &policy(), &ask).await.unwrap();
    seed(nodes.node(0), tenant, AttemptSubject::Account(account), 0, &BTreeMap::new()).await;

    assert_eq!(nodes.settle((tenant, subject), ask.attempt, AttemptOutcome::Success).await, Settlement::Void);
}

async fn shadows_are_cold_and_lock_like_accounts(nodes: Nodes) {
    let whose = (TenantId::random(nodes.draw()), AttemptSubject::Shadow(99_999));
    let cold = nodes.one.reserve_attempt(whose.0, whose.1, &policy(), &nodes.ask(STRANGERS)).await.unwrap();
    assert_eq!(cold, Reservation::Cold);
    let whose = nodes.warm(whose.1).await;
    for _ in 0..5 {
        nodes.fail(whose, STRANGERS).await;
    }

    assert!(matches!(nodes.reserve(whose, STRANGERS).await.1, Admission::Locked(_)));
}

async fn tenants_and_subjects_are_counted_apart(nodes: Nodes) {
    let whose = nodes.warm(AttemptSubject::Shadow(1)).await;
    for _ in 0..5 {
        nodes.fail(whose, STRANGERS).await;
    }

    let other_tenant = nodes.warm(whose.1).await;
    assert_eq!(nodes.reserve(other_tenant, STRANGERS).await.1, Admission::Admitted);
    let other_subject = (whose.0, AttemptSubject::Shadow(2));
    seed(nodes.node(0), other_subject.0, other_subject.1, 0, &BTreeMap::new()).await;
    assert_eq!(nodes.reserve(other_subject, STRANGERS).await.1, Admission::Admitted);
}

on_every_store!(
    the_fifth_failure_locks_for_the_duration,
    refusals_while_locked_neither_count_nor_lengthen,
    strangers_cannot_lock_a_known_device_nor_its_success_free_them,
    a_success_zeroes_its_counter_and_a_return_leaves_it,
    four_hundred_at_once_share_five_places,
    an_unsettled_attempt_counts_as_a_failure_and_its_settlement_is_void,
    a_repeated_call_gets_the_first_verdict,
    failures_are_forgotten_with_their_window_but_the_streak_stops_hard,
    an_account_is_cold_until_it_is_seeded_and_a_second_seed_is_nothing,
    an_emptied_store_unlocks_nobody_and_voids_what_was_in_flight,
    a_seed_under_an_old_epoch_admits_nobody_who_knows_the_new_one,
    whoever_was_admitted_by_a_seed_under_an_old_epoch_gets_no_token,
    shadows_are_cold_and_lock_like_accounts,
    tenants_and_subjects_are_counted_apart,
);
