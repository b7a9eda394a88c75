//! What happens to every request, whatever it asks for, in one fixed order.
//!
//! Plain functions around one another and not a tower of layers: a token check must cost little
//! more than hyper itself, and a stack of generic layers took a quarter of the throughput when it
//! was measured. The order is the body of `FrontEnd::answer`.

mod admit;
mod harden;
mod meters;
mod panics;
mod recall;
mod request_id;
mod trace;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use self::admit::Admission;
pub use self::admit::{Lane, Place};
use self::meters::Meters;
use self::request_id::RequestIds;
use self::trace::Trace;
use super::body::{self, BodyLimits, Leftover, Payload};
use super::peer::{Origin, TrustedProxies};
use super::problem::{Problem, ProblemCode};
use super::reply::Reply;
use super::request::{Head, Request, split_tenant};
use super::router::{Answer, Found, Router, without_handler};
use super::server::{self, Answering, Serves};
use crate::clock::Clock;
use crate::domain::limits::LimitName;
use crate::entropy::Entropy;

/// How long an answer waits for the rest of a body that nobody wants. That of a hot route waits for
/// nothing: gateways announce their client's body and keep it.
const LINGER: Duration = Duration::from_millis(250);

/// The realm of challenges where no tenant is known.
const REALM: &str = "guichet";

/// The header fields of an admitted request, or the problem of a refused one.
pub type Admitting<'a> = Pin<Box<dyn Future<Output = Result<HeaderMap, Problem>> + Send + 'a>>;

/// What the application adds to every request of one listener.
pub trait Hooks: Send + Sync + 'static {
    /// Runs before the handler: finds the tenant and places it with
    /// [`Request::set_extension`] and [`Request::set_tenant_slug`].
    ///
    /// # Errors
    /// The problem that is answered instead of asking the handler.
    fn before(&self, request: &mut Request) -> Result<(), Problem> {
        let _ = request;
        Ok(())
    }

    /// Runs after [`Hooks::before`] where the route has limits: may it pass, and which header fields
    /// tell it what is left?
    ///
    /// The problem that is answered instead of asking the handler, if it may not.
    fn admit<'a>(&'a self, request: &'a Request, limits: &'static [LimitName]) -> Admitting<'a> {
        let _ = (request, limits);
        Box::pin(std::future::ready(Ok(HeaderMap::new())))
    }

    /// Runs before anything is made of a request to a route with limits: a refusal that is certain and can be
    /// told from memory. None says nothing, and [`Hooks::admit`] is asked.
    fn known_refusal(&self, head: &Head<'_>, limits: &'static [LimitName]) -> Option<Problem> {
        let _ = (head, limits);
        None
    }

    /// Runs on every answer, errors and OPTIONS included, to a request that bears an `Origin`:
    /// the place for CORS.
    fn cross_origin(&self, asked: &CrossOrigin, headers: &mut HeaderMap) {
        let _ = (asked, headers);
    }
}

/// What CORS is decided by.
#[derive(Debug, Clone)]
pub struct CrossOrigin {
    /// The method of the request itself.
    pub method: Method,
    /// The `Origin` header.
    pub origin: HeaderValue,
    /// `Access-Control-Request-Method`: a preflight.
    pub requested_method: Option<HeaderValue>,
    /// The tenant that [`Hooks::before`] found.
    pub tenant_slug: Option<Arc<str>>,
}

/// No hooks: for listeners that know no tenants.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// The bounds within which requests are answered.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Requests in work at once in each [`Lane`]; one more is answered 503 at once. One tenant may have
    /// most of them, never all.
    pub max_in_flight: usize,
    /// A request without an answer after this is answered 503. Covers reading the body too.
    pub request_timeout: Duration,
    /// Size and time of bodies; their time should be shorter than the request's.
    pub body: BodyLimits,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let body = BodyLimits { bytes: 64 * 1024, time: Duration::from_secs(5) };
        Self { max_in_flight: 10_000, request_timeout: Duration::from_secs(10), body }
    }
}

