//! The names a tenant has on the outside: its slug and its domains.

/// Whether a text may be a slug, which stands in paths, cookie names and tokens: 1 to 63 lower-case
/// letters, digits and inner dashes.
#[must_use]
pub fn is_slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A full host name as a `Host` header shows it, if the text is one.
#[must_use]
pub fn domain(text: &str) -> Option<String> {
    idna::domain_to_ascii_strict(text).ok().filter(|ascii| ascii.contains('.'))
}

/// A browser's origin (RFC 6454 §6.2) that may call guichet, in its one spelling: https, or http on
/// this machine.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_local;
    // A URL's host may hold what no host name does, such as `*`.
    let is_host = !matches!(url.host(), Some(url::Host::Domain(name)) if idna::domain_to_ascii_strict(name).is_err());
    is_safe && is_host && url.origin().ascii_serialization() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_fits_into_paths_and_cookie_names() {
        for good in ["a", "acme", "acme-2", "0"] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "-a", "a-", "Acme", "a_b", "a.b", "a/b", "é", &"a".repeat(64)] {
            assert!(!is_slug(bad), "{bad}");
        }
    }

    #[test]
    fn a_domain_has_one_spelling() {
        assert_eq!(domain("Login.ACME.test").as_deref(), Some("login.acme.test"));
        assert_eq!(domain("école.test").as_deref(), Some("xn--cole-9oa.test"));
        for bad in ["", "localhost", "a b.test", "a.test:80", "https://a.test", "a_b.test"] {
            assert_eq!(domain(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_exact_and_safe() {
        for good in ["https://app.acme.test", "https://app.acme.test:8443", "http://localhost:5173", "http://127.0.0.1"]
        {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "http://app.acme.test",
            "https://app.acme.test/",
            "https://app.acme.test:443",
            "https://App.acme.test",
            "https://*.acme.test",
            "https://a@app.acme.test",
            "https://app.acme.test?x",
            "null",
            "*",
            "ftp://app.acme.test",
            "",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
