//! A person within one tenant.

use std::fmt;

use super::contact::{Contact, EmailAddress, PhoneNumber};
use super::ids::{AccountId, TenantId};
use super::locale::Locale;
use super::time::Timestamp;

/// A person within one tenant: what is known, without the credential.
///
/// Its `Debug` form shows ids only: names and numbers stay out of logs and panics.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its id, the token's `sub`.
    pub id: AccountId,
    /// The address it signs in with.
    pub email: Option<EmailAddress>,
    /// When the address was proven.
    pub email_verified_at: Option<Timestamp>,
    /// The proven number it signs in with.
    pub phone: Option<PhoneNumber>,
    /// What the e-mail registration gave as `phoneNumber`, unproven and kept as given.
    pub phone_as_given: Option<String>,
    /// Chosen at e-mail registration.
    pub username: Option<String>,
    /// Given at phone registration.
    pub first_name: Option<String>,
    /// Given at phone registration.
    pub last_name: Option<String>,
    /// The language of its messages, if it said.
    pub locale: Option<Locale>,
    /// May not sign in.
    pub disabled: bool,
    /// Made through a test identity, for good.
    pub test: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// An unproven registration ends here and frees its address.
    pub unverified_until: Option<Timestamp>,
}

impl Account {
    /// Whether a contact of it has been proven, which is what signing in needs.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.email_verified_at.is_some() || self.phone.is_some()
    }

    /// An unproven registration whose link has run out: as if it had never been made.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        !self.is_verified() && self.unverified_until.is_some_and(|end| end <= now)
    }

    /// Where its owner is told about the account's safety: proven mail first, then SMS. Nowhere for
    /// a test account: nobody receives what is sent there.
    #[must_use]
    pub fn notice_contact(&self) -> Option<Contact> {
        if self.test {
            return None;
        }
        let email = self.email.clone().map(Contact::Email);
        email.or_else(|| self.phone.clone().map(Contact::Phone))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("tenant", &self.tenant).field("id", &self.id).finish_non_exhaustive()
    }
}
