//! `/openapi.json` and `/docs`: the admin API's description, for programs and for people.
//!
//! To whoever may not read the metrics, they do not exist either.

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::domain::locale::Locale;
use crate::domain::role::Role;
use crate::http::desk::Desk;
use crate::http::handlers::health::may_look_inside;
use crate::http::openapi;
use crate::http::page;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Route, Routes};

const TITLE: &str = "guichet admin API";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document(TITLE, &super::api()).to_string().into());

static LISTING: LazyLock<String> = LazyLock::new(listing);

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new().route(Method::GET, "/openapi.json", document).route(Method::GET, "/docs", docs)
}

async fn document(desk: Arc<Desk>, request: Request) -> Answer {
    if !may_look_inside(&*desk, &request) {
        return Err(ProblemCode::NotFound.into());
    }
    Ok(Reply::typed(StatusCode::OK, "application/json", DOCUMENT.clone()))
}

async fn docs(desk: Arc<Desk>, request: Request) -> Answer {
    if !may_look_inside(&*desk, &request) {
        return Err(ProblemCode::NotFound.into());
    }
    Ok(Reply::html(StatusCode::OK, LISTING.clone()))
}

/// A plain page: the content security policy lets nothing be loaded or run.
fn listing() -> String {
    let routes = super::api();
    let row = |route: &Route<Desk>| {
        let doc = route.doc.as_ref()?;
        Some([
            route.method.as_ref().map_or("any", Method::as_str).to_owned(),
            route.pattern.to_owned(),
            route.role.map_or("", Role::as_str).to_owned(),
            doc.summary().to_owned(),
        ])
    };
    let rows: Vec<_> = routes.iter().filter_map(row).collect();
    page::table(Locale::En, TITLE, &["Method", "Path", "Role", "What"], &rows, ("/openapi.json", "OpenAPI 3.1"))
}
