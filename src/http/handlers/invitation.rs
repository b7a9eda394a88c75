//! Following an invitation: choosing the first password.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::{self, MessageBody};
use super::password::PasswordLink;
use super::registration::link_token;
use super::{API, LOGIN};
use crate::actors::accounts::{ResetPassword, ResetPasswordOutcome};
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};

const INVITATION: &str = "/api/auth/invitation/{token}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::GET, INVITATION, invitation_page)
        .limited(API)
        .describe(
            Doc::new("email", "The page behind an invitation")
                .about("Changes nothing.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink]),
        )
        .route(Method::POST, INVITATION, accept)
        .limited(LOGIN)
        .describe(
            Doc::new("email", "Follow an invitation: choose the first password")
                .body_as::<AcceptBody>(&["application/json", "application/x-www-form-urlencoded"])
                .answer::<MessageBody<'static>>(200, "Set.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink, P::InvalidRequest, P::AccountBusy]),
        )
}

/// `GET /api/auth/invitation/{token}`.
async fn invitation_page(gate: Arc<Gate>, request: Request) -> Answer {
    PasswordLink::Invitation.open(&gate, &request).await
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "FirstPassword")]
struct AcceptBody {
    #[schemars(with = "String")]
    password: SecretString,
}

/// `POST /api/auth/invitation/{token}`: sets the first password and proves the address; what the page
/// posts, or JSON from an app; 400 `invalid_link`, or `validation` with the link unspent.
async fn accept(gate: Arc<Gate>, request: Request) -> Answer {
    let media = request.header(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    if media.starts_with("application/x-www-form-urlencoded") {
        PasswordLink::Invitation.follow(&gate, request).await
    } else {
        accept_json(gate, request).await
    }
}

async fn accept_json(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: AcceptBody = request.json().await?;
    let password = body::password(body.password.expose_secret(), "/password")?;

    match gate.accounts.accept_invitation(ResetPassword { tenant, token: link_token(&request), password }).await? {
        ResetPasswordOutcome::Done => Ok(body::message(StatusCode::OK, "Password set. You can log in now.")),
        ResetPasswordOutcome::Invalid => Err(ProblemCode::InvalidLink.into()),
        ResetPasswordOutcome::Password(problem) => {
            Err(Problem::validation(vec![body::password_error(problem, "/password")]))
        }
    }
}
