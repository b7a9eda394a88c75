//! Registering with e-mail and password, and proving the address (the second original API).

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, MessageBody};
use super::{API, CODE, REGISTER};
use crate::actors::accounts::{LinkRequest, LinkRequestOutcome, RegisterEmail, RegisterEmailOutcome};
use crate::domain::contact::{EmailAddress, PhoneNumber};
use crate::domain::locale::Locale;
use crate::domain::password;
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::page;
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

const VERIFY: &str = "/api/auth/verify/{token}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/api/auth/register", register)
        .limited(REGISTER)
        .describe(
            Doc::new("email", "Register with e-mail and password")
                .about("A verification link is mailed; this device is trusted.")
                .body::<RegisterBody>()
                .answer::<Registered<'static>>(201, "Registered, or (profile asvs-l1) as if.")
                .problems(&[P::UserExists, P::UnknownClient, P::AccountBusy]),
        )
        .route(Method::GET, VERIFY, verify_by_get)
        .limited(API)
        .describe(
            Doc::new("email", "Follow a verification link")
                .about("A browser (`Accept: text/html`) gets a page whose button posts; for others this proves the address.")
                .answer::<MessageBody<'static>>(200, "Proven, or a page to confirm.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink, P::AccountBusy]),
        )
        .route(Method::POST, VERIFY, verify)
        .limited(API)
        .describe(
            Doc::new("email", "Prove an address by its mailed link")
                .answer::<MessageBody<'static>>(200, "Proven.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink, P::AccountBusy]),
        )
        .route(Method::POST, "/api/auth/resend-verification", resend)
        .limited(CODE)
        .describe(
            Doc::new("email", "Have another verification link mailed")
                .body::<ResendBody>()
                .answer::<MessageBody<'static>>(200, "The same whether there was something to send.")
                .problems(&[P::InvalidEmail, P::AccountBusy]),
        )
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "EmailRegistration")]
struct RegisterBody {
    username: String,
    email: String,
    #[schemars(with = "String")]
    password: SecretString,
    /// Kept as given.
    #[serde(rename = "phoneNumber")]
    phone_number: Option<String>,
    /// Only looked up: registering gives no token.
    client_id: Option<String>,
}

impl RegisterBody {
    /// Everything that is wrong with it, or a command.
    fn into_command(self, tenant: TenantContext, request: &Request) -> Result<RegisterEmail, Problem> {
        let username = body::name(&self.username, "/username");
        let email = EmailAddress::parse(&self.email)
            .map_err(|_| FieldError::new("/email", "invalid_email", "The e-mail address is not valid."));
        let password = password::normalise(self.password.expose_secret())
            .map_err(|problem| body::password_error(problem, "/password"));
        let phone = self.phone_number.map(|typed| phone_as_given(&typed, &tenant)).transpose();
        match (username, email, password, phone) {
            (Ok(username), Ok(email), Ok(password), Ok(phone_as_given)) => {
                let client = gate::client(request, &tenant);
                Ok(RegisterEmail { tenant, username, email, password: password.into(), phone_as_given, client })
            }
            (username, email, password, phone) => {
                let errors = [username.err(), email.err(), password.err(), phone.err()];
                Err(Problem::validation(errors.into_iter().flatten().collect()))
            }
        }
    }
}

/// Kept as given if it is no number we know (the original API takes `123456789`), canonical if
/// it is.
fn phone_as_given(typed: &str, tenant: &TenantContext) -> Result<String, FieldError> {
    match PhoneNumber::parse(typed, tenant.policy().region) {
        Ok(number) => Ok(number.as_str().to_owned()),
        Err(_) if typed.trim().is_empty() => Ok(String::new()),
        Err(_) => body::name(typed, "/phoneNumber"),
    }
}

/// A verification link is on its way.
#[derive(Serialize, JsonSchema)]
struct Registered<'a> {
    message: &'static str,
    /// To be shown as `X-Device-Id` by apps without a cookie jar.
    device_token: &'a str,
}

