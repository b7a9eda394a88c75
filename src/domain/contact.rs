//! E-mail addresses and phone numbers, canonical from the moment they are parsed.
//!
//! Forty spellings of one number must meet one account, one limit and one lock, so nothing below
//! the front end ever sees the text a person typed: only these types, which cannot be built from
//! an invalid value. Neither holds a control character, so both are safe in a mail header.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use phonenumber::country;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// Longest address a mail path can carry (RFC 5321 §4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_OCTETS: usize = 254;

/// Longest text worth parsing as a phone number: E.164 digits with generous punctuation.
const MAX_PHONE_CHARS: usize = 40;

/// A country or territory whose national number forms a tenant accepts (ISO 3166-1 alpha-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region(country::Id);

impl Region {
    /// The two-letter code.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.as_ref()
    }
}

impl FromStr for Region {
    type Err = InvalidContact;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_ascii_uppercase().parse().map(Self).map_err(|_| InvalidContact::Region)
    }
}

impl TryFrom<String> for Region {
    type Error = InvalidContact;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Serialize for Region {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Region {
    fn schema_name() -> Cow<'static, str> {
        "Region".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z]{2}$" })
    }
}

/// Why a text is not a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContact {
    /// Not an address that mail can be sent to.
    #[error("not a valid e-mail address")]
    Email,
    /// Not a number that the world's numbering plans know.
    #[error("not a valid phone number")]
    Phone,
    /// Not an ISO 3166-1 alpha-2 code with a numbering plan.
    #[error("not a known region")]
    Region,
}

/// An e-mail address: local part folded to lower case and NFKC, domain as lower-case A-labels.
///
/// Its `Debug` form hides the address, so that it can never reach a log by accident.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address as typed (RFC 5321 mailbox; no display name, quotes or literals).
    ///
    /// # Errors
    /// [`InvalidContact::Email`] if no mail could be sent to it.
    pub fn parse(text: &str) -> Result<Self, InvalidContact> {
        let text = text.trim_matches(' ');
        if text.len() > MAX_EMAIL_OCTETS * 2 || text.chars().any(char::is_control) {
            return Err(InvalidContact::Email);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidContact::Email)?;
        // Lower case may take a letter and its accent apart, so that what is stored reads back as itself only
        // when it is put together again.
        let local: String = local.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| InvalidContact::Email)?;
        let address = format!("{local}@{domain}");

        let refused = address.len() > MAX_EMAIL_OCTETS
            || local.contains(['"', '(', ')', '@', ' '])
            || !domain.contains('.') && domain != "localhost"
            || domain.starts_with('[')
            || !email_address::EmailAddress::is_valid(&address);
        if refused { Err(InvalidContact::Email) } else { Ok(Self(address)) }
    }

    /// The canonical address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

/// A phone number in E.164 form (`+` and at most 15 digits).
///
/// Its `Debug` form hides the number, so that it can never reach a log by accident.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads a number as typed; `00` counts as `+`, and forms without either need `region`.
    ///
    /// # Errors
    /// [`InvalidContact::Phone`] if the numbering plans (libphonenumber's metadata) know no such
    /// number.
    pub fn parse(text: &str, region: Option<Region>) -> Result<Self, InvalidContact> {
        if text.chars().count() > MAX_PHONE_CHARS || text.chars().any(char::is_control) {
            return Err(InvalidContact::Phone);
        }
        // Full-width digits and fancy hyphens are spellings, not other numbers.
        let text: String = text.nfkc().collect();
        let text = text.trim();
        let typed = match text.strip_prefix("00") {
            Some(rest) => format!("+{rest}"),
            None => text.to_owned(),
        };
        let is_international = typed.trim_start_matches('(').starts_with('+');
        let unexpected = |c: char| !(c.is_ascii_digit() || " +-.()/\u{2010}\u{2011}\u{2012}\u{2013}".contains(c));
        if typed.contains(unexpected) || typed.matches('+').count() > 1 || (!is_international && region.is_none()) {
            return Err(InvalidContact::Phone);
        }
        // Told a region, the library takes its trunk prefix off numbers of other countries too.
        let region = region.filter(|_| !is_international).map(|Region(id)| id);
        let number = phonenumber::parse(region, &typed).map_err(|_| InvalidContact::Phone)?;
        if !phonenumber::is_valid(&number) {
            return Err(InvalidContact::Phone);
        }
        Ok(Self(number.format().mode(phonenumber::Mode::E164).to_string()))
    }

    /// The number as `+` and digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The country or territory it belongs to, by number metadata; none for numbers of the whole
    /// world, as satellite phones have.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.parsed()?.country().id().map(Region)
    }

    /// Whether a text message can reach it at an ordinary price: a mobile, or where the plan does
    /// not tell them apart (as in North America) perhaps one.
    #[must_use]
    pub fn takes_text(&self) -> bool {
        let Some(number) = self.parsed() else { return false };
        let database = &phonenumber::metadata::DATABASE;
        if number.national().zeros() > 0 {
            // The library tells kinds without the zeros in front, with which all mobiles of some countries begin.
            let mobile = number.metadata(database).and_then(|metadata| metadata.descriptors().mobile());
            return mobile.is_some_and(|mobile| mobile.is_match(&number.national().to_string()));
        }
        matches!(number.number_type(database), phonenumber::Type::Mobile | phonenumber::Type::FixedLineOrMobile)
    }

    /// Back from the canonical form; `None` if the metadata no longer know it.
    fn parsed(&self) -> Option<phonenumber::PhoneNumber> {
        phonenumber::parse(None, &self.0).ok()
    }
}

