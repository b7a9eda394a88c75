//! The texts people get, word for word, and the promises every text must keep.

use super::*;
use crate::delivery::gsm7::{Encoding, segments};
use crate::domain::ids::TenantId;
use crate::domain::message::Content;
use crate::domain::settings::templates::TemplateSettings;

const UNTIL: Timestamp = Timestamp::from_millis(1_785_553_560_000);
const LINK: &str = "https://auth.example.com/verify/AbC-123_x?a=1&b=2";
const LOCALES: [Locale; 2] = [Locale::En, Locale::Fr];

fn facts(template: &str, channel: Channel, locale: Locale) -> Facts<'_> {
    let carries = TemplateName::from_name(template).map_or(Carries::Nothing, TemplateName::carries);
    Facts {
        template,
        channel,
        locale,
        tenant_name: "Boutique",
        domain: None,
        code: (carries == Carries::Code).then_some("482913"),
        link: (carries == Carries::Link).then_some(LINK),
        valid_for: Some(Duration::from_mins(5)),
        until: Some(UNTIL),
        at: Some(UNTIL),
        device: None,
        network: None,
        changed: None,
    }
}

fn render(facts: &Facts<'_>) -> Rendered {
    Templates::new().unwrap().render(facts, None).unwrap()
}

fn every_message() -> impl Iterator<Item = (&'static str, Channel, Locale)> {
    let both = |(name, channel): (TemplateName, Channel)| LOCALES.map(|locale| (name.as_str(), channel, locale));
    let channels = |name: TemplateName| name.channels().iter().map(move |channel| (name, *channel));
    TemplateName::ALL.into_iter().flat_map(channels).flat_map(both)
}

