//! One request and its answer, as the journeys and the preparations see it.

use std::error::Error as _;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Method, Url};
use serde_json::Value;

/// Why there was no answer, where the time for it ran out.
pub(crate) const TIMED_OUT: &str = "no answer in time";

/// A request that is ready to be sent.
pub(crate) type Call = reqwest::RequestBuilder;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
    /// Null if it is no JSON.
    pub(crate) json: Value,
    pub(crate) bytes: u64,
}

impl Answer {
    /// A member of text; empty if it is missing.
    pub(crate) fn text(&self, member: &str) -> String {
        self.json.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The status, and the problem's stable code if there is one. Never a body: it may hold a token.
    pub(crate) fn shown(&self) -> String {
        match self.json.get("code").and_then(Value::as_str) {
            Some(code) if self.status >= 400 => format!("{} {code}", self.status),
            _ => self.status.to_string(),
        }
    }

    /// Refused for now, with or without the time to wait.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

/// The connections to one listener. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    client: Client,
    base: String,
}

impl Door {
    /// Connects when it is first used.
    pub(crate) fn new(base: &Url, timeout: Duration) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_max_idle_per_host(usize::MAX)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy of the environment would be measured instead.
            .no_proxy()
            .user_agent(concat!("guichet-load/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { client, base: base.as_str().trim_end_matches('/').to_owned() })
    }

    /// A request without a body.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A JSON body posted.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    /// Where it leads.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}

/// Sends it and reads the whole answer.
///
/// # Errors
/// Why there was none, in a word or two.
pub(crate) async fn ask(call: Call) -> Result<Answer, String> {
    let response = call.send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.map_err(|error| failure(&error))?;
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Answer { status, retry_after, json, bytes: body.len() as u64 })
}

/// The innermost cause tells the most, and names neither address nor path.
fn failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return TIMED_OUT.to_owned();
    }
    let mut cause = error.source();
    let mut words = "broken off".to_owned();
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    if error.is_connect() { format!("no connection: {words}") } else { words }
}
