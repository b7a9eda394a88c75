//! gRPC on the public port, for the one service it is asked for: Envoy's `ext_authz`.
//!
//! ```text
//!   connection ─► WithExtAuthz ─┬─ /envoy.service.auth.v3.Authorization/Check ─► ext_authz ─┐
//!                               └─ everything else ─► the front end ─► /forward-auth ───────┴─► one check
//! ```
//!
//! It takes a place and has an end as any other token check; what it is refused for before it is judged is
//! told as a gRPC status, which leaves it to Envoy's operator what happens to the request.

mod ext_authz;
pub mod messages;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::Status;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

pub use self::ext_authz::ExtAuthz;
use super::body::{BodyLimits, Payload};
use super::gate::Gate;
use super::middleware::{FrontEnd, Lane};
use super::problem::ProblemCode;
use super::server::{self, Answering, Serves};

/// The service's only method (`envoy/service/auth/v3/external_auth.proto`).
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// More than any head that Envoy takes (60 KiB) and less than what could hurt.
const LARGEST_MESSAGE: usize = 128 * 1024;

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The public listener's service: a front end, and token checks over gRPC beside it.
#[derive(Clone)]
pub struct WithExtAuthz {
    /// Everything but token checks over gRPC.
    pub front: FrontEnd<Gate>,
    /// Token checks over gRPC.
    pub ext_authz: ExtAuthz,
}

impl Serves for WithExtAuthz {
    type Body = Either<Full<Bytes>, tonic::body::Body>;

    fn serve(&self, peer: SocketAddr, request: Request<Incoming>) -> Answering<Self::Body> {
        if request.method() == Method::POST && request.uri().path() == CHECK {
            let this = self.clone();
            return server::later(async move { this.check(peer, request).await.map(Either::Right) });
        }
        self.front.serve_as(peer, request, Either::Left)
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.front.is_trusted(peer)
    }
}

impl WithExtAuthz {
    /// The answer to a check, whatever becomes of it.
    async fn check(self, peer: SocketAddr, request: Request<Incoming>) -> Response<tonic::body::Body> {
        let version = request.version();
        let answer = match timeout(self.front.limits().request_timeout, self.judged(peer, request)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Status::deadline_exceeded("the check took too long")),
        };
        answer.unwrap_or_else(|status| {
            let mut refusal = status.into_http();
            // What is left of the message stays in the socket.
            if version <= Version::HTTP_11 {
                refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            refusal
        })
    }

    async fn judged(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<tonic::body::Body>, Status> {
        let (parts, body) = request.into_parts();
        let message = self.message(peer, body).await?;
        let place = self.front.place(Lane::Checks).ok_or_else(overloaded)?;
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(LARGEST_MESSAGE);
        let request = Request::from_parts(parts, Full::new(message));
        Ok(grpc.unary(self.ext_authz.at(&place), request).await)
    }

    /// Reads the message, at a place for that alone: a check is begun when nothing more is waited for. No
    /// one peer has all of those places.
    async fn message(&self, peer: SocketAddr, body: Incoming) -> Result<Bytes, Status> {
        let place = self.front.place(Lane::Messages).ok_or_else(overloaded)?;
        let _share = place.share(&peer.ip().to_string().into()).ok_or_else(overloaded)?;
        let limits = BodyLimits { bytes: PREFIX + LARGEST_MESSAGE, ..self.front.limits().body };
        let (mut payload, _leftover) = Payload::of(body);
        payload.take(limits).await.map_err(|problem| match problem.code() {
            ProblemCode::PayloadTooLarge => Status::resource_exhausted("the message is too large"),
            ProblemCode::RequestTimeout => Status::deadline_exceeded("the message did not arrive in time"),
            _ => Status::cancelled("the message broke off"),
        })
    }
}

fn overloaded() -> Status {
    Status::unavailable("overloaded")
}
