//! The few pages a person sees after following a link from a mail.
//!
//! A link only shows a page; its button posts. Mail scanners follow links, so a link that acted by
//! itself would be used up before its owner opened it. No script, no style, nothing loaded: the
//! content security policy forbids all of it, and forms post to the page's own address.

use minijinja::HtmlEscape;

use crate::domain::locale::Locale;

/// A page with one button that posts to the same address.
pub fn confirm(locale: Locale, title: &str, text: &str, action_label: &str) -> String {
    let form = format!(
        "<p>{}</p>\n<form method=\"post\"><button type=\"submit\">{}</button></form>",
        HtmlEscape(text),
        HtmlEscape(action_label)
    );
    page(locale, title, &form)
}

/// The words of a page on which a new password is chosen.
#[derive(Debug, Clone, Copy)]
pub struct ResetForm<'a> {
    /// The heading.
    pub title: &'a str,
    /// What stands before the field.
    pub password_label: &'a str,
    /// What stands on the button.
    pub action_label: &'a str,
    /// Characters a password needs at least; the server judges anyway.
    pub min_length: usize,
    /// Why the last try was refused, if there was one.
    pub refusal: Option<&'a str>,
}

/// A page on which a new password is chosen: posts the form members `token` and `password` to the
/// same address.
pub fn reset_form(locale: Locale, words: ResetForm<'_>, token: &str) -> String {
    let refusal = words.refusal.map(|text| format!("<p role=\"alert\">{}</p>\n", HtmlEscape(text)));
    let form = format!(
        "{}<form method=\"post\">\n\
         <input type=\"hidden\" name=\"token\" value=\"{}\">\n\
         <p><label>{} <input type=\"password\" name=\"password\" required minlength=\"{}\" \
         autocomplete=\"new-password\"></label></p>\n\
         <button type=\"submit\">{}</button>\n</form>",
        refusal.unwrap_or_default(),
        HtmlEscape(token),
        HtmlEscape(words.password_label),
        words.min_length,
        HtmlEscape(words.action_label)
    );
    page(locale, words.title, &form)
}

/// A page that only says something.
pub fn notice(locale: Locale, title: &str, text: &str) -> String {
    page(locale, title, &format!("<p>{}</p>", HtmlEscape(text)))
}

/// A page with a table, and links below it.
pub fn table<const N: usize>(
    locale: Locale,
    title: &str,
    head: &[&str; N],
    rows: &[[String; N]],
    links: &[(&str, &str)],
) -> String {
    let row = |tag: &str, cells: &[&str]| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", HtmlEscape(cell))).collect();
        format!("<tr>{}</tr>", cells.concat())
    };
    let head = row("th", head);
    let rows: Vec<_> = rows.iter().map(|cells| row("td", &cells.each_ref().map(String::as_str))).collect();
    let link =
        |(href, words): &(&str, &str)| format!("<p><a href=\"{}\">{}</a></p>", HtmlEscape(href), HtmlEscape(words));
    let links: Vec<_> = links.iter().map(link).collect();
    let content = format!(
        "<table>\n<thead>{head}</thead>\n<tbody>\n{}\n</tbody>\n</table>\n{}",
        rows.join("\n"),
        links.join("\n")
    );
    page(locale, title, &content)
}

/// `content` is HTML already; everything a person or tenant chose was escaped by the callers above.
fn page(locale: Locale, title: &str, content: &str) -> String {
    let title = HtmlEscape(title);
    format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{content}\n</main>\n</body>\n</html>\n",
        locale.tag()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_tenant_wrote_becomes_markup() {
        let attack = "\"'><script>alert(1)</script>";
        let words =
            ResetForm { title: attack, password_label: attack, action_label: attack, min_length: 15, refusal: None };

        for html in [
            confirm(Locale::En, attack, attack, attack),
            reset_form(Locale::Fr, words, attack),
            notice(Locale::En, attack, attack),
        ] {
            assert!(!html.contains("<script") && !html.contains("\"'>"), "{html}");
        }
    }

    #[test]
    fn pages_work_under_the_content_security_policy() {
        let html = confirm(Locale::Fr, "Bonjour", "Un clic suffit.", "Confirmer");

        assert!(html.contains("<html lang=\"fr\">"));
        assert!(html.contains("<form method=\"post\">"));
        assert!(!html.contains("style") && !html.contains("script") && !html.contains("action="));
    }
}
