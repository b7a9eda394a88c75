//! The OAuth endpoints, by the letter of their RFCs: refresh (RFC 6749 §6), introspection (RFC 7662)
//! and revocation (RFC 7009). Errors are those of RFC 6749 §5.2 and no problem documents.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{INTROSPECT, REFRESH};
use crate::actors::failure::Failure;
use crate::actors::sessions::{Introspection, OAuthClient, RefreshOutcome};
use crate::actors::tokens::Genuine;
use crate::domain::session::ACR;
use crate::domain::time::seconds_rounded_up;
use crate::http::body::Form;
use crate::http::gate::{self, Gate};
use crate::http::openapi::{Access, Doc};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    Routes::new()
        .route(Method::POST, "/oauth/token", token)
        .limited(REFRESH)
        .describe(
            of_oauth::<TokenForm>("Trade a refresh token for a new pair (RFC 6749 §6)")
                .answer::<TokenPair<'static>>(200, "A new pair."),
        )
        .route(Method::POST, "/oauth/introspect", introspect)
        .limited(INTROSPECT)
        .describe(
            of_oauth::<TokenOfClient>("What a token is (RFC 7662)")
                .about("Any app of the tenant may ask about any token of it.")
                .answer::<Told>(200, "What it is, or that it is none."),
        )
        .route(Method::POST, "/oauth/revoke", revoke)
        .limited(REFRESH)
        .describe(
            of_oauth::<TokenOfClient>("End a token's session (RFC 7009)").empty(200, "Ended, or not known anyway."),
        )
}

/// An endpoint that takes a form of an app and refuses as RFC 6749 §5.2 says.
fn of_oauth<T: JsonSchema>(summary: &'static str) -> Doc {
    Doc::new("oauth", summary).access(Access::App).form::<T>().refuses_as::<OAuthError>(&[
        (400, "invalid_request, invalid_grant, invalid_scope, unsupported_grant_type"),
        (401, "invalid_client"),
        (408, "invalid_request"),
        (413, "invalid_request"),
        (500, "server_error"),
        (503, "temporarily_unavailable"),
    ])
}

/// RFC 6749 §5.2.
#[derive(Serialize, JsonSchema)]
struct OAuthError {
    error: &'static str,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "forms are read member by member")]
struct TokenForm {
    /// `refresh_token`.
    grant_type: String,
    refresh_token: String,
    /// Where there is no `Authorization`.
    client_id: Option<String>,
    client_secret: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "forms are read member by member")]
struct TokenOfClient {
    /// An access token or a refresh token.
    token: String,
    token_type_hint: Option<String>,
    /// Where there is no `Authorization`.
    client_id: Option<String>,
    client_secret: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct TokenPair<'a> {
    access_token: &'a str,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds the access token lives.
    expires_in: u64,
    refresh_token: &'a str,
}

/// What a token is; of one that is not good here, that and nothing more.
#[derive(JsonSchema)]
#[schemars(rename = "Introspection")]
#[expect(dead_code, reason = "stands for a token's own claims")]
struct Told {
    active: bool,
    #[schemars(default)]
    token_type: String,
    #[schemars(default)]
    client_id: String,
    #[schemars(default)]
    sub: String,
    #[schemars(default)]
    sid: String,
    #[schemars(default)]
    iss: String,
    #[schemars(default)]
    aud: Value,
    #[schemars(default)]
    scope: String,
    #[schemars(default)]
    acr: String,
    #[schemars(default)]
    iat: i64,
    #[schemars(default)]
    exp: i64,
    #[schemars(default)]
    auth_time: i64,
}

/// Why an endpoint refuses.
enum Refusal {
    /// An `error` of RFC 6749 §5.2, with the status of its own row.
    Error(StatusCode, &'static str),
    /// The client did not show who it is.
    Client,
    /// Nothing was decided.
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem.code() {
            code @ (ProblemCode::PayloadTooLarge | ProblemCode::RequestTimeout) => {
                Self::Error(code.status(), "invalid_request")
            }
            _ => INVALID_REQUEST,
        }
    }
}

const INVALID_REQUEST: Refusal = Refusal::Error(StatusCode::BAD_REQUEST, "invalid_request");
const INVALID_GRANT: Refusal = Refusal::Error(StatusCode::BAD_REQUEST, "invalid_grant");

impl Refusal {
    fn into_reply(self, tenant: &TenantContext) -> Reply {
        let (status, error) = match &self {
            Self::Error(status, error) => (*status, *error),
            Self::Client => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::Failed(Failure::Internal) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            Self::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        };
        let reply = Reply::json(status, &OAuthError { error }).no_store();
        match self {
            Self::Client => {
                let challenge = format!("Basic realm=\"{} clients\", charset=\"UTF-8\"", tenant.slug());
                match HeaderValue::try_from(challenge) {
                    Ok(challenge) => reply.with_header(WWW_AUTHENTICATE, challenge),
                    Err(_) => reply,
                }
            }
            Self::Failed(failure) if status == StatusCode::SERVICE_UNAVAILABLE => {
                reply.with_header(RETRY_AFTER, HeaderValue::from(seconds_rounded_up(failure.retry_after())))
            }
            _ => reply,
        }
    }
}

