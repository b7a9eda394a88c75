//! A new password ends what the old one had opened.

use guichet::domain::event::EventKind;
use guichet::domain::ids::AttemptId;
use guichet::domain::lockout::{Counter, Lane, Lock};
use guichet::secret::ExposeSecret;
use guichet::storage::{LinkPurpose, Mirror, Notes, Reset, Storage};

use super::{
    DAY, T0, a_tenant, an_account, device, email_account, event, id, link, message, open, race, register, secret,
    session, silent,
};
use crate::harness::databases::on_every_database;

async fn a_reset_link_is_used_once_under_parallel_fire(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let reset = link(&account, LinkPurpose::Reset, T0 + DAY);
    storage.links().issue(&reset, &silent(T0)).await.unwrap();
    let racers = storage.clone();

    let done = race(
        20,
        move |n| {
            let storage = racers.clone();
            async move {
                let messages = [message(tenant, "awa@example.com")];
                let notes = Notes { messages: &messages, ..silent(T0) };
                storage.passwords().reset(tenant, reset.id, &secret(&format!("$new-{n}")), &notes).await.unwrap()
            }
        },
        |outcome| *outcome != Reset::Invalid,
    )
    .await;

    assert_eq!(done, 1);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 1);
    assert_eq!(storage.links().find(tenant, reset.id).await.unwrap().unwrap().used_at, Some(T0));
}

async fn a_reset_proves_the_address_and_drops_all_that_came_before(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = email_account(tenant, "awa@example.com");
    register(&storage, &account, &silent(T0)).await;
    open(&storage, &session(&account, T0), Some(&device())).await;
    let lock = Lock { id: id::<AttemptId>(), until: T0 + DAY, lapsed: false };
    let counter = Counter { failures: 5, consecutive: 5, lock: Some(lock), ..Counter::default() };
    let mirror = Mirror { lane: Lane::Strangers, counter, version: 7 };
    storage.attempts().record_lock(tenant, account.id, &mirror, &lock, None, &silent(T0)).await.unwrap();
    let [used, other] = [(); 2].map(|()| link(&account, LinkPurpose::Reset, T0 + DAY));
    for link in [&used, &other] {
        storage.links().issue(link, &silent(T0)).await.unwrap();
    }

    let done = storage.passwords().reset(tenant, used.id, &secret("$new"), &silent(T0)).await.unwrap();

    assert_eq!(done, Reset::Done(account.id));
    let (found, hash) = storage.accounts().find_with_credential(tenant, account.id).await.unwrap().unwrap();
    assert_eq!((found.email_verified_at, found.unverified_until), (Some(T0), None));
    assert_eq!(hash.unwrap().password_hash.expose_secret(), "$new");
    assert_eq!(storage.sessions().list(tenant, account.id, T0).await.unwrap(), []);
    assert_eq!(storage.sessions().revoked_since(T0).await.unwrap().len(), 1);
    assert_eq!(storage.devices().list(tenant, account.id).await.unwrap(), []);
    let (version, counters) = storage.attempts().load(tenant, account.id).await.unwrap();
    assert_eq!((version, counters.len()), (8, 0));
    let log = storage.audit().page(tenant, None, 10).await.unwrap();
    assert_eq!((log[0].kind, log[0].cause.as_deref()), (EventKind::AuthnLoginUnlock, Some("reset")));
    let again = storage.passwords().reset(tenant, other.id, &secret("$evil"), &silent(T0)).await.unwrap();
    assert_eq!(again, Reset::Invalid);
}

async fn neither_an_expired_nor_a_verification_link_resets(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = email_account(tenant, "awa@example.com");
    let (_, verification) = register(&storage, &account, &silent(T0)).await;
    let expired = link(&account, LinkPurpose::Reset, T0);
    storage.links().issue(&expired, &silent(T0)).await.unwrap();

    for link in [verification, expired.id, id()] {
        let refused = storage.passwords().reset(tenant, link, &secret("$new"), &silent(T0)).await.unwrap();
        assert_eq!(refused, Reset::Invalid);
    }
}

async fn a_change_keeps_the_acting_session_and_its_device_alone(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (here, there, mine, lost) = (session(&account, T0), session(&account, T0), device(), device());
    open(&storage, &here, Some(&mine)).await;
    open(&storage, &there, Some(&lost)).await;
    let reset = link(&account, LinkPurpose::Reset, T0 + DAY);
    storage.links().issue(&reset, &silent(T0)).await.unwrap();
    let events = [event(tenant, account.id, EventKind::AuthnPasswordChange)];
    let notes = Notes { events: &events, ..silent(T0) };

    assert!(storage.passwords().change(tenant, account.id, here.id, 1, &secret("$new"), &notes).await.unwrap());

    let live: Vec<_> = storage.sessions().list(tenant, account.id, T0).await.unwrap().iter().map(|s| s.id).collect();
    let kept: Vec<_> = storage.devices().list(tenant, account.id).await.unwrap().iter().map(|d| d.known.id).collect();
    assert_eq!((live, kept), (vec![here.id], vec![mine.id]));
    assert_eq!(storage.links().find(tenant, reset.id).await.unwrap(), None);
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap().len(), 1);
}

async fn a_change_that_compared_an_older_password_changes_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let here = session(&account, T0);
    open(&storage, &here, None).await;
    let reset = link(&account, LinkPurpose::Reset, T0 + DAY);
    storage.links().issue(&reset, &silent(T0)).await.unwrap();
    storage.passwords().reset(tenant, reset.id, &secret("$reset"), &silent(T0)).await.unwrap();

    let changed = storage.passwords().change(tenant, account.id, here.id, 1, &secret("$late"), &silent(T0)).await;

    assert!(!changed.unwrap());
    let (_, credential) = storage.accounts().find_with_credential(tenant, account.id).await.unwrap().unwrap();
    let credential = credential.unwrap();
    assert_eq!(credential.password_hash.expose_secret(), "$reset");
    assert!(credential.version > 1);
}

on_every_database!(
    a_reset_link_is_used_once_under_parallel_fire,
    a_reset_proves_the_address_and_drops_all_that_came_before,
    neither_an_expired_nor_a_verification_link_resets,
    a_change_keeps_the_acting_session_and_its_device_alone,
    a_change_that_compared_an_older_password_changes_nothing,
);
