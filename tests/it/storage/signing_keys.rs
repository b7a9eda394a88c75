//! The life of signing keys, by any number of nodes at once.

use std::time::Duration;

use guichet::domain::ids::TenantId;
use guichet::domain::signing_key::{Algorithm, KeyState};
use guichet::domain::time::Timestamp;
use guichet::storage::{SigningKey, Storage};

use super::{T0, a_tenant, race};
use crate::harness::databases::{changed, on_every_database};

on_every_database!(
    of_many_nodes_that_make_a_tenants_first_key_one_wins,
    of_many_nodes_that_promote_the_next_key_one_does,
    of_many_that_drop_compromised_keys_at_once_one_does_and_a_key_still_signs,
    a_key_that_is_gone_has_lost_its_secret_and_is_swept_later,
    a_turn_may_come_sooner_and_never_later,
    a_key_whose_turn_has_come_is_announced_no_more,
    a_change_is_seen_by_whoever_asks_from_before_it,
);

const LATER: Timestamp = Timestamp::from_millis(T0.as_millis() + 600_000);

fn key(tenant: TenantId, kid: &str, state: KeyState) -> SigningKey {
    SigningKey {
        tenant,
        kid: kid.to_owned(),
        algorithm: Algorithm::Es256,
        sealed_private: vec![1, 2, 3],
        public_jwk: serde_json::json!({"kty": "EC"}),
        state,
        active_from: LATER,
        created_at: T0,
    }
}

async fn states(storage: &Storage, tenant: TenantId) -> Vec<(String, KeyState)> {
    let keys = storage.signing_keys().standings_of(tenant).await.unwrap();
    let mut states: Vec<_> = keys.into_iter().map(|key| (key.kid, key.state)).collect();
    states.sort_by(|one, other| one.0.cmp(&other.0));
    states
}

