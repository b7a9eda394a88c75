//! A request as handlers see it: known sender, tenant path taken off, body not yet read.
//!
//! Everything that could be wrong with the outer form is answered here in the words of
//! [`problem`](super::problem), so that a handler only has moves of its own.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::body::{BodyLimits, Form, Payload, parse_json};
use super::peer::{ClientAddress, Origin, Scheme};
use super::problem::{Problem, ProblemCode};
use crate::domain::locale::Locale;

/// The scheme of RFC 6750 §2.1, in any case.
const BEARER: &[u8] = b"bearer";

/// Names one request in the answer, the log and the problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// An id of our own making.
    pub fn new(id: Uuid) -> Self {
        Self(id.to_string().into())
    }

    /// An id made by a trusted proxy, if it is short and harmless in a log or a header.
    pub fn from_proxy(text: &str) -> Option<Self> {
        let sane = (8..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:#".contains(&byte));
        sane.then(|| Self(text.into()))
    }

    /// The text that `X-Request-Id` carries.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI that a problem document names as its `instance`.
    pub fn instance(&self) -> String {
        match Uuid::parse_str(&self.0) {
            Ok(id) => format!("urn:uuid:{id}"),
            Err(_) => format!("urn:guichet:request:{}", self.0.replace('#', "%23")),
        }
    }
}

/// What a request says of itself before its body, and what is known of its sender.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// The target as sent.
    pub uri: &'r Uri,
    /// The headers as sent.
    pub headers: &'r HeaderMap,
    /// Who sent it.
    pub origin: Origin,
}

impl<'r> Head<'r> {
    /// One header, if it was sent exactly once or first, and is text.
    pub fn header(&self, name: &HeaderName) -> Option<&'r str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The host the client asked for, without port: HTTP/2's `:authority`, else `Host`.
    pub fn host(&self) -> Option<&'r str> {
        let text = self.uri.authority().map(http::uri::Authority::as_str).or_else(|| self.header(&HOST))?;
        let end = if text.starts_with('[') { text.find(']').map(|at| at + 1) } else { text.rfind(':') };
        text.get(..end.unwrap_or(text.len())).filter(|host| !host.is_empty())
    }
}

/// One request on its way to a handler.
pub struct Request {
    parts: Parts,
    payload: Payload,
    limits: BodyLimits,
    origin: Origin,
    id: RequestId,
    tenant_slug: Option<Arc<str>>,
    params: Vec<(String, String)>,
}

impl Request {
    /// Puts a request together from its head, its body and what is known of its sender.
    pub fn new(parts: Parts, payload: Payload, limits: BodyLimits, origin: Origin, id: RequestId) -> Self {
        Self { parts, payload, limits, origin, id, tenant_slug: None, params: Vec::new() }
    }

