//! A tenant's own words: which templates there are, what each may say, and the overrides.
//!
//! ```text
//!  "templates": {"max_parts": 1, "sign_in_code": {"fr": {"sms": "{{ code }} est votre code."}}}
//!                                 template        locale  part
//! ```
//!
//! Only shape and size are judged here. Syntax, variables and what a text becomes are judged where
//! templates are rendered, at save and again at each send.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Setter;
use crate::domain::locale::Locale;
use crate::domain::message::Channel;

/// Octets that one part of an override may have.
pub const MAX_PART: usize = 16 * 1024;

/// Octets that all overrides of a tenant may have together.
pub const MAX_WHOLE: usize = 64 * 1024;

/// Billed parts an SMS may need, unless the tenant says otherwise.
pub const DEFAULT_MAX_PARTS: u8 = 2;

/// Most parts that a tenant may allow: one stray letter can triple a bill.
const MOST_PARTS: u8 = 4;

/// Everything guichet tells people, by the name of its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateName {
    /// A code to sign in with a phone number.
    SignInCode,
    /// A code to confirm a new device.
    DeviceCode,
    /// A code that proves a new address or number.
    ContactChangeCode,
    /// A link that proves an address.
    Verification,
    /// A link that sets a new password.
    PasswordReset,
    /// A link to join.
    Invitation,
    /// The account is locked.
    AccountLocked,
    /// Someone tried to register an address that has an account.
    AlreadyRegistered,
    /// The password is another one now.
    PasswordChanged,
    /// An address or number is another one now.
    ContactChanged,
    /// A device nobody knew has signed in.
    NewDevice,
    /// A refresh token was used twice.
    TokenReuse,
}

/// What a message carries besides words; machines rely on its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carries {
    /// A code.
    Code,
    /// A link.
    Link,
    /// A link, where there is one.
    PerhapsLink,
    /// Neither.
    Nothing,
}

impl TemplateName {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::SignInCode,
        Self::DeviceCode,
        Self::ContactChangeCode,
        Self::Verification,
        Self::PasswordReset,
        Self::Invitation,
        Self::AccountLocked,
        Self::AlreadyRegistered,
        Self::PasswordChanged,
        Self::ContactChanged,
        Self::NewDevice,
        Self::TokenReuse,
    ];

    /// The name in settings, storage and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignInCode => "sign_in_code",
            Self::DeviceCode => "device_code",
            Self::ContactChangeCode => "contact_change_code",
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::Invitation => "invitation",
            Self::AccountLocked => "account_locked",
            Self::AlreadyRegistered => "already_registered",
            Self::PasswordChanged => "password_changed",
            Self::ContactChanged => "contact_changed",
            Self::NewDevice => "new_device",
            Self::TokenReuse => "token_reuse",
        }
    }

    /// The template of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.as_str() == name)
    }

    /// How it may travel.
    #[must_use]
    pub const fn channels(self) -> &'static [Channel] {
        match self {
            Self::SignInCode => &[Channel::Sms],
            Self::DeviceCode
            | Self::Verification
            | Self::PasswordReset
            | Self::Invitation
            | Self::AlreadyRegistered => &[Channel::Email],
            Self::ContactChangeCode
            | Self::AccountLocked
            | Self::PasswordChanged
            | Self::ContactChanged
            | Self::NewDevice
            | Self::TokenReuse => &[Channel::Sms, Channel::Email],
        }
    }

    /// What it carries.
    #[must_use]
    pub const fn carries(self) -> Carries {
        match self {
            Self::SignInCode | Self::DeviceCode | Self::ContactChangeCode => Carries::Code,
            Self::Verification | Self::PasswordReset | Self::Invitation => Carries::Link,
            Self::AccountLocked => Carries::PerhapsLink,
            Self::AlreadyRegistered
            | Self::PasswordChanged
            | Self::ContactChanged
            | Self::NewDevice
            | Self::TokenReuse => Carries::Nothing,
        }
    }

    /// Variables that its text may print, the tenant's name (`tenant`) among them. A subject has
    /// only that one.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        match self.carries() {
            Carries::Code => &["tenant", "at", "code", "valid_for"],
            Carries::Link => &["tenant", "at", "link", "valid_for"],
            Carries::PerhapsLink => &["tenant", "at", "until"],
            Carries::Nothing => &["tenant", "at"],
        }
    }

    /// Variables that are not always known: to be printed only inside `{% if … %}`.
    #[must_use]
    pub const fn optional_variables(self) -> &'static [&'static str] {
        match self {
            Self::AccountLocked => &["link"],
            Self::ContactChanged => &["changed"],
            Self::NewDevice => &["device", "network"],
            _ => &[],
        }
    }
}

/// A tenant's own texts, and what its SMS may cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TemplateSettings {
    /// Billed parts an SMS may need with the longest values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<u8>,
    /// The overrides; an unknown template or locale is refused.
    #[serde(flatten)]
    pub texts: BTreeMap<TemplateName, ByLocale>,
}

/// By hand, since what is flattened is read from a copy that knows no paths: a fault below would be named
/// by the section alone.
impl<'de> Deserialize<'de> for TemplateSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = TemplateSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by the names of their templates")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TemplateSettings, A::Error> {
        let mut settings = TemplateSettings::default();
        while let Some(member) = map.next_key()? {
            match member {
                Member::MaxParts => settings.max_parts = map.next_value()?,
                Member::Template(name) => {
                    settings.texts.insert(name, map.next_value()?);
                }
            }
        }
        Ok(settings)
    }
}

