//! Any provider with an HTTP interface: one request with placeholders, and a rule for success.
//!
//! | placeholder | becomes |
//! | --- | --- |
//! | `{to}` | the number, `+221771234567` |
//! | `{to_digits}` | the same without its `+` |
//! | `{text}` | the whole message |
//! | `{code}` | the bare code, for providers with templates of their own |
//! | `{reference}` | our id of the message, the same on every attempt |
//! | `{encoding}` | `text` if the GSM alphabet has every character of it, else `unicode` |
//!
//! They may stand in the URL's path and query, in header values and in the body, where a value
//! takes the form of its place: percent-encoded in a URL or a form, escaped in JSON or XML, as it
//! is in plain text. What a value holds is never read as a placeholder or as syntax.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{InvalidSettings, SmsOptions, client, number, path_and_query, scalar};
use crate::delivery::gsm7::{Encoding, segments};
use crate::delivery::http::{Answer, Fault, HttpClient, refusal};
use crate::delivery::{DeliveryError, Envelope, Receipt, Sender, Stage};
use crate::secret::{ExposeSecret as _, SecretString};

/// What need not be escaped in a URL (RFC 3986 §2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Headers that are the client's to write.
const OWN_HEADERS: &[&str] = &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// A request that says nowhere whom its message is for.
pub const NUMBER_MISSING: &str = "number_missing";

/// A request that carries neither the message nor its code.
pub const TEXT_MISSING: &str = "text_missing";

/// The request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Everything in the URL.
    Get,
    /// The usual one.
    Post,
    /// For providers that want the message's name in the path.
    Put,
}

/// The request's body.
#[derive(Clone)]
pub enum HttpBody {
    /// None.
    Empty,
    /// Sent as JSON; placeholders stand in its strings.
    Json(Value),
    /// Sent as it is; its `Content-Type` header must say what it is.
    Text(String),
}

/// When the message was taken, and where the answer names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessRule {
    /// Good HTTP statuses; none means every 2xx.
    pub status: Vec<u16>,
    /// Where the answer's JSON says how it went (RFC 6901).
    pub pointer: Option<String>,
    /// What must stand there: a value, or a list of values that are all good. `0` and `"0"` are
    /// the same.
    pub equals: Option<Value>,
    /// Where the answer's JSON names the message; without it, it is known by `{reference}`.
    pub reference: Option<String>,
    /// Where the answer's JSON gives a refusal's code; `pointer` unless set.
    pub code: Option<String>,
}

/// A provider as a request and a rule.
#[derive(Clone)]
pub struct HttpSettings {
    /// Absolute, `https`. The host holds no placeholder.
    pub url: String,
    /// The method.
    pub method: HttpMethod,
    /// Header names and values; the place for credentials.
    pub headers: Vec<(String, SecretString)>,
    /// The body.
    pub body: HttpBody,
    /// When it went well.
    pub success: SuccessRule,
}

impl HttpSettings {
    /// What no message through it could say: whom it is for, or anything at all.
    pub(super) fn lacks(&self) -> Option<InvalidSettings> {
        let mut used = Template::parse(path_and_query(&self.url)).placeholders();
        for (_, value) in &self.headers {
            used.extend(Template::parse(value.expose_secret()).placeholders());
        }
        match &self.body {
            HttpBody::Empty => {}
            HttpBody::Text(text) => used.extend(Template::parse(text).placeholders()),
            HttpBody::Json(value) => json_placeholders(value, &mut used),
        }
        let has = |wanted: [Placeholder; 2]| used.iter().any(|one| wanted.contains(one));
        if !has([Placeholder::To, Placeholder::ToDigits]) {
            return Some(InvalidSettings::new("", NUMBER_MISSING));
        }
        if !has([Placeholder::Text, Placeholder::Code]) {
            return Some(InvalidSettings::new("", TEXT_MISSING));
        }
        None
    }
}

/// URLs and bodies may hold keys as well as headers do.
impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Sends by such a request.
pub(super) struct HttpSender {
    client: HttpClient,
    method: Method,
    path: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
    success: SuccessRule,
    /// What the provider's codes mean, if we know it.
    faults: &'static [Fault],
    timeout: Duration,
}

enum Body {
    Empty,
    Json(Value),
    Text(Template, Escape),
}

/// The type of a body, `usual` where the headers name none; none if it differs from message to message.
fn content_type<'h>(headers: &'h mut Vec<(HeaderName, Template)>, usual: &str) -> Option<&'h str> {
    if !headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
        headers.push((CONTENT_TYPE, Template::parse(usual)));
    }
    headers.iter().find(|(name, _)| name == CONTENT_TYPE).and_then(|(_, value)| value.fixed())
}

