//! An answer being put together: status, headers and a body that is already complete.
//!
//! Handlers return one; the middleware adds what every answer carries. Bodies are small and whole,
//! so lengths are always known and nothing is streamed.

use bytes::Bytes;
use cookie::Cookie;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// Room for what a handler says and what the middleware adds, so that the map never grows.
const USUAL_HEADERS: usize = 12;

/// Room for a problem document.
const USUAL_BODY: usize = 512;

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// No body, as for 204.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::with_capacity(USUAL_HEADERS), body: Bytes::new() }
    }

    /// A JSON body. A value that cannot be written as JSON is a defect of ours: 500.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut body = Vec::with_capacity(USUAL_BODY);
        match serde_json::to_writer(&mut body, value) {
            Ok(()) => Self::typed(status, "application/json", body),
            Err(error) => {
                tracing::error!(%error, "a reply could not be written as JSON");
                Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// An HTML page, in UTF-8.
    pub fn html(status: StatusCode, page: String) -> Self {
        Self::typed(status, "text/html; charset=utf-8", page)
    }

    /// A body of another type, such as the text of metrics.
    pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::empty(status);
        reply.body = body.into();
        reply.with_header(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// Forbids any store to keep it: it holds a secret or is about one person (RFC 9111 §5.2.2.5).
    #[must_use]
    pub fn no_store(self) -> Self {
        self.with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// Sets a header, replacing one of that name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets several headers, replacing those of the same names.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Adds a `Set-Cookie`. Values are our own tokens, which need no encoding; a cookie that no
    /// header could carry is left out.
    #[must_use]
    pub fn with_cookie(mut self, cookie: &Cookie<'_>) -> Self {
        if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
            self.headers.append(SET_COOKIE, value);
        } else {
            tracing::error!("a cookie could not be written as a header");
        }
        self
    }

    /// The same under another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers, for the middleware to add to.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The same without its body but with its length: the answer to HEAD (RFC 9110 §9.3.2).
    #[must_use]
    pub fn without_body(mut self) -> Self {
        if !self.body.is_empty() {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
            self.body = Bytes::new();
        }
        self
    }

    /// What hyper sends.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cookie::SameSite;

    #[test]
    fn cookies_stand_beside_each_other() {
        let device = Cookie::build(("__Host-guichet_device_acme", "d")).secure(true).http_only(true).path("/");
        let reply = Reply::empty(StatusCode::NO_CONTENT)
            .with_cookie(&device.same_site(SameSite::Lax).build())
            .with_cookie(&Cookie::new("other", "ab"));

        let cookies: Vec<_> = reply.headers.get_all(SET_COOKIE).iter().collect();

        assert_eq!(cookies[0], "__Host-guichet_device_acme=d; HttpOnly; SameSite=Lax; Secure; Path=/");
        assert_eq!(cookies[1], "other=ab");
    }

    #[test]
    fn the_answer_to_head_keeps_the_length() {
        let reply = Reply::json(StatusCode::OK, &"four").without_body();

        assert_eq!(reply.headers[CONTENT_LENGTH], "6");
        assert!(reply.body.is_empty());
    }
}
