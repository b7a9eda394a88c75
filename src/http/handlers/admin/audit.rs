//! What was done, by ids.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StringDeserializer};
use serde::{Deserialize, Serialize};

use super::page::{self, Page};
use crate::actors::administration::people::{AuditEntry, AuditFilter};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, KeyId};
use crate::domain::role::Role;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new().of_tenant(Role::TenantSupport, Method::GET, "/admin/v1/tenants/{slug}/audit", list).describe(
        Doc::new("audit", "The audit log, newest first")
            .about("A page with a filter looks through 10,000 entries at most, so it may be short, or empty, and still have a `next`.")
            .query("limit", page::LIMIT)
            .query("after", page::AFTER)
            .query("account", "About this account only.")
            .query("kind", "Of this kind only, such as `authn_login_lock`.")
            .answer::<Page<EventView>>(200, "A page of it.")
            .problems(&[ProblemCode::Validation]),
    )
}

/// One line of the log.
#[derive(Serialize, JsonSchema)]
pub(super) struct EventView {
    /// Its place in the log.
    sequence: i64,
    /// What, in the words of the OWASP logging vocabulary.
    kind: &'static str,
    at: String,
    /// To which account.
    #[schemars(with = "Option<String>")]
    account: Option<AccountId>,
    /// A word of explanation.
    cause: Option<String>,
    /// With which admin key; null where the person did it, or the root key.
    #[schemars(with = "Option<String>")]
    key: Option<KeyId>,
    /// To what, where that is no account: a signing key by its `kid`.
    subject: Option<String>,
}

impl From<AuditEntry> for EventView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { sequence, account, kind, at, cause, key, subject } = entry;
        Self { sequence, kind: kind.as_str(), at: at.to_rfc3339(), account, cause, key, subject }
    }
}

async fn list(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let filter = AuditFilter {
        account: parsed(&request, "account", "/account", |text| text.parse().ok())?,
        kind: parsed(&request, "kind", "/kind", kind)?,
        before: page::after(&request)?,
        limit: page::limit(&request)?,
    };
    let found = desk.people.audit(visit.tenant.id, &filter).await?;
    let items = found.entries.into_iter().map(EventView::from).collect();
    let page = Page { items, next: found.next.map(|next| next.to_string()) };
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

fn kind(text: String) -> Option<EventKind> {
    let word: StringDeserializer<Error> = text.into_deserializer();
    EventKind::deserialize(word).ok()
}

/// A query parameter that is an id or a word.
fn parsed<T>(
    request: &Request,
    name: &str,
    pointer: &'static str,
    read: impl FnOnce(String) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = request.query(name) else { return Ok(None) };
    read(text).map(Some).ok_or_else(|| {
        Problem::validation(vec![FieldError::new(pointer, "invalid", "The query parameter cannot be understood.")])
    })
}
