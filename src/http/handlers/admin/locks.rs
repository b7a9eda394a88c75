//! Who is locked out now.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::page::{self, Page};
use super::users::device_of;
use crate::actors::administration::people::LockInForce;
use crate::domain::ids::{AccountId, DeviceId};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new().of_tenant(Role::TenantSupport, Method::GET, "/admin/v1/tenants/{slug}/locks", list).describe(
        Doc::new("users", "Locks in force, the longest first")
            .query("limit", page::LIMIT)
            .query("after", page::AFTER)
            .answer::<Page<LockView>>(200, "A page of them.")
            .problems(&[ProblemCode::Validation]),
    )
}

/// A lock in force.
#[derive(Serialize, JsonSchema)]
struct LockView {
    /// Whose account.
    #[schemars(with = "String")]
    account: AccountId,
    /// The device that is locked out; absent for everybody whose device is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    device: Option<DeviceId>,
    until: String,
}

impl From<LockInForce> for LockView {
    fn from(lock: LockInForce) -> Self {
        Self { account: lock.account, device: device_of(lock.lane), until: lock.until.to_rfc3339() }
    }
}

async fn list(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let limit = page::limit(&request)?;
    let before = match page::after::<String>(&request)? {
        Some(place) => Some(read_place(&place).ok_or_else(|| {
            let error = FieldError::new("/after", "invalid", "The query parameter must be the `next` of a page.");
            Problem::validation(vec![error])
        })?),
        None => None,
    };
    let rows = desk.people.locks(visit.tenant.id, before, limit).await?;
    let page = Page::of(rows, limit, place, LockView::from);
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

/// A lock's place in the list: its end, then its id.
fn place(lock: &LockInForce) -> String {
    format!("{}.{}", lock.until.as_millis(), lock.id)
}

fn read_place(text: &str) -> Option<(Timestamp, crate::domain::ids::AttemptId)> {
    let (until, id) = text.split_once('.')?;
    Some((Timestamp::from_millis(until.parse().ok()?), id.parse().ok()?))
}
