//! The texts people get, word for word, and the promises every text must keep.

use super::*;
use crate::delivery::gsm7::{Encoding, segments};

const UNTIL: Timestamp = Timestamp::from_millis(1_785_553_560_000);
const LINK: &str = "https://auth.example.com/verify/AbC-123_x?a=1&b=2";
const LOCALES: [Locale; 2] = [Locale::En, Locale::Fr];
const MAILS: [&str; 9] = [
    "device_code",
    "verification",
    "password_reset",
    "account_locked",
    "already_registered",
    "password_changed",
    "invitation",
    "contact_change_code",
    "contact_changed",
];
const TEXT_MESSAGES: [&str; 5] =
    ["sign_in_code", "account_locked", "password_changed", "contact_change_code", "contact_changed"];

fn facts(template: &str, channel: Channel, locale: Locale) -> Facts<'_> {
    Facts {
        template,
        channel,
        locale,
        tenant_name: "Boutique",
        domain: None,
        code: template.ends_with("_code").then_some("482913"),
        link: matches!(template, "verification" | "password_reset" | "invitation").then_some(LINK),
        valid_for: Some(Duration::from_mins(5)),
        until: Some(UNTIL),
    }
}

fn render(facts: &Facts<'_>) -> Rendered {
    Templates::new().unwrap().render(facts).unwrap()
}

fn every_message() -> impl Iterator<Item = (&'static str, Channel, Locale)> {
    let mails = MAILS.into_iter().map(|name| (name, Channel::Email));
    let texts = TEXT_MESSAGES.into_iter().map(|name| (name, Channel::Sms));
    mails.chain(texts).flat_map(|(name, channel)| LOCALES.map(|locale| (name, channel, locale)))
}

/// The parse steps of "Origin-bound one-time codes delivered via SMS" (WICG, 2021): host and code
/// of the last line, or nothing.
fn parse_origin_bound(message: &str) -> Option<(String, String)> {
    let line = message.split('\n').next_back()?;
    let rest = line.strip_prefix('@')?;
    let (host, rest) = rest.split_once(' ')?;
    let code = rest.strip_prefix('#')?;
    let code = code.split(' ').next()?;
    let host = url::Host::parse(host).ok()?.to_string();
    (!code.is_empty()).then(|| (host, code.to_owned()))
}

#[test]
fn the_sign_in_code_reads_so() {
    let mut facts = facts("sign_in_code", Channel::Sms, Locale::En);
    assert_eq!(render(&facts).text, "482913 is your Boutique code. Do not share it with anyone.");

    facts.domain = Some("auth.example.com");
    assert_eq!(
        render(&facts).text,
        "482913 is your Boutique code. Do not share it with anyone.\n\n@auth.example.com #482913"
    );

    facts.locale = Locale::Fr;
    assert_eq!(
        render(&facts).text,
        "482913 est votre code Boutique. Ne le partagez avec personne.\n\n@auth.example.com #482913"
    );
}

#[test]
fn the_device_code_reads_so() {
    let english = render(&facts("device_code", Channel::Email, Locale::En));
    assert_eq!(english.subject.as_deref(), Some("Your code for Boutique"));
    assert_eq!(
        english.text,
        "482913 is your code to sign in to Boutique on a new device.\n\n\
         It is valid for 5 minutes. Do not share it with anyone: we never ask for it.\n\n\
         If you are not signing in right now, someone else knows your password. Please change it."
    );

    let french = render(&facts("device_code", Channel::Email, Locale::Fr));
    assert_eq!(french.subject.as_deref(), Some("Votre code pour Boutique"));
    assert_eq!(
        french.text,
        "482913 est votre code pour vous connecter à Boutique sur un nouvel appareil.\n\n\
         Il est valable 5 minutes. Ne le partagez avec personne, nous ne vous le demanderons jamais.\n\n\
         Si vous n’êtes pas en train de vous connecter, quelqu’un d’autre connaît votre mot de passe. \
         Changez-le sans attendre."
    );
}

#[test]
fn the_lock_reads_so_with_the_date_in_the_language_of_the_text() {
    let mail = |locale| render(&facts("account_locked", Channel::Email, locale)).text;
    assert!(mail(Locale::En).starts_with(
        "Your Boutique account is locked until 1 August 2026 at 03:06 UTC, because of too many failed log-in attempts."
    ));
    assert!(
        mail(Locale::Fr).starts_with("Votre compte Boutique est bloqué jusqu’au 1er août 2026 à 3 h 06 UTC, après")
    );

    let sms = |locale| render(&facts("account_locked", Channel::Sms, locale)).text;
    assert_eq!(
        sms(Locale::En),
        "Your Boutique account is locked until 1 Aug 2026 03:06 UTC: too many failed log-ins. Not you? Reset your password."
    );
    assert_eq!(
        sms(Locale::Fr),
        "Votre compte Boutique est bloqué jusqu'au 01/08/2026 03:06 UTC, trop d'échecs. \
         Si ce n'est pas vous, changez de mot de passe."
    );
}

#[test]
fn every_message_exists_whole_in_every_language() {
    for (name, channel, locale) in every_message() {
        let rendered = render(&facts(name, channel, locale));

        assert!(!rendered.text.is_empty() && !rendered.text.contains("{{"), "{name} {locale:?}");
        assert_eq!(rendered.html.is_some(), channel == Channel::Email);
        if let (Some(subject), Some(html)) = (rendered.subject, rendered.html) {
            assert!(!subject.contains(char::is_control), "{subject:?}");
            assert!(html.contains(&format!("<html lang=\"{}\">", locale.tag())), "{html}");
            assert!(!html.contains("<img") && !html.contains("<table"), "{html}");
        }
    }
}

