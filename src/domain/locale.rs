//! The languages guichet speaks in messages: English and French are built in.
//!
//! The order of choice is the request's `Accept-Language`, then the account, then the tenant
//!. `message` members of the API are never localised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A language for which built-in templates exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}

impl Locale {
    /// The language tag, `en` or `fr`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }

    /// Reads one language tag; regions are ignored (`fr-SN` is French).
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default().trim();
        match primary.to_ascii_lowercase().as_str() {
            "en" => Some(Self::En),
            "fr" => Some(Self::Fr),
            _ => None,
        }
    }

    /// The best supported language of an `Accept-Language` value (RFC 9110 §12.5.4), if any.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for item in header.split(',').take(16) {
            let mut parts = item.split(';');
            let Some(locale) = parts.next().and_then(Self::from_tag) else { continue };
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(Some(1.0), |q| q.parse::<f32>().ok())
                .unwrap_or(0.0);
            if weight > 0.0 && best.is_none_or(|(top, _)| weight > top) {
                best = Some((weight, locale));
            }
        }
        best.map(|(_, locale)| locale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_supported_language_wins() {
        let cases = [
            ("fr-SN,fr;q=0.9,en;q=0.8", Some(Locale::Fr)),
            ("wo, en;q=0.5, fr;q=0.7", Some(Locale::Fr)),
            ("en-GB", Some(Locale::En)),
            ("fr;q=0, en;q=0.1", Some(Locale::En)),
            ("de", None),
            ("", None),
            ("fr;q=banana", None),
        ];
        for (header, expected) in cases {
            assert_eq!(Locale::from_accept_language(header), expected, "{header}");
        }
    }
}
