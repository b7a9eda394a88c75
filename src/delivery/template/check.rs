//! Judges a tenant's texts before they are saved, and shows what they become.
//!
//! Every text is rendered as it will be: with a code of every length, with and without what is not
//! always known, with the tenant's own name (digits in it may come before the code) and with the
//! longest one (which decides what an SMS costs).

use std::time::Duration;

use minijinja::Environment;

use super::overrides::{Problem, add, sandbox};
use super::{Facts, TemplateError, Templates, as_attribute, built_in, grammar, promises, with_origin};
use crate::delivery::Rendered;
use crate::delivery::gsm7::{self, Encoding};
use crate::domain::contact::ContactKind;
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::settings::BadSetting;
use crate::domain::settings::templates::{Carries, TemplateName, TemplateSettings, Texts};
use crate::domain::time::Timestamp;

/// As long a name as a mail shows; an SMS cuts it down. It is no part of any address.
const LONGEST_NAME: &str = "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM";

/// As long a name of a device as is told.
const LONGEST_DEVICE: &str = "Samsung Internet, Android";

/// As long an address prefix as there is.
const LONGEST_NETWORK: &str = "2001:db8:cafe::/48";

/// 22 September 2026 at 22:22 UTC: as long as a date gets.
const LONGEST_DATE: Timestamp = Timestamp::from_millis(1_790_115_720_000);

/// How a text names the link.
const LINK: &str = "{{ link }}";

/// Digits of which sample codes are made; none of them looks like a year.
const DIGITS: &str = "4829135067";

/// In whose name messages are sent.
#[derive(Debug, Clone, Copy)]
pub struct Letterhead<'a> {
    /// The tenant's display name.
    pub tenant_name: &'a str,
    /// The host that SMS codes are bound to.
    pub domain: Option<&'a str>,
    /// What links begin with.
    pub base_url: &'a str,
}

/// What an SMS costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SmsCost {
    /// Segments that are billed.
    pub parts: usize,
    /// Characters, the last line included.
    pub characters: usize,
    /// How networks carry it.
    pub encoding: Encoding,
}

impl SmsCost {
    fn of(text: &str) -> Self {
        let (encoding, parts) = gsm7::segments(text);
        Self { encoding, parts, characters: text.chars().count() }
    }
}

/// An override that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTemplate {
    /// Dotted path in the settings document, as in `templates.sign_in_code.fr.sms`.
    pub path: String,
    /// What would be right.
    pub reason: String,
    /// What the SMS would cost, if that is what is wrong.
    pub cost: Option<SmsCost>,
}

impl From<BadTemplate> for BadSetting {
    fn from(bad: BadTemplate) -> Self {
        Self { path: bad.path.into(), reason: bad.reason }
    }
}

/// One message to be shown, with texts that need not be saved.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// In whose name.
    pub head: Letterhead<'a>,
    /// Which message.
    pub name: TemplateName,
    /// In which language.
    pub locale: Locale,
    /// How it would travel.
    pub channel: Channel,
    /// The tenant's own texts; the built-in without.
    pub texts: Option<&'a Texts>,
    /// Billed parts an SMS may need.
    pub max_parts: usize,
}

/// What a person would receive, with sample values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// A mail's subject.
    pub subject: Option<String>,
    /// The plain text, an SMS's last line included.
    pub text: String,
    /// A mail in HTML.
    pub html: Option<String>,
    /// What the SMS costs with the longest values.
    pub sms: Option<SmsCost>,
}

/// What a tenant may word otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIn {
    /// Which message.
    pub name: TemplateName,
    /// In which language.
    pub locale: Locale,
    /// Its parts as they would be written in settings.
    pub texts: Texts,
}

/// The parts of a message: their names in settings and the endings of their templates.
pub(super) const fn part_names(channel: Channel) -> &'static [(&'static str, &'static str)] {
    match channel {
        Channel::Sms => &[("sms", "sms.txt")],
        Channel::Email => &[("subject", "subject.txt"), ("text", "txt"), ("html", "html")],
    }
}

/// Every built-in text, written so that it could be saved as an override.
#[must_use]
pub fn built_in_texts() -> Vec<BuiltIn> {
    let both = |name| [Locale::En, Locale::Fr].map(|locale| (name, locale));
    let written = |(name, locale): (TemplateName, Locale)| BuiltIn { name, locale, texts: built_in(name, locale) };
    TemplateName::ALL.into_iter().flat_map(both).map(written).collect()
}