impl HttpSender {
    pub(super) fn new(
        settings: HttpSettings,
        faults: &'static [Fault],
        options: &SmsOptions,
    ) -> Result<Self, InvalidSettings> {
        let HttpSettings { url, method, headers, body, success } = settings;
        let mut headers =
            headers.iter().map(|(name, value)| header(name, value.expose_secret())).collect::<Result<Vec<_>, _>>()?;
        let body = match body {
            HttpBody::Empty => Body::Empty,
            HttpBody::Json(value) => {
                content_type(&mut headers, "application/json");
                Body::Json(value)
            }
            HttpBody::Text(text) => {
                let kind = content_type(&mut headers, "text/plain; charset=utf-8");
                let kind = kind.ok_or(InvalidSettings::new("headers", "content_type_required"))?;
                Body::Text(Template::parse(&text), Escape::of(kind))
            }
        };
        let client = client("url", &url, options)?;
        let path = Template::parse(path_and_query(&url));
        let sender =
            Self { client, method: method.into(), path, headers, body, success, faults, timeout: options.timeout };
        sender.check()?;
        Ok(sender)
    }

    /// Fills the templates once, so that what can never be sent is refused when it is saved.
    fn check(&self) -> Result<(), InvalidSettings> {
        let sample = Values { to: "+15555550100", text: "text", code: Some("0000"), reference: "reference".to_owned() };
        self.request(&sample).map(|_| ()).map_err(|_| InvalidSettings::new("url", "malformed"))?;
        for pointer in [&self.success.pointer, &self.success.reference, &self.success.code].into_iter().flatten() {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(InvalidSettings::new("success", "pointer_malformed"));
            }
        }
        if self.success.pointer.is_none() && self.success.equals.is_some() {
            return Err(InvalidSettings::new("success", "pointer_required"));
        }
        if self.success.status.iter().any(|status| StatusCode::from_u16(*status).is_err()) {
            return Err(InvalidSettings::new("success", "status_malformed"));
        }
        Ok(())
    }

    fn request(&self, values: &Values<'_>) -> Result<Request<Full<Bytes>>, DeliveryError> {
        let malformed = || DeliveryError::refused(Stage::Sender, "request_malformed");
        let path = PathAndQuery::try_from(self.path.fill(values, Escape::Url)?).map_err(|_| malformed())?;
        let body = match &self.body {
            Body::Empty => Bytes::new(),
            Body::Json(value) => Bytes::from(fill_json(value, values)?.to_string()),
            Body::Text(template, escape) => Bytes::from(template.fill(values, *escape)?),
        };
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(path.as_str())
            .body(Full::new(body))
            .map_err(|_| malformed())?;
        for (name, template) in &self.headers {
            let value = template.fill(values, Escape::None)?;
            let mut value = HeaderValue::try_from(value).map_err(|_| malformed())?;
            value.set_sensitive(true);
            request.headers_mut().append(name.clone(), value);
        }
        Ok(request)
    }

    fn judge(&self, answer: &Answer, reference: String) -> Result<Receipt, DeliveryError> {
        let good_status = match self.success.status.as_slice() {
            [] => answer.status.is_success(),
            listed => listed.contains(&answer.status.as_u16()),
        };
        let told = serde_json::from_slice::<Value>(&answer.body).ok();
        let at = |pointer: &Option<String>| {
            let pointer = pointer.as_deref()?;
            told.as_ref()?.pointer(pointer).and_then(scalar)
        };
        let said = at(&self.success.pointer);
        if good_status && self.success.pointer.as_ref().is_none_or(|_| self.is_good(said.as_deref())) {
            let named = Receipt::named(at(&self.success.reference)).reference;
            return Ok(Receipt { reference: named.or(Some(reference)) });
        }
        let code = at(&self.success.code).or(said);
        Err(refusal(answer.status, code.as_deref(), self.faults))
    }

    /// Is what stands at the pointer good? Without `equals`, that something stands there is.
    fn is_good(&self, said: Option<&str>) -> bool {
        let same = |good: &Value| scalar(good).as_deref() == said;
        match (&self.success.equals, said) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(Value::Array(all)), _) => all.iter().any(same),
            (Some(one), _) => same(one),
        }
    }
}

#[async_trait]
impl Sender for HttpSender {
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
        let reference = envelope.id.to_string();
        let values = Values {
            to: number(envelope)?,
            text: &envelope.rendered.text,
            code: envelope.code.as_ref().map(SecretString::expose_secret),
            reference: reference.clone(),
        };
        let answer = self.client.call(self.request(&values)?, Instant::now() + self.timeout).await?;
        self.judge(&answer, reference)
    }
}

