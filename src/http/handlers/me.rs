//! A person's own view: who they are, where they are signed in, which devices they trust.

use std::str::FromStr;
use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::API;
use super::body::{self, DeviceView, User};
use crate::actors::sessions::{Caller, Device, FRESH};
use crate::domain::ids::{DeviceId, SessionId};
use crate::domain::session::Session;
use crate::http::gate::{self, Gate};
use crate::http::openapi::{Access, Doc};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    let of_a_person = |summary| Doc::new("me", summary).access(Access::Token);
    Routes::new()
        .route(Method::GET, "/api/auth/me", show)
        .limited(API)
        .describe(of_a_person("Who one is").answer::<User>(200, "The person."))
        .route(Method::DELETE, "/api/auth/me", erase)
        .limited(API)
        .describe(
            of_a_person("Erase oneself")
                .about("Needs a sign-in of the last five minutes.")
                .empty(204, "Gone.")
                .problems(&[P::InsufficientUserAuthentication, P::Forbidden]),
        )
        .route(Method::GET, "/api/auth/sessions", sessions)
        .limited(API)
        .describe(of_a_person("Where one is signed in").answer::<SessionList>(200, "Newest first."))
        .route(Method::DELETE, "/api/auth/sessions", end_sessions)
        .limited(API)
        .describe(of_a_person("End every session").empty(204, "Ended, this one too.").problems(&[P::Forbidden]))
        .route(Method::GET, "/api/auth/sessions/{id}", show_session)
        .limited(API)
        .describe(of_a_person("One sign-in").answer::<SessionItem>(200, "It."))
        .route(Method::DELETE, "/api/auth/sessions/{id}", end_session)
        .limited(API)
        .describe(of_a_person("End a session").empty(204, "Ended.").problems(&[P::Forbidden]))
        .route(Method::GET, "/api/auth/devices", devices)
        .limited(API)
        .describe(of_a_person("Which devices one trusts").answer::<DeviceList>(200, "All of them."))
        .route(Method::DELETE, "/api/auth/devices", forget_devices)
        .limited(API)
        .describe(
            of_a_person("Trust no device any more")
                .empty(204, "Forgotten, this one too, and their sessions ended.")
                .problems(&[P::Forbidden]),
        )
        .route(Method::GET, "/api/auth/devices/{id}", show_device)
        .limited(API)
        .describe(of_a_person("One device that one trusts").answer::<DeviceItem>(200, "It."))
        .route(Method::DELETE, "/api/auth/devices/{id}", forget_device)
        .limited(API)
        .describe(
            of_a_person("Trust a device no longer")
                .empty(204, "Forgotten, and its sessions ended.")
                .problems(&[P::Forbidden]),
        )
}

/// One sign-in.
#[derive(Serialize, JsonSchema)]
struct SessionItem {
    #[schemars(with = "String")]
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    /// The app it belongs to.
    client_id: String,
    user_agent: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
}

impl SessionItem {
    fn of(session: Session, asking: &Caller) -> Self {
        Self {
            id: session.id,
            current: session.id == asking.session.id,
            client_id: session.client_id,
            user_agent: session.label,
            created_at: session.authenticated_at.to_rfc3339(),
            last_used_at: session.refreshed_at.to_rfc3339(),
            expires_at: session.expires_at.to_rfc3339(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct SessionList {
    sessions: Vec<SessionItem>,
}

/// One trusted device.
#[derive(Serialize, JsonSchema)]
struct DeviceItem {
    #[serde(flatten)]
    device: DeviceView,
    /// Whether it is the one that asks.
    current: bool,
}

impl DeviceItem {
    fn of(device: Device, asking: &Caller) -> Self {
        Self { current: Some(device.known.id) == asking.session.device, device: device.into() }
    }
}

#[derive(Serialize, JsonSchema)]
struct DeviceList {
    devices: Vec<DeviceItem>,
}

/// What the path names; what is no id names nothing.
fn named<T: FromStr>(request: &Request) -> Result<T, ProblemCode> {
    request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)
}

/// `GET /api/auth/me`: 200 with the person.
async fn show(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    Ok(Reply::json(StatusCode::OK, &User::from(&caller.account)).no_store())
}

/// `DELETE /api/auth/me`: erases the person; needs a sign-in of the last five minutes.
async fn erase(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    if !caller.is_fresh(gate.clock.now()) {
        return Err(Problem::step_up(FRESH));
    }
    gate.sessions.erase(&tenant, caller.account.id).await?;
    Ok(body::without_token(Reply::empty(StatusCode::NO_CONTENT), &tenant))
}

/// `GET /api/auth/sessions`: where the person is signed in, newest first.
async fn sessions(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let sessions = gate.sessions.list(&tenant, caller.account.id).await?;
    let items = sessions.into_iter().map(|session| SessionItem::of(session, &caller));
    Ok(Reply::json(StatusCode::OK, &SessionList { sessions: items.collect() }).no_store())
}

/// `GET /api/auth/sessions/{id}`: one of the person's own; anything else is 404.
async fn show_session(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let id: SessionId = named(&request)?;
    let sessions = gate.sessions.list(&tenant, caller.account.id).await?;
    let session = sessions.into_iter().find(|session| session.id == id).ok_or(ProblemCode::NotFound)?;
    Ok(Reply::json(StatusCode::OK, &SessionItem::of(session, &caller)).no_store())
}

/// `DELETE /api/auth/sessions`: ends them all, this one too.
async fn end_sessions(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    gate.sessions.end_all(&tenant, caller.account.id).await?;
    Ok(body::without_token(Reply::empty(StatusCode::NO_CONTENT), &tenant))
}

/// `DELETE /api/auth/sessions/{id}`: ends one of the person's own; anything else is 404.
async fn end_session(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    if gate.sessions.end(&tenant, caller.account.id, named(&request)?).await? {
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(ProblemCode::NotFound.into())
    }
}

/// `GET /api/auth/devices`: which devices the person trusts.
async fn devices(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let devices = gate.sessions.devices(&tenant, caller.account.id).await?;
    let items = devices.into_iter().map(|device| DeviceItem::of(device, &caller));
    Ok(Reply::json(StatusCode::OK, &DeviceList { devices: items.collect() }).no_store())
}

/// `DELETE /api/auth/devices`: trusts none any more, this one too, and ends their sessions.
async fn forget_devices(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    gate.sessions.forget_devices(&tenant, caller.account.id).await?;
    let reply = Reply::empty(StatusCode::NO_CONTENT);
    // A session that was opened on no device goes on.
    Ok(if caller.session.device.is_some() { body::without_token(reply, &tenant) } else { reply })
}

/// `GET /api/auth/devices/{id}`: one that the person trusts; anything else is 404.
async fn show_device(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let id: DeviceId = named(&request)?;
    let devices = gate.sessions.devices(&tenant, caller.account.id).await?;
    let device = devices.into_iter().find(|device| device.known.id == id).ok_or(ProblemCode::NotFound)?;
    Ok(Reply::json(StatusCode::OK, &DeviceItem::of(device, &caller)).no_store())
}

/// `DELETE /api/auth/devices/{id}`: trusts it no longer and ends its sessions.
async fn forget_device(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    if gate.sessions.forget_device(&tenant, caller.account.id, named(&request)?).await? {
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(ProblemCode::NotFound.into())
    }
}
