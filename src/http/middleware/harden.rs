//! The headers that every answer bears, errors included (ASVS 3.4.1 to 3.4.6, 14.3.2).

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::peer::Scheme;

/// Nothing may be loaded, framed or re-based; a page may only send its form back to us.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
const API_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");

/// Sets what the handler did not set itself.
pub(super) fn headers(scheme: Scheme, headers: &mut HeaderMap) {
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
    let policy = if is_page { PAGE_POLICY } else { API_POLICY };
    let mut unless_set = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };

    unless_set(CONTENT_SECURITY_POLICY, policy);
    unless_set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    unless_set(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The safe choice is the default: only what is public, such as the JWKS, says otherwise.
    unless_set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Browsers ignore it over plain http (RFC 6797 §7.2), so it is not sent there.
    if scheme == Scheme::Https {
        unless_set(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_its_form_and_a_document_may_not() {
        let mut page = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))]);
        let mut document = HeaderMap::new();

        headers(Scheme::Https, &mut page);
        headers(Scheme::Http, &mut document);

        assert_eq!(page[CONTENT_SECURITY_POLICY], PAGE_POLICY);
        assert_eq!(document[CONTENT_SECURITY_POLICY], API_POLICY);
        assert!(page.contains_key(STRICT_TRANSPORT_SECURITY));
        assert!(!document.contains_key(STRICT_TRANSPORT_SECURITY));
    }

    #[test]
    fn what_the_handler_set_stays() {
        let mut public = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))]);

        headers(Scheme::Http, &mut public);

        assert_eq!(public[CACHE_CONTROL], "public, max-age=300");
    }
}
