//! Identifiers that cannot be mistaken for one another.
//!
//! Each wraps a UUID. None can be made from thin air here: callers pass the random bytes, so a
//! seeded test sees the same ids on every run. Ids that become database keys are UUIDv7 (time
//! first), so that new rows land beside each other in the index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Timestamp;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// An id with 122 random bits and no hint of when it was made (UUIDv4).
            #[must_use]
            pub fn random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// An id that sorts by the moment it was made (UUIDv7, 74 random bits).
            #[must_use]
            pub fn at(now: Timestamp, bytes: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
            }

            /// The bare UUID, for storage and digests.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A customer of the platform, owner of accounts, keys and settings.
    TenantId,
    /// A person within one tenant; the token's `sub`.
    AccountId,
    /// A browser or phone that an account trusts.
    DeviceId,
    /// One sign-in; the token's `sid`.
    SessionId,
    /// A code or link waiting for an answer.
    ChallengeId,
    /// One admitted, not yet settled log-in attempt; becomes the lock's id if it locks.
    AttemptId,
    /// One call to the ephemeral store, so that a repeat gets the first verdict.
    OperationId,
    /// A row of the outbox.
    MessageId,
    /// One attempt to deliver a message.
    DeliveryId,
    /// One running process of guichet, owner of outbox leases.
    NodeId,
    /// One of a tenant's applications; its OAuth `client_id`.
    AppId,
    /// A key to the admin API.
    KeyId,
}

impl MessageId {
    /// When the message was written, and with it the fact it tells of; `None` for an id that was
    /// not made by [`at`](Self::at).
    #[must_use]
    pub fn written_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let millis = seconds.checked_mul(1_000)?.checked_add(u64::from(nanos / 1_000_000))?;
        i64::try_from(millis).ok().map(Timestamp::from_millis)
    }
}

impl ChallengeId {
    /// The id of a challenge made for a test identity: told by its version (UUIDv8), wherever the
    /// id goes.
    #[must_use]
    pub fn for_test(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Whether it was made for a test identity.
    #[must_use]
    pub fn is_test(self) -> bool {
        self.0.get_version_num() == 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_knows_when_it_was_written() {
        let now = Timestamp::from_millis(1_785_553_560_123);

        assert_eq!(MessageId::at(now, [7; 10]).written_at(), Some(now));
        assert_eq!(MessageId::random([7; 16]).written_at(), None);
    }

    #[test]
    fn ids_made_later_sort_later() {
        let early = SessionId::at(Timestamp::from_millis(1_000), [0xff; 10]);
        let late = SessionId::at(Timestamp::from_millis(1_001), [0; 10]);

        assert!(early < late);
    }

    #[test]
    fn a_test_identitys_challenge_is_told_by_its_id() {
        assert!(ChallengeId::for_test([7; 16]).is_test());
        assert!(!ChallengeId::random([7; 16]).is_test());
        assert!(!ChallengeId::at(Timestamp::from_millis(1_000), [7; 10]).is_test());
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = AccountId::random([7; 16]);

        assert_eq!(id.to_string().parse::<AccountId>().unwrap(), id);
    }
}