/// What a person is reached by and signs in with.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contact {
    /// Reached by mail.
    Email(EmailAddress),
    /// Reached by SMS.
    Phone(PhoneNumber),
}

impl Contact {
    /// The canonical text, without the kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(address) => address.as_str(),
            Self::Phone(number) => number.as_str(),
        }
    }

    /// `email` or `phone`: the word used in storage and messages.
    #[must_use]
    pub const fn kind(&self) -> ContactKind {
        match self {
            Self::Email(_) => ContactKind::Email,
            Self::Phone(_) => ContactKind::Phone,
        }
    }

    /// Takes back a value that was canonical when it was stored.
    ///
    /// # Errors
    /// [`InvalidContact`] if the stored text is not in canonical form: a corrupt row.
    pub fn from_canonical(kind: ContactKind, text: &str) -> Result<Self, InvalidContact> {
        match kind {
            ContactKind::Email => EmailAddress::parse(text).map(Self::Email),
            ContactKind::Phone => {
                let digits = text.strip_prefix('+').unwrap_or_default();
                let canonical = (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
                if canonical { Ok(Self::Phone(PhoneNumber(text.to_owned()))) } else { Err(InvalidContact::Phone) }
            }
        }
    }
}

/// The two kinds of contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContactKind {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
}

impl ContactKind {
    /// The word for storage: `email` or `phone`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }
}

impl FromStr for ContactKind {
    type Err = InvalidContact;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "email" => Ok(Self::Email),
            "phone" => Ok(Self::Phone),
            _ => Err(InvalidContact::Email),
        }
    }
}

macro_rules! hidden_debug {
    ($($name:ident => $shown:literal),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($shown)
            }
        }
    )*};
}

hidden_debug!(EmailAddress => "EmailAddress(…)", PhoneNumber => "PhoneNumber(…)", Contact => "Contact(…)");

#[cfg(test)]
mod tests {
    use super::*;

    const SENEGAL: &str = "SN";

