//! The settings document of a tenant, as a JSON merge patch changes it, and its versions.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::{EXPECTED, expected, tagged};
use super::page::{self, Page};
use crate::actors::administration::Tenant;
use crate::actors::administration::settings::SettingsVersion;
use crate::domain::ids::KeyId;
use crate::domain::role::Role;
use crate::domain::settings::{Settings, document};
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const DOCUMENT: &str = "/admin/v1/tenants/{slug}/settings";
const VERSIONS: &str = "/admin/v1/tenants/{slug}/settings/versions";
const ROLLBACK: &str = "/admin/v1/tenants/{slug}/settings/rollback";

const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    use ProblemCode as P;
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, DOCUMENT, show)
        .describe(
            Doc::new("settings", "The settings document")
                .about("What is not in it is the profile's. A credential is shown as set, never as it is.")
                .answer::<Settings>(200, "The document in force; `ETag` is its version."),
        )
        .of_tenant(Role::TenantAdmin, Method::PATCH, DOCUMENT, change)
        .describe(
            Doc::new("settings", "Change settings by a JSON merge patch (RFC 7396)")
                .about(
                    "In force on every node within a second. A list is replaced as a whole; its senders are matched \
                     by `name`, and a credential that is not in the patch is kept while its sender's kind, host, \
                     URL, port and security are the same.",
                )
                .header("If-Match", EXPECTED)
                .body_as::<Settings>(MERGE_PATCH)
                .answer::<Settings>(200, "The document now in force.")
                .problems(&[P::PreconditionFailed, P::CredentialRequired]),
        )
        .of_tenant(Role::TenantSupport, Method::GET, VERSIONS, versions)
        .describe(
            Doc::new("settings", "The versions there were, newest first")
                .about("A change of the tenant itself is one of them.")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .answer::<Page<VersionView>>(200, "A page of them.")
                .problems(&[P::Validation]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, ROLLBACK, roll_back)
        .describe(
            Doc::new("settings", "Put an earlier version in force, as a new one")
                .about("Its credentials come back with it.")
                .header("If-Match", EXPECTED)
                .body::<RollBack>()
                .answer::<Settings>(200, "The document now in force.")
                .problems(&[P::PreconditionFailed]),
        )
}

/// One version of a settings document.
#[derive(Serialize, JsonSchema)]
struct VersionView {
    version: u64,
    /// The admin key that saved it; none for the root key and the command line.
    #[schemars(with = "Option<String>")]
    key_id: Option<KeyId>,
    saved_at: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollBack {
    version: u64,
}

async fn show(_desk: Arc<Desk>, visit: Visit, _request: Request) -> Answer {
    let mut tenant = visit.tenant;
    if visit.holder.role < Role::TenantAdmin {
        // A fixed code opens an account: only who may set it may see it.
        tenant.settings.test_identities.clear();
    }
    Ok(in_force(&tenant))
}

async fn change(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let expected = expected(&request);
    let patch: Value = request.json().await?;
    let tenant = desk.administration.change_settings(&visit.holder, visit.tenant, &patch, &expected).await?;
    Ok(in_force(&tenant))
}

async fn versions(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let (limit, before) = (page::limit(&request)?, page::after(&request)?);
    let rows = desk.administration.versions(&visit.tenant, before, limit + 1).await?;
    let view = |row: SettingsVersion| VersionView {
        version: row.version,
        key_id: row.key,
        saved_at: row.saved_at.to_rfc3339(),
    };
    Ok(Reply::json(StatusCode::OK, &Page::of(rows, limit, |row| row.version.to_string(), view)).no_store())
}

async fn roll_back(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let expected = expected(&request);
    let RollBack { version } = request.json().await?;
    let tenant = desk.administration.roll_back(&visit.holder, visit.tenant, version, &expected).await?;
    Ok(in_force(&tenant))
}

fn in_force(tenant: &Tenant) -> Reply {
    tagged(Reply::json(StatusCode::OK, &document::shown(&tenant.settings)).no_store(), tenant.version)
}
