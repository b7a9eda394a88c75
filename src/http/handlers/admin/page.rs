//! Long lists in pages: `?limit=` and `?after=`, where `after` is the `next` of the page before.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::Serialize;

use crate::http::problem::{FieldError, Problem};
use crate::http::request::Request;

/// Rows of a page if nothing is asked for, and at most.
const USUAL: u32 = 50;
const MOST: u32 = 200;

/// What the description says of the two parameters.
pub const LIMIT: &str = "Rows at most: 1 to 200, 50 if not given.";
/// See [`LIMIT`].
pub const AFTER: &str = "The `next` of the page before.";

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows of which more than `limit` were read if there are more; `place` names a row's place in the
    /// list.
    #[must_use]
    pub fn of<R>(mut rows: Vec<R>, limit: u32, place: impl Fn(&R) -> String, show: impl Fn(R) -> T) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| !is_last).map(place);
        Self { items: rows.into_iter().map(show).collect(), next }
    }

    /// A page of rows that were all read, those after the place `after`.
    #[must_use]
    pub fn of_all<R, P: Ord + Display>(
        mut rows: Vec<R>,
        after: Option<&P>,
        limit: u32,
        place: impl Fn(&R) -> P,
        show: impl Fn(R) -> T,
    ) -> Self {
        rows.retain(|row| after.is_none_or(|after| place(row) > *after));
        Self::of(rows, limit, |row| place(row).to_string(), show)
    }

    /// A list that is never long.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// How many rows are asked for.
///
/// # Errors
/// `validation`.
pub fn limit(request: &Request) -> Result<u32, Problem> {
    let Some(text) = request.query("limit") else { return Ok(USUAL) };
    text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
        let error = FieldError::new("/limit", "invalid", format!("The query parameter must be from 1 to {MOST}."));
        Problem::validation(vec![error])
    })
}

/// Where the page begins, in the words of the list's own place.
///
/// # Errors
/// `validation`.
pub fn after<T: std::str::FromStr>(request: &Request) -> Result<Option<T>, Problem> {
    let Some(text) = request.query("after") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let error = FieldError::new("/after", "invalid", "The query parameter must be the `next` of a page.");
        Problem::validation(vec![error])
    })
}