    #[test]
    fn forty_spellings_of_one_number_are_one_number() {
        let spellings = [
            "+221771234567",
            "00221771234567",
            "+221 77 123 45 67",
            "+221-77-123-45-67",
            "+221.77.123.45.67",
            "+221 (77) 123 45 67",
            "(+221) 77 123 45 67",
            "+221 771234567",
            "+2217 7123 4567",
            " +221771234567 ",
            "00 221 77 123 45 67",
            "00221-77-123-45-67",
            "00221.771.234.567",
            "00221 (77) 1234567",
            "+221/77/123/45/67",
            "771234567",
            "77 123 45 67",
            "77-123-45-67",
            "77.123.45.67",
            "(77) 123 45 67",
            "77/123/45/67",
            "77 1234567",
            "771 234 567",
            "7 7 1 2 3 4 5 6 7",
            " 771234567",
            "771234567 ",
            "+22177 1234567",
            "+221 77 1234567",
            "+221 7712 34567",
            "+221 77-1234567",
            "＋221771234567",
            "+２２１７７１２３４５６７",
            "７７１２３４５６７",
            "+221  77  123  45  67",
            "00221 771234567",
            "00221 77 1234567",
            "77‐123‐45‐67",
            "+221‑77‑1234567",
            "(77)1234567",
            "(77) 123-4567",
        ];
        let region = SENEGAL.parse().ok();
        assert_eq!(spellings.len(), 40);
        for spelling in spellings {
            let parsed = PhoneNumber::parse(spelling, region).unwrap_or_else(|_| panic!("{spelling} is refused"));
            assert_eq!(parsed.as_str(), "+221771234567", "{spelling}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "+",
            "abc",
            "+221",
            "12345",
            "+999123456789",
            "+22177123456789012",
            "+221771234567\r\nBcc: x",
            "tel:+221771234567",
            "+221771234567;ext=1",
            "771234567",
            "+221 77 123 45 6",
            "++221771234567",
            "0",
            "00",
        ] {
            assert!(PhoneNumber::parse(text, None).is_err(), "{text:?} is taken");
        }
    }

    #[test]
    fn a_region_changes_no_number_that_names_its_country() {
        for number in ["+2250707070707", "+2290195123456", "+242061234567", "+4915112345678", "+8613812345678"] {
            for region in ["FR", "MA", "GB", "US", "SN", "CI"] {
                let parsed = PhoneNumber::parse(number, region.parse().ok());
                assert_eq!(parsed.as_ref().map(PhoneNumber::as_str), Ok(number), "in {region}");
            }
        }
        for spelling in ["+44 (0)7400 123456", "0044 7400 123456", "(+44) 7400 123456"] {
            let parsed = PhoneNumber::parse(spelling, "FR".parse().ok());
            assert_eq!(parsed.as_ref().map(PhoneNumber::as_str), Ok("+447400123456"), "{spelling}");
        }
    }

    #[test]
    fn a_canonical_address_is_its_own_canonical_form() {
        for typed in
            ["J\u{30c}@example.org", "\u{1f0}@example.org", "T\u{308}@example.org", "\u{3aa}\u{301}@example.org"]
        {
            let canonical = EmailAddress::parse(typed).unwrap();
            assert_eq!(EmailAddress::parse(canonical.as_str()).as_ref(), Ok(&canonical), "{typed}");
        }
        let (apart, together) =
            (EmailAddress::parse("J\u{30c}@example.org"), EmailAddress::parse("\u{1f0}@example.org"));
        assert_eq!(apart, together);
    }

    #[test]
    fn a_region_is_found_by_metadata_and_not_by_its_calling_code() {
        for (number, region, takes_text) in [
            ("+221771234567", Some("SN"), true),
            ("+221338210000", Some("SN"), false),
            ("+2250707070707", Some("CI"), true),
            ("+2250505050505", Some("CI"), true),
            ("+2252722212345", Some("CI"), false),
            ("+2290195123456", Some("BJ"), true),
            ("+242061234567", Some("CG"), true),
            ("+24106031234", Some("GA"), true),
            ("+14155552671", Some("US"), true),
            ("+18765551234", Some("JM"), true),
            ("+18095551234", Some("DO"), true),
            ("+16045551234", Some("CA"), true),
            ("+447400123456", Some("GB"), true),
            ("+447781123456", Some("GG"), true),
            ("+442079460000", Some("GB"), false),
            ("+33612345678", Some("FR"), true),
            ("+33899123456", Some("FR"), false),
            ("+77011234567", Some("KZ"), true),
            ("+79161234567", Some("RU"), true),
            ("+80012345678", None, false),
        ] {
            let number = PhoneNumber::parse(number, None).unwrap();
            let found = number.region();

            assert_eq!(found.as_ref().map(Region::code), region, "{}", number.as_str());
            assert_eq!(number.takes_text(), takes_text, "{}", number.as_str());
        }
    }

    #[test]
    fn twenty_spellings_of_one_address_are_one_address() {
        for text in [
            "awa@example.com",
            "AWA@example.com",
            "awa@EXAMPLE.COM",
            " awa@example.com",
            "awa@example.com ",
            "Awa@Example.Com",
            "aWa@example.com",
            "awa@Example.com",
            "ａｗａ@example.com",
            "awa@ｅｘａｍｐｌｅ.com",
            "awa@example。com",
        ] {
            assert_eq!(EmailAddress::parse(text).unwrap().as_str(), "awa@example.com", "{text}");
        }
        let composed = EmailAddress::parse("ren\u{e9}e@bücher.example").unwrap();
        let decomposed = EmailAddress::parse("rene\u{301}e@BÜCHER.example").unwrap();
        assert_eq!(composed, decomposed);
        assert!(composed.as_str().ends_with("@xn--bcher-kva.example"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a b@example.com",
            "a@exa mple.com",
            "a@example.com\r\nBcc: x@y.z",
            "\"a\"@example.com",
            "a@[127.0.0.1]",
            "Awa <awa@example.com>",
            "a@@example.com",
            "a@example..com",
            "a..b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a\0@example.com",
            long_local.as_str(),
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?} is taken");
        }
    }

    #[test]
    fn a_contact_never_prints_itself() {
        let contact = Contact::Email(EmailAddress::parse("awa@example.com").unwrap());

        assert!(!format!("{contact:?}").contains("awa"));
    }
}
