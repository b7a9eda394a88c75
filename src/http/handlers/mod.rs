//! One file per resource; each decodes a request, asks whoever knows, and encodes the outcome.

pub mod health;
