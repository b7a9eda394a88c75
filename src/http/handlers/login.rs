//! Signing in with e-mail and password, and confirming a new device.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{body, phone};
use crate::actors::accounts::{Client, CodeOutcome, ConfirmDevice, LogIn, LogInOutcome, tidy_code};
use crate::domain::ids::ChallengeId;
use crate::http::gate::{self, Gate};
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;
use crate::secret::{ExposeSecret as _, SecretString};

const SIGNED_IN: &str = "Login successful";

#[derive(Deserialize)]
struct LogInBody {
    email: String,
    password: SecretString,
    client_id: Option<String>,
}

/// `POST /api/auth/login`: 200 with tokens, or 200 `otp_required` on a new device; 400
/// `invalid_credentials` or `email_not_verified`; 403 `account_locked` where the policy tells.
pub(super) async fn log_in(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: LogInBody = request.json().await?;
    let client = Client { app: body::app(body.client_id.as_deref(), &tenant)?, ..client };
    let email = body::email(&body.email)?;
    let password = body::password(body.password.expose_secret(), "/password")?;
    let deadline = gate.accounts.deadline();

    let ask = LogIn { tenant: tenant.clone(), email, password, client, deadline };
    match gate.accounts.log_in(ask).await? {
        LogInOutcome::SignedIn(entry) => Ok(body::signed_in(StatusCode::OK, &tenant, &entry, Some(SIGNED_IN))),
        LogInOutcome::CodeSent { challenge, expires } => {
            let body = json!({
                "message": "New device detected. A code was sent to your email.",
                "otp_required": true,
                "challenge_id": challenge,
                "expires_in": body::seconds_left(gate.clock.now(), expires, tenant.policy().email_code.ttl),
            });
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        LogInOutcome::CodeCeiling { until } => Err(gate.wait(until)),
        LogInOutcome::HeldBack { wait } => Err(Problem::retry_after(ProblemCode::TooManyRequests, wait)),
        LogInOutcome::Refused => Err(ProblemCode::InvalidCredentials.into()),
        LogInOutcome::Unverified => Err(ProblemCode::EmailNotVerified.into()),
        LogInOutcome::Disabled => Err(ProblemCode::AccountDisabled.into()),
        LogInOutcome::Locked => Err(ProblemCode::AccountLocked.into()),
    }
}

#[derive(Deserialize)]
struct VerifyOtpBody {
    email: String,
    otp: String,
    challenge_id: Option<String>,
    client_id: Option<String>,
}

/// `POST /api/auth/verify-otp`: 200 as log-in, and the device is trusted from now on; 400
/// `invalid_code` or `code_expired`.
pub(super) async fn verify_otp(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: VerifyOtpBody = request.json().await?;
    let client = Client { app: body::app(body.client_id.as_deref(), &tenant)?, ..client };
    let challenge = body.challenge_id.as_deref().map(challenge_id).transpose()?;
    let ask = ConfirmDevice {
        tenant: tenant.clone(),
        email: body::email(&body.email)?,
        code: tidy_code(&body.otp).into(),
        challenge,
        client,
    };

    match gate.accounts.confirm_device(ask).await? {
        CodeOutcome::SignedIn(entry) => Ok(body::signed_in(StatusCode::OK, &tenant, &entry, Some(SIGNED_IN))),
        refusal => Err(phone::refused(&gate, &refusal)),
    }
}

fn challenge_id(text: &str) -> Result<ChallengeId, Problem> {
    text.parse().map_err(|_| {
        let error = FieldError::new("/challenge_id", "invalid", "Not a challenge id.");
        Problem::validation(vec![error])
    })
}