async fn of_many_nodes_that_make_a_tenants_first_key_one_wins(storage: Storage) {
    let (tenant, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    let nodes = storage.clone();

    let won = race(
        20,
        move |n| {
            let storage = nodes.clone();
            let key = key(tenant, &format!("key-{n}"), KeyState::Active);
            async move { storage.signing_keys().insert(&key).await.unwrap() }
        },
        |won| *won,
    )
    .await;

    assert_eq!(won, 1);
    assert_eq!(storage.signing_keys().in_use(tenant).await.unwrap().len(), 1);
    assert_eq!(storage.signing_keys().in_use(other).await.unwrap(), []);
    assert!(storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap());
    assert!(!storage.signing_keys().insert(&key(tenant, "m", KeyState::Next)).await.unwrap());
}

async fn of_many_nodes_that_promote_the_next_key_one_does(storage: Storage) {
    let (tenant, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    storage.signing_keys().insert(&key(tenant, "a", KeyState::Active)).await.unwrap();
    storage.signing_keys().insert(&key(other, "b", KeyState::Active)).await.unwrap();
    storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap();
    assert!(!storage.signing_keys().promote(other, "n", LATER, LATER, &[]).await.unwrap());
    let nodes = storage.clone();

    let promoted = race(
        20,
        move |_| {
            let storage = nodes.clone();
            async move { storage.signing_keys().promote(tenant, "n", LATER, LATER, &[]).await.unwrap() }
        },
        |promoted| *promoted,
    )
    .await;

    assert_eq!(promoted, 1);
    let expected = [("a".to_owned(), KeyState::Retiring), ("n".to_owned(), KeyState::Active)];
    assert_eq!(states(&storage, tenant).await, expected);
    assert_eq!(states(&storage, other).await, [("b".to_owned(), KeyState::Active)]);
    let all = storage.signing_keys().standings().await.unwrap();
    assert_eq!(all.iter().filter(|(of, _)| *of == tenant).count(), 2);
}

async fn of_many_that_drop_compromised_keys_at_once_one_does_and_a_key_still_signs(storage: Storage) {
    let (tenant, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    for (kid, state) in [("a", KeyState::Active), ("n", KeyState::Next)] {
        storage.signing_keys().insert(&key(tenant, kid, state)).await.unwrap();
    }
    storage.signing_keys().promote(tenant, "n", LATER, LATER, &[]).await.unwrap();
    storage.signing_keys().insert(&key(tenant, "m", KeyState::Next)).await.unwrap();
    storage.signing_keys().insert(&key(other, "b", KeyState::Active)).await.unwrap();
    let by = changed(tenant);
    assert_eq!(storage.signing_keys().replace_compromised(tenant, "a", LATER, &by).await.unwrap(), None);
    let nodes = storage.clone();

    let dropped = race(
        20,
        move |_| {
            let (storage, by) = (nodes.clone(), by.clone());
            async move { storage.signing_keys().replace_compromised(tenant, "m", LATER, &by).await.unwrap() }
        },
        Option::is_some,
    )
    .await;

    assert_eq!(dropped, 1);
    assert_eq!(states(&storage, tenant).await, [("m".to_owned(), KeyState::Active)]);
    assert_eq!(states(&storage, other).await, [("b".to_owned(), KeyState::Active)]);
    let log = storage.audit().page(tenant, None, 10).await.unwrap();
    let mut told: Vec<_> = log.into_iter().map(|entry| (entry.cause.unwrap(), entry.subject.unwrap())).collect();
    told.sort();
    let of = |cause: &str, kid: &str| (cause.to_owned(), kid.to_owned());
    assert_eq!(told, [of("key_activated", "m"), of("key_compromised", "a"), of("key_compromised", "n")]);
}

async fn a_key_that_is_gone_has_lost_its_secret_and_is_swept_later(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    storage.signing_keys().insert(&key(tenant, "a", KeyState::Active)).await.unwrap();
    storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap();

    assert!(!storage.signing_keys().drop_key(tenant, "a", LATER).await.unwrap(), "what signs stays");
    assert!(storage.signing_keys().drop_key(tenant, "n", LATER).await.unwrap());
    assert!(!storage.signing_keys().drop_key(tenant, "n", LATER).await.unwrap());

    assert_eq!(states(&storage, tenant).await, [("a".to_owned(), KeyState::Active)]);
    let in_use = storage.signing_keys().in_use(tenant).await.unwrap();
    assert_eq!(in_use.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["a"]);
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(storage.housekeeping().sweep(LATER + week - Duration::from_millis(1), 10).await.unwrap().keys, 0);
    assert_eq!(storage.housekeeping().sweep(LATER + week, 10).await.unwrap().keys, 1);
}

async fn a_turn_may_come_sooner_and_never_later(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap();
    let turn = async || storage.signing_keys().standings_of(tenant).await.unwrap()[0].active_from;

    for (latest, expected) in [(LATER + Duration::from_secs(1), LATER), (T0, T0), (LATER, T0)] {
        assert_eq!(storage.signing_keys().hasten(tenant, "n", latest, T0, &[]).await.unwrap(), Some(expected));
        assert_eq!(turn().await, expected);
    }
}

async fn a_key_whose_turn_has_come_is_announced_no_more(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    storage.signing_keys().insert(&key(tenant, "a", KeyState::Active)).await.unwrap();
    storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap();
    assert!(storage.signing_keys().promote(tenant, "n", LATER, T0, &[]).await.unwrap());

    let announced = changed(tenant).about("n", "key_announced");
    assert_eq!(storage.signing_keys().hasten(tenant, "n", T0, T0, &[announced]).await.unwrap(), None);

    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap(), []);
}

async fn a_change_is_seen_by_whoever_asks_from_before_it(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    storage.signing_keys().insert(&key(tenant, "n", KeyState::Next)).await.unwrap();
    assert_eq!(storage.signing_keys().changed_since(LATER).await.unwrap(), []);

    storage.signing_keys().drop_key(tenant, "n", LATER).await.unwrap();

    let changes = storage.signing_keys().changed_since(LATER).await.unwrap();
    assert_eq!((changes.len(), changes[0].tenant, changes[0].state), (1, tenant, KeyState::Gone));
}
