//! `/healthz`, `/readyz` and `/metrics` of the admin listener.
//!
//! Alive means that this code runs. Ready means that a request would be served: an orchestrator
//! that is told "not ready" sends no traffic, one that is told "not alive" kills the process, so
//! an unreachable database only ever makes us unready.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{Method, StatusCode};
use ipnet::IpNet;
use serde_json::json;

use crate::http::middleware::Lane;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret, SecretString};

/// What an application knows about its own health.
pub trait Health: Send + Sync + 'static {
    /// The parts that are not ready yet or any more; none means ready.
    fn waiting_for(&self) -> Vec<&'static str>;

    /// All metrics in the Prometheus text format.
    fn render_metrics(&self) -> String;

    /// From where metrics may be read without a key.
    fn metrics_allow(&self) -> &[IpNet];

    /// The key with which they may be read from anywhere.
    fn root_key(&self) -> &SecretString;
}

/// The rows of this file.
pub fn routes<S: Health>() -> Routes<S> {
    Routes::new()
        .route(Method::GET, "/healthz", healthz)
        .hot()
        .lane(Lane::Checks)
        .route(Method::GET, "/readyz", readyz)
        .hot()
        .lane(Lane::Checks)
        .route(Method::GET, "/metrics", metrics)
        .hot()
        .lane(Lane::Checks)
}

async fn healthz<S: Health>(_state: Arc<S>, _request: Request) -> Answer {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ok" })))
}

async fn readyz<S: Health>(state: Arc<S>, _request: Request) -> Answer {
    let waiting_for = state.waiting_for();
    if waiting_for.is_empty() {
        Ok(Reply::json(StatusCode::OK, &json!({ "status": "ready" })))
    } else {
        Err(Problem::from(ProblemCode::DependencyUnavailable).with_member("waiting_for", waiting_for))
    }
}

/// To whoever may not read them, metrics do not exist.
async fn metrics<S: Health>(state: Arc<S>, request: Request) -> Answer {
    if !may_look_inside(&*state, &request) {
        return Err(ProblemCode::NotFound.into());
    }
    Ok(Reply::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", state.render_metrics()))
}

/// Whether a request may read what tells of the inside: from where the operator allows it, or with
/// the root key.
pub(super) fn may_look_inside(health: &impl Health, request: &Request) -> bool {
    let client = request.client().ip();
    let is_near = health.metrics_allow().iter().any(|network| network.contains(&client));
    is_near || holds_root_key(request, health.root_key())
}

fn holds_root_key(request: &Request, root_key: &SecretString) -> bool {
    let Ok(Some(sent)) = request.bearer() else { return false };
    let expected = root_key.expose_secret();
    !expected.is_empty() && verify_slices_are_equal(sent.as_bytes(), expected.as_bytes()).is_ok()
}
