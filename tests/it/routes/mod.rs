//! What single routes promise, whatever story they stand in.

// The lints know a helper for a test's by this.
#![cfg(test)]

mod ext_authz;
mod forward_auth;
mod jwt_attacks;
mod lanes;
mod oauth;
mod table;
pub(crate) mod tokens;
mod two_tenants;
