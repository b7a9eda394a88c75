//! Shows messages on the console instead of sending them: the sender of a first evening.
//!
//! One line each, exactly
//!
//! ```text
//! message channel=sms to=+221771234567 text="482913 is your code.\n\n@auth.example.com #482913"
//! ```
//!
//! `text` is a JSON string, so whatever a message holds stays one line and reads back exactly.
//! Only the plain text is shown. The lines carry codes and addresses: they go raw to stdout, never
//! through the logger, whose lines are kept. Writing has a thread of its own, so a reader that
//! stalls (`guichet serve | less`) never stalls an async thread.

use std::fmt::Write as _;
use std::io;
use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{DeliveryError, Envelope, Receipt, Sender, Stage};

/// Lines that may wait for a slow reader.
const QUEUE: usize = 1_024;

/// Lines written before one flush.
const BATCH: usize = 64;

/// How long a reader may stall before the sender gives up on a line.
const PATIENCE: Duration = Duration::from_secs(5);

type Written = oneshot::Sender<io::Result<()>>;

/// Writes every envelope as one line. Clones share the thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct ConsoleSender {
    lines: mpsc::Sender<(String, Written)>,
}

impl ConsoleSender {
    /// A sender that writes to standard output.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn stdout() -> io::Result<Self> {
        Self::new(io::stdout())
    }

    /// A sender that writes to `sink`; tests pass a buffer.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("console".to_owned()).spawn(move || write_lines(queue, sink))?;
        Ok(Self { lines })
    }
}

#[async_trait]
impl Sender for ConsoleSender {
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
        let (written, outcome) = oneshot::channel();
        let line = line(envelope).map_err(|_| DeliveryError::refused(Stage::Sender, "text_unprintable"))?;
        let closed = DeliveryError::temporary(Stage::Connect, "console_closed");
        match timeout(PATIENCE, self.lines.send((line, written))).await {
            Err(_) => return Err(DeliveryError::temporary(Stage::Connect, "console_stalled")),
            Ok(Err(_)) => return Err(closed),
            Ok(Ok(())) => {}
        }
        match timeout(PATIENCE, outcome).await {
            Err(_) => Err(DeliveryError::unknown("console_stalled")),
            Ok(Ok(Ok(()))) => Ok(Receipt { reference: None }),
            Ok(_) => Err(closed),
        }
    }
}

/// Serves the queue until every sender is gone; a closed sink is reported, never a panic.
fn write_lines(mut queue: mpsc::Receiver<(String, Written)>, mut sink: impl Write) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        let text: String = batch.iter().map(|(line, _)| line.as_str()).collect();
        // In one call, so that nothing else on stdout can come between.
        let outcome = sink.write_all(text.as_bytes()).and_then(|()| sink.flush());
        for (_, written) in batch.drain(..) {
            let answer = outcome.as_ref().copied().map_err(|error| error.kind().into());
            // The one who asked may have stopped waiting.
            let _ = written.send(answer);
        }
    }
}

/// The line of one envelope, with its newline.
fn line(envelope: &Envelope) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&envelope.rendered.text)?;
    let mut line = format!("message channel={} to={} text=", envelope.channel().as_str(), envelope.to.as_str());
    for c in text.chars() {
        // JSON leaves these raw, but some readers end a line there and terminals obey them.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            write!(line, "\\u{:04x}", u32::from(c)).map_err(serde::ser::Error::custom)?;
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::delivery::Rendered;
    use crate::domain::contact::{Contact, EmailAddress, PhoneNumber};
    use crate::domain::ids::MessageId;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sms(text: &str) -> Envelope {
        Envelope {
            id: MessageId::random([1; 16]),
            to: Contact::Phone(PhoneNumber::parse("+221771234567", None).unwrap()),
            rendered: Rendered { subject: None, text: text.to_owned(), html: None },
            code: None,
            not_after: None,
        }
    }

    #[test]
    fn an_sms_is_one_line_as_promised() {
        assert_eq!(
            line(&sms("482913 is your code.\n\n@auth.example.com #482913")).unwrap(),
            "message channel=sms to=+221771234567 text=\"482913 is your code.\\n\\n@auth.example.com #482913\"\n"
        );
    }

    #[test]
    fn a_mail_shows_its_plain_text_only() {
        let envelope = Envelope {
            to: Contact::Email(EmailAddress::parse("awa@example.com").unwrap()),
            rendered: Rendered {
                subject: Some("Objet".into()),
                text: "Voilà".into(),
                html: Some("<p>Voilà</p>".into()),
            },
            ..sms("")
        };

        assert_eq!(line(&envelope).unwrap(), "message channel=email to=awa@example.com text=\"Voilà\"\n");
    }

    #[test]
    fn whatever_a_text_holds_the_line_is_one_line_and_reads_back() {
        let text = "a\"b\\c\r\nd\te\u{1b}[2J\u{7f}\u{85}\u{2028}\u{2029}é😀\0";

        let line = line(&sms(text)).unwrap();

        let body = line.strip_suffix('\n').unwrap();
        assert!(!body.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)), "{body:?}");
        let (_, quoted) = body.split_once("text=").unwrap();
        assert_eq!(serde_json::from_str::<String>(quoted).unwrap(), text);
    }

    #[tokio::test]
    async fn lines_of_many_senders_never_mix() {
        let buffer = Buffer::default();
        let sender = ConsoleSender::new(buffer.clone()).unwrap();

        let sends = (0..200).map(|n| {
            let sender = sender.clone();
            async move { sender.send(&sms(&format!("{n:06} is your code"))).await }
        });
        let outcomes = futures_util::future::join_all(sends).await;

        assert!(outcomes.iter().all(Result::is_ok));
        let written = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<_> = written.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|line| line.starts_with("message channel=sms to=+221771234567 text=\"")));
    }

    #[tokio::test]
    async fn a_closed_console_is_an_error_not_a_panic() {
        let sender = ConsoleSender::new(Closed).unwrap();

        for _ in 0..2 {
            let outcome = sender.send(&sms("482913")).await;
            assert_eq!(outcome, Err(DeliveryError::temporary(Stage::Connect, "console_closed")));
        }
    }
}
