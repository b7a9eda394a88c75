//! `/openapi.json` and `/docs`: what both listeners serve, for programs and for people. The public
//! API has a document of its own, since other people read it.
//!
//! The documents are for whoever reaches the admin listener: every copy of this program says the same. To
//! whoever may not read the metrics, the page does not exist either.

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::domain::locale::Locale;
use crate::domain::role::Role;
use crate::http::desk::Desk;
use crate::http::handlers::{self, health::may_look_inside};
use crate::http::openapi;
use crate::http::page;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Route, Routes};

const ADMIN: &str = "/openapi.json";
const PUBLIC: &str = "/openapi/public.json";

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| openapi::document("guichet admin API", &super::api()).to_string().into());

static PUBLIC_DOCUMENT: LazyLock<Bytes> = LazyLock::new(public_document);

static LISTING: LazyLock<String> = LazyLock::new(listing);

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new()
        .route(Method::GET, ADMIN, |_, _| async { Ok(document(&DOCUMENT)) })
        .route(Method::GET, PUBLIC, |_, _| async { Ok(document(&PUBLIC_DOCUMENT)) })
        .route(Method::GET, "/docs", docs)
}

fn document(document: &LazyLock<Bytes>) -> Reply {
    Reply::typed(StatusCode::OK, "application/json", Bytes::clone(document))
}

async fn docs(desk: Arc<Desk>, request: Request) -> Answer {
    if !may_look_inside(&*desk, &request) {
        return Err(ProblemCode::NotFound.into());
    }
    Ok(Reply::html(StatusCode::OK, LISTING.clone()))
}

/// Every public route exists bare and under its tenant.
fn public_document() -> Bytes {
    let mut document = openapi::document("guichet API", &handlers::public());
    let servers = json!([
        { "url": "/", "description": "The tenant of the host, or the default tenant." },
        { "url": "/t/{slug}", "description": "The tenant of that slug.", "variables": { "slug": { "default": "default" } } },
    ]);
    if let Some(members) = document.as_object_mut() {
        members.insert("servers".into(), servers);
    }
    document.to_string().into()
}

/// A plain page: the content security policy lets nothing be loaded or run.
fn listing() -> String {
    let rows: Vec<_> = handlers::public().iter().filter_map(row).chain(super::api().iter().filter_map(row)).collect();
    let links = [(PUBLIC, "The public API in OpenAPI 3.1"), (ADMIN, "The admin API in OpenAPI 3.1")];
    page::table(Locale::En, "guichet", &["Method", "Path", "Role", "What"], &rows, &links)
}

fn row<S>(route: &Route<S>) -> Option<[String; 4]> {
    let doc = route.doc.as_ref()?;
    Some([
        route.method.as_ref().map_or("any", Method::as_str).to_owned(),
        route.pattern.to_owned(),
        route.role.map_or("", Role::as_str).to_owned(),
        doc.summary().to_owned(),
    ])
}
