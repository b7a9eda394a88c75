//! The two metrics of every request, by handles that are kept: to find one by its name and labels costs
//! as much as the whole check of a token.

use dashmap::DashMap;
use foldhash::fast::RandomState;
use http::Method;
use metrics::{Counter, Histogram};

use crate::telemetry::{HTTP_REQUEST_SECONDS, HTTP_REQUESTS};

/// The handles so far. As many as there are patterns, methods and statuses: nobody outside adds one.
#[derive(Default)]
pub(super) struct Meters {
    answered: DashMap<(&'static str, &'static str, u16), Counter, RandomState>,
    seconds: DashMap<(&'static str, &'static str), Histogram, RandomState>,
}

impl Meters {
    /// One more answer of `status` by the row of that pattern.
    pub(super) fn count(&self, route: &'static str, method: &Method, status: u16) {
        let method = method_label(method);
        let key = (route, method, status);
        if let Some(counter) = self.answered.get(&key) {
            return counter.increment(1);
        }
        let counter =
            metrics::counter!(HTTP_REQUESTS, "route" => route, "method" => method, "status" => status.to_string());
        counter.increment(1);
        self.answered.insert(key, counter);
    }

    /// How long an answer took.
    pub(super) fn time(&self, route: &'static str, method: &Method, seconds: f64) {
        let method = method_label(method);
        if let Some(histogram) = self.seconds.get(&(route, method)) {
            return histogram.record(seconds);
        }
        let histogram = metrics::histogram!(HTTP_REQUEST_SECONDS, "route" => route, "method" => method);
        histogram.record(seconds);
        self.seconds.insert((route, method), histogram);
    }
}

/// A method anybody may invent must not become a label of its own.
pub(super) fn method_label(method: &Method) -> &'static str {
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
