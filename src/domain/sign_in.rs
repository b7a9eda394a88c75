//! Combines what the password step found into what the person is told.
//!
//! The order matters: nothing about the account shows before the password is right (ASVS 6.3.8),
//! so "not verified" and "new device" are told only to someone who knows it.

use super::account::Account;
use super::device::Standing;

/// What the password step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordVerdict {
    /// Unknown account or wrong password: one answer for both.
    Refused,
    /// Right password, but the address is not proven yet.
    Unverified,
    /// Right password, but an administrator disabled the account.
    Disabled,
    /// Right password on a device nobody vouches for: a code is mailed.
    NewDevice,
    /// Signed in.
    SignedIn,
}

/// Judges a compared password.
#[must_use]
pub const fn judge_password(account: &Account, matched: bool, standing: Standing) -> PasswordVerdict {
    if !matched {
        PasswordVerdict::Refused
    } else if account.disabled {
        PasswordVerdict::Disabled
    } else if !account.is_verified() {
        PasswordVerdict::Unverified
    } else if standing.is_trusted() {
        PasswordVerdict::SignedIn
    } else {
        PasswordVerdict::NewDevice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::contact::EmailAddress;
    use crate::domain::ids::{AccountId, DeviceId, TenantId};
    use crate::domain::lockout::Lane;
    use crate::domain::time::Timestamp;

    fn account(verified: bool, disabled: bool) -> Account {
        Account {
            tenant: TenantId::random([1; 16]),
            id: AccountId::random([2; 16]),
            email: EmailAddress::parse("awa@example.com").ok(),
            email_verified_at: verified.then_some(Timestamp::from_millis(1)),
            phone: None,
            phone_as_given: None,
            username: Some("awa".to_owned()),
            first_name: None,
            last_name: None,
            locale: None,
            disabled,
            test: false,
            created_at: Timestamp::from_millis(0),
            unverified_until: None,
        }
    }

    #[test]
    fn nothing_about_the_account_shows_before_the_password_is_right() {
        let device = DeviceId::random([3; 16]);
        let trusted = Standing { device: Some(device), lane: Lane::Device(device) };
        for (verified, disabled) in [(true, false), (false, false), (true, true), (false, true)] {
            for standing in [Standing::STRANGER, trusted] {
                assert_eq!(judge_password(&account(verified, disabled), false, standing), PasswordVerdict::Refused);
            }
        }
        assert_eq!(judge_password(&account(false, false), true, trusted), PasswordVerdict::Unverified);
        assert_eq!(judge_password(&account(true, true), true, trusted), PasswordVerdict::Disabled);
        assert_eq!(judge_password(&account(true, false), true, Standing::STRANGER), PasswordVerdict::NewDevice);
        assert_eq!(judge_password(&account(true, false), true, trusted), PasswordVerdict::SignedIn);
    }
}
