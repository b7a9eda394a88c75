//! Every built-in text, word for word, as a person receives it: one file a template and language.
//!
//! `GUICHET_WRITE_TEXTS=1` writes the files anew; the change is then read like any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use guichet::delivery::template::{Draft, Letterhead, Templates};
use guichet::domain::locale::Locale;
use guichet::domain::settings::TemplateName;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates")
}

fn shown(templates: &Templates, name: TemplateName, locale: Locale) -> String {
    let head = Letterhead {
        tenant_name: "Boutique",
        domain: Some("auth.boutique.example"),
        base_url: "https://auth.boutique.example",
    };
    let mut shown = String::new();
    for &channel in name.channels() {
        let draft = Draft { head, name, locale, channel, texts: None, max_parts: 1 };
        let preview = templates.preview(&draft).unwrap();
        let text = if preview.sms.is_some() { "sms" } else { "text" };
        for (part, words) in [("subject", preview.subject), (text, Some(preview.text)), ("html", preview.html)] {
            if let Some(words) = words {
                writeln!(shown, "---- {part}\n{}", words.trim_end()).unwrap();
            }
        }
    }
    shown
}

#[test]
fn people_read_these_words() {
    let templates = Templates::new().unwrap();
    let write = std::env::var_os("GUICHET_WRITE_TEXTS").is_some();
    let mut written = BTreeSet::new();
    for name in TemplateName::ALL {
        for locale in [Locale::En, Locale::Fr] {
            let file = format!("{}.{}.txt", name.as_str(), locale.tag());
            let shown = shown(&templates, name, locale);
            if write {
                fs::create_dir_all(folder()).unwrap();
                fs::write(folder().join(&file), &shown).unwrap();
            }
            assert_eq!(fs::read_to_string(folder().join(&file)).unwrap_or_default(), shown, "{file}");
            written.insert(file);
        }
    }
    let there = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), written, "a file of no template");
}
