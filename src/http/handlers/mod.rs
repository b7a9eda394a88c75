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

use super::gate::Gate;
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
        .merge(phone::routes())
        .merge(login::routes())
        .merge(registration::routes())
        .merge(password::routes())
        .merge(invitation::routes())
        .merge(unlock::routes())
        .merge(contact::routes())
        .merge(tokens::routes())
        .merge(me::routes())
        .merge(keys::routes())
        .merge(oauth::routes())
        .merge(forward_auth::routes())
        .merge(hooks::routes())
}
