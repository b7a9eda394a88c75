//! What a refusal looks like: the one table of codes, and the document built from it.
//!
//! Every error leaves as `application/problem+json` (RFC 9457) with a stable `code`, and always a
//! `message`, which the original APIs' clients read. Nothing internal ever gets in: the text comes
//! from the table or from the caller's own constant, never from an error's `Display`. To add a
//! code, add a row; the snapshot in the tests is what clients were promised.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::reply::Reply;
use crate::domain::fault::Fault;
use crate::domain::session::ACR;
use crate::domain::time::seconds_rounded_up;

/// Requested of IANA by draft-ietf-httpapi-ratelimit-headers-10, as are the next two.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
const ABNORMAL_USAGE: &str = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";

/// Promised by a 429 or 503 that knows no better.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

struct Row {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    message: &'static str,
}

macro_rules! problems {
    ($($name:ident = $status:ident $code:literal $title:literal $message:literal;)*) => {
        /// Why a request was refused. Each stands for one row: status, `code`, `title` and the
        /// `message` that is sent unless the handler knows a better one. A code never changes its
        /// meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant's title and message stand in its row")]
        pub enum ProblemCode {
            $($name,)*
        }

        impl ProblemCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row { status: StatusCode::$status, code: $code, title: $title, message: $message },)*
                }
            }
        }
    };
}

#[rustfmt::skip]
problems! {
    // What was sent cannot be read.
    InvalidJson = BAD_REQUEST "invalid_json" "Malformed JSON" "The request body is not valid JSON.";
    InvalidRequest = BAD_REQUEST "invalid_request" "Invalid request" "The request cannot be understood.";
    Validation = BAD_REQUEST "validation" "Invalid input" "Some members are missing or invalid.";
    InvalidPhone = BAD_REQUEST "invalid_phone" "Invalid phone number" "The phone number is not valid.";
    InvalidEmail = BAD_REQUEST "invalid_email" "Invalid e-mail address" "The e-mail address is not valid.";
    PayloadTooLarge = PAYLOAD_TOO_LARGE "payload_too_large" "Body too large" "The request body is too large.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported media type" "The content type of the request body is not supported here.";
    RequestTimeout = REQUEST_TIMEOUT "request_timeout" "Request timeout" "The request body did not arrive in time.";
    // What was asked for is not here.
    NotFound = NOT_FOUND "not_found" "Not found" "There is nothing here.";
    TenantNotFound = NOT_FOUND "tenant_not_found" "Unknown tenant" "No such tenant.";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed" "This method is not supported here.";
    // What is there stands against it.
    PreconditionFailed = PRECONDITION_FAILED "precondition_failed" "Changed meanwhile" "This has changed since it was read.";
    TenantExists = CONFLICT "tenant_exists" "Tenant exists" "Another tenant has this slug.";
    DomainTaken = CONFLICT "domain_taken" "Domain taken" "One of the domains belongs to another tenant.";
    AudienceTaken = CONFLICT "audience_taken" "Audience taken" "Another app of the tenant has this audience.";
    DefaultTenant = CONFLICT "default_tenant" "Default tenant" "Requests that name no tenant belong to this one: configure another first.";
    LimitReached = CONFLICT "limit_reached" "Limit reached" "There can be no more of these.";
    CredentialRequired = BAD_REQUEST "credential_required" "Credential required" "A credential must be given anew.";
    // The answer given by a person was not accepted.
    InvalidCredentials = BAD_REQUEST "invalid_credentials" "Invalid credentials" "Invalid email or password.";
    EmailNotVerified = BAD_REQUEST "email_not_verified" "E-mail address not verified" "Please verify your email before logging in.";
    AccountLocked = FORBIDDEN "account_locked" "Account locked" "Account locked due to too many failed login attempts. Please check your email.";
    AccountDisabled = FORBIDDEN "account_disabled" "Account disabled" "This account is disabled.";
    InvalidCode = BAD_REQUEST "invalid_code" "Invalid code" "The code is not right.";
    CodeExpired = BAD_REQUEST "code_expired" "Code expired" "The code has expired. Please request a new one.";
    PhoneNotVerified = FORBIDDEN "phone_not_verified" "Phone number not verified" "Please verify the phone number first.";
    UserExists = BAD_REQUEST "user_exists" "User exists" "User already exists.";
    UnknownClient = BAD_REQUEST "unknown_client" "Unknown client" "No app has this client_id.";
    InvalidLink = BAD_REQUEST "invalid_link" "Invalid link" "The link is invalid or has expired.";
    // The caller did not show who it is, or may not.
    InvalidToken = UNAUTHORIZED "invalid_token" "Invalid token" "The access token is not valid.";
    MissingToken = UNAUTHORIZED "missing_token" "Authentication required" "An access token is required.";
    InsufficientUserAuthentication = UNAUTHORIZED "insufficient_user_authentication" "Sign-in too old or too weak" "A more recent authentication is required.";
    InsufficientScope = FORBIDDEN "insufficient_scope" "Insufficient scope" "The access token does not allow this.";
    Forbidden = FORBIDDEN "forbidden" "Forbidden" "This is not allowed.";
    // Later.
    AccountBusy = TOO_MANY_REQUESTS "account_busy" "Account busy" "Too many requests for this account at once. Please try again.";
    TooManyRequests = TOO_MANY_REQUESTS "too_many_requests" "Too many requests" "Too many requests. Please try again later.";
    Overloaded = SERVICE_UNAVAILABLE "overloaded" "Overloaded" "The service is overloaded. Please try again.";
    DependencyUnavailable = SERVICE_UNAVAILABLE "dependency_unavailable" "Temporarily unavailable" "The service is temporarily unavailable. Please try again.";
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal error" "Something went wrong on our side.";
}

