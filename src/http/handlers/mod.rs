//! One file per resource; each handler decodes a request, asks one door, and encodes the outcome.
//!
//! A handler knows no rule and no store: what it may do is in [`Gate`], what it answers is a
//! [`Reply`](super::reply::Reply) or a row of the table in [`super::problem`]. Public bodies
//! ignore members they do not know, as the original APIs did.

pub mod admin;
pub mod body;
pub mod contact;
pub mod forward_auth;
pub mod health;
pub mod hooks;
pub mod invitation;
pub mod keys;
pub mod login;
pub mod me;
pub mod oauth;
pub mod password;
pub mod phone;
pub mod registration;
pub mod tokens;
pub mod unlock;

use http::Method;

use super::gate::{FORWARD_AUTH, Gate};
use super::router::Routes;
use crate::domain::limits::LimitName;

/// Guessing at a password, a mailed code of a new device, or a reset link.
const LOGIN: &[LimitName] = &[LimitName::LoginClient, LimitName::TenantTotal];

/// Having codes and links sent, and answering those that were texted.
const CODE: &[LimitName] = &[LimitName::CodeClient, LimitName::TenantTotal];

/// Making accounts.
const REGISTER: &[LimitName] = &[LimitName::RegisterClient, LimitName::TenantTotal];

/// Trading refresh tokens.
const REFRESH: &[LimitName] = &[LimitName::RefreshClient, LimitName::TenantTotal];

/// Asking what a token is, app by app.
const INTROSPECT: &[LimitName] = &[LimitName::IntrospectApp, LimitName::TenantTotal];

/// What else a person's app asks for.
const API: &[LimitName] = &[LimitName::ApiClient, LimitName::TenantTotal];

/// Every public route with its limits; only token checks, published keys and metadata have none,
/// since gateways ask for them on behalf of everybody. Each exists bare and under `/t/{slug}`.
#[must_use]
pub fn public() -> Routes<Gate> {
    Routes::new()
        .route(Method::POST, "/auth/request-code", phone::request_code)
        .limited(CODE)
        .route(Method::POST, "/auth/verify-code", phone::verify_code)
        .limited(CODE)
        .route(Method::POST, "/auth/register", phone::register)
        .limited(REGISTER)
        .route(Method::POST, "/api/auth/register", registration::register)
        .limited(REGISTER)
        .route(Method::GET, "/api/auth/verify/{token}", registration::verify_by_get)
        .limited(API)
        .route(Method::POST, "/api/auth/verify/{token}", registration::verify)
        .limited(API)
        .route(Method::POST, "/api/auth/resend-verification", registration::resend)
        .limited(CODE)
        .route(Method::POST, "/api/auth/login", login::log_in)
        .limited(LOGIN)
        .route(Method::POST, "/api/auth/verify-otp", login::verify_otp)
        .limited(LOGIN)
        .route(Method::POST, "/api/auth/password/forgot", password::forgot)
        .limited(CODE)
        .route(Method::POST, "/api/auth/password/reset", password::reset)
        .limited(LOGIN)
        .route(Method::GET, "/api/auth/password/reset/{token}", password::reset_page)
        .limited(API)
        .route(Method::POST, "/api/auth/password/reset/{token}", password::reset_by_form)
        .limited(LOGIN)
        .route(Method::POST, "/api/auth/password/change", password::change)
        .limited(LOGIN)
        .route(Method::GET, "/api/auth/invitation/{token}", invitation::invitation_page)
        .limited(API)
        .route(Method::POST, "/api/auth/invitation/{token}", invitation::accept)
        .limited(LOGIN)
        .route(Method::GET, "/api/auth/unlock/{token}", unlock::unlock_page)
        .limited(API)
        .route(Method::POST, "/api/auth/unlock/{token}", unlock::unlock)
        .limited(LOGIN)
        .route(Method::POST, "/api/auth/contact/change", contact::change)
        .limited(CODE)
        .route(Method::POST, "/api/auth/contact/confirm", contact::confirm)
        .limited(CODE)
        .route(Method::POST, "/api/auth/refresh", tokens::refresh)
        .limited(REFRESH)
        .route(Method::POST, "/api/auth/logout", tokens::logout)
        .limited(API)
        .route(Method::GET, "/api/auth/me", me::show)
        .limited(API)
        .route(Method::DELETE, "/api/auth/me", me::erase)
        .limited(API)
        .route(Method::GET, "/api/auth/sessions", me::sessions)
        .limited(API)
        .route(Method::DELETE, "/api/auth/sessions", me::end_sessions)
        .limited(API)
        .route(Method::DELETE, "/api/auth/sessions/{id}", me::end_session)
        .limited(API)
        .route(Method::GET, "/api/auth/devices", me::devices)
        .limited(API)
        .route(Method::DELETE, "/api/auth/devices/{id}", me::forget_device)
        .limited(API)
        .route(Method::GET, "/.well-known/jwks.json", keys::jwks)
        .route(Method::GET, "/.well-known/oauth-authorization-server", keys::metadata)
        .route(Method::POST, "/oauth/token", oauth::token)
        .limited(REFRESH)
        .route(Method::POST, "/oauth/introspect", oauth::introspect)
        .limited(INTROSPECT)
        .route(Method::POST, "/oauth/revoke", oauth::revoke)
        .limited(REFRESH)
        .any(FORWARD_AUTH, forward_auth::check)
        .hot()
        .recall(forward_auth::recall)
        .last_word(forward_auth::finish)
        .route(Method::GET, "/hooks/{tenant}/{sender}", hooks::receipt)
        .limited(API)
        .route(Method::POST, "/hooks/{tenant}/{sender}", hooks::receipt)
        .limited(API)
}
