//! Everything that is sealed under one master key is sealed under another.
//!
//! What the old key only derived, and nothing keeps, ends with it: codes and links under way, and the
//! trust in browsers known by their `User-Agent` alone.

use crate::actors::credentials::{Credentials, Place};
use crate::actors::failure::Failure;
use crate::actors::keyring;
use crate::clock::Clock;
use crate::crypto::digest::{Digests, MasterKey};
use crate::crypto::seal::Sealer;
use crate::domain::ids::TenantId;
use crate::domain::settings::{Sealed, Settings, document};
use crate::entropy::Entropy;
use crate::secret::ExposeSecret as _;
use crate::storage::{KeyRotated, Resealer, Storage};

/// Puts `new` in the place of `old`, unless nodes run on it.
///
/// # Errors
/// If storage fails, or something does not open; then nothing was changed.
pub async fn rotate(storage: &Storage, old: &MasterKey, new: &MasterKey) -> Result<KeyRotated, Failure> {
    let keys = Keys { from: Side::of(old), to: Side::of(new), entropy: Entropy::system() };
    let (from, to) = (Digests::new(old), Digests::new(new));
    Ok(storage.master_key_rotation().run(from.fingerprint(), to.fingerprint(), &keys).await?)
}

struct Keys {
    from: Side,
    to: Side,
    entropy: Entropy,
}

struct Side {
    sealer: Sealer,
    credentials: Credentials,
}

impl Side {
    fn of(master: &MasterKey) -> Self {
        let credentials = Credentials::new(Sealer::new(master), Clock::system(), Entropy::system());
        Self { sealer: Sealer::new(master), credentials }
    }
}

impl Resealer for Keys {
    fn settings(&self, tenant: TenantId, settings: &Settings) -> Option<Settings> {
        document::resealed(settings, |place, sealed| {
            let place = Place { tenant, channel: place.channel, sender: place.sender, member: place.member };
            let plain = self.from.credentials.open(&place, sealed).ok()?;
            let fresh = self.to.credentials.seal(&place, &plain).ok()?;
            // It is no newer for that.
            Some(Sealed { updated_at: sealed.updated_at, ..fresh })
        })
    }

    fn signing_key(&self, tenant: TenantId, kid: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let context = keyring::context(tenant, kid);
        let plain = self.from.sealer.open(sealed, &context).ok()?;
        self.to.sealer.seal(plain.expose_secret(), &context, &self.entropy).ok()
    }
}
