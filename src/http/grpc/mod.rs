//! gRPC on the public port, for the one service it is asked for: Envoy's `ext_authz`.
//!
//! ```text
//!   connection ─► WithExtAuthz ─┬─ /envoy.service.auth.v3.Authorization/Check ─► ext_authz ─┐
//!                               └─ everything else ─► the front end ─► /forward-auth ───────┴─► one check
//! ```

mod ext_authz;
pub mod messages;

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

pub use self::ext_authz::ExtAuthz;
use super::gate::Gate;
use super::middleware::FrontEnd;
use super::server::{self, Answering, Serves};

/// The service's only method (`envoy/service/auth/v3/external_auth.proto`).
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// More than any head that Envoy takes (60 KiB) and less than what could hurt.
const LARGEST_MESSAGE: usize = 128 * 1024;

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
            let ext_authz = self.ext_authz.clone();
            return server::later(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(LARGEST_MESSAGE);
                grpc.unary(ext_authz, request).await.map(Either::Right)
            });
        }
        self.front.serve_as(peer, request, Either::Left)
    }
}