fn built_in(name: TemplateName, locale: Locale) -> Texts {
    let part = |suffix: &str| built_in::source(&format!("{}.{}.{suffix}", name.as_str(), locale.tag()));
    let subject = part("subject.txt").map(str::trim_end);
    Texts {
        sms: part("sms.txt").map(|text| text.trim_end().to_owned()),
        subject: subject.map(str::to_owned),
        text: part("txt").map(|text| text.trim_end().to_owned()),
        html: part("html").map(|body| built_in::whole_page(body, locale, subject.unwrap_or_default())),
    }
}

impl Templates {
    /// What is wrong with a tenant's texts; nothing, if they may be saved.
    #[must_use]
    pub fn check(&self, settings: &TemplateSettings, head: &Letterhead<'_>) -> Vec<BadTemplate> {
        let mut bad = Vec::new();
        for (name, locale, texts) in settings.iter() {
            bad.extend(astray(name, locale, texts));
            for &channel in name.channels() {
                let draft =
                    Draft { head: *head, name, locale, channel, texts: Some(texts), max_parts: settings.max_parts() };
                bad.extend(self.check_message(&draft).err());
            }
        }
        bad
    }

    /// Shows one message.
    ///
    /// # Errors
    /// What is wrong with its texts: the same that [`check`](Self::check) would say at save.
    pub fn preview(&self, draft: &Draft<'_>) -> Result<Preview, Vec<BadTemplate>> {
        let missing = |reason: &str| {
            let path = format!("templates.{}.{}", draft.name.as_str(), draft.locale.tag());
            vec![BadTemplate { path, reason: reason.to_owned(), cost: None }]
        };
        if !draft.name.channels().contains(&draft.channel) {
            return Err(missing("never goes by this channel"));
        }
        let astray: Vec<_> = draft.texts.map(|texts| astray(draft.name, draft.locale, texts)).unwrap_or_default();
        if !astray.is_empty() {
            return Err(astray);
        }
        let sms = self.check_message(draft).map_err(|bad| vec![bad])?;
        let environment = draft.environment().map_err(|bad| vec![bad])?;
        let sample = Sample::new(draft, draft.head.tenant_name, 6, usize::MAX);
        let facts = sample.facts();
        let rendered = self.compose(Some(&environment), &facts).map_err(|error| missing(&error.to_string()))?;
        let Rendered { subject, text, html } = with_origin(rendered, &facts);
        Ok(Preview { subject, text, html, sms })
    }

    /// What the SMS costs with the longest values, if it is one.
    fn check_message(&self, draft: &Draft<'_>) -> Result<Option<SmsCost>, BadTemplate> {
        let environment = draft.environment()?;
        let mut dearest: Option<SmsCost> = None;
        for sample in Sample::every(draft) {
            let facts = sample.facts();
            let rendered = self.compose(Some(&environment), &facts).map_err(|error| draft.unrenderable(&error))?;
            promises::kept(&rendered, &facts).map_err(|broken| draft.bad(broken.part, broken.reason))?;
            // Not under the tenant's own name, which may be an address.
            if facts.tenant_name == LONGEST_NAME {
                for (part, outcome) in outcomes(&rendered, &facts) {
                    grammar::check_outcome(part, &outcome).map_err(|reason| draft.bad(part, &reason))?;
                }
            }
            if draft.channel == Channel::Sms {
                let cost = SmsCost::of(&with_origin(rendered, &facts).text);
                dearest = dearest.max(Some(cost));
            }
        }
        match dearest {
            Some(cost) if cost.parts > draft.max_parts => {
                let reason = format!(
                    "would be billed as {} parts with the longest values ({}), more than {}",
                    cost.parts,
                    cost.encoding.as_str(),
                    draft.max_parts
                );
                Err(BadTemplate { cost: Some(cost), ..draft.bad("sms", &reason) })
            }
            cost => Ok(cost),
        }
    }
}

/// The parts of a message, with the link as its text names it.
fn outcomes(rendered: &Rendered, facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let link = facts.link.unwrap_or(LINK);
    let bare = |text: &str, link: &str| text.replace(link, LINK);
    let text = promises::text_part(facts.channel);
    let subject = rendered.subject.as_deref().map(|subject| ("subject", bare(subject, link)));
    let html = rendered.html.as_deref().map(|html| ("html", bare(html, &as_attribute(link))));
    subject.into_iter().chain([(text, bare(&rendered.text, link))]).chain(html).collect()
}

