//! Signing in with a code sent by SMS (the first original API).

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, CodeSentBody, SignedInBody};
use super::{CODE, REGISTER};
use crate::actors::accounts::{
    CodeOutcome, RegisterPhone, RegisterPhoneOutcome, RequestCode, RequestCodeOutcome, VerifyCode, VerifyCodeOutcome,
    tidy_code,
};
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/auth/request-code", request_code)
        .limited(CODE)
        .describe(
            Doc::new("phone", "Have a code sent by SMS")
                .about("The same answer whether or not the number has an account.")
                .body::<RequestCodeBody>()
                .answer::<CodeSentBody>(200, "A code is on its way.")
                .problems(&[P::InvalidPhone, P::AccountBusy]),
        )
        .route(Method::POST, "/auth/verify-code", verify_code)
        .limited(CODE)
        .describe(
            Doc::new("phone", "Sign in with that code")
                .about("A proven number that has no account gets a `registration_token` for the next step.")
                .from_a_device()
                .body::<VerifyCodeBody>()
                .answer::<SignedInBody<'static>>(200, "Signed in, or proven and not registered.")
                .answer::<NotRegistered<'static>>(200, "")
                .problems(&[P::InvalidPhone, P::InvalidCode, P::CodeExpired, P::UnknownClient])
                .problems(&[P::AccountDisabled, P::AccountBusy]),
        )
        .route(Method::POST, "/auth/register", register)
        .limited(REGISTER)
        .describe(
            Doc::new("phone", "Register a proven number")
                .from_a_device()
                .body::<RegisterBody>()
                .answer::<SignedInBody<'static>>(201, "Registered and signed in.")
                .problems(&[P::InvalidPhone, P::UserExists, P::UnknownClient, P::PhoneNotVerified, P::AccountBusy]),
        )
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CodeRequest")]
struct RequestCodeBody {
    /// International, or national in the tenant's region.
    phone: String,
}

/// `POST /auth/request-code`: 200 and a code on its way; 400 `invalid_phone`; 429.
async fn request_code(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: RequestCodeBody = request.json().await?;
    let phone = body::phone(&body.phone, &tenant)?;

    match gate.accounts.request_code(RequestCode { tenant, phone, client }).await? {
        RequestCodeOutcome::Sent { life, cooldown } => Ok(body::code_sent(life, cooldown)),
        RequestCodeOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CodeAnswer")]
struct VerifyCodeBody {
    phone: String,
    /// As texted; a string, since it may begin with zeros.
    code: String,
    /// The app the tokens are for.
    client_id: Option<String>,
}

/// A number is proven and has no account.
#[derive(Serialize, JsonSchema)]
struct NotRegistered<'a> {
    message: &'static str,
    /// Shows the proof when registering.
    registration_token: &'a str,
}

/// `POST /auth/verify-code`: 200 with tokens, or 200 with a `registration_token` for a proven
/// number without an account; 400 `invalid_code` or `code_expired`.
async fn verify_code(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: VerifyCodeBody = request.json().await?;
    let client = body::client(&request, &tenant, body.client_id.as_deref())?;
    let phone = body::phone(&body.phone, &tenant)?;
    let ask = VerifyCode { tenant: tenant.clone(), phone, code: tidy_code(&body.code).into(), client };

    match gate.accounts.verify_code(ask).await? {
        VerifyCodeOutcome::Code(CodeOutcome::SignedIn(entry)) => {
            Ok(body::signed_in_by_phone(StatusCode::OK, &tenant, &entry))
        }
        VerifyCodeOutcome::Code(refusal) => Err(refused(&refusal)),
        VerifyCodeOutcome::NotRegistered { registration_token } => {
            let body = NotRegistered {
                message: "User not registered",
                registration_token: registration_token.expose_secret(),
            };
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
    }
}

/// Why a code's answer was not accepted.
pub(super) fn refused(outcome: &CodeOutcome) -> Problem {
    match outcome {
        CodeOutcome::Wrong => ProblemCode::InvalidCode.into(),
        CodeOutcome::Ceiling { wait } => Problem::too_soon(*wait),
        CodeOutcome::Disabled => ProblemCode::AccountDisabled.into(),
        CodeOutcome::Expired | CodeOutcome::SignedIn(_) => ProblemCode::CodeExpired.into(),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PhoneRegistration")]
struct RegisterBody {
    phone: String,
    first_name: String,
    last_name: String,
    /// From the step before; without it the same client's proof of the last five minutes may do.
    #[schemars(with = "Option<String>")]
    registration_token: Option<SecretString>,
    /// The app the tokens are for.
    client_id: Option<String>,
}

/// `POST /auth/register`: 201 with tokens; 403 `phone_not_verified`; 400 `user_exists`.
async fn register(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: RegisterBody = request.json().await?;
    let client = body::client(&request, &tenant, body.client_id.as_deref())?;
    let phone = body::phone(&body.phone, &tenant)?;
    let (first_name, last_name) =
        match (body::name(&body.first_name, "/first_name"), body::name(&body.last_name, "/last_name")) {
            (Ok(first), Ok(last)) => (first, last),
            (first, last) => {
                return Err(Problem::validation([first.err(), last.err()].into_iter().flatten().collect()));
            }
        };
    let ask = RegisterPhone {
        tenant: tenant.clone(),
        phone,
        first_name,
        last_name,
        registration_token: body.registration_token,
        client,
    };

    match gate.accounts.register_phone(ask).await? {
        RegisterPhoneOutcome::Registered(entry) => Ok(body::signed_in_by_phone(StatusCode::CREATED, &tenant, &entry)),
        RegisterPhoneOutcome::NotVerified => Err(ProblemCode::PhoneNotVerified.into()),
        RegisterPhoneOutcome::Exists => Err(ProblemCode::UserExists.into()),
    }
}
