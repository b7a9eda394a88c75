//! Counts what a text costs as an SMS, and brings a name into the cheap alphabet.
//!
//! One character outside the GSM 7-bit alphabet (3GPP TS 23.038 §6.2.1) turns the whole message
//! into UCS-2: 70 characters instead of 160, and two or three times the price. `é è à ù` are
//! inside; `ê ç ô î û` and curly quotes are not. [`super::template`] uses this at render time
//! and when a tenant's text is saved, and the tests hold every built-in template to one segment.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The basic table: one septet each. The escape and form feed are left out on purpose.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// The extension table: an escape and one more septet each.
const EXTENSION: &str = "^{}\\[~]|€";

/// How a phone network will carry a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// 160 septets alone, 153 in each part of several.
    Gsm7,
    /// 70 UTF-16 units alone, 67 in each part of several.
    Ucs2,
}

impl Encoding {
    /// `GSM-7` or `UCS-2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }
}

/// Septets of one character, or `None` if it is outside the alphabet.
fn septets_of(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// The encoding a text needs and the number of segments it is billed as (at least one).
#[must_use]
pub fn segments(text: &str) -> (Encoding, usize) {
    match text.chars().map(septets_of).collect::<Option<Vec<_>>>() {
        Some(widths) => (Encoding::Gsm7, parts(&widths, 160, 153)),
        None => (Encoding::Ucs2, parts(&text.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67)),
    }
}

/// Parts needed when no character may be split between two of them.
fn parts(widths: &[usize], alone: usize, in_several: usize) -> usize {
    if widths.iter().sum::<usize>() <= alone {
        return 1;
    }
    let mut parts = 1;
    let mut used = 0;
    for width in widths {
        if used + width > in_several {
            parts += 1;
            used = 0;
        }
        used += width;
    }
    parts
}

/// Spells a name with the GSM alphabet in at most `max_septets`: accents it lacks are dropped
/// (`Crédit Généçois` → `Crédit Génécois`). `None` if a character has no such spelling.
#[must_use]
pub fn transliterate(name: &str, max_septets: usize) -> Option<String> {
    let mut spelled = String::new();
    for c in name.nfc() {
        spell(c, &mut spelled)?;
    }
    let mut left = max_septets;
    let fits = |c: &char| {
        let rest = left.checked_sub(septets_of(*c).unwrap_or(usize::MAX));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    Some(spelled.chars().take_while(fits).collect::<String>().trim_end().to_owned())
}

fn spell(c: char, out: &mut String) -> Option<()> {
    if septets_of(c).is_some() {
        out.push(c);
        return Some(());
    }
    let known = match c {
        'œ' => "oe",
        'Œ' => "OE",
        'ł' => "l",
        'Ł' => "L",
        'ı' => "i",
        '\u{2018}' | '\u{2019}' => "'",
        '\u{201c}' | '\u{201d}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2014}' => "-",
        _ => "",
    };
    if !known.is_empty() {
        out.push_str(known);
        return Some(());
    }
    let bare: Vec<char> = std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c)).collect();
    if bare.is_empty() || bare.iter().any(|c| septets_of(*c).is_none()) {
        return None;
    }
    out.extend(bare);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_its_127_and_nine_characters() {
        // 128 places of the basic table, less the escape.
        assert_eq!(BASIC.chars().count(), 127);
        assert_eq!(EXTENSION.chars().count(), 9);
    }

    #[test]
    fn segments_are_counted_as_networks_bill_them() {
        let cases = [
            (String::new(), Encoding::Gsm7, 1),
            ("a".repeat(160), Encoding::Gsm7, 1),
            ("a".repeat(161), Encoding::Gsm7, 2),
            ("a".repeat(306), Encoding::Gsm7, 2),
            ("a".repeat(307), Encoding::Gsm7, 3),
            ("€".repeat(80), Encoding::Gsm7, 1),
            ("€".repeat(81), Encoding::Gsm7, 2),
            // 76 of them fill 152 of 153 septets: the escape is not cut from its character.
            ("€".repeat(153), Encoding::Gsm7, 3),
            ("é".repeat(160), Encoding::Gsm7, 1),
            ("ê".repeat(70), Encoding::Ucs2, 1),
            ("ê".repeat(71), Encoding::Ucs2, 2),
            ("ç".to_owned(), Encoding::Ucs2, 1),
            ("\u{2019}".to_owned(), Encoding::Ucs2, 1),
            ("😀".repeat(35), Encoding::Ucs2, 1),
            ("😀".repeat(36), Encoding::Ucs2, 2),
            ("😀".repeat(67), Encoding::Ucs2, 3),
        ];
        for (text, encoding, count) in cases {
            assert_eq!(segments(&text), (encoding, count), "{} × {:?}", text.chars().count(), text.chars().next());
        }
    }

    #[test]
    fn a_name_is_spelled_cheaply_or_not_at_all() {
        let cases = [
            ("Guichet", Some("Guichet")),
            ("Crédit façade", Some("Crédit facade")),
            ("Côte d’Ivoire", Some("Cote d'Ivoire")),
            ("Cre\u{301}dit", Some("Crédit")),
            ("Cœur", Some("Coeur")),
            ("日本", None),
            ("Почта", None),
            ("👍", None),
        ];
        for (name, expected) in cases {
            assert_eq!(transliterate(name, 30).as_deref(), expected, "{name}");
        }
        assert_eq!(transliterate(&"€".repeat(30), 30).map(|name| name.chars().count()), Some(15));
        assert_eq!(transliterate(&"a".repeat(99), 30).map(|name| name.len()), Some(30));
    }
}
