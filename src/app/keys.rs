//! Signing keys changed from the command line, on the stores alone.

use super::{StartError, internal};
use crate::actors::keyring::{Keyring, Rotated};
use crate::clock::Clock;
use crate::crypto::digest::MasterKey;
use crate::crypto::seal::Sealer;
use crate::domain::policy::Policy;
use crate::entropy::Entropy;
use crate::storage::{Storage, Tenant};

/// Makes another key of a tenant sign: once everybody had time to read of it, or at once.
///
/// # Errors
/// [`StartError`] if storage is away or the keys are broken.
pub async fn rotate_key(
    storage: Storage,
    master: &MasterKey,
    tenant: &Tenant,
    at_once: bool,
) -> Result<Rotated, StartError> {
    let policy = Policy::with(tenant.profile, &tenant.settings).unwrap_or_else(|_| Policy::of(tenant.profile));
    let keyring = Keyring::new(storage, Sealer::new(master), Clock::system(), Entropy::system());
    keyring.rotate(tenant.id, &policy.tokens, at_once).await.map_err(internal)
}
