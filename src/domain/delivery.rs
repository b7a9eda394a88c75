//! What is known about one attempt to deliver a message, and which news about it may be believed.
//!
//! ```text
//!  asked, not taken:  skipped · refused · temporary
//!  nobody knows:      unknown
//!  taken:             accepted ─► sent ─► undelivered ─► delivered    (receipts; forward only)
//! ```
//!
//! Receipts come early, twice and in any order, so a state only ever moves forward, and *delivered*
//! has the last word: a phone that shows the message outweighs a network that gave it up.

use std::time::Duration;

use super::message::{Content, Message};
use super::time::Timestamp;

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// Nobody was asked; the code says why.
    Skipped,
    /// This sender will never take it.
    Refused,
    /// This sender did not take it for now.
    Temporary,
    /// Handed over without an answer.
    Unknown,
    /// The sender has taken it.
    Accepted,
    /// It has left the provider.
    Sent,
    /// It was given up on the way.
    Undelivered,
    /// It is on the person's device.
    Delivered,
}

impl DeliveryState {
    /// All of them, receipts' states in the order in which they follow one another.
    pub const ALL: [Self; 8] = [
        Self::Skipped,
        Self::Refused,
        Self::Temporary,
        Self::Unknown,
        Self::Accepted,
        Self::Sent,
        Self::Undelivered,
        Self::Delivered,
    ];

    /// The word for storage and the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Temporary => "temporary",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Undelivered => "undelivered",
            Self::Delivered => "delivered",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// May a receipt put `news` in this state's place?
    #[must_use]
    pub fn yields_to(self, news: Self) -> bool {
        self >= Self::Accepted && news > self
    }

    /// May its sender have charged for it? Not for what it certainly has not taken.
    #[must_use]
    pub fn may_have_cost(self) -> bool {
        self >= Self::Unknown
    }

    /// May this sender be asked again for the same message? Only if it certainly has not taken it and
    /// did not say never.
    #[must_use]
    pub const fn leaves_the_sender_open(self) -> bool {
        matches!(self, Self::Skipped | Self::Temporary)
    }
}

/// Until when a message written at `created_at` may be handed to a sender. A code has half its life:
/// one that comes later is mostly one that its owner has already asked for again.
#[must_use]
pub fn send_until(message: &Message, created_at: Timestamp) -> Timestamp {
    let life = created_at.until(message.not_after);
    let part: Duration = if is_code(&message.content) { life / 2 } else { life };
    created_at + part
}

const fn is_code(content: &Content) -> bool {
    matches!(content, Content::SignInCode(_) | Content::DeviceCode(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::contact::{Contact, ContactKind};
    use crate::domain::ids::{ChallengeId, MessageId, TenantId};
    use crate::domain::locale::Locale;
    use crate::domain::message::CodeRef;

    #[test]
    fn receipts_move_a_delivery_forward_only() {
        use DeliveryState::{Accepted, Delivered, Refused, Sent, Undelivered, Unknown};
        let cases = [
            (Accepted, Sent, true),
            (Accepted, Undelivered, true),
            (Accepted, Delivered, true),
            (Sent, Accepted, false),
            (Sent, Sent, false),
            (Undelivered, Sent, false),
            (Undelivered, Delivered, true),
            (Delivered, Undelivered, false),
            (Refused, Delivered, false),
            (Unknown, Delivered, false),
        ];
        for (known, news, believed) in cases {
            assert_eq!(known.yields_to(news), believed, "{known:?} -> {news:?}");
        }
    }

    #[test]
    fn only_what_was_certainly_not_taken_cost_nothing() {
        use DeliveryState::{Refused, Skipped, Temporary};
        let free: Vec<_> = DeliveryState::ALL.into_iter().filter(|state| !state.may_have_cost()).collect();

        assert_eq!(free, [Skipped, Refused, Temporary]);
    }

    #[test]
    fn every_state_reads_back_from_its_word() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::from_word(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::from_word("lost"), None);
    }

    #[test]
    fn a_code_is_sent_in_the_first_half_of_its_life_and_a_notice_in_all_of_it() {
        let created_at = Timestamp::from_millis(1_000_000);
        let code = CodeRef { challenge: ChallengeId::random([1; 16]), key_id: "k".to_owned(), length: 6 };
        let message = |content| Message {
            id: MessageId::random([1; 16]),
            tenant: TenantId::random([1; 16]),
            to: Contact::from_canonical(ContactKind::Phone, "+221771234567").unwrap(),
            locale: Locale::Fr,
            content,
            not_after: created_at + Duration::from_secs(300),
        };

        let code_until = send_until(&message(Content::SignInCode(code)), created_at);
        let notice_until = send_until(&message(Content::PasswordChanged), created_at);

        assert_eq!(code_until, created_at + Duration::from_secs(150));
        assert_eq!(notice_until, created_at + Duration::from_secs(300));
    }
}
