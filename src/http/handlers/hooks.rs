//! Where providers report what became of a message.
//!
//! `/hooks/{tenant}/{sender}` names its tenant in the path like `/t/{slug}` does, because the URL is
//! pasted into forms that like it short. Calls are believed by the secret in their query and by their
//! signature; an unknown tenant, an unknown sender and a wrong secret all look the same.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::API;
use crate::actors::senders::{ReceiptCall, ReceiptOutcome};
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const HOOK: &str = "/hooks/{tenant}/{sender}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    let receipt_of = |summary| {
        Doc::new("hooks", summary)
            .about("Believed by the secret in the query and by the provider's signature, in whatever form it has.")
            .empty(204, "Taken, whether or not there was news.")
            .problems(&[ProblemCode::Forbidden, ProblemCode::PayloadTooLarge, ProblemCode::RequestTimeout])
    };
    Routes::new()
        .route(Method::GET, HOOK, receipt)
        .limited(API)
        .describe(receipt_of("A provider's receipt, in the query"))
        .route(Method::POST, HOOK, receipt)
        .limited(API)
        .describe(receipt_of("A provider's receipt"))
}

/// The tenant that a path of receipts names.
#[must_use]
pub fn tenant_in_path(path: &str) -> Option<&str> {
    path.strip_prefix("/hooks/")?.split('/').next().filter(|slug| !slug.is_empty())
}

/// `POST|GET /hooks/{tenant}/{sender}`: 204, whether or not there was news; 404; 403.
async fn receipt(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let sender = request.param("sender").unwrap_or_default().to_owned();
    if request.param("tenant") != Some(&**tenant.slug()) {
        return Err(ProblemCode::NotFound.into());
    }
    let call = ReceiptCall {
        method: request.method().clone(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().clone(),
        body: request.bytes().await?.to_vec(),
    };
    match gate.receipts.take(&tenant, &sender, &call).await? {
        ReceiptOutcome::Taken => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        ReceiptOutcome::Unknown => Err(ProblemCode::NotFound.into()),
        ReceiptOutcome::Forged => Err(ProblemCode::Forbidden.into()),
    }
}
