//! What people receive: the console sender's lines, read back as messages.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

/// A message that is not there after this will not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// One line of the console.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) channel: String,
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Message {
    /// `message channel=sms to=+221771234567 text="…"`, exactly.
    fn parse(line: &str) -> Self {
        let rest = line.strip_prefix("message channel=").expect("a line begins with its channel");
        let (channel, rest) = rest.split_once(" to=").expect("then to whom");
        let (to, text) = rest.split_once(" text=").expect("then the text");
        let text = serde_json::from_str(text).expect("which is a JSON string");
        Self { channel: channel.to_owned(), to: to.to_owned(), text }
    }

    /// The first group of exactly that many digits.
    pub(crate) fn code(&self, length: usize) -> String {
        let mut groups = self.text.split(|c: char| !c.is_ascii_digit());
        groups.find(|group| group.len() == length).expect("the message holds a code").to_owned()
    }

    /// The path of the link that stands alone on its line.
    pub(crate) fn link(&self) -> String {
        let line = self.text.lines().find(|line| line.starts_with("http")).expect("the message holds a link");
        url::Url::parse(line).expect("the line is a link and nothing else").path().to_owned()
    }

    /// The token at the end of that link.
    pub(crate) fn token(&self) -> String {
        self.link().rsplit('/').next().unwrap().to_owned()
    }
}

/// Everybody's messages, taken out as they are read.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lines: Mutex<(Vec<u8>, Vec<Message>)>,
    arrived: Notify,
}

impl Inbox {
    /// The next message to somebody, waited for.
    pub(crate) async fn next(&self, to: &str) -> Message {
        self.next_with(to, "").await
    }

    /// The next message to somebody that says this; others stay where they are.
    pub(crate) async fn next_with(&self, to: &str, part: &str) -> Message {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let arrived = self.0.arrived.notified();
                if let Some(message) = self.take(to, part) {
                    return message;
                }
                arrived.await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no message to {to}; waiting are {:?}", self.0.lines.lock().unwrap().1))
    }

    fn take(&self, to: &str, part: &str) -> Option<Message> {
        let mut lines = self.0.lines.lock().unwrap();
        let at = lines.1.iter().position(|message| message.to == to && message.text.contains(part))?;
        Some(lines.1.remove(at))
    }
}

impl io::Write for Inbox {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lines.lock().unwrap();
        let (partial, messages) = &mut *lines;
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            messages.push(Message::parse(String::from_utf8(line).unwrap().trim_end_matches('\n')));
        }
        drop(lines);
        self.0.arrived.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