    /// What it says of itself, without its body.
    pub fn head(&self) -> Head<'_> {
        Head { uri: &self.parts.uri, headers: &self.parts.headers, origin: self.origin }
    }

    /// The method as sent.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The headers as sent.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// One header, if it was sent exactly once or first, and is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head().header(name)
    }

    /// The target as sent, tenant prefix and query included. Not for logs.
    pub fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// The path below the tenant's prefix.
    pub fn path(&self) -> &str {
        split_tenant(self.parts.uri.path()).1
    }

    /// The slug of a `/t/{slug}/…` path. Whether such a tenant exists is not known here.
    pub fn tenant_in_path(&self) -> Option<&str> {
        split_tenant(self.parts.uri.path()).0
    }

    /// The client's address, as far as it can be believed.
    pub fn client(&self) -> ClientAddress {
        self.origin.client
    }

    /// Names another client than the connection did: an app spoke for it.
    pub(super) fn set_client(&mut self, client: ClientAddress) {
        self.origin.client = client;
    }

    /// The scheme of the client's own connection.
    pub fn scheme(&self) -> Scheme {
        self.origin.scheme
    }

    /// Did a trusted proxy pass it on, so that headers like `X-Tenant` count?
    pub fn via_trusted_proxy(&self) -> bool {
        self.origin.via_trusted_proxy
    }

    /// Its name in answers and logs.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// A path parameter, percent-decoded; `{id}` in the pattern is `param("id")`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter, decoded. Of one sent twice the first counts.
    pub fn query(&self, name: &str) -> Option<String> {
        query(&self.parts.uri, name).map(Cow::into_owned)
    }

    /// Takes the parameters of the matched pattern.
    ///
    /// # Errors
    /// `invalid_request` if one does not decode to UTF-8.
    pub(super) fn set_params<'p>(&mut self, params: impl Iterator<Item = (&'p str, &'p str)>) -> Result<(), Problem> {
        for (name, value) in params {
            let value = percent_decode_str(value).decode_utf8().map_err(|_| ProblemCode::InvalidRequest)?;
            self.params.push((name.to_owned(), value.into_owned()));
        }
        Ok(())
    }

    /// What a [`Hooks`](super::middleware::Hooks) placed for handlers, such as the tenant.
    pub fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<&T> {
        self.parts.extensions.get()
    }

    /// Places something for handlers, one value per type.
    pub fn set_extension<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.parts.extensions.insert(value);
    }

    /// Says which tenant was found: the realm of challenges and a field of the access log.
    pub fn set_tenant_slug(&mut self, slug: Arc<str>) {
        self.tenant_slug = Some(slug);
    }

    /// The tenant that was found, by its slug.
    pub fn tenant_slug(&self) -> Option<&Arc<str>> {
        self.tenant_slug.as_ref()
    }

    /// The body as a JSON object. No content type is read as JSON, another one is refused.
    ///
    /// # Errors
    /// `unsupported_media_type`, `invalid_json`, `validation`, or what reading the body may give.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        if self.media_type()?.is_some_and(|media| media != "application/json" && !media.ends_with("+json")) {
            return Err(ProblemCode::UnsupportedMediaType.into());
        }
        parse_json(&self.payload.take(self.limits).await?)
    }

    /// The body as it came, whatever it says it is.
    ///
    /// # Errors
    /// What reading the body may give.
    pub async fn bytes(&mut self) -> Result<Bytes, Problem> {
        self.payload.take(self.limits).await
    }

    /// The body as a form.
    ///
    /// # Errors
    /// `unsupported_media_type`, `invalid_request`, or what reading the body may give.
    pub async fn form(&mut self) -> Result<Form, Problem> {
        if self.media_type()?.as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(ProblemCode::UnsupportedMediaType.into());
        }
        Form::parse(&self.payload.take(self.limits).await?)
    }

    /// The content type without its parameters, in lower case.
    fn media_type(&self) -> Result<Option<String>, Problem> {
        let Some(value) = self.parts.headers.get(CONTENT_TYPE) else { return Ok(None) };
        let text = value.to_str().map_err(|_| ProblemCode::UnsupportedMediaType)?;
        Ok(Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
    }

    /// The bearer token of the `Authorization` header (RFC 6750 §2.1); another scheme is none.
    ///
    /// # Errors
    /// `invalid_request` with a challenge, if it is malformed or was sent in more than one way.
    pub fn bearer(&self) -> Result<Option<&str>, Problem> {
        bearer(&self.parts.headers, &self.parts.uri)
    }

    /// A cookie's value; what is no text of it is replaced.
    pub fn cookie(&self, name: &str) -> Option<Cow<'_, str>> {
        cookie(&self.parts.headers, name).map(String::from_utf8_lossy)
    }

    /// One header, whatever its bytes are, where being there decides; what is no text is replaced.
    pub fn header_lossy(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        self.parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    /// The `User-Agent`: free text, which some write in UTF-8.
    pub fn user_agent(&self) -> Option<Cow<'_, str>> {
        self.header_lossy(&USER_AGENT)
    }

    /// Would a page be the better answer, as for a browser that follows a link? True if
    /// `text/html` is accepted by name; `*/*` alone is what programs send.
    pub fn accepts_html(&self) -> bool {
        self.parts
            .headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|range| range.trim().eq_ignore_ascii_case("text/html"))
    }

    /// The best supported language the client asks for, if any.
    pub fn accept_language(&self) -> Option<Locale> {
        self.header(&ACCEPT_LANGUAGE).and_then(Locale::from_accept_language)
    }
}

impl fmt::Debug for Request {
    /// Headers and path hold tokens: neither is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", self.method()).field("id", &self.id).finish_non_exhaustive()
    }
}

/// [`Request::bearer`] of a request that is not one yet.
pub(super) fn bearer<'h>(headers: &'h HeaderMap, uri: &Uri) -> Result<Option<&'h str>, Problem> {
    let Some(token) = bearer_as_sent(headers)? else { return Ok(None) };
    let token = std::str::from_utf8(token).ok().filter(|token| is_token68(token));
    match token.filter(|_| query(uri, "access_token").is_none()) {
        Some(token) => Ok(Some(token)),
        None => Err(Problem::invalid_token_request()),
    }
}

/// What stands where a bearer token should, whatever it is.
///
/// # Errors
/// `invalid_request` with a challenge, if there are several.
pub(super) fn bearer_as_sent(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Problem::invalid_token_request());
    }
    let (scheme, token) = match value.as_bytes().split_at_checked(BEARER.len()) {
        Some((scheme, [b' ', token @ ..])) => (scheme, token),
        Some((scheme, [])) => (scheme, &[][..]),
        _ => return Ok(None),
    };
    Ok(scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii()))
}

