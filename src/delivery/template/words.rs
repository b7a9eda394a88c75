//! Facts in the words of a language: moments (in UTC, as no one knows where a reader is), lengths of
//! time, kinds of contact.

use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike};

use crate::domain::contact::ContactKind;
use crate::domain::locale::Locale;
use crate::domain::time::Timestamp;

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

/// Whole hours, else the nearest minute: a message leaves some milliseconds into its life, and
/// "4 minutes" for a code of five would be pedantry.
pub(super) fn in_words(length: Duration, locale: Locale) -> String {
    let minutes = ((length.as_secs() + 30) / 60).max(1);
    let (count, one, many) = match (minutes.is_multiple_of(60), locale) {
        (true, Locale::En) => (minutes / 60, "hour", "hours"),
        (true, Locale::Fr) => (minutes / 60, "heure", "heures"),
        (false, _) => (minutes, "minute", "minutes"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `22 November 2026 at 03:06 UTC`, `22 novembre 2026 à 3 h 06 UTC`.
pub(super) fn date(moment: Timestamp, locale: Locale) -> String {
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
pub(super) fn short_date(moment: Timestamp, locale: Locale) -> String {
    let at = DateTime::from_timestamp_millis(moment.as_millis()).unwrap_or_default();
    let form = match locale {
        Locale::En => "%-d %b %Y %H:%M UTC",
        Locale::Fr => "%d/%m/%Y %H:%M UTC",
    };
    at.format(form).to_string()
}

/// A kind of contact, with its article.
pub(super) const fn contact(kind: ContactKind, locale: Locale) -> &'static str {
    match (kind, locale) {
        (ContactKind::Email, Locale::En) => "the e-mail address",
        (ContactKind::Email, Locale::Fr) => "l'adresse e-mail",
        (ContactKind::Phone, Locale::En) => "the phone number",
        (ContactKind::Phone, Locale::Fr) => "le numéro de téléphone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_told_in_words_to_the_nearest_minute() {
        let cases = [
            (30, "1 minute", "1 minute"),
            (89, "1 minute", "1 minute"),
            (299, "5 minutes", "5 minutes"),
            (300, "5 minutes", "5 minutes"),
            (3_600, "1 hour", "1 heure"),
            (5_400, "90 minutes", "90 minutes"),
            (86_400, "24 hours", "24 heures"),
        ];
        for (seconds, english, french) in cases {
            assert_eq!(in_words(Duration::from_secs(seconds), Locale::En), english);
            assert_eq!(in_words(Duration::from_secs(seconds), Locale::Fr), french);
        }
    }
}
