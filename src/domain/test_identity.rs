//! Test identities: listed contacts whose code is fixed and to which nothing is ever sent.
//!
//! For load tests, continuous integration and app-store review. The challenge flow is everybody's:
//! a send is booked, tries are counted, the code expires and is consumed. Only two things differ:
//! no message leaves, and the code is compared with the listed one.
//!
//! A contact that belongs to an ordinary account is nobody's test identity, listed or not: its
//! owner signs in as ever and the fixed code is worth nothing. An account made through a test
//! identity is marked for good and its tokens say so. The mark travels inside the challenge's id
//! ([`ChallengeId::for_test`](super::ids::ChallengeId::for_test)), so that taking an identity off
//! the list between its code and its registration does not launder it.
//!
//! An address is proven by a link, and none can be mailed here: an account registered under a
//! listed address counts as verified from the start, and the new-device code is the fixed one.

use std::fmt;

use super::account::Account;
use super::contact::Contact;

/// A tenant's test identities: few, so a list.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TestIdentities(Vec<(Contact, String)>);

impl TestIdentities {
    /// Lists one.
    pub fn insert(&mut self, contact: Contact, code: String) {
        self.0.push((contact, code));
    }

    /// The fixed code of `contact`, unless it is not listed or belongs to an ordinary account.
    #[must_use]
    pub fn code(&self, contact: &Contact, account: Option<&Account>) -> Option<&str> {
        let is_free = account.is_none_or(|account| account.test);
        let listed = self.0.iter().find(|(listed, _)| listed == contact)?;
        is_free.then_some(listed.1.as_str())
    }

    /// Every listed contact, in the order of the list.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.0.iter().map(|(contact, _)| contact)
    }
}

/// Neither a contact nor a code belongs in a log.
impl fmt::Debug for TestIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestIdentities({})", self.0.len())
    }
}
