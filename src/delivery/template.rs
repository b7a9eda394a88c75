//! Turns a message's facts into words: one language, whole, with nothing typed by a person in it.
//!
//! ```text
//!  tenant's own text (overrides) ──► promises kept? ──► last line of a code ──► Rendered
//!     none, or it fails ─► built-in, whole ─────────────────┘
//!  at save: check ─ the same rendering, with every kind of sample value
//! ```
//!
//! The built-in templates lie in `templates/<template>.<locale>.<part>`, where the part is
//! `subject.txt`, `txt` and `html` for a mail and `sms.txt` for an SMS. They are compiled at
//! start-up; an undefined variable is an error, never an empty gap. The only name in a message
//! is the tenant's: names that strangers can choose make mails a phishing vehicle.
//!
//! A tenant may word each message otherwise (`grammar` says with what, [`check`](mod@check) judges
//! it before it is saved). What machines rely on is kept by the renderer and by `promises`, not by
//! whoever writes the text: the code is the first number of its length, a link stands alone on its
//! line, and the last line of an SMS binds the code to the tenant's domain (WICG "Origin-bound
//! one-time codes", what phones fill in from).

mod built_in;
pub mod check;
mod grammar;
mod overrides;
mod promises;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use minijinja::{Environment, Value};

pub use self::check::{BadTemplate, BuiltIn, Draft, Letterhead, Preview, SmsCost, built_in_texts};
pub use self::overrides::Own;
use self::overrides::Shelf;
use super::{Rendered, gsm7};
use crate::domain::contact::ContactKind;
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::settings::templates::{Carries, TemplateName};
use crate::domain::time::Timestamp;
use crate::telemetry;

/// Stands in for a tenant's name that is empty or cannot be spelled in an SMS.
const PRODUCT_NAME: &str = "guichet";

/// Septets a tenant's name may take in an SMS, so that the rest fits one segment.
const MAX_SMS_NAME: usize = 30;

/// Characters a tenant's name may take in a mail.
const MAX_MAIL_NAME: usize = 80;

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
    /// When what the message tells of happened.
    pub at: Option<Timestamp>,
    /// The device it happened on, in guichet's own words, never the client's.
    pub device: Option<&'a str>,
    /// The address prefix it came from (/24 or /48).
    pub network: Option<&'a str>,
    /// Which contact is another one now.
    pub changed: Option<ContactKind>,
}

impl Facts<'_> {
    /// Whether the message is nothing without its link.
    fn link_is_needed(&self) -> bool {
        TemplateName::from_name(self.template).is_some_and(|name| name.carries() == Carries::Link)
    }
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
    built_in: Environment<'static>,
    own: Shelf,
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
        Ok(Self { built_in: built_in::environment()?, own: Shelf::default() })
    }

    /// Renders one message, whole, in one language: in the tenant's own words if it has some, which
    /// stand or fall together, else in the built-in ones.
    ///
    /// # Errors
    /// [`TemplateError`]: trying again with the same facts cannot help.
    pub fn render(&self, facts: &Facts<'_>, own: Option<Own<'_>>) -> Result<Rendered, TemplateError> {
        well_formed(facts)?;
        let rendered = match own.and_then(|own| self.in_own_words(facts, own)) {
            Some(rendered) => rendered,
            None => self.compose(None, facts)?,
        };
        Ok(with_origin(rendered, facts))
    }

    fn in_own_words(&self, facts: &Facts<'_>, own: Own<'_>) -> Option<Rendered> {
        let compiled = self.own.get(own)?;
        let has = |locale| compiled.has(facts.template, facts.channel, locale);
        if !has(facts.locale) {
            // Its words in another language are worse than the built-in's in the reader's.
            if [Locale::En, Locale::Fr].into_iter().any(has) {
                metrics::counter!(telemetry::TEMPLATE_LOCALE_MISSING).increment(1);
            }
            return None;
        }
        let rendered = self.compose(Some(&compiled.environment), facts);
        let problem = match rendered.map(|rendered| promises::kept(&rendered, facts).map(|()| rendered)) {
            Ok(Ok(rendered)) => return Some(rendered),
            Ok(Err(broken)) => format!("{}: {}", broken.part, broken.reason),
            Err(error) => error.to_string(),
        };
        metrics::counter!(telemetry::TEMPLATE_FALLBACKS).increment(1);
        tracing::warn!(
            tenant.id = %own.tenant,
            message.template = facts.template,
            locale = facts.locale.tag(),
            error = problem,
            "a tenant's text cannot be used: the built-in is sent"
        );
        None
    }

    /// The message without the last line of a code: each part from `own` if it is there.
    fn compose(&self, own: Option<&Environment<'_>>, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        match facts.channel {
            Channel::Sms => self.compose_sms(own, facts),
            Channel::Email => self.compose_mail(own, facts),
        }
    }

    fn compose_sms(&self, own: Option<&Environment<'_>>, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        let name = gsm7::transliterate(&one_line(facts.tenant_name), MAX_SMS_NAME).filter(|name| !name.is_empty());
        let variables = variables(facts, name.as_deref().unwrap_or(PRODUCT_NAME));
        let text = self.part(own, facts, "sms.txt", &variables)?;
        Ok(Rendered { subject: None, text, html: None })
    }

    fn compose_mail(&self, own: Option<&Environment<'_>>, facts: &Facts<'_>) -> Result<Rendered, TemplateError> {
        let name: String = one_line(facts.tenant_name).chars().take(MAX_MAIL_NAME).collect();
        let mut variables = variables(facts, if name.is_empty() { PRODUCT_NAME } else { &name });
        let subject = self.part(own, facts, "subject.txt", &variables)?;
        let text = self.part(own, facts, "txt", &variables)?;
        variables.insert("subject", Value::from(subject.as_str()));
        if let Some(link) = facts.link {
            variables.insert("link", Value::from_safe_string(as_attribute(link)));
        }
        let has = |part| own.is_some_and(|own| own.get_template(&file_name(facts, part)).is_ok());
        let html = if has("txt") && !has("html") {
            variables.insert("paragraphs", paragraphs(&text, facts.link));
            self.rendered("plain.html", None, &variables)?
        } else {
            self.part(own, facts, "html", &variables)?
        };
        Ok(Rendered { subject: Some(subject), text, html: Some(html) })
    }

    fn part(
        &self,
        own: Option<&Environment<'_>>,
        facts: &Facts<'_>,
        part: &str,
        variables: &Variables,
    ) -> Result<String, TemplateError> {
        self.rendered(&file_name(facts, part), own, variables)
    }

    fn rendered(
        &self,
        name: &str,
        own: Option<&Environment<'_>>,
        variables: &Variables,
    ) -> Result<String, TemplateError> {
        let template = own.and_then(|own| own.get_template(name).ok());
        let Some(template) = template.or_else(|| self.built_in.get_template(name).ok()) else {
            return Err(TemplateError::Missing { name: name.to_owned() });
        };
        template.render(variables.clone()).map_err(|error| broken(name, &error))
    }
}

