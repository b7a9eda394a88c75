//! What the text of an override may be written with: variables and `if`, nothing that computes.
//!
//! The engine could loop, include, define and call. A tenant's text needs none of it, and what
//! cannot be written needs no sandbox: the source is read tag by tag, and only these are let through
//!
//! ```text
//!  {{ name }}   {% if name %}   {% if not name %}   {% else %}   {% endif %}   {# a remark #}
//! ```
//!
//! Addresses of pages come from `{{ link }}` alone, never from the text: a link that somebody else
//! can point somewhere makes a mail a phishing vehicle.

use crate::domain::settings::TemplateName;

/// What a tag does.
enum Tag<'a> {
    Print(&'a str),
    Test(&'a str),
    Plain,
}

/// Members of HTML elements that load or lead somewhere.
const LEADING_ATTRIBUTES: [&str; 9] =
    ["src", "srcset", "action", "formaction", "background", "poster", "data", "cite", "ping"];

/// Elements and rules that load, run or lead somewhere.
const FOREIGN: [&str; 15] = [
    "<script",
    "<iframe",
    "<frame",
    "<form",
    "<base",
    "<object",
    "<embed",
    "<applet",
    "<link",
    "<svg",
    "<math",
    "http-equiv",
    "@import",
    "url(",
    "srcdoc",
];

/// Reads the source of one part; the error says what is wrong with it, for the person who wrote it.
pub(super) fn check(name: TemplateName, part: &str, source: &str) -> Result<(), String> {
    let in_subject = part == "subject";
    if in_subject && source.contains(['\r', '\n']) {
        return Err("a subject is one line".to_owned());
    }
    let foreign_control = |c: char| c.is_control() && c != '\n' && !(c == '\t' && part == "html");
    if source.contains(foreign_control) {
        return Err("control characters are not allowed; lines end with a line feed alone".to_owned());
    }
    let mut rest = source;
    while let Some((literal, tag, after)) = next_tag(rest)? {
        check_literal(literal)?;
        match tag {
            Tag::Print(variable) | Tag::Test(variable) => known(name, in_subject, variable)?,
            Tag::Plain => {}
        }
        rest = after;
    }
    check_literal(rest)?;
    if part == "html" { check_html(&source.to_ascii_lowercase()) } else { Ok(()) }
}

/// Judges what a text comes to, with the link as the source names it: a tag between two halves of a word hides
/// it from whoever reads the source.
pub(super) fn check_outcome(part: &str, outcome: &str) -> Result<(), String> {
    check_literal(outcome)?;
    if part == "html" { check_html(&outcome.to_ascii_lowercase()) } else { Ok(()) }
}

fn known(name: TemplateName, in_subject: bool, variable: &str) -> Result<(), String> {
    let (always, sometimes): (&[&str], &[&str]) =
        if in_subject { (&["tenant"], &[]) } else { (name.variables(), name.optional_variables()) };
    if always.contains(&variable) || sometimes.contains(&variable) {
        return Ok(());
    }
    let all = [always, sometimes].concat().join(", ");
    Err(format!("unknown variable `{}`; here there are {all}", variable.chars().take(40).collect::<String>()))
}

/// The text before the next tag, the tag, and what follows it.
fn next_tag(source: &str) -> Result<Option<(&str, Tag<'_>, &str)>, String> {
    let opening = source.match_indices('{').find(|&(at, _)| {
        let next = source.as_bytes().get(at + 1);
        next.is_some_and(|next| b"{%#".contains(next))
    });
    let Some((literal, rest)) = opening.and_then(|(at, _)| source.split_at_checked(at)) else { return Ok(None) };
    let (end, read): (&str, fn(&str) -> Option<Tag<'_>>) = match rest.as_bytes().get(1) {
        Some(b'{') => ("}}", print),
        Some(b'%') => ("%}", statement),
        _ => ("#}", |_| Some(Tag::Plain)),
    };
    let inner = rest.get(2..).and_then(|inner| inner.split_once(end));
    let Some((inner, after)) = inner else { return Err("a tag is not closed".to_owned()) };
    let bare = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let bare = bare.strip_suffix(['-', '+']).unwrap_or(bare).trim();
    let Some(tag) = read(bare) else {
        return Err(
            "only {{ name }}, {% if name %}, {% if not name %}, {% else %} and {% endif %} are understood".to_owned()
        );
    };
    Ok(Some((literal, tag, after)))
}

fn print(inner: &str) -> Option<Tag<'_>> {
    is_name(inner).then_some(Tag::Print(inner))
}

