//! One file per resource; each handler decodes a request, asks one door, and encodes the outcome.
//!
//! A handler knows no rule and no store: what it may do is in [`Gate`], what it answers is a
//! [`Reply`](super::reply::Reply) or a row of the table in [`super::problem`]. Public bodies
//! ignore members they do not know, as the original APIs did.

pub mod admin;
pub mod body;
pub mod contact;
pub mod health;
pub mod invitation;
pub mod keys;
pub mod login;
pub mod me;
pub mod password;
pub mod phone;
pub mod registration;
pub mod tokens;
pub mod unlock;

use http::Method;

use super::gate::Gate;
use super::router::Routes;

/// Every public route; each exists bare and under `/t/{slug}`.
#[must_use]
pub fn public() -> Routes<Gate> {
    Routes::new()
        .route(Method::POST, "/auth/request-code", phone::request_code)
        .route(Method::POST, "/auth/verify-code", phone::verify_code)
        .route(Method::POST, "/auth/register", phone::register)
        .route(Method::POST, "/api/auth/register", registration::register)
        .route(Method::GET, "/api/auth/verify/{token}", registration::verify_by_get)
        .route(Method::POST, "/api/auth/verify/{token}", registration::verify)
        .route(Method::POST, "/api/auth/resend-verification", registration::resend)
        .route(Method::POST, "/api/auth/login", login::log_in)
        .route(Method::POST, "/api/auth/verify-otp", login::verify_otp)
        .route(Method::POST, "/api/auth/password/forgot", password::forgot)
        .route(Method::POST, "/api/auth/password/reset", password::reset)
        .route(Method::GET, "/api/auth/password/reset/{token}", password::reset_page)
        .route(Method::POST, "/api/auth/password/reset/{token}", password::reset_by_form)
        .route(Method::POST, "/api/auth/password/change", password::change)
        .route(Method::GET, "/api/auth/invitation/{token}", invitation::invitation_page)
        .route(Method::POST, "/api/auth/invitation/{token}", invitation::accept)
        .route(Method::GET, "/api/auth/unlock/{token}", unlock::unlock_page)
        .route(Method::POST, "/api/auth/unlock/{token}", unlock::unlock)
        .route(Method::POST, "/api/auth/contact/change", contact::change)
        .route(Method::POST, "/api/auth/contact/confirm", contact::confirm)
        .route(Method::POST, "/api/auth/refresh", tokens::refresh)
        .route(Method::POST, "/api/auth/logout", tokens::logout)
        .route(Method::GET, "/api/auth/me", me::show)
        .route(Method::DELETE, "/api/auth/me", me::erase)
        .route(Method::GET, "/api/auth/sessions", me::sessions)
        .route(Method::DELETE, "/api/auth/sessions", me::end_sessions)
        .route(Method::DELETE, "/api/auth/sessions/{id}", me::end_session)
        .route(Method::GET, "/api/auth/devices", me::devices)
        .route(Method::DELETE, "/api/auth/devices/{id}", me::forget_device)
        .route(Method::GET, "/.well-known/jwks.json", keys::jwks)
}
