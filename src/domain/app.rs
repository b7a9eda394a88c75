//! A tenant's application: an audience for tokens, and the origins its browsers come from.

use super::ids::AppId;
use super::time::Timestamp;

/// The `client_id` of tokens asked for without an app.
pub const FIRST_PARTY: &str = "first-party";

/// One application of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its OAuth `client_id`.
    pub id: AppId,
    /// What people call it.
    pub name: String,
    /// `aud` of the tokens made for it (RFC 9068 §3).
    pub audience: String,
    /// Origins (`https://app.example`) whose pages may call guichet.
    pub origins: Vec<String>,
    /// SHA-256 of its secret: 256 random bits need no slow hash.
    pub secret_digest: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
}