fn text_messages() -> impl Iterator<Item = (&'static str, Locale)> {
    every_message().filter(|(_, channel, _)| *channel == Channel::Sms).map(|(name, _, locale)| (name, locale))
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
    for (name, locale) in text_messages() {
        for tenant_name in ["W".repeat(30), "W".repeat(99), "[".repeat(30), "É".repeat(60), "ê".repeat(60)] {
            let facts = Facts {
                tenant_name: &tenant_name,
                domain: Some("comptes.boutique.example.com"),
                code: facts(name, Channel::Sms, locale).code.map(|_| "0123456789"),
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
    let codes = [
        ("sign_in_code", Channel::Sms),
        ("device_code", Channel::Email),
        ("contact_change_code", Channel::Sms),
        ("contact_change_code", Channel::Email),
    ];
    for (template, channel) in codes {
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
    for name in ["verification", "password_reset", "invitation", "account_locked"] {
        for locale in LOCALES {
            let facts = Facts { link: Some(LINK), ..facts(name, Channel::Email, locale) };
            let rendered = render(&facts);

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
        assert_eq!(templates.render(&facts, None), Err(TemplateError::Malformed { fact: "code" }));
    }
    for link in ["", "javascript:alert(1)", "https://a.example/\"onclick=", "https://a.example/ b", "//a.example"] {
        let facts = Facts { link: Some(link), ..facts("verification", Channel::Email, Locale::En) };
        assert_eq!(templates.render(&facts, None), Err(TemplateError::Malformed { fact: "link" }));
    }
}

#[test]
fn a_fact_that_is_missing_is_an_error_not_a_gap() {
    let facts = Facts { valid_for: None, ..facts("device_code", Channel::Email, Locale::En) };

    let error = Templates::new().unwrap().render(&facts, None).unwrap_err();

    assert_eq!(error, TemplateError::Broken { name: "device_code.en.txt".into(), kind: "undefined value".into() });
    assert!(!format!("{error:?} {error}").contains("482913"));
}

#[test]
fn a_message_without_a_text_for_its_channel_says_so() {
    let facts = facts("verification", Channel::Sms, Locale::Fr);

    let error = Templates::new().unwrap().render(&facts, None).unwrap_err();

    assert_eq!(error, TemplateError::Missing { name: "verification.fr.sms.txt".into() });
}

#[test]
fn a_domain_that_is_no_bare_host_is_left_out() {
    for domain in ["https://auth.example.com", "auth.example.com:8443", "a b", "a\nb", ""] {
        let facts = Facts { domain: Some(domain), ..facts("sign_in_code", Channel::Sms, Locale::En) };

        assert!(!render(&facts).text.contains('@'), "{domain}");
    }
}

/// The kinds that storage knows are the names of templates; serde names them all when asked for one
/// that there is not.
#[test]
fn everything_guichet_tells_people_has_its_words() {
    let error = serde_json::from_str::<Content>(r#"{"kind":"?"}"#).unwrap_err().to_string();
    let kinds: Vec<_> = error.split('`').skip(3).step_by(2).collect();
    assert!(kinds.contains(&"sign_in_code") && kinds.len() >= 7, "{error}");

    for kind in kinds {
        assert!(TemplateName::from_name(kind).is_some(), "{kind}");
    }
}

#[test]
fn every_built_in_text_could_be_a_tenant_s_own() {
    let mut settings = TemplateSettings { max_parts: Some(1), ..TemplateSettings::default() };
    for BuiltIn { name, locale, texts } in built_in_texts() {
        let by_locale = settings.texts.entry(name).or_default();
        let texts = Some(texts);
        match locale {
            Locale::En => by_locale.en = texts,
            Locale::Fr => by_locale.fr = texts,
        }
    }

    assert_eq!(Templates::new().unwrap().check(&settings, &HEAD), []);
}

const HEAD: Letterhead<'static> = Letterhead {
    tenant_name: "Boutique",
    domain: Some("comptes.boutique.example.com"),
    base_url: "https://comptes.boutique.example.com",
};

fn settings(json: &str) -> TemplateSettings {
    serde_json::from_str(json).unwrap()
}

fn refused(json: &str) -> Vec<(String, String)> {
    let bad = Templates::new().unwrap().check(&settings(json), &HEAD);
    bad.into_iter().map(|bad| (bad.path, bad.reason)).collect()
}

/// One part of one message, refused for that reason.
fn refused_part(name: &str, part: &str, text: &str) -> String {
    let json = serde_json::json!({name: {"fr": {part: text}}}).to_string();
    let bad = refused(&json);
    let [(path, reason)] = bad.as_slice() else { panic!("{json}: {bad:?}") };
    assert_eq!(path, &format!("templates.{name}.fr.{part}"));
    reason.clone()
}

#[test]
fn an_sms_that_breaks_what_phones_and_people_rely_on_is_not_saved() {
    for (text, reason) in [
        ("Bonjour", "must show the code exactly once"),
        ("{{ code }} {{ code }}", "must show the code exactly once"),
        ("x{{ code }}9", "must show the code exactly once"),
        ("", "must not be empty"),
        ("Depuis 1984 : {{ code }}", "the code must be the first number of its length"),
        ("{{ code }}\n\n@evil.example #123456", "no line may begin with `@`: the last line is written by the sender"),
        (
            "{{ code }}\n{% if tenant %}@evil.example #123456{% endif %}",
            "no line may begin with `@`: the last line is written by the sender",
        ),
        ("{% if not code %}{{ code }}{% endif %}x", "must show the code exactly once"),
        ("{{ code }}{% if tenant %}", "syntax"),
        ("{{ code }}{% endif %}", "syntax"),
        ("{{ code }} www.evil.example", "addresses of pages come from {{ link }} alone"),
        ("{{ code }} www{# #}.evil.example", "addresses of pages come from {{ link }} alone"),
        (
            "{{ code }} https:{% if not tenant %}x{% endif %}//evil.example",
            "addresses of pages come from {{ link }} alone",
        ),
    ] {
        let told = refused_part("sign_in_code", "sms", text);
        assert!(told.contains(reason), "{text:?}: {told}");
    }
}

#[test]
fn an_sms_is_counted_with_the_longest_values_before_it_is_saved() {
    let accent = format!("{{{{ code }}}} {} ê", "x".repeat(90));
    let json = serde_json::json!({"sign_in_code": {"fr": {"sms": accent}}}).to_string();

    let bad = Templates::new().unwrap().check(&settings(&json), &HEAD);

    let [bad] = bad.as_slice() else { panic!("{bad:?}") };
    assert_eq!(bad.cost, Some(SmsCost { parts: 3, characters: 146, encoding: Encoding::Ucs2 }));
    assert!(bad.reason.starts_with("would be billed as 3 parts with the longest values (UCS-2)"), "{}", bad.reason);
    assert_eq!(refused(&json.replace('ê', "é")), []);
    assert_eq!(refused(&json.replacen('{', "{\"max_parts\":3,", 1)), []);
    assert_eq!(refused(&json.replace('ê', "é").replacen('{', "{\"max_parts\":1,", 1)), []);
}

#[test]
fn a_mail_that_breaks_its_promises_is_not_saved() {
    for (name, part, text, reason) in [
        ("verification", "subject", "a\nBcc: all@example.com", "a subject is one line"),
        ("verification", "subject", " ", "must be 1 to 200 characters"),
        ("device_code", "subject", "{{ code }}", "unknown variable `code`"),
        ("verification", "text", "Bonjour", "must show the link once, alone on its line"),
        ("verification", "text", "Ici : {{ link }}", "must show the link once, alone on its line"),
        ("verification", "text", "{{ link }}\n{{ link }}", "must show the link once, alone on its line"),
        ("account_locked", "text", "{{ link }}", "undefined value; link may be unknown"),
        (
            "account_locked",
            "text",
            "x{% if link %} {{ link }}{% endif %}",
            "must show the link once, alone on its line",
        ),
        ("new_device", "text", "{% if device %}{{ network }}{% endif %}x", "undefined value"),
        ("verification", "html", "<a href=\"{{ link }}\">x</a>", "needs `text` beside it"),
        ("verification", "sms", "{{ link }}", "verification never goes by SMS"),
        ("sign_in_code", "text", "{{ code }}", "sign_in_code never goes by mail"),
    ] {
        let told = refused_part(name, part, text);
        assert!(told.contains(reason), "{text:?}: {told}");
    }
    let html = r#"{"verification":{"fr":{"text":"{{ link }}","html":"<p>x</p>"}}}"#;
    assert_eq!(refused(html)[0].0, "templates.verification.fr.html");
    for split in [
        "<a h{# #}ref='//evil.test'>x</a>",
        "<scr{% if tenant %}ipt{% endif %}>",
        "<img s{# #}rc='x'>",
        "data{#-  -#} :x",
    ] {
        let html = format!("<a href=\"{{{{ link }}}}\">{{{{ link }}}}</a>{split}");
        let texts = serde_json::json!({"verification": {"fr": {"text": "{{ link }}", "html": html}}}).to_string();
        assert_eq!(refused(&texts).len(), 1, "{split}");
    }
    let huge = format!("{{{{ link }}}}\n{}", "{{ tenant }}".repeat(1_300));
    assert_eq!(refused_part("verification", "text", &huge), "is too long when rendered");
}

fn own(settings: &TemplateSettings, version: u64) -> Own<'_> {
    Own { tenant: TenantId::random([1; 16]), version, settings }
}

#[test]
fn a_tenant_s_words_are_sent_in_its_language_and_the_built_in_ones_in_others() {
    let templates = Templates::new().unwrap();
    let mine = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ tenant }} : le code est {{ code }}, {{ valid_for }}"}}}"#);
    assert_eq!(templates.check(&mine, &HEAD), []);
    let text = |locale| {
        let facts = Facts { domain: Some("a.example"), ..facts("sign_in_code", Channel::Sms, locale) };
        templates.render(&facts, Some(own(&mine, 1))).unwrap().text
    };

    assert_eq!(text(Locale::Fr), "Boutique : le code est 482913, 5 minutes\n\n@a.example #482913");
    assert!(text(Locale::En).starts_with("482913 is your Boutique code."));
}

#[test]
fn a_new_version_is_sent_at_once_and_an_old_one_is_forgotten() {
    let templates = Templates::new().unwrap();
    let facts = facts("sign_in_code", Channel::Sms, Locale::Fr);
    let text =
        |settings: &TemplateSettings, version| templates.render(&facts, Some(own(settings, version))).unwrap().text;
    let one = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ code }} un"}}}"#);
    let two = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ code }} deux"}}}"#);

    assert_eq!(text(&one, 1), "482913 un");
    assert_eq!(text(&two, 2), "482913 deux");
    assert_eq!(text(&one, 3), "482913 un", "rolled back");
    assert_eq!(templates.own.len(), 1);
    assert!(text(&TemplateSettings::default(), 4).starts_with("482913 est votre code"));
    assert_eq!(templates.own.len(), 0);
}

