//! A panic in a handler costs that one request a 500, and the connection goes on.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::http::problem::ProblemCode;
use crate::http::router::Answer;

/// Runs `answer` and turns a panic into `internal`. What it said goes to the panic hook only: it
/// may hold anything.
pub(super) async fn caught(answer: impl Future<Output = Answer>) -> Answer {
    // Whatever the handler held is dropped by the unwinding; shared state is behind locks and
    // channels that survive it.
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(answer) => answer,
        Err(_panic) => {
            tracing::error!("a handler panicked");
            Err(ProblemCode::Internal.into())
        }
    }
}