impl ProblemCode {
    /// The HTTP status it is sent with.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// The stable text that clients branch on.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The short summary, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// What `message` says unless the handler knows better.
    pub const fn message(self) -> &'static str {
        self.row().message
    }

    /// The `type` member: an absolute URI (RFC 9457 §3.1.1).
    pub fn type_uri(self) -> Cow<'static, str> {
        match self {
            Self::TooManyRequests => QUOTA_EXCEEDED.into(),
            Self::Overloaded | Self::DependencyUnavailable => REDUCED_CAPACITY.into(),
            _ => format!("urn:guichet:problem:{}", self.code()).into(),
        }
    }

    /// The error code of a Bearer challenge (RFC 6750 §3.1, RFC 9470 §3).
    fn bearer_error(self) -> Option<&'static str> {
        match self {
            Self::InvalidToken
            | Self::InsufficientUserAuthentication
            | Self::InsufficientScope
            | Self::InvalidRequest => Some(self.code()),
            _ => None,
        }
    }
}

/// One member that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the member; empty for the body as a whole.
    pub pointer: String,
    /// Stable word for programs: `missing`, `wrong_type`, `unknown_member`, `too_short`, …
    pub code: &'static str,
    /// The same for people; never repeats what was sent.
    pub message: Cow<'static, str>,
}

impl FieldError {
    /// An error of the member at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self { pointer: fault.pointer, code: fault.code, message: fault.message }
    }
}

/// The document as it is written (RFC 9457 §3.1), with the two members of our own.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    message: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    extensions: &'a Map<String, Value>,
}

/// Names that no extension can take.
const STANDARD_MEMBERS: [&str; 8] = ["type", "title", "status", "detail", "instance", "code", "message", "errors"];

/// A refusal on its way out. Boxed, so that `Result<Reply, Problem>` stays small.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    code: ProblemCode,
    /// In place of the code's own.
    kind: Option<&'static str>,
    message: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    extensions: Map<String, Value>,
    headers: HeaderMap,
    is_challenge: bool,
    max_age: Option<Duration>,
    scope: Option<String>,
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        let is_challenge = code.status() == StatusCode::UNAUTHORIZED;
        Self(Box::new(Details {
            code,
            kind: None,
            message: None,
            errors: Vec::new(),
            extensions: Map::new(),
            headers: HeaderMap::new(),
            is_challenge,
            max_age: None,
            scope: None,
        }))
    }
}

