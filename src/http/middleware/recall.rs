//! The shortest way through: what a hot route can answer from memory, it answers before anything is
//! made for the request: no place among the requests in work, no deadline, no span, no line in the log.
//!
//! Whatever is not answered here takes the usual way. So a route only recalls its one common answer,
//! whole: nobody has a last word on it.

use http::Method;
use http::header::ORIGIN;
use hyper::body::{Body as _, Incoming};
use uuid::Uuid;

use super::{Inner, harden, request_id};
use crate::http::peer::Scheme;
use crate::http::reply::Reply;
use crate::http::request::split_tenant;
use crate::http::router::Found;

impl<S: Send + Sync + 'static> Inner<S> {
    /// The answer of a route that has it in memory.
    pub(super) fn recall(&self, request: &http::Request<Incoming>) -> Option<Reply> {
        if !self.has_recall {
            return None;
        }
        let Found::Route(route, _) = self.router.find(request.method(), split_tenant(request.uri().path()).1) else {
            return None;
        };
        let recall = route.recall?;
        // A body must be read by somebody, and CORS decided on.
        if !request.body().is_end_stream() || request.headers().contains_key(ORIGIN) {
            return None;
        }
        let mut reply = recall(&self.state, request.uri(), request.headers())?;
        let id = self.ids.fresh();
        request_id::give_back(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()), reply.headers_mut());
        // The caller is a gateway, not a browser: whether it came by https does not matter.
        harden::headers(Scheme::Http, reply.headers_mut());
        self.meters.count(route.pattern, request.method(), reply.status().as_u16());
        Some(if request.method() == Method::HEAD { reply.without_body() } else { reply })
    }
}
