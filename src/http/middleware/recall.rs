//! The shortest way through: what can be answered from memory is answered before anything is made for the
//! request: no place among the requests in work, no deadline, no span.
//!
//! ```text
//!   request ─► a route that recalls its usual answer ─────────────► told
//!          └─► a route with limits that are known to refuse ──────► told
//!          └─► whatever is left, and whatever is not that simple ─► the usual way
//! ```
//!
//! A route recalls its one common answer whole: nobody has a last word on it. Such answers are counted, not
//! timed: a clock would cost as much as they do.

use std::net::SocketAddr;

use http::header::{EXPECT, ORIGIN};
use http::{HeaderMap, Method};
use hyper::body::{Body as _, Incoming};

use super::{Inner, REALM, harden, request_id, trace};
use crate::http::peer::Scheme;
use crate::http::reply::Reply;
use crate::http::request::{Head, RequestId, split_tenant};
use crate::http::router::{Found, Recall, Route};

impl<S: Send + Sync + 'static> Inner<S> {
    /// The answer that is in memory.
    pub(super) fn recall(&self, peer: SocketAddr, request: &http::Request<Incoming>) -> Option<Reply> {
        let Found::Route(route, _) = self.router.find(request.method(), split_tenant(request.uri().path()).1) else {
            return None;
        };
        // CORS must be decided on.
        if request.headers().contains_key(ORIGIN) {
            return None;
        }
        let reply = match route.recall {
            Some(recall) => self.usual_answer(route, recall, request),
            None => self.known_refusal(route, peer, request),
        }?;
        Some(if request.method() == Method::HEAD { reply.without_body() } else { reply })
    }

    fn usual_answer(&self, route: &Route<S>, recall: Recall<S>, request: &http::Request<Incoming>) -> Option<Reply> {
        // A body must be read by somebody.
        if !request.body().is_end_stream() {
            return None;
        }
        let reply = recall(&self.state, request.uri(), request.headers())?;
        let id = self.ids.fresh();
        let id = id.hyphenated();
        // The caller is a gateway, not a browser: whether it came by https does not matter.
        Some(self.told(route, request, reply, Scheme::Http, id.encode_lower(&mut uuid::Uuid::encode_buffer())))
    }

    fn known_refusal(&self, route: &Route<S>, peer: SocketAddr, request: &http::Request<Incoming>) -> Option<Reply> {
        let headers: &HeaderMap = request.headers();
        // A client that waits to be asked for its body must be told.
        if route.limits.is_empty() || headers.contains_key(EXPECT) {
            return None;
        }
        let head = Head { uri: request.uri(), headers, origin: self.proxies.origin(peer, headers) };
        let problem = self.hooks.known_refusal(&head, route.limits)?;
        let id: RequestId = self.ids.of(headers, head.origin);
        let reply = problem.into_reply(&id.instance(), REALM);
        Some(self.told(route, request, reply, head.origin.scheme, id.as_str()))
    }

    fn told(
        &self,
        route: &Route<S>,
        request: &http::Request<Incoming>,
        mut reply: Reply,
        scheme: Scheme,
        id: &str,
    ) -> Reply {
        request_id::give_back(id, reply.headers_mut());
        harden::headers(scheme, reply.headers_mut());
        trace::recalled(&self.meters, route.pattern, request.method(), reply.status(), id);
        reply
    }
}
