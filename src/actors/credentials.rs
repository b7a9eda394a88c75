//! The credentials of tenants' own senders: sealed when a settings document takes them in, opened when
//! a sender is built.
//!
//! A sealed credential is bound to its tenant, channel, sender and member, so one that is copied to
//! another place of any document does not open. Both directions go through here, or they would not
//! agree on the name of a place.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Clock;
use crate::crypto::seal::{SealContext, SealError, Sealer};
use crate::domain::ids::TenantId;
use crate::domain::message::Channel;
use crate::domain::settings::Sealed;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretString};

/// The kind that credentials are sealed as; part of the stored data's meaning.
const KIND: &str = "credential";

/// Where in which document a credential stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose document.
    pub tenant: TenantId,
    /// In `email` or `sms`.
    pub channel: Channel,
    /// The sender's name, by which it is matched when the document changes.
    pub sender: &'a str,
    /// The member: `password`, `auth_token`, …; a header of kind `http` is `headers.{name}`.
    pub member: &'a str,
}

/// Seals and opens credentials. Clones share the key.
#[derive(Clone)]
pub struct Credentials {
    sealer: Arc<Sealer>,
    clock: Clock,
    entropy: Entropy,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Over the master key's sealer.
    #[must_use]
    pub fn new(sealer: Sealer, clock: Clock, entropy: Entropy) -> Self {
        Self { sealer: Arc::new(sealer), clock, entropy }
    }

    /// Seals a credential for its place, as set now.
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    pub fn seal(&self, place: &Place<'_>, plain: &SecretString) -> Result<Sealed, SealError> {
        let name = place.name();
        let blob = self.sealer.seal(plain.expose_secret().as_bytes(), &place.context(&name), &self.entropy)?;
        Ok(Sealed { sealed: URL_SAFE_NO_PAD.encode(blob), updated_at: self.clock.now() })
    }

    /// Opens what [`Credentials::seal`] made for the same place.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] or [`SealError::Corrupt`].
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<SecretString, SealError> {
        let blob = URL_SAFE_NO_PAD.decode(&sealed.sealed).map_err(|_| SealError::Corrupt)?;
        let name = place.name();
        let plain = self.sealer.open(&blob, &place.context(&name))?;
        let text = std::str::from_utf8(plain.expose_secret()).map_err(|_| SealError::Corrupt)?;
        Ok(text.to_owned().into())
    }
}

impl Place<'_> {
    /// `{channel}/{sender}/{member}`: neither a channel nor a sender's name may hold a slash.
    fn name(&self) -> String {
        format!("{}/{}/{}", self.channel.as_str(), self.sender, self.member)
    }

    fn context<'a>(&self, name: &'a str) -> SealContext<'a> {
        SealContext { tenant: self.tenant, kind: KIND, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::MasterKey;

    fn credentials() -> Credentials {
        Credentials::new(Sealer::new(&MasterKey::from_bytes([7; 32])), Clock::system(), Entropy::seeded(1))
    }

    fn place() -> Place<'static> {
        Place { tenant: TenantId::random([1; 16]), channel: Channel::Sms, sender: "main", member: "auth_token" }
    }

    #[test]
    fn a_credential_opens_where_it_was_sealed_and_nowhere_else() {
        let credentials = credentials();
        let sealed = credentials.seal(&place(), &"hunter2".into()).unwrap();

        assert_eq!(credentials.open(&place(), &sealed).unwrap().expose_secret(), "hunter2");
        for other in [
            Place { tenant: TenantId::random([2; 16]), ..place() },
            Place { channel: Channel::Email, ..place() },
            Place { sender: "spare", ..place() },
            Place { member: "api_key", ..place() },
        ] {
            assert_eq!(credentials.open(&other, &sealed).unwrap_err(), SealError::Corrupt, "{other:?}");
        }
        assert!(!sealed.sealed.contains("hunter2"));
    }

    #[test]
    fn a_credential_that_is_no_seal_is_corrupt() {
        for text in ["", "hunter2", "%%%"] {
            let sealed = Sealed { sealed: text.to_owned(), updated_at: Clock::system().now() };
            assert_eq!(credentials().open(&place(), &sealed).unwrap_err(), SealError::Corrupt, "{text}");
        }
    }
}