impl From<HttpMethod> for Method {
    fn from(method: HttpMethod) -> Self {
        match method {
            HttpMethod::Get => Self::GET,
            HttpMethod::Post => Self::POST,
            HttpMethod::Put => Self::PUT,
        }
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, Template), InvalidSettings> {
    let name = HeaderName::try_from(name).map_err(|_| InvalidSettings::new("headers", "name_malformed"))?;
    if name == HOST || OWN_HEADERS.contains(&name.as_str()) {
        return Err(InvalidSettings::new("headers", "name_refused"));
    }
    HeaderValue::try_from(value).map_err(|_| InvalidSettings::new("headers", "value_malformed"))?;
    Ok((name, Template::parse(value)))
}

/// What placeholders become.
struct Values<'a> {
    to: &'a str,
    text: &'a str,
    code: Option<&'a str>,
    reference: String,
}

/// What a value must look like where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Url,
    Form,
    Json,
    Xml,
}

impl Escape {
    /// By the media type of a body.
    fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => Self::Form,
            json if json.ends_with("/json") || json.ends_with("+json") => Self::Json,
            xml if xml.ends_with("/xml") || xml.ends_with("+xml") => Self::Xml,
            _ => Self::None,
        }
    }

    fn write(self, value: &str, into: &mut String) {
        match self {
            Self::None => into.push_str(value),
            Self::Url => into.extend(utf8_percent_encode(value, UNRESERVED)),
            Self::Form => into.extend(form_urlencoded::byte_serialize(value.as_bytes())),
            Self::Json => {
                let quoted = Value::from(value).to_string();
                into.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default());
            }
            Self::Xml => value.chars().for_each(|c| write_xml(c, into)),
        }
    }
}

fn write_xml(c: char, into: &mut String) {
    match c {
        '&' | '<' | '>' | '"' | '\'' => {
            // Writing to a string cannot fail.
            let _ = write!(into, "&#{};", u32::from(c));
        }
        '\n' | '\r' | '\t' => into.push(c),
        // XML 1.0 has no way to write them.
        c if c.is_control() => {}
        c => into.push(c),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    To,
    ToDigits,
    Text,
    Code,
    Reference,
    Encoding,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("{to}", Placeholder::To),
    ("{to_digits}", Placeholder::ToDigits),
    ("{text}", Placeholder::Text),
    ("{code}", Placeholder::Code),
    ("{reference}", Placeholder::Reference),
    ("{encoding}", Placeholder::Encoding),
];

enum Part {
    Fixed(String),
    Value(Placeholder),
}

/// Text with placeholders, taken apart once.
struct Template(Vec<Part>);

impl Template {
    /// Any other brace stands for itself: bodies are full of them.
    fn parse(mut text: &str) -> Self {
        let mut parts = Vec::new();
        let mut fixed = String::new();
        while let Some(first) = text.chars().next() {
            let found = PLACEHOLDERS.iter().find_map(|(name, which)| Some((text.strip_prefix(name)?, *which)));
            if let Some((rest, which)) = found {
                parts.push(Part::Fixed(std::mem::take(&mut fixed)));
                parts.push(Part::Value(which));
                text = rest;
            } else {
                fixed.push(first);
                text = text.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        parts.push(Part::Fixed(fixed));
        Self(parts)
    }

    fn placeholders(&self) -> Vec<Placeholder> {
        let each = self.0.iter().filter_map(|part| match part {
            Part::Fixed(_) => None,
            Part::Value(which) => Some(*which),
        });
        each.collect()
    }

    /// The text, if it has no placeholder.
    fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Fixed(text)] => Some(text),
            _ => None,
        }
    }

    fn fill(&self, values: &Values<'_>, escape: Escape) -> Result<String, DeliveryError> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Fixed(text) => filled.push_str(text),
                Part::Value(which) => escape.write(value(*which, values)?, &mut filled),
            }
        }
        Ok(filled)
    }
}

fn value<'a>(which: Placeholder, values: &'a Values<'_>) -> Result<&'a str, DeliveryError> {
    Ok(match which {
        Placeholder::To => values.to,
        Placeholder::ToDigits => values.to.trim_start_matches('+'),
        Placeholder::Text => values.text,
        Placeholder::Reference => &values.reference,
        // A template that wants a code cannot carry a notice.
        Placeholder::Code => values.code.ok_or(DeliveryError::refused(Stage::Sender, "no_code"))?,
        Placeholder::Encoding => match segments(values.text).0 {
            Encoding::Gsm7 => "text",
            Encoding::Ucs2 => "unicode",
        },
    })
}

/// Those in the document's strings, where [`fill_json`] fills them.
fn json_placeholders(template: &Value, used: &mut Vec<Placeholder>) {
    match template {
        Value::String(text) => used.extend(Template::parse(text).placeholders()),
        Value::Array(all) => all.iter().for_each(|one| json_placeholders(one, used)),
        Value::Object(members) => members.values().for_each(|one| json_placeholders(one, used)),
        _ => {}
    }
}

