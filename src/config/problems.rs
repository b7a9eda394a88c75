//! What is wrong with the settings, said so that an operator can mend it without the source.

use std::fmt;

/// One thing wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, as `http.listen`; for a variable nobody knows its name; for a file that is no
    /// TOML its path.
    pub path: String,
    /// What is wrong. Cites the value unless it is a secret.
    pub message: String,
    /// The variable or flag that set the key; absent for the file and for defaults.
    pub origin: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.origin {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// Everything wrong, sorted by path; one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, sorted by path. Never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Problems being collected.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add_from(path, message, None);
    }

    pub(super) fn add_from(&mut self, path: impl Into<String>, message: impl Into<String>, origin: Option<String>) {
        self.0.push(Problem { path: path.into(), message: message.into(), origin });
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }

    /// `value` if nothing was found.
    pub(super) fn or<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                self.0.sort_by(|one, other| one.path.cmp(&other.path));
                Err(Problems(self.0))
            }
        }
    }
}