enum Member {
    MaxParts,
    Template(TemplateName),
}

/// As a word and not as a variant: only so does a fault below it name it in its path.
impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word == "max_parts" {
            return Ok(Self::MaxParts);
        }
        let named = TemplateName::from_name(&word).map(Self::Template);
        named.ok_or_else(|| D::Error::unknown_field(&word, &[]))
    }
}

/// One template's overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ByLocale {
    /// In English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub en: Option<Texts>,
    /// In French.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fr: Option<Texts>,
}

/// The parts of one message in one language; what is absent is the built-in's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Texts {
    /// The SMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<String>,
    /// The mail's subject, one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The mail in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The mail in HTML, a whole document; made from `text` if absent. Needs `text`, for both must
    /// say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

impl Texts {
    /// The parts that are given, by their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("sms", &self.sms), ("subject", &self.subject), ("text", &self.text), ("html", &self.html)];
        all.into_iter().filter_map(|(part, text)| Some((part, text.as_deref()?)))
    }
}

impl TemplateSettings {
    /// Billed parts an SMS may need.
    #[must_use]
    pub fn max_parts(&self) -> usize {
        usize::from(self.max_parts.unwrap_or(DEFAULT_MAX_PARTS))
    }

    /// One message's overrides in one language.
    #[must_use]
    pub fn get(&self, name: TemplateName, locale: Locale) -> Option<&Texts> {
        let by_locale = self.texts.get(&name)?;
        match locale {
            Locale::En => by_locale.en.as_ref(),
            Locale::Fr => by_locale.fr.as_ref(),
        }
    }

    /// Every override.
    pub fn iter(&self) -> impl Iterator<Item = (TemplateName, Locale, &Texts)> {
        self.texts.iter().flat_map(|(name, by_locale)| {
            let both = [(Locale::En, &by_locale.en), (Locale::Fr, &by_locale.fr)];
            both.into_iter().filter_map(move |(locale, texts)| Some((*name, locale, texts.as_ref()?)))
        })
    }

    pub(super) fn check(&self, set: &mut Setter<'_>) {
        let mut max_parts = DEFAULT_MAX_PARTS;
        set.number("templates.max_parts", self.max_parts, 1..=MOST_PARTS, &mut max_parts);
        let mut whole = 0;
        for (name, locale, texts) in self.iter() {
            for (part, text) in texts.parts() {
                whole += text.len();
                if text.len() > MAX_PART {
                    let path = format!("templates.{}.{}.{part}", name.as_str(), locale.tag());
                    set.refuse(path, format!("must be at most {MAX_PART} octets"));
                }
            }
        }
        if whole > MAX_WHOLE {
            set.refuse("templates", format!("must be at most {MAX_WHOLE} octets together"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Policy, Profile};
    use crate::domain::settings::Settings;

    fn read(json: &str) -> Result<Settings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn refused(settings: &Settings) -> Vec<String> {
        let bad = Policy::with(Profile::Classic, settings).err().unwrap_or_default();
        bad.into_iter().map(|bad| bad.path.into_owned()).collect()
    }

    #[test]
    fn an_override_reads_back_as_it_was_written() {
        let json = r#"{"templates":{"max_parts":1,"sign_in_code":{"fr":{"sms":"{{ code }}"}},"verification":{"en":{"subject":"S"}}}}"#;

        let settings = read(json).unwrap();

        assert_eq!(serde_json::to_string(&settings).unwrap(), json);
        let texts = settings.templates.get(TemplateName::SignInCode, Locale::Fr).unwrap();
        assert_eq!(texts.sms.as_deref(), Some("{{ code }}"));
        assert_eq!(settings.templates.max_parts(), 1);
        assert_eq!(refused(&settings), [""; 0]);
        assert_eq!(read("{}").unwrap().templates.max_parts(), 2);
    }

    #[test]
    fn what_nobody_reads_is_not_taken() {
        for json in [
            r#"{"templates":{"sign_in_kode":{}}}"#,
            r#"{"templates":{"sign_in_code":{"de":{"sms":"{{ code }}"}}}}"#,
            r#"{"templates":{"sign_in_code":{"fr":{"push":"{{ code }}"}}}}"#,
            r#"{"templates":{"sign_in_code":{"fr":"{{ code }}"}}}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn sizes_are_bounded_part_by_part_and_together() {
        let large = "x".repeat(MAX_PART + 1);
        let one = read(&format!(r#"{{"templates":{{"max_parts":5,"sign_in_code":{{"fr":{{"sms":"{large}"}}}}}}}}"#));
        assert_eq!(refused(&one.unwrap()), ["templates.max_parts", "templates.sign_in_code.fr.sms"]);

        let text = "x".repeat(MAX_PART);
        let locale = format!(r#"{{"sms":"{text}","subject":"{text}","text":"{text}","html":"{text}"}}"#);
        let most = format!(r#"{{"templates":{{"verification":{{"en":{locale}}}}}}}"#);
        assert_eq!(refused(&read(&most).unwrap()), [""; 0]);
        let over = format!(r#"{{"templates":{{"verification":{{"en":{locale},"fr":{{"sms":"x"}}}}}}}}"#);
        assert_eq!(refused(&read(&over).unwrap()), ["templates"]);
    }

    #[test]
    fn every_name_is_one_name_everywhere() {
        for template in TemplateName::ALL {
            assert_eq!(serde_json::to_value(template).unwrap(), template.as_str());
            assert_eq!(TemplateName::from_name(template.as_str()), Some(template));
        }
        assert_eq!(TemplateName::from_name("x"), None);
    }
}