#[test]
fn every_sms_is_one_cheap_segment_with_the_longest_values() {
    for (name, locale) in TEXT_MESSAGES.into_iter().flat_map(|name| LOCALES.map(|locale| (name, locale))) {
        for tenant_name in ["W".repeat(30), "W".repeat(99), "[".repeat(30), "É".repeat(60), "ê".repeat(60)] {
            let facts = Facts {
                tenant_name: &tenant_name,
                domain: Some("comptes.boutique.example.com"),
                code: name.ends_with("_code").then_some("0123456789"),
                ..facts(name, Channel::Sms, locale)
            };

            let text = render(&facts).text;

            assert_eq!(segments(&text), (Encoding::Gsm7, 1), "{name} {locale:?}: {text}");
        }
    }
}

#[test]
fn a_name_outside_the_gsm_alphabet_gives_way_to_the_product() {
    let facts = Facts { tenant_name: "銀行", ..facts("sign_in_code", Channel::Sms, Locale::En) };

    assert_eq!(render(&facts).text, "482913 is your guichet code. Do not share it with anyone.");
}

#[test]
fn phones_read_the_code_and_its_origin_back() {
    for locale in LOCALES {
        for tenant_name in ["Boutique", "@evil.example #000000", "a\n@evil.example #000000", "", "1234 Shop"] {
            for code in ["4829", "482913", "0123456789"] {
                let facts = Facts {
                    tenant_name,
                    domain: Some("auth.example.com"),
                    code: Some(code),
                    ..facts("sign_in_code", Channel::Sms, locale)
                };

                let text = render(&facts).text;

                assert_eq!(parse_origin_bound(&text), Some(("auth.example.com".to_owned(), code.to_owned())));
            }
        }
    }
}

#[test]
fn the_code_is_the_first_digit_group_whatever_the_tenant_is_called() {
    for (template, channel) in [("sign_in_code", Channel::Sms), ("device_code", Channel::Email)] {
        for locale in LOCALES {
            let facts = Facts { tenant_name: "Studio 123456", ..facts(template, channel, locale) };

            let text = render(&facts).text;

            let first = text.split(|c: char| !c.is_ascii_digit()).find(|group| group.len() == 6);
            assert_eq!(first, Some("482913"), "{text}");
        }
    }
}

#[test]
fn a_link_stands_alone_on_its_line_and_is_an_anchor() {
    for name in ["verification", "password_reset"] {
        for locale in LOCALES {
            let rendered = render(&facts(name, Channel::Email, locale));

            assert!(rendered.text.lines().any(|line| line == LINK), "{}", rendered.text);
            let href = LINK.replace('&', "&amp;");
            assert!(rendered.html.unwrap().contains(&format!("<a href=\"{href}\">{href}</a>")));
        }
    }
}

#[test]
fn no_subject_holds_the_code() {
    for locale in LOCALES {
        let subject = render(&facts("device_code", Channel::Email, locale)).subject.unwrap();

        assert!(!subject.contains("482913"));
    }
}

#[test]
fn a_hostile_tenant_name_stays_text_on_one_line() {
    let facts = Facts {
        tenant_name: "<b>x</b>\r\nBcc: all@example.com\u{202e}{{ code }}",
        ..facts("already_registered", Channel::Email, Locale::En)
    };

    let rendered = render(&facts);

    let subject = rendered.subject.unwrap();
    assert_eq!(subject, "You already have a <b>x</b> Bcc: all@example.com {{ code }} account");
    let html = rendered.html.unwrap();
    assert!(!html.contains("<b>") && html.contains("&lt;b&gt;"), "{html}");
}

#[test]
fn facts_of_the_wrong_form_are_refused_without_being_repeated() {
    let templates = Templates::new().unwrap();
    for code in ["", "48 29", "<b>", "４８２９"] {
        let facts = Facts { code: Some(code), ..facts("sign_in_code", Channel::Sms, Locale::En) };
        assert_eq!(templates.render(&facts), Err(TemplateError::Malformed { fact: "code" }));
    }
    for link in ["", "javascript:alert(1)", "https://a.example/\"onclick=", "https://a.example/ b", "//a.example"] {
        let facts = Facts { link: Some(link), ..facts("verification", Channel::Email, Locale::En) };
        assert_eq!(templates.render(&facts), Err(TemplateError::Malformed { fact: "link" }));
    }
}

#[test]
fn a_fact_that_is_missing_is_an_error_not_a_gap() {
    let facts = Facts { valid_for: None, ..facts("device_code", Channel::Email, Locale::En) };

    let error = Templates::new().unwrap().render(&facts).unwrap_err();

    assert_eq!(error, TemplateError::Broken { name: "device_code.en.txt".into(), kind: "undefined value".into() });
    assert!(!format!("{error:?} {error}").contains("482913"));
}

#[test]
fn a_message_without_a_text_for_its_channel_says_so() {
    let facts = facts("verification", Channel::Sms, Locale::Fr);

    let error = Templates::new().unwrap().render(&facts).unwrap_err();

    assert_eq!(error, TemplateError::Missing { name: "verification.fr.sms.txt".into() });
}

#[test]
fn a_domain_that_is_no_bare_host_is_left_out() {
    for domain in ["https://auth.example.com", "auth.example.com:8443", "a b", "a\nb", ""] {
        let facts = Facts { domain: Some(domain), ..facts("sign_in_code", Channel::Sms, Locale::En) };

        assert!(!render(&facts).text.contains('@'), "{domain}");
    }
}

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