/// [`Request::cookie`] of a request that is not one yet, as sent. Whatever stands beside it need not be text.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut named = pairs.filter_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        parts.next().filter(|known| *known == name.as_bytes()).and(parts.next())
    });
    named.next()
}

/// [`Request::query`] of a request that is not one yet.
pub(super) fn query<'u>(uri: &'u Uri, name: &str) -> Option<Cow<'u, str>> {
    form_urlencoded::parse(uri.query()?.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value)
}

/// RFC 9110 §11.2: the alphabet of bearer tokens.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let of_alphabet =
        |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // To the end, whatever it finds: without a way out in the loop several bytes are looked at at once.
    !body.is_empty() && body.bytes().fold(true, |good, byte| good & of_alphabet(byte))
}

/// The one document whose path RFC 8414 §3.1 builds by putting the well-known part *before* the
/// issuer's own path.
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Takes `/t/{slug}` off a path: the slug and the rest, which always begins with `/`.
///
/// Nothing is decoded, so one tenant has one spelling: `%61cme` is another, unknown slug, and
/// `/%74/acme` no tenant's path at all.
pub fn split_tenant(path: &str) -> (Option<&str>, &str) {
    if let Some(slug) = path.strip_prefix(METADATA).and_then(|rest| rest.strip_prefix("/t/")) {
        let is_one = !slug.is_empty() && !slug.contains('/');
        return if is_one { (Some(slug), METADATA) } else { (None, path) };
    }
    let Some(below) = path.strip_prefix("/t/") else { return (None, path) };
    let end = below.find('/').unwrap_or(below.len());
    match below.split_at_checked(end) {
        Some((slug, rest)) if !slug.is_empty() => (Some(slug), if rest.is_empty() { "/" } else { rest }),
        _ => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::peer::TrustedProxies;
    use bytes::Bytes;
    use http::HeaderValue;
    use serde_json::Value;
    use std::time::Duration;

    fn request(uri: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
        let mut builder = http::Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let origin = TrustedProxies::default().origin("203.0.113.9:4711".parse().unwrap(), &parts.headers);
        let limits = BodyLimits { bytes: 64, time: Duration::from_secs(1) };
        let id = RequestId::from_proxy("test-request").unwrap();
        Request::new(parts, Payload::Read(Bytes::from_static(body.as_bytes())), limits, origin, id)
    }

    #[test]
    fn the_tenant_is_taken_off_the_path() {
        #[rustfmt::skip]
        let paths: &[(&str, Option<&str>, &str)] = &[
            ("/", None, "/"),
            ("/auth/login", None, "/auth/login"),
            ("/t/acme/auth/login", Some("acme"), "/auth/login"),
            ("/t/acme", Some("acme"), "/"),
            ("/t/acme/", Some("acme"), "/"),
            ("/t/acme//x", Some("acme"), "//x"),
            ("/t/acme/t/other/x", Some("acme"), "/t/other/x"),
            ("/t/", None, "/t/"),
            ("/t", None, "/t"),
            ("/t//x", None, "/t//x"),
            ("//t/acme/x", None, "//t/acme/x"),
            ("/tt/acme", None, "/tt/acme"),
            ("/T/acme", None, "/T/acme"),
            ("/%74/acme", None, "/%74/acme"),
            ("/t/%61cme/x", Some("%61cme"), "/x"),
            ("/t/acme%2Fx", Some("acme%2Fx"), "/"),
            ("/.well-known/oauth-authorization-server", None, "/.well-known/oauth-authorization-server"),
            ("/.well-known/oauth-authorization-server/t/acme", Some("acme"), "/.well-known/oauth-authorization-server"),
            ("/t/acme/.well-known/oauth-authorization-server", Some("acme"), "/.well-known/oauth-authorization-server"),
            ("/.well-known/oauth-authorization-server/t/", None, "/.well-known/oauth-authorization-server/t/"),
            ("/.well-known/oauth-authorization-server/t/a/b", None, "/.well-known/oauth-authorization-server/t/a/b"),
            ("/.well-known/jwks.json/t/acme", None, "/.well-known/jwks.json/t/acme"),
            ("/t/../x", Some(".."), "/x"),
            ("", None, ""),
            ("*", None, "*"),
        ];
        for (path, slug, rest) in paths {
            assert_eq!(split_tenant(path), (*slug, *rest), "{path}");
        }
    }

    #[tokio::test]
    async fn json_is_read_by_its_type_or_none() {
        for (headers, readable) in [
            (&[][..], true),
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=utf-8")], true),
            (&[("content-type", "application/merge-patch+json")], true),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "application/x-www-form-urlencoded")], false),
            (&[("content-type", "")], false),
        ] {
            let answer = request("/", headers, "{}").json::<Value>().await;
            match answer {
                Ok(_) => assert!(readable, "{headers:?}"),
                Err(problem) => {
                    assert!(!readable, "{headers:?}");
                    assert_eq!(problem.code(), ProblemCode::UnsupportedMediaType);
                }
            }
        }
        let empty = request("/", &[], "").json::<Value>().await;
        assert_eq!(empty.unwrap_err().code(), ProblemCode::InvalidJson);
    }

    #[tokio::test]
    async fn a_form_must_be_called_one() {
        let typed = [("content-type", "application/x-www-form-urlencoded;charset=UTF-8")];

        assert_eq!(request("/", &typed, "token=abc").form().await.unwrap().get("token"), Some("abc"));
        assert!(request("/", &[], "token=abc").form().await.is_err());
    }

    #[test]
    fn a_bearer_token_is_sent_in_one_way_or_refused() {
        let bearer = |uri: &str, headers: &[(&str, &str)]| {
            request(uri, headers, "").bearer().map(|token| token.map(str::to_owned)).map_err(|problem| problem.code())
        };

        assert_eq!(bearer("/", &[]), Ok(None));
        assert_eq!(bearer("/", &[("authorization", "Basic YTpi")]), Ok(None));
        assert_eq!(bearer("/", &[("authorization", "Bearer a.b-c_d~e+f/g==")]), Ok(Some("a.b-c_d~e+f/g==".into())));
        assert_eq!(bearer("/", &[("authorization", "bEARER abc")]), Ok(Some("abc".into())));
        assert_eq!(bearer("/?access_token=x", &[]), Ok(None));
        for headers in [
            &[("authorization", "Bearer")][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer a b")],
            &[("authorization", "Bearer a,b")],
            &[("authorization", "Bearer =")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        ] {
            assert_eq!(bearer("/", headers), Err(ProblemCode::InvalidRequest), "{headers:?}");
        }
        assert_eq!(bearer("/?access_token=x", &[("authorization", "Bearer a")]), Err(ProblemCode::InvalidRequest));
    }

    #[test]
    fn small_questions_have_small_answers() {
        let browser = request(
            "/x?a=1&a=2&b=%20",
            &[
                ("cookie", "one=1; __Host-guichet_device_acme=d"),
                ("cookie", "three=3"),
                ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
                ("accept-language", "fr-SN,fr;q=0.9,en;q=0.8"),
                ("user-agent", "Mozilla/5.0"),
                ("host", "auth.example.com:8443"),
            ],
            "",
        );

        assert_eq!(browser.cookie("__Host-guichet_device_acme").as_deref(), Some("d"));
        assert_eq!(browser.cookie("three").as_deref(), Some("3"));
        assert_eq!(browser.cookie("two"), None);
        assert!(browser.accepts_html());
        assert!(!request("/", &[("accept", "*/*")], "").accepts_html());
        assert_eq!(browser.accept_language(), Some(Locale::Fr));
        assert_eq!(browser.user_agent().as_deref(), Some("Mozilla/5.0"));
        assert_eq!(browser.head().host(), Some("auth.example.com"));
        assert_eq!(request("/", &[("host", "[::1]:80")], "").head().host(), Some("[::1]"));
        assert_eq!(browser.query("a"), Some("1".into()));
        assert_eq!(browser.query("b"), Some(" ".into()));
        assert!(!format!("{browser:?}").contains("device"));
    }

    #[test]
    fn what_is_no_text_is_there_all_the_same() {
        let mut odd = request("/", &[("cookie", "one=1; two= \u{e9} ; three; five=a=b")], "");
        odd.parts.headers.append(COOKIE, HeaderValue::from_bytes(b"six=\xff; seven=7").unwrap());
        odd.parts.headers.append(USER_AGENT, HeaderValue::from_bytes(b"Caf\xc3\xa9/1 \xff").unwrap());

        for (name, value) in [("one", "1"), ("two", "\u{e9}"), ("five", "a=b"), ("six", "\u{fffd}"), ("seven", "7")] {
            assert_eq!(odd.cookie(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(odd.cookie("three"), None);
        assert_eq!(odd.user_agent().as_deref(), Some("Caf\u{e9}/1 \u{fffd}"));
        assert_eq!(odd.header(&USER_AGENT), None);
    }

    #[test]
    fn a_request_id_from_outside_is_harmless() {
        for text in ["0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10", "abcdef12", "0192f3a4#17"] {
            assert!(RequestId::from_proxy(text).is_some(), "{text}");
        }
        for text in ["", "short", "with space", "line\nfeed", "quote\"quote", &"x".repeat(65)] {
            assert!(RequestId::from_proxy(text).is_none(), "{text}");
        }
        let id = RequestId::from_proxy("0192f3a47c1e7d6a9c1f2b7b5f6f1a10").unwrap();
        assert_eq!(id.instance(), "urn:uuid:0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10");
    }
}
