//! What a tenant's tokens are signed with.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::Page;
use crate::actors::administration::signing_keys::Rotated;
use crate::domain::role::Role;
use crate::domain::signing_key::{Algorithm, KeyStanding, Rotation};
use crate::domain::time::Timestamp;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const LIST: &str = "/admin/v1/tenants/{slug}/signing-keys";
const ROTATE: &str = "/admin/v1/tenants/{slug}/signing-keys/rotate";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("signing keys", "The keys of the tenant's tokens, oldest first")
                .about("Those that sign, will sign, or still verify. A tenant has none before its first token.")
                .answer::<Page<KeyView>>(200, "All of them."),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, ROTATE, rotate)
        .describe(
            Doc::new("signing keys", "Let another key sign")
                .about(
                    "`announced` (if not given): published now, it signs in fifteen minutes, and nobody who reads \
                     the JWKS as often as that notices. `now` does not wait. `compromised` does not wait either, \
                     and within a second no node takes a token of any key that signed before: people refresh, \
                     which sessions survive.",
                )
                .body::<NewRotation>()
                .answer::<RotatedView>(200, "Decided, and in the audit log."),
        )
}

/// A signing key, without the key.
#[derive(Serialize, JsonSchema)]
struct KeyView {
    /// Its id in token headers and JWKS.
    kid: String,
    /// How it signs; null if this version does not know the way.
    algorithm: Option<Algorithm>,
    /// `next` (published, does not sign yet), `active` (signs) or `retiring` (only verifies).
    state: &'static str,
    /// When it begins, or began, to sign.
    active_from: String,
    /// When a retiring key is to go.
    gone_from: Option<String>,
}

impl From<KeyStanding> for KeyView {
    fn from(key: KeyStanding) -> Self {
        Self {
            kid: key.kid,
            algorithm: key.algorithm,
            state: key.state.as_str(),
            active_from: key.active_from.to_rfc3339(),
            gone_from: key.gone_from.map(Timestamp::to_rfc3339),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRotation {
    /// How soon, and what becomes of the keys before.
    #[serde(default)]
    rotation: Rotation,
}

/// What was decided.
#[derive(Serialize, JsonSchema)]
struct RotatedView {
    /// The key that signs, or will.
    kid: String,
    /// From when on.
    signs_from: String,
    /// Keys that verify nothing any more.
    gone: Vec<String>,
}

impl From<Rotated> for RotatedView {
    fn from(rotated: Rotated) -> Self {
        Self { kid: rotated.kid, signs_from: rotated.signs_from.to_rfc3339(), gone: rotated.gone }
    }
}

async fn list(desk: Arc<Desk>, visit: Visit, _request: Request) -> Answer {
    let keys = desk.administration.signing_keys(visit.tenant.id).await?;
    Ok(Reply::json(StatusCode::OK, &Page::whole(keys.into_iter().map(KeyView::from).collect())).no_store())
}

async fn rotate(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let NewRotation { rotation } = request.json().await?;
    let rotated = desk.administration.rotate_key(&visit.holder, visit.tenant.id, rotation).await?;
    Ok(Reply::json(StatusCode::OK, &RotatedView::from(rotated)).no_store())
}
