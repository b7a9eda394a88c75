//! Signing in with a code sent by SMS (the first original API).

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::body;
use crate::actors::accounts::{
    Client, CodeOutcome, RegisterPhone, RegisterPhoneOutcome, RequestCode, RequestCodeOutcome, VerifyCode,
    VerifyCodeOutcome, tidy_code,
};
use crate::http::gate::{self, Gate};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;
use crate::secret::{ExposeSecret as _, SecretString};

#[derive(Deserialize)]
struct RequestCodeBody {
    phone: String,
}

/// `POST /auth/request-code`: 200 and a code on its way; 400 `invalid_phone`; 429.
pub(super) async fn request_code(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: RequestCodeBody = request.json().await?;
    let phone = body::phone(&body.phone, &tenant)?;
    let policy = (tenant.policy().sms_code, tenant.policy().resend);

    match gate.accounts.request_code(RequestCode { tenant, phone, client }).await? {
        RequestCodeOutcome::Sent { expires, resend } => {
            let now = gate.clock.now();
            let body = json!({
                "message": "Code sent",
                "expires_in": body::seconds_left(now, expires, policy.0.ttl),
                "resend_in": body::seconds_left(now, resend, policy.1.cooldown),
            });
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        RequestCodeOutcome::Wait { until } => Err(gate.wait(until)),
    }
}

#[derive(Deserialize)]
struct VerifyCodeBody {
    phone: String,
    code: String,
    client_id: Option<String>,
}

/// `POST /auth/verify-code`: 200 with tokens, or 200 with a `registration_token` for a proven
/// number without an account; 400 `invalid_code` or `code_expired`.
pub(super) async fn verify_code(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: VerifyCodeBody = request.json().await?;
    let client = Client { app: body::app(body.client_id.as_deref(), &tenant)?, ..client };
    let phone = body::phone(&body.phone, &tenant)?;
    let ask = VerifyCode { tenant: tenant.clone(), phone, code: tidy_code(&body.code).into(), client };

    match gate.accounts.verify_code(ask).await? {
        VerifyCodeOutcome::Code(CodeOutcome::SignedIn(entry)) => {
            Ok(body::signed_in(StatusCode::OK, &tenant, &entry, None))
        }
        VerifyCodeOutcome::Code(refusal) => Err(refused(&gate, &refusal)),
        VerifyCodeOutcome::NotRegistered { registration_token } => {
            let body = json!({
                "message": "User not registered",
                "registration_token": registration_token.expose_secret(),
            });
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
    }
}

/// Why a code's answer was not accepted.
pub(super) fn refused(gate: &Gate, outcome: &CodeOutcome) -> Problem {
    match outcome {
        CodeOutcome::Wrong => ProblemCode::InvalidCode.into(),
        CodeOutcome::Ceiling { until } => gate.wait(*until),
        CodeOutcome::Disabled => ProblemCode::AccountDisabled.into(),
        CodeOutcome::Expired | CodeOutcome::SignedIn(_) => ProblemCode::CodeExpired.into(),
    }
}

#[derive(Deserialize)]
struct RegisterBody {
    phone: String,
    first_name: String,
    last_name: String,
    registration_token: Option<SecretString>,
    client_id: Option<String>,
}

/// `POST /auth/register`: 201 with tokens; 403 `phone_not_verified`; 400 `user_exists`.
pub(super) async fn register(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let body: RegisterBody = request.json().await?;
    let client = Client { app: body::app(body.client_id.as_deref(), &tenant)?, ..client };
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
        RegisterPhoneOutcome::Registered(entry) => Ok(body::signed_in(StatusCode::CREATED, &tenant, &entry, None)),
        RegisterPhoneOutcome::NotVerified => Err(ProblemCode::PhoneNotVerified.into()),
        RegisterPhoneOutcome::Exists => Err(ProblemCode::UserExists.into()),
    }
}
