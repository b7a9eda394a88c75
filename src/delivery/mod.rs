//! What people receive: a message's facts become a text, and the text leaves the house.
//!
//! ```text
//!  outbox row ─► template::Templates::render ─► Envelope ─► Sender::send ─► Receipt
//!  (actors)      words, one language                        console · smtp · sms
//!                                                                        └── outbound: whereto ┘
//! ```
//!
//! Nothing here decides *whether* to send: limits, outbox and order of senders stand above. A
//! [`Sender`] tries once, within its own deadline, and says honestly what is known afterwards:
//! [`DeliveryError`] names what the caller may do next. Neither contacts nor bodies ever enter an
//! error, a log line or a `Debug` form.

pub mod console;
pub mod gsm7;
mod http;
pub mod outbound;
pub mod sms;
pub mod smtp;
pub mod template;
mod tls;

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;

use crate::domain::contact::Contact;
use crate::domain::ids::MessageId;
use crate::domain::message::Channel;
use crate::domain::time::Timestamp;
use crate::secret::SecretString;

/// A message in words. `Debug` shows none of them: they hold codes and links.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// A mail's subject, one line; none for an SMS.
    pub subject: Option<String>,
    /// The plain text, complete in itself.
    pub text: String,
    /// The same in HTML; none for an SMS.
    pub html: Option<String>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendered(…)")
    }
}

/// A message ready to leave.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The outbox row it stands for; the same on every attempt, so that providers and mail
    /// servers can recognise a repeat.
    pub id: MessageId,
    /// To whom.
    pub to: Contact,
    /// What it says.
    pub rendered: Rendered,
    /// The bare code, if it carries one, for providers that put it into a template of their own.
    pub code: Option<SecretString>,
    /// When it has lost its meaning, for providers that drop a late message on the way.
    pub not_after: Option<Timestamp>,
}

impl Envelope {
    /// How it travels: the kind of contact decides.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        self.to.channel()
    }
}

/// The next hop has taken responsibility for the message. It is *accepted*, not yet delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What the other side calls the message, to match a later delivery report.
    pub reference: Option<String>,
}

impl Receipt {
    /// Longest reference that is believed to be one.
    pub const MAX_REFERENCE: usize = 200;

    /// With what the other side calls the message, if that is a name: up to 200 visible ASCII characters
    /// and no space. Text could repeat what it was told in confidence, and is not kept.
    #[must_use]
    pub fn named(reference: Option<String>) -> Self {
        let is_name = |text: &String| {
            (1..=Self::MAX_REFERENCE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self { reference: reference.filter(is_name) }
    }
}

/// How far a send came; the words of the admin API's `…/test` answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Looking up the host.
    Resolve,
    /// Opening a connection and being greeted.
    Connect,
    /// Encrypting it.
    Tls,
    /// Presenting credentials.
    Auth,
    /// Naming the sender.
    Sender,
    /// Naming the recipient, or handing over the message itself.
    Recipient,
    /// Taken by the other side.
    Accepted,
}

impl Stage {
    /// The word of the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Accepted => "accepted",
        }
    }
}

/// Why a send failed: a fixed word or a provider's code, never free text from outside, which
/// could repeat the address or the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// Longest provider code that is kept.
    const MAX_CODE: usize = 32;

    /// One of our own words, such as `time_out`.
    #[must_use]
    pub const fn word(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// A provider's code (`550`, `SVC0280`): at most 32 letters, digits, `.`, `_` and `-`, and not
    /// digits enough to be a phone number. Anything else becomes `other`.
    #[must_use]
    pub fn code(code: &str) -> Self {
        let kept = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let digits = code.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        let is_code = (1..=Self::MAX_CODE).contains(&code.len()) && code.chars().all(kept) && digits < 7;
        if is_code { Self(Cow::Owned(code.to_owned())) } else { Self::word("other") }
    }

    /// The word or code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a message did not certainly leave, named by what the caller may do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// This sender will never take this message: ask the next one, or give up.
    #[error("refused at {}: {reason}", stage.as_str())]
    Refused {
        /// Where.
        stage: Stage,
        /// Why.
        reason: Reason,
    },
    /// Not taken now: ask the next sender, or this one later.
    #[error("not taken for now at {}: {reason}", stage.as_str())]
    Temporary {
        /// Where.
        stage: Stage,
        /// Why.
        reason: Reason,
    },
    /// Handed over, but no answer came: nobody knows. Sending again may deliver twice.
    #[error("handed over without an answer: {reason}")]
    Unknown {
        /// Why.
        reason: Reason,
    },
}

impl DeliveryError {
    /// Was the message certainly not taken, so that another sender may be tried?
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }

    /// Where it failed; an unanswered message had passed every stage but the last.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Refused { stage, .. } | Self::Temporary { stage, .. } => *stage,
            Self::Unknown { .. } => Stage::Recipient,
        }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::Refused { reason, .. } | Self::Temporary { reason, .. } | Self::Unknown { reason } => reason,
        }
    }

    pub(crate) const fn refused(stage: Stage, word: &'static str) -> Self {
        Self::Refused { stage, reason: Reason::word(word) }
    }

    pub(crate) const fn temporary(stage: Stage, word: &'static str) -> Self {
        Self::Temporary { stage, reason: Reason::word(word) }
    }

    pub(crate) const fn unknown(word: &'static str) -> Self {
        Self::Unknown { reason: Reason::word(word) }
    }
}

/// Delivers envelopes over one channel for one tenant (or for the platform).
#[async_trait]
pub trait Sender: Send + Sync {
    /// Tries once and ends within the sender's own deadline.
    ///
    /// # Errors
    /// [`DeliveryError`]: what is known about the message now.
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError>;

    /// Whether there is anything behind it; if not, nobody should be promised a message.
    fn is_set_up(&self) -> bool {
        true
    }
}

/// Stands where a channel has no sender: refuses, so that the message shows as given up.
#[derive(Debug, Clone, Copy)]
pub struct NoSender;

#[async_trait]
impl Sender for NoSender {
    async fn send(&self, _: &Envelope) -> Result<Receipt, DeliveryError> {
        Err(DeliveryError::refused(Stage::Resolve, "no_sender"))
    }

    fn is_set_up(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unanswered_message_may_not_be_sent_again() {
        assert!(DeliveryError::refused(Stage::Auth, "auth_not_offered").is_definite());
        assert!(DeliveryError::temporary(Stage::Connect, "time_out").is_definite());
        assert!(!DeliveryError::unknown("time_out").is_definite());
    }

    #[test]
    fn a_provider_cannot_smuggle_text_into_a_reason() {
        for text in ["", "550 no such <awa@example.com>", "221771234567", "a\r\nb", &"x".repeat(33)] {
            assert_eq!(Reason::code(text).as_str(), "other", "{text}");
        }
        assert_eq!(Reason::code("SVC0280").as_str(), "SVC0280");
    }

    #[test]
    fn an_envelope_never_prints_what_it_holds() {
        let envelope = Envelope {
            id: MessageId::random([1; 16]),
            to: Contact::from_canonical(crate::domain::contact::ContactKind::Phone, "+221771234567").unwrap(),
            rendered: Rendered { subject: None, text: "482913 is your code".into(), html: None },
            code: Some("482913".into()),
            not_after: None,
        };

        let shown = format!("{envelope:?}");

        assert!(!shown.contains("482913") && !shown.contains("771234567"), "{shown}");
    }
}
