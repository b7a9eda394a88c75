//! A credential inside the settings document: closed, and opaque to everything but its owner.
//!
//! The domain cannot open it. It is sealed before the document is built and opened by whoever
//! talks to the provider, each time under the tenant's name, so a copied one does not open.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// A sealed secret: base64url of the sealed bytes, which name their key, and when it was set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Base64url without padding.
    pub sealed: String,
    /// When it was last given; the only thing that is ever shown of it.
    pub updated_at: Timestamp,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}