impl Problem {
    /// `validation`, naming each member that was refused.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self::from(ProblemCode::Validation).with_errors(errors)
    }

    /// Names each member that was refused.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// `method_not_allowed`, naming the methods that are (RFC 9110 §15.5.6).
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self::from(ProblemCode::MethodNotAllowed).with_header(ALLOW, allow)
    }

    /// `invalid_request` about the way a token was sent: carries a challenge (RFC 6750 §3.1).
    pub fn invalid_token_request() -> Self {
        let mut problem = Self::from(ProblemCode::InvalidRequest);
        problem.0.is_challenge = true;
        problem
    }

    /// `insufficient_user_authentication`: the sign-in may be at most this old (RFC 9470 §3).
    pub fn step_up(max_age: Duration) -> Self {
        let mut problem = Self::from(ProblemCode::InsufficientUserAuthentication);
        problem.0.max_age = Some(max_age);
        problem
    }

    /// `insufficient_scope`: a good token that lacks one of these scopes (RFC 6750 §3.1).
    pub fn insufficient_scope(needed: &str) -> Self {
        let mut problem = Self::from(ProblemCode::InsufficientScope);
        problem.0.is_challenge = true;
        problem.0.scope = Some(needed).filter(|scope| may_be_quoted(scope)).map(str::to_owned);
        problem
    }

    /// A refusal that ends by itself after `wait`; `Retry-After` rounds it up.
    pub fn retry_after(code: ProblemCode, wait: Duration) -> Self {
        Self::from(code).with_header(RETRY_AFTER, HeaderValue::from(seconds_rounded_up(wait)))
    }

    /// "Too soon": asking again after `wait` succeeds. Never says whose limit it was.
    #[must_use]
    pub fn too_soon(wait: Duration) -> Self {
        Self::retry_after(ProblemCode::TooManyRequests, wait)
    }

    /// "Too soon" though no quota is used up: too much of what is wrong comes from where this came.
    #[must_use]
    pub fn abnormal_usage(wait: Duration) -> Self {
        let mut problem = Self::too_soon(wait);
        problem.0.kind = Some(ABNORMAL_USAGE);
        problem
    }

    /// Says something more fitting than the table; must not hold what the caller sent.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// Adds a member of its own (RFC 9457 §3.2). The standard members cannot be replaced.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !STANDARD_MEMBERS.contains(&name) {
            self.0.extensions.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds a header, such as the `RateLimit` fields.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds several, but none that it has already.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        for (name, value) in headers {
            if let Some(name) = name.filter(|name| !self.0.headers.contains_key(name)) {
                self.0.headers.insert(name, value);
            }
        }
        self
    }

    /// The row it stands for.
    pub fn code(&self) -> ProblemCode {
        self.0.code
    }

    /// The document. `instance` is the request's URI, `realm` names who asks for credentials.
    pub fn into_reply(self, instance: &str, realm: &str) -> Reply {
        let challenge = self.challenge(realm);
        let Details { code, kind, message, errors, extensions, mut headers, .. } = *self.0;
        if matches!(code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds_rounded_up(DEFAULT_RETRY)));
        }
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }

        let document = Document {
            kind: &kind.map_or_else(|| code.type_uri(), Cow::Borrowed),
            title: code.title(),
            status: code.status().as_u16(),
            code: code.code(),
            message: message.as_deref().unwrap_or(code.message()),
            instance,
            errors: &errors,
            extensions: &extensions,
        };
        Reply::json(code.status(), &document)
            .with_headers(headers)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))
    }

    fn challenge(&self, realm: &str) -> Option<HeaderValue> {
        if !self.0.is_challenge {
            return None;
        }
        let error = self.0.code.bearer_error().map(|error| {
            let told = self.0.message.as_deref().filter(|message| may_be_quoted(message));
            // The table's messages all may.
            let description = told.unwrap_or(self.0.code.message()).trim_end_matches('.');
            format!(", error=\"{error}\", error_description=\"{description}\"")
        });
        let max_age = self.0.max_age.map(|age| {
            let (acr, seconds) = (ACR, age.as_secs());
            format!(", acr_values=\"{acr}\", max_age=\"{seconds}\"")
        });
        let scope = self.0.scope.as_ref().map(|scope| format!(", scope=\"{scope}\""));
        let parts: String = [error, max_age, scope].into_iter().flatten().collect();
        let challenge = format!("Bearer realm=\"{realm}\"{parts}");
        HeaderValue::try_from(challenge).ok()
    }
}

