//! Turns a message's facts into words: one language, whole, with nothing typed by a person in it.
//!
//! The built-in templates lie in `templates/<template>.<locale>.<part>`, where the part is
//! `subject.txt`, `txt` and `html` for a mail and `sms.txt` for an SMS. They are compiled at
//! start-up; an undefined variable is an error, never an empty gap. The only name in a message
//! is the tenant's: names that strangers can choose make mails a phishing vehicle.
//!
//! The renderer, not the template, keeps what machines rely on: the code opens the text, a link
//! stands alone on its line, an SMS stays in the GSM alphabet, and its last line binds the code to
//! the tenant's domain (WICG "Origin-bound one-time codes", what phones fill in from).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike};
use minijinja::{Environment, UndefinedBehavior, Value};

use super::{Rendered, gsm7};
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::time::Timestamp;

/// Stands in for a tenant's name that is empty or cannot be spelled in an SMS.
const PRODUCT_NAME: &str = "guichet";

/// Septets a tenant's name may take in an SMS, so that the rest fits one segment.
const MAX_SMS_NAME: usize = 30;

/// Characters a tenant's name may take in a mail.
const MAX_MAIL_NAME: usize = 80;

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_FR: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name)))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in![
    "account_locked.en.html",
    "account_locked.en.sms.txt",
    "account_locked.en.subject.txt",
    "account_locked.en.txt",
    "account_locked.fr.html",
    "account_locked.fr.sms.txt",
    "account_locked.fr.subject.txt",
    "account_locked.fr.txt",
    "already_registered.en.html",
    "already_registered.en.subject.txt",
    "already_registered.en.txt",
    "already_registered.fr.html",
    "already_registered.fr.subject.txt",
    "already_registered.fr.txt",
    "contact_change_code.en.html",
    "contact_change_code.en.sms.txt",
    "contact_change_code.en.subject.txt",
    "contact_change_code.en.txt",
    "contact_change_code.fr.html",
    "contact_change_code.fr.sms.txt",
    "contact_change_code.fr.subject.txt",
    "contact_change_code.fr.txt",
    "contact_changed.en.html",
    "contact_changed.en.sms.txt",
    "contact_changed.en.subject.txt",
    "contact_changed.en.txt",
    "contact_changed.fr.html",
    "contact_changed.fr.sms.txt",
    "contact_changed.fr.subject.txt",
    "contact_changed.fr.txt",
    "device_code.en.html",
    "device_code.en.subject.txt",
    "device_code.en.txt",
    "device_code.fr.html",
    "device_code.fr.subject.txt",
    "device_code.fr.txt",
    "invitation.en.html",
    "invitation.en.subject.txt",
    "invitation.en.txt",
    "invitation.fr.html",
    "invitation.fr.subject.txt",
    "invitation.fr.txt",
    "layout.html",
    "password_changed.en.html",
    "password_changed.en.sms.txt",
    "password_changed.en.subject.txt",
    "password_changed.en.txt",
    "password_changed.fr.html",
    "password_changed.fr.sms.txt",
    "password_changed.fr.subject.txt",
    "password_changed.fr.txt",
    "password_reset.en.html",
    "password_reset.en.subject.txt",
    "password_reset.en.txt",
    "password_reset.fr.html",
    "password_reset.fr.subject.txt",
    "password_reset.fr.txt",
    "sign_in_code.en.sms.txt",
    "sign_in_code.fr.sms.txt",
    "verification.en.html",
    "verification.en.subject.txt",
    "verification.en.txt",
    "verification.fr.html",
    "verification.fr.subject.txt",
    "verification.fr.txt",
];