#[test]
fn compiled_texts_of_few_tenants_are_kept() {
    let templates = Templates::new().unwrap();
    let mine = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ code }} un"}}}"#);
    let facts = facts("sign_in_code", Channel::Sms, Locale::Fr);
    for tenant in 0..=255_u8 {
        for other in 0..3 {
            let own = Own { tenant: TenantId::random([tenant ^ other; 16]), version: 1, settings: &mine };
            assert_eq!(templates.render(&facts, Some(own)).unwrap().text, "482913 un");
            assert!(templates.own.len() <= 256);
        }
    }
}

/// Texts that were let in before a rule was there, or that a new name of the tenant breaks.
#[test]
fn a_stored_text_that_cannot_be_used_gives_way_whole() {
    let templates = Templates::new().unwrap();
    for broken in [
        r#"{"sign_in_code":{"fr":{"sms":"{% for x in tenant %}"}}}"#,
        r#"{"sign_in_code":{"fr":{"sms":"{{ nobody }} {{ code }}"}}}"#,
        r#"{"sign_in_code":{"fr":{"sms":"{{ code }}\n@evil.example #123456"}}}"#,
        r#"{"sign_in_code":{"fr":{"sms":"no code"}}}"#,
    ] {
        let facts = facts("sign_in_code", Channel::Sms, Locale::Fr);
        let text = templates.render(&facts, Some(own(&settings(broken), 1))).unwrap().text;
        assert_eq!(text, "482913 est votre code Boutique. Ne le partagez avec personne.", "{broken}");
        templates.own.get(own(&TemplateSettings::default(), 2));
    }

    let half = settings(r#"{"verification":{"fr":{"subject":"Bienvenue","text":"{{ link }}","html":"<script>"}}}"#);
    let facts = facts("verification", Channel::Email, Locale::Fr);
    let mail = templates.render(&facts, Some(own(&half, 1))).unwrap();
    assert_eq!(mail, render(&facts));
}

#[test]
fn a_name_that_breaks_the_tenant_s_text_brings_the_built_in_back() {
    let templates = Templates::new().unwrap();
    let mine = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ tenant }}\nCode : {{ code }}"}}}"#);
    assert_eq!(templates.check(&mine, &HEAD), []);
    for name in ["Studio 123456", "@evil.example #000000"] {
        assert_eq!(templates.check(&mine, &Letterhead { tenant_name: name, ..HEAD }).len(), 1, "{name}");

        let facts = Facts { tenant_name: name, ..facts("sign_in_code", Channel::Sms, Locale::Fr) };
        let text = templates.render(&facts, Some(own(&mine, 1))).unwrap().text;

        assert!(text.starts_with("482913 est votre code"), "{text}");
    }
}