/// Where a front end gets time, randomness and trust from.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The time of day, for request ids.
    pub clock: Clock,
    /// Randomness, for request ids.
    pub entropy: Entropy,
    /// Whose headers are believed.
    pub proxies: TrustedProxies,
}

/// Everything between a connection and the handlers of one listener. Clones share it.
pub struct FrontEnd<S>(Arc<Inner<S>>);

struct Inner<S> {
    router: Router<S>,
    state: Arc<S>,
    hooks: Box<dyn Hooks>,
    limits: RequestLimits,
    admission: Admission,
    proxies: TrustedProxies,
    ids: RequestIds,
    meters: Meters,
}

impl<S> Clone for FrontEnd<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Send + Sync + 'static> FrontEnd<S> {
    /// Puts a front end together.
    pub fn new(
        router: Router<S>,
        state: Arc<S>,
        hooks: impl Hooks,
        limits: RequestLimits,
        surroundings: Surroundings,
    ) -> Self {
        let admission = Admission::new(limits.max_in_flight);
        let ids = RequestIds::new(&surroundings);
        let (hooks, meters) = (Box::new(hooks), Meters::default());
        let proxies = surroundings.proxies;
        Self(Arc::new(Inner { router, state, hooks, limits, admission, proxies, ids, meters }))
    }

    /// Answers one request with a body that `wrap` makes of its own.
    pub fn serve_as<B: 'static>(
        &self,
        peer: SocketAddr,
        request: http::Request<Incoming>,
        wrap: impl FnOnce(Full<Bytes>) -> B + Send + 'static,
    ) -> Answering<B> {
        let Some(reply) = self.0.recall(peer, &request) else {
            let front = self.clone();
            return server::later(async move { front.answer(peer, request).await.into_response().map(wrap) });
        };
        // HTTP/2 ends the stream of a body that nobody reads.
        if request.body().is_end_stream() || request.version() > Version::HTTP_11 {
            return server::at_once(reply.into_response().map(wrap));
        }
        let limits = BodyLimits { time: LINGER, ..self.0.limits.body };
        server::later(async move {
            let is_cleared = body::throw_away(request.into_body(), limits).await;
            said_before_closing(reply, !is_cleared).into_response().map(wrap)
        })
    }

    /// A place for what is asked beside the routes, if there is one.
    pub fn place(&self, lane: Lane) -> Option<Place<'_>> {
        self.0.admission.admit(lane)
    }

    /// The bounds for what is asked beside the routes.
    pub fn limits(&self) -> RequestLimits {
        self.0.limits
    }

    /// Answers one request. Never fails: whatever goes wrong is an answer too.
    async fn answer(&self, peer: SocketAddr, request: http::Request<Incoming>) -> Reply {
        let inner = &*self.0;
        let version = request.version();
        let waits_to_send = request.headers().contains_key(EXPECT);
        let (mut request, origin, leftover) = inner.receive(peer, request);
        // The path outlives the request, which the handler takes; cloning it counts a reference.
        let uri = request.uri().clone();
        let found = inner.router.find(request.method(), split_tenant(uri.path()).1);
        let id = request.id().clone();
        // Measured around everything, so that refusals and panics are counted too.
        let mut trace = Trace::start(&inner.meters, &found, request.method().clone(), id.clone());
        let head_only = request.method() == Method::HEAD;
        let mut asked = cross_origin(&request);

        let answer = match inner.admission.admit(found.lane()) {
            // Before anything is looked up: refusing must stay cheap.
            None => {
                if asked.is_some() {
                    inner.name_tenant(&mut request, &mut trace);
                }
                drop(request);
                Err(ProblemCode::Overloaded.into())
            }
            // A panic inside costs one 500; the deadline ends handlers that wait for too long.
            Some(place) => panics::caught(inner.in_time(&place, &found, request, &mut trace)).await,
        };

        let realm = trace.tenant_slug().unwrap_or(REALM);
        let mut reply = answer.unwrap_or_else(|problem| problem.into_reply(&id.instance(), realm));
        if let Found::Route(route, _) = &found
            && let Some(last_word) = route.last_word
        {
            reply = last_word(&uri, reply);
        }
        if let Some(asked) = &mut asked {
            // On errors as well, or a browser could not read why it was refused.
            asked.tenant_slug = trace.tenant_slug_owned();
            inner.hooks.cross_origin(asked, reply.headers_mut());
        }
        // Last, so that nothing leaves without them.
        request_id::give_back(id.as_str(), reply.headers_mut());
        harden::headers(origin.scheme, reply.headers_mut());
        trace.finish(reply.status());
        // HTTP/2 ends the stream and needs neither.
        let time = if found.is_hot() { Duration::ZERO } else { LINGER };
        let rest = BodyLimits { time, ..inner.limits.body };
        let is_closing = version <= Version::HTTP_11 && !leftover.is_cleared(rest, waits_to_send).await;
        let reply = said_before_closing(reply, is_closing);
        if head_only { reply.without_body() } else { reply }
    }
}