/// The same document with its strings filled; the names of its members stay.
fn fill_json(template: &Value, values: &Values<'_>) -> Result<Value, DeliveryError> {
    Ok(match template {
        Value::String(text) => Value::String(Template::parse(text).fill(values, Escape::None)?),
        Value::Array(all) => Value::Array(all.iter().map(|one| fill_json(one, values)).collect::<Result<_, _>>()?),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, one)| Ok((name.clone(), fill_json(one, values)?)))
                .collect::<Result<_, DeliveryError>>()?,
        ),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, text: &str, escape: Escape) -> String {
        let values = Values { to: "+221771234567", text, code: Some("482913"), reference: "r1".to_owned() };
        Template::parse(template).fill(&values, escape).unwrap()
    }

    #[test]
    fn a_value_takes_the_form_of_its_place() {
        let hostile = "a&b=c\" \\ +%20<é>\n{code}";

        assert_eq!(
            fill("/send?to={to}&t={text}", hostile, Escape::Url),
            "/send?to=%2B221771234567&t=a%26b%3Dc%22%20%5C%20%2B%2520%3C%C3%A9%3E%0A%7Bcode%7D"
        );
        let form = fill("to={to}&t={text}", hostile, Escape::Form);
        let pairs: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
        assert_eq!(pairs, [("to".into(), "+221771234567".into()), ("t".into(), hostile.into())]);
        let json = fill(r#"{"to":"{to}","t":"{text}"}"#, hostile, Escape::Json);
        assert_eq!(
            serde_json::from_str::<Value>(&json).unwrap(),
            serde_json::json!({"to":"+221771234567","t":hostile})
        );
        assert_eq!(fill("<t>{text}</t>", "a<b>&\"'\u{1}", Escape::Xml), "<t>a&#60;b&#62;&#38;&#34;&#39;</t>");
    }

    #[test]
    fn a_request_says_whom_a_message_is_for_and_what() {
        let lacks = |url: &str, header: &str, body: HttpBody| {
            let settings = HttpSettings {
                url: format!("https://a.example{url}"),
                method: HttpMethod::Post,
                headers: vec![("x-key".to_owned(), header.into())],
                body,
                success: SuccessRule::default(),
            };
            settings.lacks().map(|lacks| lacks.reason)
        };
        let json = |text| HttpBody::Json(serde_json::from_str(text).unwrap());

        assert_eq!(lacks("/send", "k", HttpBody::Empty), Some(NUMBER_MISSING));
        assert_eq!(lacks("/send", "{reference}", json(r#"{"{to}":1,"t":"{ to }"}"#)), Some(NUMBER_MISSING));
        assert_eq!(lacks("/{to}", "k", HttpBody::Text("{encoding}".into())), Some(TEXT_MISSING));
        assert_eq!(lacks("/send?to={to}&text={text}", "k", HttpBody::Empty), None);
        assert_eq!(lacks("/send?to={to_digits}", "{code}", HttpBody::Empty), None);
        assert_eq!(lacks("/send", "k", HttpBody::Text("<to>{to}</to>{text}".into())), None);
        assert_eq!(lacks("/send", "k", json(r#"[{"to":["{to}"],"text":{"is":"Code {code}"}}]"#)), None);
    }

    #[test]
    fn quotes_at_the_edges_of_a_json_string_survive() {
        for text in ["\"", "\"\"x\"", "x\"", "\\\"", "\\"] {
            let json = fill(r#"{"t":"{text}"}"#, text, Escape::Json);
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["t"], text, "{json}");
        }
    }

    #[test]
    fn other_braces_stand_for_themselves() {
        assert_eq!(fill("{{to}} {To} {tofu} {to", "", Escape::None), "{+221771234567} {To} {tofu} {to");
    }

    #[test]
    fn the_bodys_media_type_decides_how_values_are_written() {
        let cases = [
            ("application/json; charset=utf-8", Escape::Json),
            ("application/vnd.api+json", Escape::Json),
            ("application/x-www-form-urlencoded", Escape::Form),
            ("text/XML", Escape::Xml),
            ("text/plain", Escape::None),
        ];
        for (kind, escape) in cases {
            assert_eq!(Escape::of(kind), escape, "{kind}");
        }
    }

    #[test]
    fn the_path_is_taken_as_it_was_written() {
        assert_eq!(path_and_query("https://a.example/x/{to}?k=1#f"), "/x/{to}?k=1");
        assert_eq!(path_and_query("https://a.example?k=1"), "?k=1");
        assert_eq!(path_and_query("https://a.example"), "/");
    }
}
