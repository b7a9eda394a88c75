//! What machines rely on in a rendered message, whoever wrote its text.
//!
//! The console's readers and people's scripts take the first group of digits for the code and a line
//! of its own for the link; phones fill in from the last line, which the renderer alone writes. A
//! built-in text is held to this by tests, a tenant's by this at save and again at each send: the
//! tenant's own name can break what the text alone does not.

use super::Facts;
use crate::delivery::Rendered;
use crate::domain::message::Channel;

/// Characters a subject may have.
const MAX_SUBJECT: usize = 200;

/// Octets that one rendered part may have.
const MAX_RENDERED: usize = 64 * 1024;

/// A promise that a text does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    /// `sms`, `subject`, `text` or `html`.
    pub(super) part: &'static str,
    /// What would be right.
    pub(super) reason: &'static str,
}

/// What settings call the plain text of a message.
pub(super) const fn text_part(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "sms",
        Channel::Email => "text",
    }
}

/// Judges a message before its last line is written.
pub(super) fn kept(rendered: &Rendered, facts: &Facts<'_>) -> Result<(), Broken> {
    let part = text_part(facts.channel);
    words(&rendered.text, facts).map_err(|reason| Broken { part, reason })?;
    if part == "sms" && rendered.text.lines().any(|line| line.starts_with('@')) {
        return Err(Broken { part, reason: "no line may begin with `@`: the last line is written by the sender" });
    }
    if let Some(subject) = &rendered.subject {
        one_line(subject).map_err(|reason| Broken { part: "subject", reason })?;
    }
    if let Some(html) = &rendered.html {
        markup(html, facts).map_err(|reason| Broken { part: "html", reason })?;
    }
    Ok(())
}

fn words(text: &str, facts: &Facts<'_>) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("must not be empty");
    }
    if text.len() > MAX_RENDERED {
        return Err("is too long when rendered");
    }
    if text.contains(|c: char| c.is_control() && c != '\n') {
        return Err("must not hold control characters");
    }
    if let Some(code) = facts.code {
        let groups = || text.split(|c: char| !c.is_ascii_digit()).filter(|group| group.len() == code.len());
        if groups().filter(|group| *group == code).count() != 1 {
            return Err("must show the code exactly once");
        }
        if groups().next() != Some(code) {
            return Err("the code must be the first number of its length");
        }
    }
    if let Some(link) = facts.link {
        let alone = text.lines().filter(|line| *line == link).count();
        let anywhere = text.matches(link).count();
        if anywhere != alone || anywhere > 1 || (anywhere == 0 && facts.link_is_needed()) {
            return Err("must show the link once, alone on its line");
        }
    }
    Ok(())
}

fn one_line(subject: &str) -> Result<(), &'static str> {
    if subject.trim().is_empty() || subject.chars().count() > MAX_SUBJECT {
        return Err("must be 1 to 200 characters");
    }
    if subject.contains(char::is_control) {
        return Err("a subject is one line");
    }
    Ok(())
}

fn markup(html: &str, facts: &Facts<'_>) -> Result<(), &'static str> {
    if html.len() > MAX_RENDERED {
        return Err("is too long when rendered");
    }
    if facts.code.is_some_and(|code| !html.contains(code)) {
        return Err("must show the code");
    }
    let shown = |link: &str| html.contains(&format!("\"{link}\"")) || html.contains(&format!("'{link}'"));
    if facts.link_is_needed() && !facts.link.is_none_or(|link| shown(&super::as_attribute(link))) {
        return Err("must lead to the link: <a href=\"{{ link }}\">");
    }
    Ok(())
}
