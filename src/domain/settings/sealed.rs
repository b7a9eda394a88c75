//! A credential inside the settings document: closed, and opaque to everything but its owner.
//!
//! The domain cannot open it. It is sealed before the document is built and opened by whoever
//! talks to the provider, each time under the tenant's name, so a copied one does not open.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
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

impl JsonSchema for Sealed {
    fn schema_name() -> Cow<'static, str> {
        "Credential".into()
    }

    /// What an admin writes and reads in its place.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Write-only: a text sets it, null clears it; it is read as set, never as it is.",
            "oneOf": [
                { "type": "string", "minLength": 1, "writeOnly": true },
                {
                    "type": "object",
                    "properties": {
                        "set": { "const": true },
                        "updated_at": { "type": "string", "format": "date-time" },
                    },
                    "required": ["set"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