fn statement(inner: &str) -> Option<Tag<'_>> {
    let words: Vec<_> = inner.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["if", name] | ["if", "not", name] if is_name(name) => Some(Tag::Test(name)),
        ["else" | "endif"] => Some(Tag::Plain),
        _ => None,
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
}

fn check_literal(text: &str) -> Result<(), String> {
    let lower = text.to_ascii_lowercase();
    if ["://", "www.", "mailto:", "javascript:", "data:"].iter().any(|address| lower.contains(address)) {
        return Err("addresses of pages come from {{ link }} alone".to_owned());
    }
    Ok(())
}

/// `source` is in lower case. Reads attributes wherever they stand, in a tag or not: what looks
/// like one in a sentence is refused too, and can be worded otherwise.
fn check_html(source: &str) -> Result<(), String> {
    if let Some(found) = FOREIGN.iter().find(|found| source.contains(**found)) {
        return Err(format!("`{found}` is not allowed in a mail"));
    }
    if let Some(found) = LEADING_ATTRIBUTES.iter().find(|name| attributes(source, name).next().is_some()) {
        return Err(format!("the attribute `{found}` is not allowed in a mail"));
    }
    if !attributes(source, "href").all(leads_to_the_link) {
        return Err("`href` must be \"{{ link }}\"".to_owned());
    }
    let mut events = source.match_indices("on").filter(|(at, _)| begins_word(source, *at));
    let runs = |(at, _): (usize, &str)| {
        let rest = source.get(at + 2..).unwrap_or_default();
        let value = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
        value.len() < rest.len() && value.trim_start().starts_with('=')
    };
    if events.any(runs) {
        return Err("event handlers are not allowed in a mail".to_owned());
    }
    Ok(())
}

fn begins_word(source: &str, at: usize) -> bool {
    let before = source.get(..at).and_then(|before| before.chars().next_back());
    !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// What follows the `=` of every attribute of that name.
fn attributes<'a>(source: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let found = source.match_indices(name).filter(move |&(at, _)| begins_word(source, at));
    found.filter_map(move |(at, _)| source.get(at + name.len()..)?.trim_start().strip_prefix('=').map(str::trim_start))
}

