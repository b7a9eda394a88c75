//! What a tenant's tokens are signed with: looking at its keys, and letting another one sign.
//!
//! The schedule needs nobody; this is for an operator who will not wait for it, or must not.

use super::{Administration, Holder, Refusal};
use crate::domain::event::EventKind;
use crate::domain::ids::TenantId;
use crate::domain::signing_key::{KeyStanding, Rotation};

pub use crate::actors::keyring::Rotated;

impl Administration {
    /// A tenant's keys that sign or verify, or will, oldest first.
    ///
    /// # Errors
    /// What storage may give.
    pub async fn signing_keys(&self, tenant: TenantId) -> Result<Vec<KeyStanding>, Refusal> {
        Ok(self.0.storage.signing_keys().standings_of(tenant).await?)
    }

    /// Lets another key sign; in force on this node before it is answered.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] if the tenant went meanwhile.
    pub async fn rotate_key(&self, holder: &Holder, tenant: TenantId, rotation: Rotation) -> Result<Rotated, Refusal> {
        let context = self.context(tenant).await?;
        let event = self.event(holder, tenant, EventKind::AuthzAdmin, "key_rotated");
        let rotated = self.0.keyring.rotate(tenant, &context.policy().tokens, rotation, &event).await?;
        tracing::info!(tenant.id = %tenant, key.id = rotated.kid, ?rotation, "signing keys were rotated");
        Ok(rotated)
    }
}
