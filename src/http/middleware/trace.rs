//! One line in the log and two metrics per request, by route pattern and never by raw path.
//!
//! Path, query, address and headers may hold tokens or personal data: none of them is written.
//! A log line costs as much as a token check, so hot routes and refusals (429) write one in a
//! thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::meters::{Meters, method_label};
use crate::http::request::RequestId;
use crate::http::router::Found;

/// Of the requests to hot routes and of refusals, every so-manieth writes a line.
const SAMPLE: u32 = 1_000;

/// Stands for an answer that nobody waited for; never sent.
const CLIENT_LEFT: u16 = 499;

static HOT_REQUESTS: AtomicU32 = AtomicU32::new(0);

/// Whether the next of them does.
fn is_sampled() -> bool {
    HOT_REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE)
}

/// An answer from memory: counted, and written down now and then.
pub(super) fn recalled(meters: &Meters, route: &'static str, method: &Method, status: StatusCode, id: &str) {
    let status = status.as_u16();
    meters.count(route, method, status);
    if is_sampled() {
        let method = method_label(method);
        tracing::info!(
            http.method = method,
            http.route = route,
            http.status = status,
            request.id = id,
            "request answered from memory"
        );
    }
}

/// One request being measured.
pub(super) struct Trace<'m> {
    meters: &'m Meters,
    started: Instant,
    route: &'static str,
    is_hot: bool,
    method: Method,
    id: RequestId,
    tenant_slug: Option<Arc<str>>,
    status: u16,
}

impl<'m> Trace<'m> {
    pub(super) fn start<S>(meters: &'m Meters, found: &Found<'_, '_, S>, method: Method, id: RequestId) -> Self {
        let is_hot = found.is_hot();
        Self {
            meters,
            started: Instant::now(),
            route: found.label(),
            is_hot,
            method,
            id,
            tenant_slug: None,
            status: CLIENT_LEFT,
        }
    }

    pub(super) fn belongs_to(&mut self, tenant_slug: Option<Arc<str>>) {
        self.tenant_slug = tenant_slug;
    }

    pub(super) fn tenant_slug(&self) -> Option<&str> {
        self.tenant_slug.as_deref()
    }

    pub(super) fn tenant_slug_owned(&self) -> Option<Arc<str>> {
        self.tenant_slug.clone()
    }

    /// The request was answered: counts it and writes its line.
    pub(super) fn finish(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Trace<'_> {
    /// Whatever became of the request: a client that leaves takes the future of its answer with it.
    fn drop(&mut self) {
        let took = self.started.elapsed().as_secs_f64();
        self.meters.time(self.route, &self.method, took);
        self.meters.count(self.route, &self.method, self.status);

        // Whoever floods a route must not flood the log as well.
        let may_flood = self.is_hot || self.status == StatusCode::TOO_MANY_REQUESTS.as_u16();
        if !may_flood || is_sampled() {
            tracing::info!(
                http.method = method_label(&self.method),
                http.route = self.route,
                http.status = self.status,
                duration_ms = took * 1_000.0,
                request.id = self.id.as_str(),
                tenant.slug = self.tenant_slug.as_deref(),
                "{}",
                if self.status == CLIENT_LEFT { "request left by its client" } else { "request answered" }
            );
        }
    }
}
