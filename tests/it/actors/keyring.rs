//! What a node keeps of signing keys.

use guichet::actors::keyring::Keyring;
use guichet::clock::Clock;
use guichet::crypto::digest::MasterKey;
use guichet::crypto::seal::Sealer;
use guichet::domain::ids::TenantId;
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::storage::Storage;
use guichet::tenant::{Claim, Directory, Tenants};

use crate::harness::databases::{make_tenant, new_tenant, on_every_database};

on_every_database!(keys_of_a_tenant_that_was_ended_leave_the_memory);

async fn tenant(storage: &Storage, slug: &str) -> TenantId {
    make_tenant(storage, &new_tenant(slug, Profile::Classic)).await
}

async fn keys_of_a_tenant_that_was_ended_leave_the_memory(storage: Storage) {
    let (ended, standing) = (tenant(&storage, "ended").await, tenant(&storage, "standing").await);
    let sealer = Sealer::new(&MasterKey::from_bytes([7; 32]));
    let keyring = Keyring::new(storage.clone(), sealer, Clock::system(), Entropy::system());
    let tenants = Tenants::default();
    let show = async || {
        tenants.replace(Directory::new(storage.tenants().all().await.unwrap(), None, "https://id.test"));
    };
    show().await;
    for slug in ["ended", "standing"] {
        let claim = Claim { path: Some(slug), ..Claim::default() };
        let context = tenants.snapshot().resolve(&claim).unwrap().clone();
        keyring.of(&context).await.unwrap();
    }
    keyring.refresh(&tenants).await.unwrap();
    assert!(keyring.cached(ended).is_some() && keyring.cached(standing).is_some());

    storage.tenant_end().begin(ended, Clock::system().now()).await.unwrap();
    show().await;
    keyring.refresh(&tenants).await.unwrap();

    assert!(keyring.cached(ended).is_none() && keyring.cached(standing).is_some());
}