/// What a message is rendered from. `Debug` shows neither the code nor the link.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The template's name: [`Content::template`](crate::domain::message::Content::template).
    pub template: &'a str,
    /// How it travels.
    pub channel: Channel,
    /// In which language; text and dates alike.
    pub locale: Locale,
    /// The tenant's display name.
    pub tenant_name: &'a str,
    /// The bare host (A-labels, no scheme, no port) of the page where the code is typed.
    pub domain: Option<&'a str>,
    /// The code: digits.
    pub code: Option<&'a str>,
    /// The absolute link, composed by the caller from the tenant's public URL, never from a
    /// request's `Host`.
    pub link: Option<&'a str>,
    /// How long the code or link lives.
    pub valid_for: Option<Duration>,
    /// When a lock ends.
    pub until: Option<Timestamp>,
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("template", &self.template)
            .field("channel", &self.channel)
            .field("locale", &self.locale)
            .finish_non_exhaustive()
    }
}

/// Why there is no text. Never carries a fact's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// This template does not exist for this channel: the message can never be sent so.
    #[error("no template `{name}`")]
    Missing {
        /// The name that was looked for.
        name: String,
    },
    /// A fact is not of the form that the text relies on.
    #[error("the fact `{fact}` is malformed")]
    Malformed {
        /// Which: `code` or `link`.
        fact: &'static str,
    },
    /// The template does not compile, or asks for a fact that was not given.
    #[error("template `{name}` cannot be rendered: {kind}")]
    Broken {
        /// Which.
        name: String,
        /// What kind of error; the full one could quote the facts.
        kind: String,
    },
}

/// The compiled templates. Made once, shared by all senders.
pub struct Templates {
    environment: Environment<'static>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Templates(…)")
    }
}

impl Templates {
    /// Compiles every built-in template.
    ///
    /// # Errors
    /// [`TemplateError::Broken`] names the first that does not compile.
    pub fn new() -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // With it on, an error quotes the variables, codes included.
        environment.set_debug(false);
        for (name, source) in BUILT_IN {
            environment.add_template(name, source).map_err(|error| broken(name, &error))?;
        }
        Ok(Self { environment })
    }

    /// Renders one message, whole, in one language.
    ///
    /// # Errors
    /// [`TemplateError`]: trying again with the same facts cannot help.
    pub fn render(&self, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        check(facts)?;
        match facts.channel {
            Channel::Sms => self.render_sms(facts),
            Channel::Email => self.render_mail(facts),
        }
    }

    fn render_sms(&self, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        let name = gsm7::transliterate(&one_line(facts.tenant_name), MAX_SMS_NAME).filter(|name| !name.is_empty());
        let variables = variables(facts, name.as_deref().unwrap_or(PRODUCT_NAME));
        let mut text = self.part(facts, "sms.txt", &variables)?;
        if let (Some(domain), Some(code)) = (facts.domain.filter(|domain| is_host(domain)), facts.code) {
            text.push_str("\n\n@");
            text.push_str(domain);
            text.push_str(" #");
            text.push_str(code);
        }
        Ok(Rendered { subject: None, text, html: None })
    }

    fn render_mail(&self, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        let name: String = one_line(facts.tenant_name).chars().take(MAX_MAIL_NAME).collect();
        let mut variables = variables(facts, if name.is_empty() { PRODUCT_NAME } else { &name });
        let subject = self.part(facts, "subject.txt", &variables)?;
        let text = self.part(facts, "txt", &variables)?;
        variables.insert("subject", Value::from(subject.as_str()));
        let html = self.part(facts, "html", &variables)?;
        Ok(Rendered { subject: Some(subject), text, html: Some(html) })
    }

    fn part(&self, facts: &Facts<'_>, part: &str, variables: &Variables) -> Result<String, TemplateError> {
        let name = format!("{}.{}.{part}", facts.template, facts.locale.tag());
        let Ok(template) = self.environment.get_template(&name) else {
            return Err(TemplateError::Missing { name });
        };
        template.render(variables.clone()).map_err(|error| broken(&name, &error))
    }
}

type Variables = BTreeMap<&'static str, Value>;