fn leads_to_the_link(value: &str) -> bool {
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
    let Some((inner, _)) = quoted('"').or_else(|| quoted('\'')) else { return false };
    inner.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).is_some_and(|name| name.trim() == "link")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: TemplateName = TemplateName::SignInCode;
    const LINK: TemplateName = TemplateName::Verification;

    #[test]
    fn variables_and_conditions_are_all_there_is() {
        for source in [
            "{{ code }}",
            "{{code}} {{- tenant -}} {%- if tenant -%}x{%+ else %}y{% endif %}",
            "{% if not tenant %}{# {{ nothing }} #}{% endif %}{ } % 100%",
            "{% if  valid_for  %}{{ valid_for }}{% endif %}",
        ] {
            assert_eq!(check(CODE, "sms", source), Ok(()), "{source}");
        }
    }

    #[test]
    fn nothing_loops_computes_includes_or_defines() {
        for source in [
            "{% for i in range(1000000000) %}x{% endfor %}",
            "{% for i in tenant %}{{ i }}{% endfor %}",
            "{{ 'x' * 1000000000 }}",
            "{{ tenant * 1000000 }}",
            "{{ tenant ~ tenant }}",
            "{{ tenant|upper }}",
            "{{ tenant|replace('', code) }}",
            "{{ code[0] }}",
            "{{ code.x }}",
            "{{ [code] }}",
            "{{ range(10) }}",
            "{{ self }}",
            "{{ debug() }}",
            "{% set x = 'a' %}",
            "{% set x %}a{% endset %}",
            "{% include 'layout.html' %}",
            "{% extends 'layout.html' %}",
            "{% import 'layout.html' as x %}",
            "{% from 'layout.html' import x %}",
            "{% macro x() %}{{ x() }}{% endmacro %}",
            "{% call x() %}{% endcall %}",
            "{% block body %}{% endblock %}",
            "{% raw %}{{ code }}{% endraw %}",
            "{% autoescape false %}{{ tenant }}{% endautoescape %}",
            "{% filter upper %}x{% endfilter %}",
            "{% with x = 1 %}{% endwith %}",
            "{% do tenant %}",
            "{% if code == '1234' %}x{% endif %}",
            "{% if tenant and code %}x{% endif %}",
            "{% elif code %}",
            "{{ }}",
            "{% %}",
            "{{ code",
            "{% if code",
            "{# never closed",
            "{{ '}}' }}",
            "{{{ code }}}",
            "{{ code }} {{ Ｃode }}",
            "{{ code\u{0} }}",
        ] {
            assert!(check(CODE, "sms", source).is_err(), "{source}");
        }
    }

    #[test]
    fn only_what_a_message_has_can_be_printed() {
        let reason = check(CODE, "sms", "{{ code }} {{ password }}").unwrap_err();
        assert_eq!(reason, "unknown variable `password`; here there are tenant, at, code, valid_for");
        assert!(check(CODE, "sms", "{{ link }}").is_err());
        assert!(check(LINK, "text", "{{ code }}").is_err());
        assert!(check(LINK, "subject", "{{ link }}").is_err(), "a subject shows on a locked screen");
        assert_eq!(check(LINK, "subject", "{{ tenant }}"), Ok(()));
    }

    #[test]
    fn a_subject_is_one_line() {
        for subject in ["a\nBcc: b@c.test", "a\r\nBcc: b@c.test", "a\r", "a\n", "a\u{85}b"] {
            assert!(check(LINK, "subject", subject).is_err(), "{subject:?}");
        }
    }

    #[test]
    fn links_come_from_the_link_alone() {
        for text in ["see https://evil.test/", "HTTP://evil.test", "www.evil.test", "mailto:a@b.test", "ftp://x"] {
            assert!(check(LINK, "text", text).is_err(), "{text}");
        }
        for html in [
            "<a href=\"https://evil.test/\">x</a>",
            "<a href='{{ tenant }}'>x</a>",
            "<a href={{ link }}>x</a>",
            "<a href=\"{{ link }}/../x\">x</a>",
            "<a HREF = '//evil.test'>x</a>",
            "<a href=\"&#104;ttps&#58;//evil.test\">x</a>",
            "<img src=\"{{ link }}\">",
            "<img SRC=x>",
            "<script>x</script>",
            "<SCRIPT >x",
            "<p onclick=\"x\">",
            "<p/onclick = x>",
            "<form action=x>",
            "<meta http-equiv=refresh content=0>",
            "<style>p{background:url(//x)}</style>",
            "<base href=\"{{ link }}\">",
        ] {
            assert!(check(LINK, "html", html).is_err(), "{html}");
        }
        for html in [
            "<a href=\"{{ link }}\">{{ link }}</a>",
            "<a class=\"x\" HREF = '{{link}}' style=\"color: red\">One</a>\n\t<p>Come on in, a = b</p>",
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>x</title></head></html>",
        ] {
            assert_eq!(check(LINK, "html", html), Ok(()), "{html}");
        }
    }
}