type Variables = BTreeMap<&'static str, Value>;

fn file_name(facts: &Facts<'_>, part: &str) -> String {
    format!("{}.{}.{part}", facts.template, facts.locale.tag())
}

/// The facts under the names that templates use; a fact not given stays undefined.
fn variables(facts: &Facts<'_>, tenant: &str) -> Variables {
    let mut variables = Variables::from([("tenant", Value::from(tenant)), ("locale", Value::from(facts.locale.tag()))]);
    let date = |moment| match facts.channel {
        Channel::Sms => words::short_date(moment, facts.locale),
        Channel::Email => words::date(moment, facts.locale),
    };
    let texts: [(&'static str, Option<Cow<'_, str>>); 8] = [
        ("code", facts.code.map(Cow::from)),
        ("link", facts.link.map(Cow::from)),
        ("valid_for", facts.valid_for.map(|length| words::in_words(length, facts.locale).into())),
        ("until", facts.until.map(|until| date(until).into())),
        ("at", facts.at.map(|at| date(at).into())),
        ("device", facts.device.map(|device| one_line(device).into())),
        ("network", facts.network.map(Cow::from)),
        ("changed", facts.changed.map(|kind| words::contact(kind, facts.locale).into())),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            variables.insert(name, Value::from(text.as_ref()));
        }
    }
    variables
}

/// A plain text's paragraphs, each with its lines, each with whether it is the link.
fn paragraphs(text: &str, link: Option<&str>) -> Value {
    let line = |line: &str| Value::from(vec![Value::from(line), Value::from(link == Some(line))]);
    let paragraph = |paragraph: &str| Value::from(paragraph.lines().map(line).collect::<Vec<_>>());
    let filled = text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')).filter(|one| !one.is_empty());
    Value::from(filled.map(paragraph).collect::<Vec<_>>())
}

/// `well_formed` left `&` as the only character that means something in HTML; escaping every slash
/// as well, as the engine does, would only make the source hard to read.
fn as_attribute(link: &str) -> String {
    link.replace('&', "&amp;")
}

/// Writes the last line, by which phones know where an SMS code belongs.
fn with_origin(mut rendered: Rendered, facts: &Facts<'_>) -> Rendered {
    if facts.channel == Channel::Sms
        && let (Some(domain), Some(code)) = (facts.domain.filter(|domain| is_host(domain)), facts.code)
    {
        rendered.text = format!("{}\n\n@{domain} #{code}", rendered.text.trim_end());
    }
    rendered
}

fn well_formed(facts: &Facts<'_>) -> Result<(), TemplateError> {
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

fn broken(name: &str, error: &minijinja::Error) -> TemplateError {
    TemplateError::Broken { name: name.to_owned(), kind: error.kind().to_string() }
}

#[cfg(test)]
mod tests;
