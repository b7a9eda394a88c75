//! What is to be told to a person: ids and facts, never the text.
//!
//! A message is written to the outbox in the same transaction as the fact it tells of. It holds
//! what is needed to render it at send time (a challenge id, not a code; a link id, not a link),
//! so a dump of the outbox opens nothing.

use serde::{Deserialize, Serialize};

use super::contact::Contact;
use super::ids::{AccountId, ChallengeId, MessageId, TenantId};
use super::locale::Locale;
use super::otp::Challenge;
use super::time::Timestamp;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A text message.
    Sms,
    /// A mail.
    Email,
}

impl Channel {
    /// `sms` or `email`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Email => "email",
        }
    }
}

/// Names a code without holding it: the inputs of its derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRef {
    /// The challenge it answers.
    pub challenge: ChallengeId,
    /// The key that derives it.
    pub key_id: String,
    /// Digits.
    pub length: u8,
}

impl From<&Challenge> for CodeRef {
    fn from(challenge: &Challenge) -> Self {
        Self { challenge: challenge.id, key_id: challenge.key_id.clone(), length: challenge.length }
    }
}

/// Names a link without holding its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRef {
    /// The link's id in storage.
    pub link: ChallengeId,
    /// Whose it is; part of the token's derivation.
    pub account: AccountId,
}

/// What a message says, and the facts it says it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A code to sign in with a phone number.
    SignInCode(CodeRef),
    /// A code to confirm a new device.
    DeviceCode(CodeRef),
    /// A link that proves an address.
    Verification(LinkRef),
    /// A link that sets a new password.
    PasswordReset(LinkRef),
    /// The account is locked until then.
    AccountLocked {
        /// When the lock ends.
        until: Timestamp,
        /// A link that ends the lock at once. None in an SMS, for a known device's own lock, and
        /// in rows that a node before this member wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unlock: Option<LinkRef>,
    },
    /// Someone tried to register an address that already has an account.
    AlreadyRegistered,
    /// The password is another one now.
    PasswordChanged,
    /// A session was ended because a spent refresh token of it came back.
    TokenReuse,
    /// An administrator made an account for this address: a link that sets its first password.
    Invitation(LinkRef),
    /// A code that proves a contact which is to become the account's own.
    ContactChangeCode {
        /// The code.
        code: CodeRef,
        /// Who asked; the contact is not theirs yet, so erasing them finds the row by this.
        account: AccountId,
    },
    /// A device that the account did not know is trusted now; told where its proof did not come from.
    NewDevice {
        /// What it is, in words of ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// The network it came from: a prefix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
    },
    /// Another contact has taken an old one's place; told to both.
    ContactChanged {
        /// Whose; the old contact leads to nobody any more, so erasing them finds the row by this.
        account: AccountId,
    },
}

impl Content {
    /// The template's name, stable in storage, logs and tenant overrides.
    #[must_use]
    pub const fn template(&self) -> &'static str {
        match self {
            Self::SignInCode(_) => "sign_in_code",
            Self::DeviceCode(_) => "device_code",
            Self::Verification(_) => "verification",
            Self::PasswordReset(_) => "password_reset",
            Self::AccountLocked { .. } => "account_locked",
            Self::AlreadyRegistered => "already_registered",
            Self::PasswordChanged => "password_changed",
            Self::TokenReuse => "token_reuse",
            Self::Invitation(_) => "invitation",
            Self::ContactChangeCode { .. } => "contact_change_code",
            Self::NewDevice { .. } => "new_device",
            Self::ContactChanged { .. } => "contact_changed",
        }
    }
}

/// One message to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// On whose behalf.
    pub tenant: TenantId,
    /// To whom; the kind of contact is the channel.
    pub to: Contact,
    /// In which language.
    pub locale: Locale,
    /// What it says.
    pub content: Content,
    /// After this it is not worth sending, and a code must not be.
    pub not_after: Timestamp,
}

impl Message {
    /// How it travels.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        self.to.channel()
    }
}

impl Contact {
    /// How messages travel to it.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Phone(_) => Channel::Sms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_told_by_an_older_node_still_reads() {
        let written = r#"{"kind":"account_locked","until":1800000000000}"#;

        let content: Content = serde_json::from_str(written).unwrap();

        let until = Timestamp::from_millis(1_800_000_000_000);
        assert_eq!(content, Content::AccountLocked { until, unlock: None });
        assert_eq!(serde_json::to_string(&content).unwrap(), written);
    }
}