impl<S: Send + Sync + 'static> Inner<S> {
    /// First of all: who sends this, and what is it called?
    fn receive(&self, peer: SocketAddr, request: http::Request<Incoming>) -> (Request, Origin, Leftover) {
        let (parts, body) = request.into_parts();
        let origin = self.proxies.origin(peer, &parts.headers);
        let id = self.ids.of(&parts.headers, origin);
        let (payload, leftover) = Payload::of(body);
        (Request::new(parts, payload, self.limits.body, origin, id), origin, leftover)
    }

    /// For a refusal that a page of another origin must be able to read; a look into memory.
    fn name_tenant(&self, request: &mut Request, trace: &mut Trace<'_>) {
        if self.hooks.before(request).is_ok() {
            trace.belongs_to(request.tenant_slug().cloned());
        }
    }

    async fn in_time(
        &self,
        place: &Place<'_>,
        found: &Found<'_, '_, S>,
        request: Request,
        trace: &mut Trace<'_>,
    ) -> Answer {
        match tokio::time::timeout(self.limits.request_timeout, self.dispatch(place, found, request, trace)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ProblemCode::Overloaded.into()),
        }
    }

    async fn dispatch(
        &self,
        place: &Place<'_>,
        found: &Found<'_, '_, S>,
        mut request: Request,
        trace: &mut Trace<'_>,
    ) -> Answer {
        // The tenant before the route: on an unknown tenant no path exists.
        self.hooks.before(&mut request)?;
        trace.belongs_to(request.tenant_slug().cloned());
        let _share = match request.tenant_slug() {
            Some(tenant) => Some(place.share(tenant).ok_or(ProblemCode::Overloaded)?),
            None => None,
        };
        match found {
            Found::Route(route, params) => {
                request.set_params(params.iter())?;
                if route.limits.is_empty() {
                    return route.call(self.state.clone(), request).await;
                }
                let told = self.hooks.admit(&request, route.limits).await?;
                match route.call(self.state.clone(), request).await {
                    Ok(reply) => Ok(reply.with_headers(told)),
                    // Refused by contact or account: what is left of other limits would only mislead.
                    Err(problem) if problem.code().status() == StatusCode::TOO_MANY_REQUESTS => Err(problem),
                    Err(problem) => Err(problem.with_headers(told)),
                }
            }
            other => without_handler(other),
        }
    }
}

/// A client that is not told so sends its next request into the closing socket (RFC 9112 §9.6).
fn said_before_closing(mut reply: Reply, is_closing: bool) -> Reply {
    if is_closing {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn cross_origin(request: &Request) -> Option<CrossOrigin> {
    let origin = request.headers().get(ORIGIN)?.clone();
    let requested_method = request.headers().get(http::header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
    Some(CrossOrigin { method: request.method().clone(), origin, requested_method, tenant_slug: None })
}

impl<S: Send + Sync + 'static> Serves for FrontEnd<S> {
    type Body = Full<Bytes>;

    fn serve(&self, peer: SocketAddr, request: http::Request<Incoming>) -> Answering<Self::Body> {
        self.serve_as(peer, request, |body| body)
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.0.proxies.contains(peer)
    }
}
