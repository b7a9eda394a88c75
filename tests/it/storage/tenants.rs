//! Tenants, their keys, the installation's facts, the audit log.

use guichet::domain::event::EventKind;
use guichet::domain::ids::AccountId;
use guichet::storage::{Storage, TenantCreated};

use super::{a_tenant, event, id, new_tenant, race};
use crate::harness::databases::on_every_database;

async fn a_slug_and_a_domain_belong_to_one_tenant(storage: Storage) {
    let mut first = new_tenant("first");
    first.domains = vec!["login.first.example".to_owned(), "id.first.example".to_owned()];
    first.settings = serde_json::from_str(r#"{"region":"SN"}"#).unwrap();
    assert_eq!(storage.tenants().create(&first).await.unwrap(), TenantCreated::Created);

    let mut thief = new_tenant("second");
    thief.domains = vec!["id.first.example".to_owned()];
    assert_eq!(storage.tenants().create(&new_tenant("first")).await.unwrap(), TenantCreated::SlugTaken);
    assert_eq!(storage.tenants().create(&thief).await.unwrap(), TenantCreated::DomainTaken);

    assert_eq!(storage.tenants().find_by_slug("second").await.unwrap(), None);
    let found = storage.tenants().find_by_slug("first").await.unwrap().unwrap();
    assert_eq!((found.id, &found.domains, found.version), (first.id, &first.domains, 1));
    assert_eq!(found.settings, first.settings);
    assert_eq!(storage.tenants().all().await.unwrap(), [found]);
}

async fn the_default_tenant_is_made_once(storage: Storage) {
    let nodes = storage.clone();
    let made = race(
        10,
        move |_| {
            let storage = nodes.clone();
            async move { storage.tenants().ensure_default(&new_tenant("default")).await.unwrap().id }
        },
        |_| true,
    )
    .await;

    assert_eq!(made, 10);
    assert_eq!(storage.tenants().all().await.unwrap().len(), 1);
}

async fn another_master_key_than_the_first_is_noticed(storage: Storage) {
    assert!(storage.meta().confirm_master_key("one").await.unwrap());
    assert!(storage.meta().confirm_master_key("one").await.unwrap());
    assert!(!storage.meta().confirm_master_key("other").await.unwrap());
}

async fn the_audit_log_is_paged_per_tenant(storage: Storage) {
    let (tenant, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    let account: AccountId = id();
    let events = [EventKind::UserCreated, EventKind::UserVerified, EventKind::AuthnLoginFail]
        .map(|kind| event(tenant, account, kind));
    storage.audit().record(&events).await.unwrap();

    let newest = storage.audit().page(tenant, None, 2).await.unwrap();
    let rest = storage.audit().page(tenant, Some(newest[1].sequence), 2).await.unwrap();

    let kinds: Vec<_> = newest.iter().chain(&rest).map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EventKind::AuthnLoginFail, EventKind::UserVerified, EventKind::UserCreated]);
    assert_eq!(storage.audit().page(other, None, 2).await.unwrap(), []);
}

on_every_database!(
    a_slug_and_a_domain_belong_to_one_tenant,
    the_default_tenant_is_made_once,
    another_master_key_than_the_first_is_noticed,
    the_audit_log_is_paged_per_tenant,
);
