//! Keys of a tenant's own admins and support people.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::{self, Page};
use crate::actors::administration::keys::AdminKey;
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
            Doc::new("keys", "The tenant's admin keys, oldest first")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .answer::<Page<KeyView>>(200, "A page of them.")
                .problems(&[ProblemCode::Validation]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, LIST, create)
        .describe(
            Doc::new("keys", "Make an admin key")
                .about("The key is answered this once and kept nowhere.")
                .body::<NewKey>()
                .answer::<KeyMade>(201, "It opens the tenant from now on.")
                .problems(&[ProblemCode::LimitReached]),
        )
        .of_tenant(Role::TenantSupport, Method::GET, ONE, show)
        .describe(Doc::new("keys", "One admin key").answer::<KeyView>(200, "It, without the key."))
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

impl From<AdminKey> for KeyView {
    fn from(key: AdminKey) -> Self {
        Self { id: key.id, role: key.role, name: key.name, created_at: key.created_at.to_rfc3339() }
    }
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

async fn list(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let (limit, after) = (page::limit(&request)?, page::after(&request)?);
    let keys = desk.administration.keys(visit.tenant.id).await?;
    let page = Page::of_all(keys, after.as_ref(), limit, |key| key.id, KeyView::from);
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

async fn show(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let id = id(&request)?;
    let keys = desk.administration.keys(visit.tenant.id).await?;
    let key = keys.into_iter().find(|key| key.id == id).ok_or(ProblemCode::NotFound)?;
    Ok(Reply::json(StatusCode::OK, &KeyView::from(key)).no_store())
}

async fn create(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let body: NewKey = request.json().await?;
    let (key, shown) = desk.administration.make_key(&visit.holder, &visit.tenant, body.role, &body.name).await?;
    let made = KeyMade { about: key.into(), key: shown.expose_secret().to_owned() };
    Ok(Reply::json(StatusCode::CREATED, &made).no_store())
}

async fn forget(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    desk.administration.forget_key(&visit.holder, visit.tenant.id, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// The key that the path names; what is no id names none.
fn id(request: &Request) -> Result<KeyId, ProblemCode> {
    request.param("id").and_then(|id| id.parse().ok()).ok_or(ProblemCode::NotFound)
}