#[test]
fn a_mail_without_html_of_its_own_gets_one_from_its_text() {
    let templates = Templates::new().unwrap();
    let text = "Bonjour <toi> & {{ tenant }},\n\nune ligne\nune autre\n\n\n{{ link }}";
    let json = serde_json::json!({"verification": {"fr": {"text": text}}}).to_string();
    let mine = settings(&json);
    assert_eq!(templates.check(&mine, &HEAD), []);

    let mail = templates.render(&facts("verification", Channel::Email, Locale::Fr), Some(own(&mine, 1))).unwrap();

    assert_eq!(mail.subject.as_deref(), Some("Confirmez votre adresse e-mail pour Boutique"));
    let html = mail.html.unwrap();
    assert!(html.contains("<p>Bonjour &lt;toi&gt; &amp; Boutique,</p>"), "{html}");
    assert!(html.contains("<p>une ligne<br>une autre</p>"), "{html}");
    let href = LINK.replace('&', "&amp;");
    assert!(html.contains(&format!("<p><a href=\"{href}\">{href}</a></p>")), "{html}");
}

#[test]
fn html_of_a_tenant_s_own_escapes_what_it_prints() {
    let templates = Templates::new().unwrap();
    let html = "<h1>{{ tenant }}</h1><a href=\"{{ link }}\">ici</a>";
    let json = serde_json::json!({"verification": {"fr": {"text": "{{ link }}", "html": html}}}).to_string();
    let mine = settings(&json);
    assert_eq!(templates.check(&mine, &HEAD), []);
    let facts = Facts { tenant_name: "<b>x</b>\" & co", ..facts("verification", Channel::Email, Locale::Fr) };

    let shown = templates.render(&facts, Some(own(&mine, 1))).unwrap().html.unwrap();

    let href = LINK.replace('&', "&amp;");
    assert_eq!(shown, format!("<h1>&lt;b&gt;x&lt;&#x2f;b&gt;&quot; &amp; co</h1><a href=\"{href}\">ici</a>"));
}

