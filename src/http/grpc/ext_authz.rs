//! Envoy's question about a request, put as the question `/forward-auth` answers.
//!
//! Tenant, audience, scope and preflight come from the route's `context_extensions`, which no client
//! can write; of the request itself only the method and the headers of a token check are looked at.
//! The answer is the HTTP one in other words, so the two ways of asking never differ.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, COOKIE, ORIGIN};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tonic::server::UnaryService;
use tonic::{Code, Request as Call, Response as Answer};

use super::messages::{
    Allowed, Attributes, CheckRequest, CheckResponse, Denied, HeaderOption, HttpStatus, Outcome, Status,
};
use super::overloaded;
use crate::clock::Clock;
use crate::domain::ids::OperationId;
use crate::entropy::Entropy;
use crate::http::body::{BodyLimits, Payload};
use crate::http::gate::{FORWARD_AUTH, Gate, tenant_of_gateway};
use crate::http::handlers::forward_auth;
use crate::http::middleware::Place;
use crate::http::peer::TrustedProxies;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::{Request, RequestId};

/// Headers of the asked-about request that decide anything.
const LOOKED_AT: [HeaderName; 4] = [AUTHORIZATION, COOKIE, ORIGIN, ACCESS_CONTROL_REQUEST_METHOD];

/// Settings of a route that are handed on as they are.
const PINNED: [&str; 3] = ["audience", "scope", "preflight"];

/// The service. Clones share the gate.
#[derive(Clone)]
pub struct ExtAuthz {
    /// The doors of the actors.
    pub gate: Arc<Gate>,
    /// For request ids.
    pub clock: Clock,
    /// For request ids.
    pub entropy: Entropy,
}

/// The service for one check that has its place.
pub(super) struct Placed<'a> {
    ext_authz: &'a ExtAuthz,
    place: &'a Place<'a>,
}

impl<'a> UnaryService<CheckRequest> for Placed<'a> {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<CheckResponse>, tonic::Status>> + Send + 'a>>;

    fn call(&mut self, call: Call<CheckRequest>) -> Self::Future {
        let Self { ext_authz, place } = *self;
        let attributes = call.into_inner().attributes.unwrap_or_default();
        Box::pin(async move { ext_authz.check(place, attributes).await.map(Answer::new) })
    }
}

impl ExtAuthz {
    /// For a check that has a place.
    pub(super) fn at<'a>(&'a self, place: &'a Place<'a>) -> Placed<'a> {
        Placed { ext_authz: self, place }
    }

    async fn check(&self, place: &Place<'_>, attributes: Attributes) -> Result<CheckResponse, tonic::Status> {
        let id = RequestId::new(OperationId::at(self.clock.now(), self.entropy.bytes()).uuid());
        let slug = attributes.context_extensions.get("tenant").cloned();
        let address = Uri::try_from(address(&attributes.context_extensions)).unwrap_or_default();
        let answer = match self.question(attributes, &address, slug.as_deref(), &id) {
            Ok(question) => {
                let tenant = question.tenant_slug();
                let _share = tenant.map(|tenant| place.share(tenant).ok_or_else(overloaded)).transpose()?;
                forward_auth::check(Arc::clone(&self.gate), question).await
            }
            Err(problem) => Err(problem),
        };
        let realm = slug.as_deref().unwrap_or("guichet");
        let reply = answer.unwrap_or_else(|problem| problem.into_reply(&id.instance(), realm));
        Ok(told(forward_auth::finish(&address, reply)).await)
    }

    fn question(
        &self,
        attributes: Attributes,
        address: &Uri,
        slug: Option<&str>,
        id: &RequestId,
    ) -> Result<Request, Problem> {
        let tenant = tenant_of_gateway(&self.gate.tenants, slug)?;
        let asked = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let method = method(&asked.method)?;
        let mut request = http::Request::builder().method(method).uri(address.clone());
        for name in &LOOKED_AT {
            if let Some(value) = asked.headers.get(name.as_str()) {
                request = request.header(name, HeaderValue::try_from(value).map_err(|_| ProblemCode::InvalidRequest)?);
            }
        }
        let (parts, ()) = request.body(()).map_err(|_| ProblemCode::InvalidRequest)?.into_parts();
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let origin = TrustedProxies::default().origin(nobody, &parts.headers);
        let no_body = BodyLimits { bytes: 0, time: Duration::ZERO };
        let mut question = Request::new(parts, Payload::Read(Bytes::new()), no_body, origin, id.clone());
        question.set_tenant_slug(Arc::clone(tenant.slug()));
        question.set_extension(tenant);
        Ok(question)
    }
}

/// The method asked about; proto3 leaves an unset one empty, and what is not known is no safe one.
fn method(asked: &str) -> Result<Method, Problem> {
    let method = if asked.is_empty() { Ok(Method::POST) } else { Method::try_from(asked) };
    method.map_err(|_| ProblemCode::InvalidRequest.into())
}

fn address(extensions: &HashMap<String, String>) -> String {
    let mut query = Serializer::new(format!("{FORWARD_AUTH}?"));
    for name in PINNED {
        if let Some(value) = extensions.get(name) {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// The HTTP answer in the words of `ext_authz`.
async fn told(reply: Reply) -> CheckResponse {
    let (parts, body) = reply.into_response().into_parts();
    let named =
        |(name, value): (&HeaderName, &HeaderValue)| Some(HeaderOption::only(name.as_str(), value.to_str().ok()?));
    let headers = parts.headers.iter();
    if parts.status == StatusCode::OK {
        let headers = headers.filter(|(name, _)| name.as_str().starts_with("x-auth-")).filter_map(named).collect();
        let status = Some(Status { code: Code::Ok.into() });
        return CheckResponse { status, outcome: Some(Outcome::Allowed(Allowed { headers })) };
    }
    let code = if parts.status == StatusCode::UNAUTHORIZED { Code::Unauthenticated } else { Code::PermissionDenied };
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let denied = Denied {
        status: Some(HttpStatus { code: parts.status.as_u16().into() }),
        headers: headers.filter_map(named).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    CheckResponse { status: Some(Status { code: code.into() }), outcome: Some(Outcome::Denied(denied)) }
}
