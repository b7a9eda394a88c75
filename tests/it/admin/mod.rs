//! The admin API over real sockets, on every back end.

// The lints know a helper for a test's by this.
#![cfg(test)]

mod apps;
mod bad_input;
mod command_line;
mod description;
mod effect;
mod judgement;
mod keys;
mod matrix;
mod messages;
mod people;
mod secrets;
mod settings;
mod signing_keys;
mod tenants;

use serde_json::json;

use crate::harness::gateway::{Gateway, ROOT_KEY};

/// A key of the tenant with that slug.
pub(crate) async fn key_of(gateway: &Gateway, slug: &str, role: &str) -> String {
    let body = json!({"role": role, "name": "a test"});
    let made = gateway.admin().post(&format!("/tenants/{slug}/keys"), &body).bearer(ROOT_KEY).await;
    made.expect(201).word("key")
}
