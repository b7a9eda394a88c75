//! The environment, as a value: read once from the process or written down by a test.
//!
//! Every key has a long name (`http.listen` is `GUICHET__HTTP__LISTEN`); [`SHORT_NAMES`] lists
//! the few that everyone expects. A name that starts like ours and is nobody's is refused: a
//! misspelt limit that silently does nothing is worse than a start that fails.

use std::collections::BTreeMap;

/// Short names and the keys they set.
pub const SHORT_NAMES: [(&str, &str); 14] = [
    ("DATABASE_URL", "database.url"),
    ("DATABASE_URL_FILE", "database.url_file"),
    ("REDIS_URL", "redis.url"),
    ("REDIS_URL_FILE", "redis.url_file"),
    ("GUICHET_LISTEN", "http.listen"),
    ("GUICHET_ADMIN_LISTEN", "http.admin_listen"),
    ("GUICHET_ADMIN_KEY", "admin.key"),
    ("GUICHET_ADMIN_KEY_FILE", "admin.key_file"),
    ("GUICHET_MASTER_KEY", "crypto.master_key"),
    ("GUICHET_MASTER_KEY_FILE", "crypto.master_key_file"),
    ("GUICHET_DATA_DIR", "data.dir"),
    ("GUICHET_TRUSTED_PROXIES", "http.trusted_proxies"),
    ("GUICHET_OUTBOUND_ALLOW", "outbound.allow"),
    ("RUST_LOG", "log.filter"),
];

/// Names and values. An empty value is as good as none, as `${NAME:-}` in a compose file gives.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The environment of this process: the only read of it in the program.
    #[must_use]
    pub fn of_process() -> Self {
        // A value that is not UTF-8 keeps its replacement characters and is refused by name.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect()
    }

    /// Those that are ours (or look so) and set, in the order of their names.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, value)| !value.is_empty() && is_ours(name))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Variables {
    /// Names only: values may be secrets, ours and others'.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The long name of a key.
#[must_use]
pub fn long_name(path: &str) -> String {
    format!("GUICHET__{}", path.replace('.', "__").to_ascii_uppercase())
}

/// A key's name, or one so like it that it must be a misspelling. `GUICHET_TEST_…` steers test runs.
fn is_ours(name: &str) -> bool {
    let short = SHORT_NAMES.iter().any(|(short, _)| *short == name);
    short || name.starts_with("GUICHET_") && !name.starts_with("GUICHET_TEST_") && !is_service_link(name)
}

/// Kubernetes and Docker announce a service called `guichet` to its neighbours, and to itself, as
/// `GUICHET_SERVICE_HOST`, `GUICHET_PORT_3000_TCP_ADDR` and so on: nobody's misspelling.
fn is_service_link(name: &str) -> bool {
    let after_port = name.rsplit_once("_PORT").map(|(_, rest)| rest);
    let port = after_port.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    let service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    (port || service) && !name.starts_with("GUICHET__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_announces_is_not_taken_for_a_misspelling() {
        for name in [
            "GUICHET_SERVICE_HOST",
            "GUICHET_SERVICE_PORT",
            "GUICHET_SERVICE_PORT_HTTP",
            "GUICHET_PORT",
            "GUICHET_PORT_3000_TCP",
            "GUICHET_PORT_3000_TCP_ADDR",
            "GUICHET_ADMIN_PORT_3001_TCP_PROTO",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_ours("GUICHET_LISTN"));
        assert!(is_ours("GUICHET__DELIVERY__SMTP__PORT"));
    }

    #[test]
    fn printing_the_variables_shows_no_value() {
        let variables: Variables = [("DATABASE_URL", "postgres://u:hunter2@db")].into_iter().collect();

        assert_eq!(format!("{variables:?}"), r#"{"DATABASE_URL"}"#);
    }
}
