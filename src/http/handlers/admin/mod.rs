//! The admin API: one file per resource, below `/admin/v1`.
//!
//! Members that are not known are refused here, so that a misspelt setting is not a setting that was
//! never made. Nothing that was kept secret is ever answered; a new key or app secret is answered once.

mod apps;
mod audit;
mod condition;
mod documents;
mod keys;
mod limits;
mod locks;
mod messages;
pub mod page;
mod settings;
mod signing_keys;
mod templates;
mod tenants;
mod users;

use super::health;
use crate::http::desk::Desk;
use crate::http::router::Routes;

/// Every route of the admin listener.
#[must_use]
pub fn routes() -> Routes<Desk> {
    health::routes().merge(api()).merge(documents::routes())
}

/// The routes that the description describes.
#[must_use]
pub fn api() -> Routes<Desk> {
    Routes::new()
        .merge(tenants::routes())
        .merge(settings::routes())
        .merge(keys::routes())
        .merge(signing_keys::routes())
        .merge(apps::routes())
        .merge(users::routes())
        .merge(locks::routes())
        .merge(messages::routes())
        .merge(templates::routes())
        .merge(limits::routes())
        .merge(audit::routes())
}
