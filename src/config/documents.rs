//! Documents that commands are given: TOML, read as the JSON that the admin API takes.

use std::path::Path;

use serde_json::Value;

/// Reads a document.
///
/// # Errors
/// What is wrong with the file, in words for the person at the terminal; cites nothing of it, since
/// it may hold credentials.
pub fn document(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        format!("{}: line {line}: {}", path.display(), error.message())
    })
}
