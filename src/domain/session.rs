//! How long a sign-in lasts.
//!
//! A session ends at a fixed distance from the sign-in whatever happens, and, where the policy
//! says so, when it was not refreshed for long enough (ASVS 7.3.1, 7.3.2). Rotation of its refresh
//! token never moves the absolute end.

use super::ids::{AccountId, ChallengeId, DeviceId, SessionId, TenantId};
use super::policy::TokenPolicy;
use super::time::Timestamp;

/// The token's `acr`, and what a step-up asks for (RFC 9470 §3): one factor, whichever it was. A code
/// sent by mail never raises it (ASVS V6.6).
pub const ACR: &str = "urn:guichet:aal1";

/// How a sign-in was proven (RFC 8176 `amr` values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A password from a trusted device.
    Password,
    /// A password and a code mailed to confirm the device. Mail is no factor (ASVS V6.6), so this
    /// is still `pwd`.
    PasswordOnNewDevice,
    /// A code sent by SMS.
    Sms,
}

impl Proof {
    /// The token's `amr`.
    #[must_use]
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Password | Self::PasswordOnNewDevice => &["pwd"],
            Self::Sms => &["sms", "otp"],
        }
    }

    /// The word for storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PasswordOnNewDevice => "password_new_device",
            Self::Sms => "sms",
        }
    }

    /// Reads [`Proof::as_str`] back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Password, Self::PasswordOnNewDevice, Self::Sms].into_iter().find(|proof| proof.as_str() == word)
    }
}

/// One sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// In which tenant.
    pub tenant: TenantId,
    /// Its id, the token's `sid`.
    pub id: SessionId,
    /// Who signed in.
    pub account: AccountId,
    /// For which app; `first-party` without one.
    pub client_id: String,
    /// How it was proven.
    pub proof: Proof,
    /// The challenge it was opened with; unique, so one consumption opens one session.
    pub challenge: Option<ChallengeId>,
    /// The device it was opened on, if trusted.
    pub device: Option<DeviceId>,
    /// What the person may recognise it by: the `User-Agent`, shortened.
    pub label: Option<String>,
    /// When the person proved who they are (`auth_time`).
    pub authenticated_at: Timestamp,
    /// When it was last refreshed.
    pub refreshed_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// When and why it was ended before its time.
    pub ended_at: Option<Timestamp>,
}

impl Session {
    /// Whether it still stands at `now`.
    #[must_use]
    pub fn is_live(&self, policy: &TokenPolicy, now: Timestamp) -> bool {
        let idle_end = policy.refresh_idle.map(|idle| self.refreshed_at + idle);
        self.ended_at.is_none() && now < self.expires_at && idle_end.is_none_or(|end| now < end)
    }
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// The person logged out.
    Logout,
    /// The password was changed or reset.
    PasswordChange,
    /// A spent refresh token came back.
    Reuse,
    /// A newer session took its place.
    TooMany,
    /// Its device lost trust.
    DeviceForgotten,
    /// The address or number of the account was changed.
    ContactChange,
    /// An administrator disabled the account.
    Disabled,
    /// An administrator ended it.
    Admin,
}

impl EndCause {
    /// The word for storage and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::PasswordChange => "password_change",
            Self::Reuse => "reuse",
            Self::TooMany => "too_many",
            Self::DeviceForgotten => "device_forgotten",
            Self::ContactChange => "contact_change",
            Self::Disabled => "disabled",
            Self::Admin => "admin",
        }
    }
}
