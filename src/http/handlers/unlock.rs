//! Ending a lock by the link in its mail.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::body::{self, MessageBody};
use super::registration::{dead_link, link_token, locale};
use super::{API, LOGIN};
use crate::domain::locale::Locale;
use crate::http::gate::{self, Gate};
use crate::http::openapi::Doc;
use crate::http::page;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const UNLOCK: &str = "/api/auth/unlock/{token}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::GET, UNLOCK, unlock_page)
        .limited(API)
        .describe(
            Doc::new("email", "The page behind the link in a lock's mail")
                .about("Changes nothing.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink]),
        )
        .route(Method::POST, UNLOCK, unlock)
        .limited(LOGIN)
        .describe(
            Doc::new("email", "End a lock by the link in its mail")
                .answer::<MessageBody<'static>>(200, "Unlocked.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink, P::AccountBusy]),
        )
}

/// `GET /api/auth/unlock/{token}`: the page a mailed link opens. It changes nothing, whoever asks.
async fn unlock_page(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    if !gate.accounts.unlock_is_live(&tenant, &link_token(&request)).await? {
        return dead_link(&tenant, &request);
    }
    let page = match locale(&tenant, &request) {
        Locale::En => page::confirm(Locale::En, "Unlock your account", "One click ends the lock.", "Unlock"),
        Locale::Fr => page::confirm(Locale::Fr, "Débloquez votre compte", "Un clic met fin au blocage.", "Débloquer"),
    };
    Ok(Reply::html(StatusCode::OK, page).no_store())
}

/// `POST /api/auth/unlock/{token}`: ends the lock on unknown devices; 400 `invalid_link`.
async fn unlock(gate: Arc<Gate>, request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    if !gate.accounts.unlock_by_link(&tenant, &link_token(&request)).await? {
        return dead_link(&tenant, &request);
    }
    if !request.accepts_html() {
        return Ok(body::message(StatusCode::OK, "Account unlocked. You can log in now."));
    }
    let page = match locale(&tenant, &request) {
        Locale::En => page::notice(Locale::En, "Account unlocked", "You can sign in now."),
        Locale::Fr => page::notice(Locale::Fr, "Compte débloqué", "Vous pouvez vous connecter."),
    };
    Ok(Reply::html(StatusCode::OK, page).no_store())
}
