//! Refresh and log-out, in JSON.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::body;
use crate::actors::sessions::RefreshOutcome;
use crate::http::gate::{self, Gate};
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;
use crate::secret::{ExposeSecret as _, SecretString};

#[derive(Deserialize)]
struct RefreshBody {
    refresh_token: SecretString,
}

/// `POST /api/auth/refresh`: 200 with a new pair; 401 `invalid_token`.
pub(super) async fn refresh(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: RefreshBody = request.json().await?;

    match gate.sessions.refresh(&tenant, &body.refresh_token).await? {
        RefreshOutcome::Refreshed { token, refresh_token, expires_in } => {
            let body = json!({
                "token": token.expose_secret(),
                "refresh_token": refresh_token.expose_secret(),
                "token_type": "Bearer",
                "expires_in": expires_in,
            });
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        RefreshOutcome::Invalid => Err(ProblemCode::InvalidToken.into()),
    }
}

/// `POST /api/auth/logout` with an access token, or with a refresh token in the body; `?all=true`
/// ends every session of the person.
pub(super) async fn logout(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    if request.bearer()?.is_some() {
        let caller = gate.caller(&tenant, &request).await?;
        if request.query("all").as_deref() == Some("true") {
            gate.sessions.end_all(&tenant, caller.account.id).await?;
        } else {
            gate.sessions.end(&tenant, caller.account.id, caller.session.id).await?;
        }
    } else {
        let body: RefreshBody = request.json().await.map_err(|_| ProblemCode::MissingToken)?;
        if !gate.sessions.end_by_refresh(&tenant, &body.refresh_token).await? {
            return Err(ProblemCode::InvalidToken.into());
        }
    }
    Ok(body::message(StatusCode::OK, "Logged out"))
}
