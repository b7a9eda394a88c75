//! Ending a lock by the link in its mail.

use std::sync::Arc;

use http::StatusCode;

use super::body;
use super::registration::{dead_link, link_token, locale};
use crate::domain::locale::Locale;
use crate::http::gate::{self, Gate};
use crate::http::page;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Answer;

/// `GET /api/auth/unlock/{token}`: the page a mailed link opens. It changes nothing, whoever asks.
pub(super) async fn unlock_page(gate: Arc<Gate>, request: Request) -> Answer {
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
pub(super) async fn unlock(gate: Arc<Gate>, request: Request) -> Answer {
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
