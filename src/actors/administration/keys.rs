//! Who holds a key and what it opens; making and forgetting keys.
//!
//! A key is shown once, when it is made. What is kept is its SHA-256, which is enough for 256 random
//! bits. Nothing is cached: a key that was forgotten opens nothing from then on.

use super::tenants::is_label;
use super::{Administration, Holder, Refusal, Tenant};
use crate::actors::failure::Failure;
use crate::crypto::digest;
use crate::domain::event::EventKind;
use crate::domain::fault::Fault;
use crate::domain::ids::{KeyId, TenantId};
use crate::domain::role::Role;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::StorageError;

pub use crate::storage::AdminKey;

/// What every tenant's key begins with, so that a leaked one is known for what it is.
const PREFIX: &str = "gk_";

/// Keys that a tenant may have.
const MOST_KEYS: usize = 100;

impl Administration {
    /// Who holds this key, if anybody.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if storage is away; the root key needs none.
    pub async fn holder_of(&self, key: &str) -> Result<Option<Holder>, Failure> {
        if self.is_root_key(key) {
            return Ok(Some(Holder::ROOT));
        }
        if !key.starts_with(PREFIX) {
            return Ok(None);
        }
        let found = self.0.storage.admin_keys().find_by_digest(&digest::token_digest(key)).await?;
        Ok(found.map(|key| Holder { role: key.role, tenant: Some(key.tenant), key: Some(key.id) }))
    }

    /// Is this the root key?
    #[must_use]
    pub fn is_root_key(&self, key: &str) -> bool {
        let root = self.0.root_key.expose_secret();
        !root.is_empty() && digest::constant_time_eq(key.as_bytes(), root.as_bytes())
    }

    /// Takes note that a holder asked for what its role does not reach.
    pub fn overreached(&self, holder: &Holder) {
        if let Some(tenant) = holder.tenant {
            self.0.auditor.record(self.event(holder, tenant, EventKind::AuthzFail, "role"));
        }
    }

    /// Makes a key for a tenant; what is returned beside it is shown this once.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for a role above the holder's own, [`Refusal::Invalid`] for one that no
    /// tenant's key may have, [`Refusal::Full`], [`Refusal::NotFound`].
    pub async fn make_key(
        &self,
        holder: &Holder,
        tenant: &Tenant,
        role: Role,
        name: &str,
    ) -> Result<(AdminKey, SecretString), Refusal> {
        if role > holder.role {
            self.overreached(holder);
            return Err(Refusal::Forbidden);
        }
        let name = name.trim().to_owned();
        if !is_label(&name) {
            return Err(Refusal::Invalid(vec![Fault::new("/name", "invalid", "1 to 100 printable characters.")]));
        }
        if role == Role::PlatformAdmin {
            let why = "A tenant's key is `tenant-admin` or `tenant-support`.";
            return Err(Refusal::Invalid(vec![Fault::new("/role", "invalid", why)]));
        }
        if self.keys(tenant.id).await?.len() >= MOST_KEYS {
            return Err(Refusal::Full);
        }
        let now = self.0.clock.now();
        let shown = format!("{PREFIX}{}", digest::fresh_token(&self.0.entropy).expose_secret());
        let key = AdminKey {
            id: KeyId::at(now, self.0.entropy.bytes()),
            tenant: tenant.id,
            role,
            name,
            digest: digest::token_digest(&shown),
            created_at: now,
        };
        let event = self.event(holder, tenant.id, EventKind::AuthzChange, "key_made");
        match self.0.storage.admin_keys().create(&key, &event).await {
            // The tenant went meanwhile.
            Err(StorageError::Conflict(_)) => Err(Refusal::NotFound),
            made => Ok(made.map(|()| (key, shown.into()))?),
        }
    }

    /// A tenant's keys, oldest first.
    ///
    /// # Errors
    /// What storage may give.
    pub async fn keys(&self, tenant: TenantId) -> Result<Vec<AdminKey>, Refusal> {
        Ok(self.0.storage.admin_keys().list(tenant).await?)
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// [`Refusal::NotFound`]; [`Refusal::Forbidden`] for a key above the holder's own role.
    pub async fn forget_key(&self, holder: &Holder, tenant: TenantId, key: KeyId) -> Result<(), Refusal> {
        let known = self.keys(tenant).await?.into_iter().find(|known| known.id == key).ok_or(Refusal::NotFound)?;
        if known.role > holder.role {
            return Err(Refusal::Forbidden);
        }
        let event = self.event(holder, tenant, EventKind::AuthzChange, "key_forgotten");
        let forgotten = self.0.storage.admin_keys().delete(tenant, key, &event).await?;
        if forgotten { Ok(()) } else { Err(Refusal::NotFound) }
    }
}
