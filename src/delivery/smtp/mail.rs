//! Writes a rendered message as a mail (RFC 5322): headers, two alternatives, nothing else.
//!
//! The body is encoded to 7-bit ASCII and the subject by RFC 2047, so only an address outside
//! ASCII asks anything of the server. A line break in a header value is refused, never stripped:
//! it means that something unchecked came this far.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};

use super::SmtpSettingsError;
use crate::delivery::{DeliveryError, Envelope, Stage};
use crate::domain::contact::Contact;
use crate::domain::time::Timestamp;

/// A mail as it goes over the wire.
pub(super) struct Composed {
    /// `MAIL FROM`.
    pub(super) from: Address,
    /// `RCPT TO`.
    pub(super) to: Address,
    /// With its angle brackets.
    pub(super) message_id: String,
    /// Headers and body.
    pub(super) bytes: Vec<u8>,
}

/// Knows in whose name mails are written.
pub(super) struct Writer {
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

impl Writer {
    pub(super) fn new(from: &str, reply_to: Option<&str>) -> Result<Self, SmtpSettingsError> {
        Ok(Self {
            from: mailbox(from).ok_or(SmtpSettingsError::From)?,
            reply_to: match reply_to {
                Some(text) => Some(mailbox(text).ok_or(SmtpSettingsError::ReplyTo)?),
                None => None,
            },
        })
    }

    /// Writes `envelope` as of `now`. The message id follows from the envelope's, so a mail sent
    /// twice is recognised as one by servers and readers.
    pub(super) fn compose(&self, envelope: &Envelope, now: Timestamp) -> Result<Composed, DeliveryError> {
        let Contact::Email(address) = &envelope.to else {
            return Err(DeliveryError::refused(Stage::Recipient, "not_an_address"));
        };
        let to: Address =
            address.as_str().parse().map_err(|_| DeliveryError::refused(Stage::Recipient, "not_an_address"))?;
        let subject = envelope.rendered.subject.as_deref().unwrap_or_default();
        if subject.contains(char::is_control) {
            return Err(DeliveryError::refused(Stage::Sender, "header_malformed"));
        }
        let message_id = format!("<{}@{}>", envelope.id, self.from.email.domain());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(subject)
            .date(system_time(now))
            .message_id(Some(message_id.clone()))
            .header(AutoSubmitted);
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let plain = SinglePart::plain(envelope.rendered.text.clone());
        let message = match &envelope.rendered.html {
            Some(html) => {
                let boundary = format!("guichet-{}", envelope.id);
                let html = SinglePart::html(html.clone());
                builder.multipart(MultiPart::alternative().boundary(boundary).singlepart(plain).singlepart(html))
            }
            None => builder.singlepart(plain),
        };
        let message = message.map_err(|_| DeliveryError::refused(Stage::Sender, "header_malformed"))?;
        Ok(Composed { from: self.from.email.clone(), to, message_id, bytes: message.formatted() })
    }
}

fn mailbox(text: &str) -> Option<Mailbox> {
    if text.contains(char::is_control) {
        return None;
    }
    text.parse().ok()
}

fn system_time(moment: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(moment.as_millis()).unwrap_or(0))
}

/// Tells vacation responders not to answer (RFC 3834 §5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Rendered;
    use crate::domain::contact::{EmailAddress, PhoneNumber};
    use crate::domain::ids::MessageId;

    fn envelope(subject: &str) -> Envelope {
        Envelope {
            id: MessageId::random([7; 16]),
            to: Contact::Email(EmailAddress::parse("awa@example.com").unwrap()),
            rendered: Rendered {
                subject: Some(subject.to_owned()),
                text: "Voilà".to_owned(),
                html: Some("<p>Voilà</p>".to_owned()),
            },
            code: None,
            not_after: None,
        }
    }

    fn written(subject: &str) -> Result<String, DeliveryError> {
        let writer = Writer::new("Crédit façade <noreply@example.org>", Some("help@example.org")).unwrap();
        let mail = writer.compose(&envelope(subject), Timestamp::from_millis(1_785_553_560_000))?;
        Ok(String::from_utf8(mail.bytes).unwrap())
    }

    #[test]
    fn the_headers_are_these_and_pure_ascii() {
        let mail = written("Votre code à usage unique").unwrap();

        assert!(mail.is_ascii());
        for header in [
            "To: awa@example.com\r\n",
            "Reply-To: help@example.org\r\n",
            "Date: Sat, 01 Aug 2026 03:06:00 +0000\r\n",
            "Message-ID: <07070707-0707-4707-8707-070707070707@example.org>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "MIME-Version: 1.0\r\n",
            "Content-Type: multipart/alternative;",
        ] {
            assert!(mail.contains(header), "{header} is not in\n{mail}");
        }
        assert!(mail.contains("<noreply@example.org>\r\n") && !mail.contains("façade"));
    }

    #[test]
    fn a_line_break_never_reaches_a_header() {
        for hostile in ["a\r\nBcc: all@example.com", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(written(hostile), Err(DeliveryError::refused(Stage::Sender, "header_malformed")));
        }
        for hostile in ["a@example.org\r\nBcc: x@example.com", "A\nB <a@example.org>", "", "no address", "a@b@c"] {
            assert_eq!(Writer::new(hostile, None).err(), Some(SmtpSettingsError::From), "{hostile:?}");
            assert_eq!(Writer::new("a@example.org", Some(hostile)).err(), Some(SmtpSettingsError::ReplyTo));
        }
    }

    #[test]
    fn a_phone_number_is_no_place_for_a_mail() {
        let to = Contact::Phone(PhoneNumber::parse("+221771234567", None).unwrap());
        let writer = Writer::new("noreply@example.org", None).unwrap();

        let outcome = writer.compose(&Envelope { to, ..envelope("Hello") }, Timestamp::default());

        assert_eq!(outcome.err(), Some(DeliveryError::refused(Stage::Recipient, "not_an_address")));
    }
}
