//! Keys of a tenant's own admins and support people.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::Page;
use crate::domain::ids::KeyId;
use crate::domain::role::Role;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::ExposeSecret as _;

const LIST: &str = "/admin/v1/tenants/{slug}/keys";
const ONE: &str = "/admin/v1/tenants/{slug}/keys/{id}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("keys", "The tenant's admin keys, oldest first").answer::<Page<KeyView>>(200, "All of them."),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, LIST, create)
        .describe(
            Doc::new("keys", "Make an admin key")
                .about("The key is answered this once and kept nowhere.")
                .body::<NewKey>()
                .answer::<KeyMade>(201, "It opens the tenant from now on.")
                .problems(&[ProblemCode::LimitReached]),
        )
        .of_tenant(Role::TenantAdmin, Method::DELETE, ONE, forget)
        .describe(Doc::new("keys", "Forget an admin key").empty(204, "It opens nothing any more."))
}

/// An admin key, without the key.
#[derive(Serialize, JsonSchema)]
struct KeyView {
    #[schemars(with = "String")]
    id: KeyId,
    role: Role,
    name: String,
    created_at: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// `tenant-admin` or `tenant-support`; none above the asking key's own.
    role: Role,
    /// What people call it.
    name: String,
}

/// A key made just now.
#[derive(Serialize, JsonSchema)]
struct KeyMade {
    #[serde(flatten)]
    about: KeyView,
    /// The key, shown this once.
    key: String,
}

async fn list(desk: Arc<Desk>, visit: Visit, _request: Request) -> Answer {
    let keys = desk.administration.keys(visit.tenant.id).await?;
    let view = |key: crate::actors::administration::keys::AdminKey| KeyView {
        id: key.id,
        role: key.role,
        name: key.name,
        created_at: key.created_at.to_rfc3339(),
    };
    Ok(Reply::json(StatusCode::OK, &Page::whole(keys.into_iter().map(view).collect())).no_store())
}

async fn create(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let body: NewKey = request.json().await?;
    let (key, shown) = desk.administration.make_key(&visit.holder, &visit.tenant, body.role, &body.name).await?;
    let about = KeyView { id: key.id, role: key.role, name: key.name, created_at: key.created_at.to_rfc3339() };
    let made = KeyMade { about, key: shown.expose_secret().to_owned() };
    Ok(Reply::json(StatusCode::CREATED, &made).no_store())
}

async fn forget(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let id = request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)?;
    desk.administration.forget_key(&visit.holder, visit.tenant.id, id).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