/// Parts that no message of that name has.
fn astray(name: TemplateName, locale: Locale, texts: &Texts) -> Vec<BadTemplate> {
    let known =
        |part: &str| name.channels().iter().flat_map(|channel| part_names(*channel)).any(|(one, _)| *one == part);
    let unknown = texts.parts().filter(|(part, _)| !known(part));
    let bad = |(part, _): (&str, &str)| BadTemplate {
        path: format!("templates.{}.{}.{part}", name.as_str(), locale.tag()),
        reason: format!("{} never goes by {}", name.as_str(), if part == "sms" { "SMS" } else { "mail" }),
        cost: None,
    };
    unknown.map(bad).collect()
}

impl Draft<'_> {
    fn environment(&self) -> Result<Environment<'static>, BadTemplate> {
        let mut environment = sandbox();
        if let Some(texts) = self.texts {
            let added = add(&mut environment, self.name, self.channel, self.locale, texts);
            added.map_err(|Problem { part, reason }| self.bad(part, &reason))?;
        }
        Ok(environment)
    }

    fn bad(&self, part: &str, reason: &str) -> BadTemplate {
        let path = format!("templates.{}.{}.{part}", self.name.as_str(), self.locale.tag());
        BadTemplate { path, reason: reason.to_owned(), cost: None }
    }

    fn unrenderable(&self, error: &TemplateError) -> BadTemplate {
        let TemplateError::Broken { name, kind } = error else { return self.bad("text", &error.to_string()) };
        let suffix = name.splitn(3, '.').last().unwrap_or_default();
        let part = part_names(self.channel).iter().find(|(_, known)| *known == suffix).map_or("text", |(part, _)| part);
        let optional = self.name.optional_variables();
        let hint = if optional.is_empty() {
            String::new()
        } else {
            format!("; {} may be unknown and can be printed inside an `if` alone", optional.join(" and "))
        };
        self.bad(part, &format!("cannot be rendered: {kind}{hint}"))
    }
}

/// Facts that may come to pass.
struct Sample<'a> {
    draft: &'a Draft<'a>,
    tenant_name: &'a str,
    code: Option<&'a str>,
    link: String,
    /// One bit for each optional variable: whether it is known.
    known: usize,
}

impl<'a> Sample<'a> {
    fn every(draft: &'a Draft<'a>) -> impl Iterator<Item = Self> {
        let codes = if draft.name.carries() == Carries::Code { 4..=10 } else { 6..=6 };
        let known = 1_usize << draft.name.optional_variables().len();
        let names = [LONGEST_NAME, draft.head.tenant_name];
        names.into_iter().flat_map(move |name| {
            let codes = codes.clone();
            codes.flat_map(move |length| (0..known).map(move |known| Self::new(draft, name, length, known)))
        })
    }

    fn new(draft: &'a Draft<'a>, tenant_name: &'a str, length: usize, known: usize) -> Self {
        let code = DIGITS.get(..length).filter(|_| draft.name.carries() == Carries::Code);
        let token = "a".repeat(43);
        let link = format!("{}/api/auth/password/reset/{token}", draft.head.base_url.trim_end_matches('/'));
        Self { draft, tenant_name, code, link, known }
    }

    fn knows(&self, variable: &str) -> bool {
        let place = self.draft.name.optional_variables().iter().position(|one| *one == variable);
        place.is_some_and(|place| self.known >> place.min(63) & 1 == 1)
    }

    fn facts(&self) -> Facts<'_> {
        let has_link = self.draft.name.carries() == Carries::Link || self.knows("link");
        Facts {
            template: self.draft.name.as_str(),
            channel: self.draft.channel,
            locale: self.draft.locale,
            tenant_name: self.tenant_name,
            domain: self.draft.head.domain,
            code: self.code,
            link: Some(self.link.as_str()).filter(|_| has_link),
            valid_for: Some(Duration::from_mins(59)),
            until: Some(LONGEST_DATE),
            at: Some(LONGEST_DATE),
            device: Some(LONGEST_DEVICE).filter(|_| self.knows("device")),
            network: Some(LONGEST_NETWORK).filter(|_| self.knows("network")),
            changed: Some(ContactKind::Phone).filter(|_| self.knows("changed")),
        }
    }
}
