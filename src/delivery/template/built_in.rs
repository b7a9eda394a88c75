//! The texts that come with guichet, in every language it speaks: what is always behind a tenant's.

use minijinja::{Environment, UndefinedBehavior};

use super::{TemplateError, broken};
use crate::domain::locale::Locale;

macro_rules! texts {
    ($($name:literal: $($part:literal)*;)*) => {
        &[
            ("layout.html", include_str!("../templates/layout.html")),
            ("plain.html", include_str!("../templates/plain.html")),
            $($(
                (concat!($name, ".en.", $part), include_str!(concat!("../templates/", $name, ".en.", $part))),
                (concat!($name, ".fr.", $part), include_str!(concat!("../templates/", $name, ".fr.", $part))),
            )*)*
        ]
    };
}

/// `layout.html` frames every built-in mail; `plain.html` makes one out of a tenant's plain text.
const TEXTS: &[(&str, &str)] = texts![
    "account_locked": "html" "sms.txt" "subject.txt" "txt";
    "already_registered": "html" "subject.txt" "txt";
    "contact_change_code": "html" "sms.txt" "subject.txt" "txt";
    "contact_changed": "html" "sms.txt" "subject.txt" "txt";
    "device_code": "html" "subject.txt" "txt";
    "invitation": "html" "subject.txt" "txt";
    "new_device": "html" "sms.txt" "subject.txt" "txt";
    "password_changed": "html" "sms.txt" "subject.txt" "txt";
    "password_reset": "html" "subject.txt" "txt";
    "sign_in_code": "sms.txt";
    "token_reuse": "html" "sms.txt" "subject.txt" "txt";
    "verification": "html" "subject.txt" "txt";
];

/// All of them, compiled.
pub(super) fn environment() -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    // Printing what was not given is an error, asking whether it was given is not.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    // With it on, an error quotes the variables, codes included.
    environment.set_debug(false);
    for (name, source) in TEXTS {
        environment.add_template(name, source).map_err(|error| broken(name, &error))?;
    }
    Ok(environment)
}

/// The source of one part as it is written, for people who want to word it otherwise.
pub(super) fn source(name: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// A built-in mail with its frame around it, written without the engine's inheritance.
pub(super) fn whole_page(body: &str, locale: Locale, subject: &str) -> String {
    let frames = |line: &&str| !["{% extends", "{% block", "{% endblock"].iter().any(|tag| line.starts_with(tag));
    let body = body.lines().filter(frames).collect::<Vec<_>>().join("\n");
    let frame = source("layout.html").unwrap_or_default();
    let page = frame.replace("{{ locale }}", locale.tag()).replace("{{ subject }}", subject);
    page.replace("{% block body %}{% endblock %}", &body).trim_end().to_owned()
}
