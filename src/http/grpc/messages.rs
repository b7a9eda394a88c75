//! The messages of Envoy's `envoy.service.auth.v3`, as far as a token check reads and writes them.
//!
//! Protocol buffers skip what they do not know, so a subset with the published field numbers is
//! complete on the wire; the whole of Envoy's API would take longer to compile than guichet itself.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};

/// `CheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    /// All that is known of the request.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    /// The request itself.
    #[prost(message, optional, tag = "4")]
    pub request: Option<AttributesRequest>,
    /// What the route's fixed configuration says; no client can write here.
    #[prost(map = "string, string", tag = "10")]
    pub context_extensions: HashMap<String, String>,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub struct AttributesRequest {
    /// Its HTTP form.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpRequest {
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The headers, names in lower case.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
}

/// `CheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    /// `OK`, or not.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What happens to the request.
    #[prost(oneof = "Outcome", tags = "2, 3")]
    pub outcome: Option<Outcome>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `CheckResponse.http_response`.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    /// The client is answered thus.
    #[prost(message, tag = "2")]
    Denied(Denied),
    /// The request goes on.
    #[prost(message, tag = "3")]
    Allowed(Allowed),
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Denied {
    /// The status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// The headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    /// The body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    /// Its enumeration has the numbers of HTTP.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Allowed {
    /// Put on the request before it goes on.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
}

/// `HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// What happens if it is there already.
    #[prost(enumeration = "Append", tag = "3")]
    pub append_action: i32,
    /// Whether an empty value is put on too.
    #[prost(bool, tag = "4")]
    pub keep_empty_value: bool,
}

/// `HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `HeaderAppendAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Append {
    /// Beside what is there.
    IfExistsOrAdd = 0,
    /// In place of what is there.
    OverwriteIfExistsOrAdd = 2,
}

impl HeaderOption {
    /// A header that stands alone, empty or not.
    #[must_use]
    pub fn only(name: &str, value: &str) -> Self {
        Self {
            header: Some(Header { key: name.to_owned(), value: value.to_owned() }),
            append_action: Append::OverwriteIfExistsOrAdd.into(),
            keep_empty_value: true,
        }
    }
}