/// `POST /oauth/token`: 200 with a new pair; 400 `invalid_grant`, 401 `invalid_client`.
async fn token(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let answer = refresh(&gate, &tenant, &mut request).await;
    Ok(answer.unwrap_or_else(|refusal| refusal.into_reply(&tenant)))
}

async fn refresh(gate: &Gate, tenant: &TenantContext, request: &mut Request) -> Result<Reply, Refusal> {
    let form = request.form().await?;
    let client = client(tenant, request, &form)?;
    match form.get("grant_type") {
        Some("refresh_token") => {}
        Some(_) => return Err(Refusal::Error(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        None => return Err(INVALID_REQUEST),
    }
    // None was given, so none can be asked for again (RFC 6749 §6).
    if form.get("scope").is_some() {
        return Err(Refusal::Error(StatusCode::BAD_REQUEST, "invalid_scope"));
    }
    let presented = member(&form, "refresh_token")?;
    match gate.sessions.refresh(tenant, &client.id, &presented).await? {
        RefreshOutcome::Refreshed { token, refresh_token, expires_in } => {
            let body = TokenPair {
                access_token: token.expose_secret(),
                token_type: "Bearer",
                expires_in,
                refresh_token: refresh_token.expose_secret(),
            };
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        RefreshOutcome::Invalid => Err(INVALID_GRANT),
    }
}

/// `POST /oauth/introspect`: 200 with what a token is, or `{"active":false}`; any app of the tenant may
/// ask about any token of it.
async fn introspect(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let answer = look_into(&gate, &tenant, &mut request).await;
    Ok(answer.unwrap_or_else(|refusal| refusal.into_reply(&tenant)))
}

async fn look_into(gate: &Gate, tenant: &TenantContext, request: &mut Request) -> Result<Reply, Refusal> {
    let form = request.form().await?;
    if !client(tenant, request, &form)?.is_confidential {
        return Err(Refusal::Client);
    }
    let token = member(&form, "token")?;
    let body = match gate.sessions.introspect(tenant, &token).await? {
        Introspection::Inactive => json!({ "active": false }),
        Introspection::Access(genuine) => active(&genuine),
        Introspection::Refresh(session) => json!({
            "active": true,
            "client_id": session.client_id,
            "sub": session.account,
            "sid": session.id,
            "iss": tenant.issuer(),
            "iat": session.refreshed_at.as_secs(),
            "exp": session.expires_at.as_secs(),
            "acr": ACR,
            "auth_time": session.authenticated_at.as_secs(),
        }),
    };
    Ok(Reply::json(StatusCode::OK, &body).no_store())
}

/// An access token's claims as RFC 7662 §2.2 names them, which is how the token does.
fn active(genuine: &Genuine) -> Value {
    match serde_json::to_value(&genuine.claims) {
        Ok(Value::Object(mut claims)) => {
            claims.insert("active".to_owned(), json!(true));
            claims.insert("token_type".to_owned(), json!("Bearer"));
            Value::Object(claims)
        }
        _ => json!({ "active": false }),
    }
}

/// `POST /oauth/revoke`: 200 and nothing more, also for a token nobody knows.
async fn revoke(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let answer = end(&gate, &tenant, &mut request).await;
    Ok(answer.unwrap_or_else(|refusal| refusal.into_reply(&tenant)))
}

async fn end(gate: &Gate, tenant: &TenantContext, request: &mut Request) -> Result<Reply, Refusal> {
    let form = request.form().await?;
    let client = client(tenant, request, &form)?;
    let token = member(&form, "token")?;
    gate.sessions.revoke(tenant, &client, &token).await?;
    Ok(Reply::empty(StatusCode::OK).no_store())
}

fn member(form: &Form, name: &str) -> Result<SecretString, Refusal> {
    form.get(name).map(SecretString::from).ok_or(INVALID_REQUEST)
}

/// Who asks: by HTTP Basic or by the body, never both (RFC 6749 §2.3).
fn client(tenant: &TenantContext, request: &Request, form: &Form) -> Result<OAuthClient, Refusal> {
    let (id, secret) = if let Some((id, secret)) = basic(request)? {
        let says_another = form.get("client_id").is_some_and(|named| named != id);
        if says_another || form.get("client_secret").is_some() {
            return Err(INVALID_REQUEST);
        }
        (id, secret)
    } else {
        let id = form.get("client_id").ok_or(Refusal::Client)?.to_owned();
        (id, form.get("client_secret").map(SecretString::from))
    };
    OAuthClient::authenticate(tenant, &id, secret.as_ref()).ok_or(Refusal::Client)
}

/// The credentials of an `Authorization: Basic` header; id and secret are form-encoded in it (RFC 6749
/// §2.3.1), and an empty secret is none.
fn basic(request: &Request) -> Result<Option<(String, Option<SecretString>)>, Refusal> {
    let mut sent = request.headers().get_all(AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(INVALID_REQUEST);
    }
    let text = value.to_str().map_err(|_| Refusal::Client)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(Refusal::Client)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Client);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| Refusal::Client)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Refusal::Client)?;
    let (id, secret) = decoded.split_once(':').ok_or(Refusal::Client)?;
    let (id, secret) = (form_decoded(id), form_decoded(secret));
    Ok(Some((id, Some(secret).filter(|secret| !secret.is_empty()).map(SecretString::from))))
}

fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}