/// What a challenge may say between quotes (RFC 6749 §3.3, RFC 6750 §3).
fn may_be_quoted(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "urn:uuid:0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10";

    fn document(problem: Problem) -> (HeaderMap, Value) {
        let response = problem.into_reply(INSTANCE, "acme").into_response();
        let (parts, body) = response.into_parts();
        (parts.headers, serde_json::from_slice(&body.into_inner().unwrap()).unwrap())
    }

    #[test]
    fn the_table_is_what_clients_were_promised() {
        let table: Vec<_> =
            ProblemCode::ALL.iter().map(|code| format!("{} {}", code.status().as_u16(), code.code())).collect();

        let promised = "\
400 invalid_json
400 invalid_request
400 validation
400 invalid_phone
400 invalid_email
413 payload_too_large
415 unsupported_media_type
408 request_timeout
404 not_found
404 tenant_not_found
405 method_not_allowed
412 precondition_failed
409 tenant_exists
409 domain_taken
409 audience_taken
409 default_tenant
409 limit_reached
400 credential_required
400 invalid_credentials
400 email_not_verified
403 account_locked
403 account_disabled
400 invalid_code
400 code_expired
403 phone_not_verified
400 user_exists
400 unknown_client
400 invalid_link
401 invalid_token
401 missing_token
401 insufficient_user_authentication
403 insufficient_scope
403 forbidden
429 account_busy
429 too_many_requests
503 overloaded
503 dependency_unavailable
500 internal
";
        assert_eq!(table, promised.lines().collect::<Vec<_>>());
    }

    #[test]
    fn every_problem_has_all_members_and_the_headers_of_its_status() {
        for code in ProblemCode::ALL {
            let (headers, body) = document((*code).into());

            assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
            assert_eq!(body["status"], code.status().as_u16());
            assert_eq!(body["code"], code.code());
            assert_eq!(body["instance"], INSTANCE);
            for member in ["type", "title", "message"] {
                assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {code:?}");
            }
            assert_eq!(headers.contains_key(RETRY_AFTER), matches!(body["status"].as_u64(), Some(429 | 503)));
            assert_eq!(headers.contains_key(WWW_AUTHENTICATE), body["status"] == 401);
            assert!(!code.message().contains(['"', '\\']), "{code:?} would break a challenge");
        }
    }

    #[test]
    fn a_locked_account_is_told_in_the_words_of_the_original_api() {
        let (_, body) = document(ProblemCode::AccountLocked.into());

        assert_eq!(body["message"], "Account locked due to too many failed login attempts. Please check your email.");
    }

    #[test]
    fn challenges_follow_rfc_6750_and_9470() {
        let challenge = |problem: Problem| {
            document(problem).0.get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned()).unwrap()
        };

        assert_eq!(challenge(ProblemCode::MissingToken.into()), "Bearer realm=\"acme\"");
        assert_eq!(
            challenge(ProblemCode::InvalidToken.into()),
            "Bearer realm=\"acme\", error=\"invalid_token\", error_description=\"The access token is not valid\""
        );
        let said = |message: &'static str| challenge(Problem::from(ProblemCode::InvalidToken).with_message(message));
        assert!(said("The key is not valid.").ends_with("error_description=\"The key is not valid\""));
        assert!(said("The \"key\" is not valid.").ends_with("error_description=\"The access token is not valid\""));
        assert_eq!(
            challenge(Problem::step_up(Duration::from_mins(5))),
            "Bearer realm=\"acme\", error=\"insufficient_user_authentication\", \
             error_description=\"A more recent authentication is required\", acr_values=\"urn:guichet:aal1\", \
             max_age=\"300\""
        );
        assert_eq!(
            challenge(Problem::insufficient_scope("users:write a")),
            "Bearer realm=\"acme\", error=\"insufficient_scope\", \
             error_description=\"The access token does not allow this\", scope=\"users:write a\""
        );
        assert!(!challenge(Problem::insufficient_scope("a\"b")).contains("scope=\""));
        assert!(challenge(Problem::invalid_token_request()).contains("error=\"invalid_request\""));
    }

    #[test]
    fn waits_are_rounded_up_and_members_are_added() {
        let wait = Duration::from_millis(1_001);
        let problem = Problem::retry_after(ProblemCode::TooManyRequests, wait)
            .with_member("violated-policies", vec!["login-client"])
            .with_member("code", "spoofed");

        let (headers, body) = document(problem);

        assert_eq!(headers[RETRY_AFTER], "2");
        assert_eq!(body["type"], QUOTA_EXCEEDED);
        assert_eq!(body["violated-policies"], serde_json::json!(["login-client"]));
        assert_eq!(body["code"], "too_many_requests");
    }
}
