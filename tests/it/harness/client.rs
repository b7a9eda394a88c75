//! A client of one tenant: requests that read as sentences, and answers that are held to what
//! every answer promises before a test looks at them.

use std::net::Ipv4Addr;
use std::pin::Pin;

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::gateway::Gateway;

/// One tenant's routes, or the admin listener's.
#[derive(Clone, Copy)]
pub(crate) struct Door<'g> {
    gateway: &'g Gateway,
    prefix: &'static str,
    is_admin: bool,
}

impl<'g> Door<'g> {
    pub(crate) fn new(gateway: &'g Gateway, prefix: &'static str) -> Self {
        Self { gateway, prefix, is_admin: false }
    }

    /// The admin listener; paths are below `/admin/v1`.
    pub(crate) fn admin(gateway: &'g Gateway) -> Self {
        Self { gateway, prefix: "/admin/v1", is_admin: true }
    }

    pub(crate) fn gateway(self) -> &'g Gateway {
        self.gateway
    }

    /// The tenant's name in its path; empty where it has none.
    pub(crate) fn slug(self) -> &'static str {
        self.prefix.trim_start_matches("/t/")
    }

    pub(crate) fn post(self, path: &str, body: &Value) -> Call<'g> {
        self.call(Method::POST, path).body("application/json", body.to_string())
    }

    /// `POST` of a form.
    pub(crate) fn form(self, path: &str, members: &[(&str, &str)]) -> Call<'g> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
        self.call(Method::POST, path).body("application/x-www-form-urlencoded", body)
    }

    /// A JSON merge patch.
    pub(crate) fn patch(self, path: &str, body: &Value) -> Call<'g> {
        self.call(Method::PATCH, path).body("application/merge-patch+json", body.to_string())
    }

    pub(crate) fn get(self, path: &str) -> Call<'g> {
        self.call(Method::GET, path)
    }

    pub(crate) fn delete(self, path: &str) -> Call<'g> {
        self.call(Method::DELETE, path)
    }

    pub(crate) fn call(self, method: Method, path: &str) -> Call<'g> {
        Call {
            gateway: self.gateway,
            method,
            path: format!("{}{path}", self.prefix),
            is_admin: self.is_admin,
            headers: HeaderMap::new(),
            body: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
        }
    }
}

/// A request being put together; `.await` sends it.
#[must_use]
pub(crate) struct Call<'g> {
    gateway: &'g Gateway,
    method: Method,
    path: String,
    is_admin: bool,
    headers: HeaderMap,
    body: Vec<u8>,
    address: Ipv4Addr,
}

impl Call<'_> {
    /// With this `User-Agent`; none is sent otherwise.
    pub(crate) fn from(self, agent: &str) -> Self {
        self.header("user-agent", agent)
    }

    /// Showing this device token.
    pub(crate) fn device(self, token: &str) -> Self {
        self.header("x-device-id", token)
    }

    /// Showing this access token, or admin key.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Asking for this language.
    pub(crate) fn language(self, tag: &str) -> Self {
        self.header("accept-language", tag)
    }

    /// As a browser follows a link.
    pub(crate) fn by_browser(self) -> Self {
        self.header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    }

    /// From another address of the loopback network, a real peer.
    pub(crate) fn at(mut self, address: [u8; 4]) -> Self {
        self.address = address.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    async fn send(self) -> Answer {
        let said = format!("{} {}", self.method, self.path);
        let url = if self.is_admin { self.gateway.admin_url(&self.path) } else { self.gateway.url(&self.path) };
        let request = self.gateway.http(self.address).request(self.method.clone(), url);
        let response = request.headers(self.headers).body(self.body).send().await.expect("the gateway answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        let answer = Answer { said, status, headers, text, json };
        answer.keeps_every_promise(&self.method);
        answer
    }
}

impl<'g> IntoFuture for Call<'g> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    said: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body, `null` if it is no JSON.
    pub(crate) json: Value,
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.said, self.text);
        self
    }

    /// The problem document, if it has this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer["code"], code, "{}: {}", answer.said, answer.text);
        answer
    }

    /// A member of the body that is text.
    #[track_caller]
    pub(crate) fn word(&self, member: &str) -> String {
        self[member].as_str().unwrap_or_else(|| panic!("{}: no {member} in {}", self.said, self.text)).to_owned()
    }

    /// The members of the body, in alphabetical order.
    #[track_caller]
    pub(crate) fn members(&self) -> Vec<String> {
        self.json.as_object().expect("an object").keys().cloned().collect()
    }

    /// The ids of the rows of a page.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<String> {
        let items = self["items"].as_array().unwrap_or_else(|| panic!("{}: {}", self.said, self.text));
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.said)).to_str().unwrap()
    }

    /// Seconds until asking again will do.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().expect("whole seconds")
    }

    /// Status, headers and body, less what differs from any request to the next.
    pub(crate) fn same_for_everybody(&self) -> (u16, Vec<(String, String)>, String) {
        // What is left of a client's own quota is less with each request, whoever is asked about.
        let passing = ["date", "ratelimit", "x-request-id"];
        let headers = self.headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let id = self.header("x-request-id");
        (self.status.as_u16(), headers, self.text.replace(id, "…"))
    }

    /// What holds for every answer of either listener, whatever was asked.
    #[track_caller]
    fn keeps_every_promise(&self, method: &Method) {
        let status = self.status.as_u16();
        assert_ne!(status, 500, "{}: {}", self.said, self.text);
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("referrer-policy"), "no-referrer");
        assert!(self.header("content-security-policy").contains("default-src 'none'; frame-ancestors 'none'"));
        let is_public = ["/jwks.json", "/oauth-authorization-server"].iter().any(|path| self.said.contains(path));
        assert!(
            is_public && matches!(status, 200 | 304) || self.header("cache-control") == "no-store",
            "{}",
            self.said
        );
        assert!(!self.header("x-request-id").is_empty());
        if matches!(status, 429 | 503) {
            assert!(self.retry_after() >= 1, "{}", self.said);
        }
        if self.said.contains("/oauth/") && status != 404 {
            return self.is_an_oauth_answer();
        }
        let is_page = self.headers.get("content-type").is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
        if status >= 400 && *method != Method::HEAD && !is_page {
            assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.said);
            for member in ["type", "title", "code", "message", "instance"] {
                assert!(!self.word(member).is_empty(), "{}: {member}", self.said);
            }
            // A gateway that knows few statuses is told the true one beside.
            let truth =
                self.headers.get("x-auth-status").map_or(status, |truth| truth.to_str().unwrap().parse().unwrap());
            assert_eq!(self["status"], truth);
        }
        if status == 401 && *method != Method::HEAD {
            assert!(self.header("www-authenticate").starts_with("Bearer realm="), "{}", self.said);
        }
    }

    /// RFC 6749 §5.2 in place of a problem document.
    #[track_caller]
    fn is_an_oauth_answer(&self) {
        let status = self.status.as_u16();
        if status >= 400 && status != 405 {
            assert_eq!(self.header("content-type"), "application/json", "{}", self.said);
            assert_eq!(self.members(), ["error"], "{}: {}", self.said, self.text);
        }
        if status == 401 {
            assert_eq!(self["error"], "invalid_client", "{}", self.said);
            assert!(self.header("www-authenticate").starts_with("Basic realm="), "{}", self.said);
        }
    }
}

impl std::ops::Index<&str> for Answer {
    type Output = Value;

    /// A member of the body, `null` if it is not there.
    fn index(&self, member: &str) -> &Value {
        &self.json[member]
    }
}