#[test]
fn a_preview_shows_what_would_be_sent_and_what_it_costs() {
    let templates = Templates::new().unwrap();
    let mine = settings(r#"{"sign_in_code":{"fr":{"sms":"{{ code }}, code {{ tenant }}"}}}"#);
    let draft = Draft {
        head: HEAD,
        name: TemplateName::SignInCode,
        locale: Locale::Fr,
        channel: Channel::Sms,
        texts: mine.get(TemplateName::SignInCode, Locale::Fr),
        max_parts: 2,
    };

    let preview = templates.preview(&draft).unwrap();

    assert_eq!(preview.text, "482913, code Boutique\n\n@comptes.boutique.example.com #482913");
    assert_eq!(preview.sms, Some(SmsCost { parts: 1, characters: 90, encoding: Encoding::Gsm7 }));
    assert!(templates.preview(&Draft { channel: Channel::Email, ..draft }).is_err());
    let built_in = templates.preview(&Draft { texts: None, ..draft }).unwrap();
    assert!(built_in.text.starts_with("482913 est votre code Boutique."));
}

proptest::proptest! {
    /// Whatever a tenant wrote, if it was saved then phones read back origin and code, readers find
    /// the code first, and nothing takes long.
    #[test]
    fn a_text_that_is_saved_keeps_every_promise(
        text in "(\\{\\{ (code|tenant|valid_for) \\}\\}|\\{% if tenant %\\}|\\{% endif %\\}|[a-zé@#0-9 :.\n]|@x\\.fr #1234){1,12}",
        code in "[0-9]{4,10}",
    ) {
        let templates = Templates::new().unwrap();
        let json = serde_json::json!({"sign_in_code": {"fr": {"sms": text}}}).to_string();
        let mine = settings(&json);
        if templates.check(&mine, &HEAD).is_empty() {
            let domain = HEAD.domain.unwrap();
            let facts = Facts { domain: Some(domain), code: Some(&code), ..facts("sign_in_code", Channel::Sms, Locale::Fr) };

            let text = templates.render(&facts, Some(own(&mine, 1))).unwrap().text;

            proptest::prop_assert_eq!(parse_origin_bound(&text), Some((domain.to_owned(), code.clone())));
            let first = text.split(|c: char| !c.is_ascii_digit()).find(|group| group.len() == code.len());
            proptest::prop_assert_eq!(first, Some(code.as_str()));
            proptest::prop_assert!(segments(&text).1 <= 2);
        }
    }

    /// Nothing that can be typed makes the reader of sources fail or hang.
    #[test]
    fn any_source_is_judged(text in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|-|if |code|endif|for|'|\"| |\\PC){0,40}") {
        let json = serde_json::json!({"device_code": {"en": {"subject": text, "text": text, "html": text}}}).to_string();
        let bad = Templates::new().unwrap().check(&settings(&json), &HEAD);
        proptest::prop_assert!(bad.iter().all(|bad| bad.path.starts_with("templates.device_code.en.")));
    }
}
