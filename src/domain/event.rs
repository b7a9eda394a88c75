//! What is written to the audit log, in the words of the OWASP logging vocabulary.
//!
//! An event names ids, never contacts, codes or tokens, so that the log may be kept longer than
//! the people in it. See ASVS 16.3.1–16.3.3.

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, KeyId, TenantId};
use super::time::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An account came into being.
    UserCreated,
    /// An account's address was proven.
    UserVerified,
    /// An account's contact was changed, or an administrator disabled or enabled it.
    UserUpdated,
    /// A person erased the account.
    UserDeleted,
    /// A sign-in succeeded.
    AuthnLoginSuccess,
    /// A sign-in failed on its credential.
    AuthnLoginFail,
    /// Failures reached the threshold.
    AuthnLoginLock,
    /// A lock ended.
    AuthnLoginUnlock,
    /// Passwords are tried over many accounts of the tenant.
    AuthnSprayDetected,
    /// A password was changed or reset.
    AuthnPasswordChange,
    /// A session was opened.
    AuthnTokenCreated,
    /// A session was ended.
    AuthnTokenRevoked,
    /// A spent refresh token came back.
    AuthnTokenReuse,
    /// A device became trusted.
    DeviceTrusted,
    /// A device lost its trust.
    DeviceForgotten,
    /// A text message was withheld: not a mobile number of a listed region.
    SmsRegionRefused,
    /// A text message was withheld by a ceiling.
    SmsCeilingReached,
    /// A ceiling would have withheld a text message, but only records.
    SmsCeilingRecorded,
    /// Too few codes to a region came back: sending there stopped.
    SmsRegionStopped,
    /// A recipient had a day's messages, over all tenants.
    RecipientCeilingReached,
    /// A test identity was used.
    TestIdentityUsed,
    /// An admin read everything kept about a person.
    SensitiveRead,
    /// An admin key asked for what it may not.
    AuthzFail,
    /// An admin changed who may do what: keys, apps.
    AuthzChange,
    /// An admin changed or did something else.
    AuthzAdmin,
}

impl EventKind {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserCreated => "user_created",
            Self::UserVerified => "user_verified",
            Self::UserUpdated => "user_updated",
            Self::UserDeleted => "user_deleted",
            Self::AuthnLoginSuccess => "authn_login_success",
            Self::AuthnLoginFail => "authn_login_fail",
            Self::AuthnLoginLock => "authn_login_lock",
            Self::AuthnLoginUnlock => "authn_login_unlock",
            Self::AuthnSprayDetected => "authn_spray_detected",
            Self::AuthnPasswordChange => "authn_password_change",
            Self::AuthnTokenCreated => "authn_token_created",
            Self::AuthnTokenRevoked => "authn_token_revoked",
            Self::AuthnTokenReuse => "authn_token_reuse",
            Self::DeviceTrusted => "device_trusted",
            Self::DeviceForgotten => "device_forgotten",
            Self::SmsRegionRefused => "sms_region_refused",
            Self::SmsCeilingReached => "sms_ceiling_reached",
            Self::SmsCeilingRecorded => "sms_ceiling_recorded",
            Self::SmsRegionStopped => "sms_region_stopped",
            Self::RecipientCeilingReached => "recipient_ceiling_reached",
            Self::TestIdentityUsed => "test_identity_used",
            Self::SensitiveRead => "sensitive_read",
            Self::AuthzFail => "authz_fail",
            Self::AuthzChange => "authz_change",
            Self::AuthzAdmin => "authz_admin",
        }
    }
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// In which tenant.
    pub tenant: TenantId,
    /// To which account, if one is known.
    pub account: Option<AccountId>,
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// A word of explanation from a fixed set (`expiry`, `reset`, `reuse`, …).
    pub cause: Option<&'static str>,
    /// With which admin key; none where the person did it, the root key or the command line.
    pub key: Option<KeyId>,
    /// To what, where that is no account: a signing key by its id.
    pub subject: Option<String>,
}

impl Event {
    /// The same deed, done to one thing for a reason.
    #[must_use]
    pub fn about(&self, subject: &str, cause: &'static str) -> Self {
        Self { subject: Some(subject.to_owned()), cause: Some(cause), ..self.clone() }
    }
}
