//! Signing in with e-mail and password, and confirming a new device.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, SignedInBody};
use super::{LOGIN, phone};
use crate::actors::accounts::{CodeOutcome, ConfirmDevice, LogIn, LogInOutcome, tidy_code};
use crate::domain::ids::ChallengeId;
use crate::domain::time::seconds_rounded_up;
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};

const SIGNED_IN: &str = "Login successful";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/api/auth/login", log_in)
        .limited(LOGIN)
        .describe(
            Doc::new("email", "Sign in with a password")
                .about("On a new device a code is mailed, which `verify-otp` takes.")
                .from_a_device()
                .body::<LogInBody>()
                .answer::<SignedInBody<'static>>(200, "Signed in, or a code is on its way.")
                .answer::<NewDevice>(200, "")
                .problems(&[P::InvalidEmail, P::InvalidCredentials, P::EmailNotVerified, P::UnknownClient])
                .problems(&[P::AccountLocked, P::AccountDisabled, P::AccountBusy]),
        )
        .route(Method::POST, "/api/auth/verify-otp", verify_otp)
        .limited(LOGIN)
        .describe(
            Doc::new("email", "Confirm a new device with the mailed code")
                .about("The device is trusted from now on.")
                .from_a_device()
                .body::<VerifyOtpBody>()
                .answer::<SignedInBody<'static>>(200, "Signed in.")
                .problems(&[P::InvalidEmail, P::InvalidCode, P::CodeExpired, P::UnknownClient])
                .problems(&[P::AccountDisabled, P::AccountBusy]),
        )
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LogIn")]
struct LogInBody {
    email: String,
    #[schemars(with = "String")]
    password: SecretString,
    /// The app the tokens are for.
    client_id: Option<String>,
}

/// `POST /api/auth/login`: 200 with tokens, or 200 `otp_required` on a new device; 400
/// `invalid_credentials` or `email_not_verified`; 403 `account_locked` where the policy tells.
async fn log_in(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: LogInBody = request.json().await?;
    let client = body::client(&request, &tenant, body.client_id.as_deref())?;
    let email = body::email(&body.email)?;
    let password = body::password(body.password.expose_secret(), "/password")?;
    let deadline = gate.accounts.deadline();

    let ask = LogIn { tenant: tenant.clone(), email, password, client, deadline };
    match gate.accounts.log_in(ask).await? {
        LogInOutcome::SignedIn(entry) => Ok(body::signed_in(&tenant, &entry, SIGNED_IN)),
        LogInOutcome::CodeSent { challenge, life } => {
            let body = NewDevice {
                message: "New device detected. A code was sent to your email.",
                otp_required: true,
                challenge_id: challenge,
                expires_in: seconds_rounded_up(life),
            };
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        LogInOutcome::CodeCeiling { wait } => Err(Problem::too_soon(wait)),
        LogInOutcome::HeldBack { wait } => Err(Problem::abnormal_usage(wait)),
        LogInOutcome::Refused => Err(ProblemCode::InvalidCredentials.into()),
        LogInOutcome::Unverified => Err(ProblemCode::EmailNotVerified.into()),
        LogInOutcome::Disabled => Err(ProblemCode::AccountDisabled.into()),
        LogInOutcome::Locked => Err(ProblemCode::AccountLocked.into()),
    }
}

/// The password is right, and a code was mailed.
#[derive(Serialize, JsonSchema)]
struct NewDevice {
    message: &'static str,
    /// `true`.
    otp_required: bool,
    #[schemars(with = "String")]
    challenge_id: ChallengeId,
    /// Seconds the code is good for.
    expires_in: u64,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "DeviceConfirmation")]
struct VerifyOtpBody {
    email: String,
    /// As mailed; a string, since it may begin with zeros.
    otp: String,
    /// From the step before.
    challenge_id: Option<String>,
    /// The app the tokens are for.
    client_id: Option<String>,
}

/// `POST /api/auth/verify-otp`: 200 as log-in, and the device is trusted from now on; 400
/// `invalid_code` or `code_expired`.
async fn verify_otp(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: VerifyOtpBody = request.json().await?;
    let client = body::client(&request, &tenant, body.client_id.as_deref())?;
    let challenge = body.challenge_id.as_deref().map(challenge_id).transpose()?;
    let ask = ConfirmDevice {
        tenant: tenant.clone(),
        email: body::email(&body.email)?,
        code: tidy_code(&body.otp).into(),
        challenge,
        client,
    };

    match gate.accounts.confirm_device(ask).await? {
        CodeOutcome::SignedIn(entry) => Ok(body::signed_in(&tenant, &entry, SIGNED_IN)),
        refusal => Err(phone::refused(&refusal)),
    }
}

fn challenge_id(text: &str) -> Result<ChallengeId, Problem> {
    text.parse().map_err(|_| {
        let error = FieldError::new("/challenge_id", "invalid", "Not a challenge id.");
        Problem::validation(vec![error])
    })
}
