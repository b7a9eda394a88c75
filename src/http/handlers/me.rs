//! A person's own view: who they are, where they are signed in, which devices they trust.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::body::{self, User};
use crate::actors::sessions::FRESH;
use crate::http::gate::{self, Gate};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;

/// `GET /api/auth/me`: 200 with the person.
pub(super) async fn show(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    Ok(Reply::json(StatusCode::OK, &User::from(&caller.account)).no_store())
}

/// `DELETE /api/auth/me`: erases the person; needs a sign-in of the last five minutes.
pub(super) async fn erase(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    if !caller.is_fresh(gate.clock.now()) {
        return Err(Problem::step_up(FRESH));
    }
    gate.sessions.erase(&tenant, caller.account.id).await?;
    Ok(body::without_token(Reply::empty(StatusCode::NO_CONTENT), &tenant))
}

/// `GET /api/auth/sessions`: where the person is signed in, newest first.
pub(super) async fn sessions(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let sessions = gate.sessions.list(&tenant, caller.account.id).await?;
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "id": session.id,
                "current": session.id == caller.session.id,
                "client_id": session.client_id,
                "user_agent": session.label,
                "created_at": session.authenticated_at.to_rfc3339(),
                "last_used_at": session.refreshed_at.to_rfc3339(),
                "expires_at": session.expires_at.to_rfc3339(),
            })
        })
        .collect();
    Ok(Reply::json(StatusCode::OK, &json!({ "sessions": sessions })).no_store())
}

/// `DELETE /api/auth/sessions`: ends them all, this one too.
pub(super) async fn end_sessions(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    gate.sessions.end_all(&tenant, caller.account.id).await?;
    Ok(body::without_token(Reply::empty(StatusCode::NO_CONTENT), &tenant))
}

/// `DELETE /api/auth/sessions/{id}`: ends one of the person's own; anything else is 404.
pub(super) async fn end_session(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let id = request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)?;
    if gate.sessions.end(&tenant, caller.account.id, id).await? {
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(ProblemCode::NotFound.into())
    }
}

/// `GET /api/auth/devices`: which devices the person trusts.
pub(super) async fn devices(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let devices = gate.sessions.devices(&tenant, caller.account.id).await?;
    let devices: Vec<Value> = devices
        .iter()
        .map(|device| {
            json!({
                "id": device.known.id,
                "current": Some(device.known.id) == caller.session.device,
                "kind": device.known.kind,
                "user_agent": device.label,
                "created_at": device.created_at.to_rfc3339(),
                "last_seen_at": device.last_seen_at.to_rfc3339(),
            })
        })
        .collect();
    Ok(Reply::json(StatusCode::OK, &json!({ "devices": devices })).no_store())
}

/// `DELETE /api/auth/devices/{id}`: trusts it no longer and ends its sessions.
pub(super) async fn forget_device(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let id = request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)?;
    if gate.sessions.forget_device(&tenant, caller.account.id, id).await? {
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(ProblemCode::NotFound.into())
    }
}
