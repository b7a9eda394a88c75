//! Refresh and log-out, in JSON.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, MessageBody};
use super::{API, REFRESH};
use crate::actors::sessions::RefreshOutcome;
use crate::domain::app::FIRST_PARTY;
use crate::http::gate::{self, Gate};
use crate::http::openapi::{Access, Doc};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/api/auth/refresh", refresh)
        .limited(REFRESH)
        .describe(
            Doc::new("sessions", "Trade a refresh token for a new pair")
                .about("A token used again after its successor was ends the session.")
                .body::<RefreshBody>()
                .answer::<Pair<'static>>(200, "A new pair.")
                .problems(&[P::InvalidToken]),
        )
        .route(Method::POST, "/api/auth/logout", logout)
        .limited(API)
        .describe(
            Doc::new("sessions", "Log out")
                .about("With an access token, or with a refresh token in the body.")
                .access(Access::Token)
                .query("all", "`true` ends every session of the person.")
                .optional_body::<RefreshBody>()
                .answer::<MessageBody<'static>>(200, "Logged out.")
                .problems(&[P::Forbidden]),
        )
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Refresh")]
struct RefreshBody {
    #[schemars(with = "String")]
    refresh_token: SecretString,
    /// The app it was given to.
    client_id: Option<String>,
}

/// What goes on where the tokens before ended.
#[derive(Serialize, JsonSchema)]
struct Pair<'a> {
    token: &'a str,
    refresh_token: &'a str,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds the access token lives.
    expires_in: u64,
}

/// `POST /api/auth/refresh`: 200 with a new pair; 401 `invalid_token`. A token that was given to an app
/// is refreshed under the app's `client_id`.
async fn refresh(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: RefreshBody = request.json().await?;

    let client_id = body.client_id.as_deref().unwrap_or(FIRST_PARTY);
    match gate.sessions.refresh(&tenant, client_id, &body.refresh_token).await? {
        RefreshOutcome::Refreshed { token, refresh_token, expires_in } => {
            let pair = Pair {
                token: token.expose_secret(),
                refresh_token: refresh_token.expose_secret(),
                token_type: "Bearer",
                expires_in,
            };
            let reply = Reply::json(StatusCode::OK, &pair).no_store();
            Ok(body::with_token(reply, &tenant, token.expose_secret(), expires_in))
        }
        RefreshOutcome::Invalid => Err(refresh_token_is_bad()),
    }
}

/// `POST /api/auth/logout` with an access token, or with a refresh token in the body (an app whose
/// access token has run out still has that one); `?all=true` ends every session of the person.
async fn logout(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let all = request.query("all").as_deref() == Some("true");
    let (account, session) = match gate.caller(&tenant, &request).await {
        Ok(caller) => (caller.account.id, caller.session.id),
        Err(refused) if is_about_the_token(&refused) => {
            let body: RefreshBody = request.json().await.map_err(|_| refused)?;
            let owner = gate.sessions.owner_of_refresh(&tenant, &body.refresh_token).await?;
            owner.ok_or_else(refresh_token_is_bad)?
        }
        Err(problem) => return Err(problem),
    };
    if all {
        gate.sessions.end_all(&tenant, account).await?;
    } else {
        gate.sessions.end(&tenant, account, session).await?;
    }
    Ok(body::without_token(body::message(StatusCode::OK, "Logged out"), &tenant))
}

fn refresh_token_is_bad() -> Problem {
    Problem::from(ProblemCode::InvalidToken).with_message("The refresh token is not valid.")
}

fn is_about_the_token(problem: &Problem) -> bool {
    matches!(problem.code(), ProblemCode::MissingToken | ProblemCode::InvalidToken)
}
