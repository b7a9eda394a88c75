//! One line in the log and two metrics per request, by route pattern and never by raw path.
//!
//! Path, query, address and headers may hold tokens or personal data: none of them is written.
//! A log line costs as much as a token check, so hot routes write one in a thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::http::request::RequestId;
use crate::http::router::Found;

/// Of the requests to hot routes, every so-manieth writes a line.
const SAMPLE: u32 = 1_000;

static HOT_REQUESTS: AtomicU32 = AtomicU32::new(0);

/// One request being measured.
pub(super) struct Trace {
    started: Instant,
    route: &'static str,
    is_hot: bool,
    method: Method,
    id: RequestId,
    tenant_slug: Option<Arc<str>>,
}

impl Trace {
    pub(super) fn start<S>(found: &Found<'_, '_, S>, method: Method, id: RequestId) -> Self {
        let is_hot = matches!(found, Found::Route(route, _) if route.is_hot);
        Self { started: Instant::now(), route: found.label(), is_hot, method, id, tenant_slug: None }
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

    /// Counts the request and writes its line.
    pub(super) fn finish(self, status: StatusCode) {
        let took = self.started.elapsed();
        let method = method_label(&self.method);
        let labels = [
            metrics::Label::from_static_parts("route", self.route),
            metrics::Label::from_static_parts("method", method),
            metrics::Label::new("status", status.as_str().to_owned()),
        ];
        metrics::histogram!("guichet_http_request_seconds", labels.iter()).record(took.as_secs_f64());
        metrics::counter!("guichet_http_requests_total", labels.iter()).increment(1);

        if !self.is_hot || HOT_REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE) {
            tracing::info!(
                http.method = method,
                http.route = self.route,
                http.status = status.as_u16(),
                duration_ms = took.as_secs_f64() * 1_000.0,
                request.id = self.id.as_str(),
                tenant.slug = self.tenant_slug.as_deref(),
                "request answered"
            );
        }
    }
}

/// A method anybody may invent must not become a label of its own.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