/// The facts under the names that templates use; a fact not given stays undefined.
fn variables(facts: &Facts<'_>, tenant: &str) -> Variables {
    let mut variables = Variables::from([("tenant", Value::from(tenant)), ("locale", Value::from(facts.locale.tag()))]);
    if let Some(code) = facts.code {
        variables.insert("code", Value::from(code));
    }
    if let Some(link) = facts.link {
        variables.insert("link", Value::from(link));
        // `check` left `&` as the only character that means something in HTML; escaping every
        // slash as well, as the engine does, would only make the source hard to read.
        variables.insert("href", Value::from_safe_string(link.replace('&', "&amp;")));
    }
    if let Some(length) = facts.valid_for {
        variables.insert("valid_for", Value::from(in_words(length, facts.locale)));
    }
    if let Some(until) = facts.until {
        variables.insert("until", Value::from(date(until, facts.locale)));
        variables.insert("until_short", Value::from(short_date(until, facts.locale)));
    }
    variables
}

fn check(facts: &Facts<'_>) -> Result<(), TemplateError> {
    let digits = |code: &str| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    if !facts.code.is_none_or(digits) {
        return Err(TemplateError::Malformed { fact: "code" });
    }
    // A space would end the link in a reader's eyes; quotes and brackets would end it in HTML.
    let absolute = |link: &str| {
        (link.starts_with("https://") || link.starts_with("http://"))
            && link.chars().all(|c| c.is_ascii_graphic() && !"<>\"'`\\".contains(c))
    };
    if !facts.link.is_none_or(absolute) {
        return Err(TemplateError::Malformed { fact: "link" });
    }
    Ok(())
}

/// A host as the last line of an origin-bound code may carry it; anything else would break the
/// line, and a code without autofill is better than none.
fn is_host(domain: &str) -> bool {
    !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

/// A name with every control, line break and direction mark turned into a single space.
fn one_line(name: &str) -> String {
    let visible = |c: char| {
        let directs =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || directs { ' ' } else { c }
    };
    name.chars().map(visible).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whole hours, else the nearest minute: a message leaves some milliseconds into its life, and
/// "4 minutes" for a code of five would be pedantry.
fn in_words(length: Duration, locale: Locale) -> String {
    let minutes = ((length.as_secs() + 30) / 60).max(1);
    let (count, one, many) = match (minutes.is_multiple_of(60), locale) {
        (true, Locale::En) => (minutes / 60, "hour", "hours"),
        (true, Locale::Fr) => (minutes / 60, "heure", "heures"),
        (false, _) => (minutes, "minute", "minutes"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `22 November 2026 at 03:06 UTC`, `22 novembre 2026 à 3 h 06 UTC`.
fn date(moment: Timestamp, locale: Locale) -> String {
    let at = DateTime::from_timestamp_millis(moment.as_millis()).unwrap_or_default();
    let month = |names: [&'static str; 12]| names.get(at.month0() as usize).copied().unwrap_or_default();
    let (day, year, hour, minute) = (at.day(), at.year(), at.hour(), at.minute());
    match locale {
        Locale::En => format!("{day} {} {year} at {hour:02}:{minute:02} UTC", month(MONTHS_EN)),
        Locale::Fr => {
            let first = if day == 1 { "er" } else { "" };
            format!("{day}{first} {} {year} à {hour} h {minute:02} UTC", month(MONTHS_FR))
        }
    }
}

/// The same for an SMS: `22 Nov 2026 03:06 UTC`, and `22/11/2026 03:06 UTC` since `août` is not
/// in the GSM alphabet.
fn short_date(moment: Timestamp, locale: Locale) -> String {
    let at = DateTime::from_timestamp_millis(moment.as_millis()).unwrap_or_default();
    let form = match locale {
        Locale::En => "%-d %b %Y %H:%M UTC",
        Locale::Fr => "%d/%m/%Y %H:%M UTC",
    };
    at.format(form).to_string()
}

fn broken(name: &str, error: &minijinja::Error) -> TemplateError {
    TemplateError::Broken { name: name.to_owned(), kind: error.kind().to_string() }
}

#[cfg(test)]
mod tests;