/// `POST /api/auth/register`: 201, and a verification link is mailed; 400 with `errors`;
/// 400 `user_exists` where the policy tells.
async fn register(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: RegisterBody = request.json().await?;
    // Registering gives no token, but a misspelt app is told at once.
    body::app(body.client_id.as_deref(), &tenant)?;
    let command = body.into_command(tenant.clone(), &request)?;

    match gate.accounts.register_email(command).await? {
        RegisterEmailOutcome::Accepted { device_token } => {
            let body = Registered {
                message: "User registered successfully. Please check your email to verify your account.",
                device_token: device_token.expose_secret(),
            };
            let reply = Reply::json(StatusCode::CREATED, &body).no_store();
            Ok(body::with_device(reply, &tenant, Some(&device_token)))
        }
        RegisterEmailOutcome::Exists => Err(ProblemCode::UserExists.into()),
        RegisterEmailOutcome::Password(problem) => {
            Err(Problem::validation(vec![body::password_error(problem, "/password")]))
        }
    }
}

/// `GET /api/auth/verify/{token}`: a browser gets a page whose button posts, so that scanners of
/// mail consume nothing; other callers verify, as in the original API. HEAD never acts.
async fn verify_by_get(gate: Arc<Gate>, request: Request) -> Answer {
    if !request.accepts_html() && request.method() != Method::HEAD {
        return verify(gate, request).await;
    }
    let tenant = gate::tenant(&request)?;
    if !gate.accounts.verification_is_live(&tenant, &link_token(&request)).await? {
        return dead_link(&tenant, &request);
    }
    let page = match locale(&tenant, &request) {
        Locale::En => {
            page::confirm(Locale::En, "Confirm your address", "One click confirms your e-mail address.", "Confirm")
        }
        Locale::Fr => {
            page::confirm(Locale::Fr, "Confirmez votre adresse", "Un clic confirme votre adresse e-mail.", "Confirmer")
        }
    };
    Ok(Reply::html(StatusCode::OK, page).no_store())
}

/// `POST /api/auth/verify/{token}`: proves the address.
async fn verify(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    if !gate.accounts.verify_email(&tenant, &link_token(&request)).await? {
        return dead_link(&tenant, &request);
    }
    if !request.accepts_html() {
        return Ok(body::message(StatusCode::OK, "Email verified successfully"));
    }
    let page = match locale(&tenant, &request) {
        Locale::En => page::notice(Locale::En, "Address confirmed", "You can sign in now."),
        Locale::Fr => page::notice(Locale::Fr, "Adresse confirmée", "Vous pouvez vous connecter."),
    };
    Ok(Reply::html(StatusCode::OK, page).no_store())
}

/// A link that is invalid, used up or too old: for people a page, for programs a problem.
pub(super) fn dead_link(tenant: &TenantContext, request: &Request) -> Answer {
    if !request.accepts_html() {
        return Err(ProblemCode::InvalidLink.into());
    }
    let page = match locale(tenant, request) {
        Locale::En => page::notice(Locale::En, "This link has ended", "Please ask for a new one."),
        Locale::Fr => page::notice(Locale::Fr, "Ce lien n'est plus valable", "Veuillez en demander un nouveau."),
    };
    Ok(Reply::html(StatusCode::BAD_REQUEST, page).no_store())
}

/// The token in the path.
pub(super) fn link_token(request: &Request) -> SecretString {
    request.param("token").unwrap_or_default().to_owned().into()
}

/// The language of a page.
pub(super) fn locale(tenant: &TenantContext, request: &Request) -> Locale {
    request.accept_language().unwrap_or(tenant.policy().locale)
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LinkRequest")]
struct ResendBody {
    email: String,
}

/// `POST /api/auth/resend-verification`: 200, the same whether there was something to send; 429.
async fn resend(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: ResendBody = request.json().await?;
    let ask = link_request(tenant, &request, &body.email)?;

    match gate.accounts.resend_verification(ask).await? {
        LinkRequestOutcome::Accepted => {
            Ok(body::message(StatusCode::OK, "If this address awaits verification, a new link is on its way."))
        }
        LinkRequestOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
    }
}

/// A request for a mailed link.
pub(super) fn link_request(tenant: TenantContext, request: &Request, email: &str) -> Result<LinkRequest, Problem> {
    let locale = gate::client(request, &tenant).locale;
    Ok(LinkRequest { tenant, email: body::email(email)?, locale })
}
