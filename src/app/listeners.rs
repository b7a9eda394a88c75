//! The two listeners: the public one with tenants, the admin one without.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::actors::Actors;
use super::{StartError, World, internal};
use crate::actors::senders::Receipts;
use crate::config::Config;
use crate::http::body::BodyLimits;
use crate::http::desk::Desk;
use crate::http::gate::{Gate, TenantOfRequest};
use crate::http::grpc::{ExtAuthz, WithExtAuthz};
use crate::http::handlers::{self, admin};
use crate::http::middleware::{FrontEnd, NoHooks, RequestLimits, Surroundings};
use crate::http::peer::{ForwardedHeader, TrustedProxies};
use crate::http::router::Router;
use crate::http::server::{self, Listening, ServerLimits};
use crate::tenant::Tenants;

/// Both listeners, and what stops them.
pub(super) struct Listeners {
    pub(super) public: Listening,
    pub(super) admin: Listening,
    stop: CancellationToken,
}

impl Listeners {
    /// Opens the admin listener, so that probes are answered, then the public one.
    pub(super) async fn open(
        config: &Config,
        world: &World,
        actors: &Actors,
        desk: Desk,
        tenants: Tenants,
    ) -> Result<Self, StartError> {
        if config.http.lacks_public_url() {
            tracing::warn!(
                "http.public_url (GUICHET__HTTP__PUBLIC_URL) is not set: tokens and mailed links name {}, where \
                 other machines will not find this one",
                config.http.platform_url(config.http.listen)
            );
        }
        let stop = CancellationToken::new();
        let (accounts, sessions) = (actors.accounts.clone(), actors.sessions.clone());
        let (tokens, tenants_of_gateways) = (actors.tokens.clone(), tenants.clone());
        let receipts = Receipts::new(&actors.postman);
        let clock = world.clock.clone();
        let limits = actors.limits.clone();
        let gate = Gate { accounts, sessions, tokens, receipts, tenants: tenants_of_gateways, limits, clock };

        let router = Router::new(admin::routes()).map_err(internal)?;
        let front = FrontEnd::new(router, Arc::new(desk), NoHooks, requests(config), surroundings(config, world));
        let admin = listen(config.http.admin_listen, front, config, stop.clone()).await?;

        let router = Router::new(handlers::public()).map_err(internal)?;
        let hooks = TenantOfRequest { tenants, limits: actors.limits.clone() };
        let gate = Arc::new(gate);
        let front = FrontEnd::new(router, Arc::clone(&gate), hooks, requests(config), surroundings(config, world));
        let ext_authz = ExtAuthz { gate, clock: world.clock.clone(), entropy: world.entropy.clone() };
        let service = WithExtAuthz { front, ext_authz };
        let public = listen(config.http.listen, service, config, stop.clone()).await?;
        Ok(Self { public, admin, stop })
    }

    /// Tells both to stop and waits until their last request is answered or given up.
    pub(super) async fn drained(self) {
        self.stop.cancel();
        for listener in [self.public, self.admin] {
            let _ended = listener.finished.await;
        }
    }
}

async fn listen(
    address: SocketAddr,
    service: impl server::Serves,
    config: &Config,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let http = &config.http;
    let limits = ServerLimits {
        max_connections: http.max_connections.get(),
        max_connections_per_peer: http.max_connections_per_peer(),
        header_timeout: http.header_timeout,
        idle_timeout: http.idle_timeout,
        drain_timeout: http.drain_timeout,
        head_limit: http.head_limit_bytes.get(),
    };
    server::start(address, service, limits, stop)
        .await
        .map_err(|error| StartError::Io { what: format!("cannot listen on {address}"), error })
}

fn requests(config: &Config) -> RequestLimits {
    let http = &config.http;
    RequestLimits {
        max_in_flight: http.max_in_flight.get(),
        request_timeout: http.request_timeout,
        body: BodyLimits { bytes: http.body_limit_bytes.get(), time: http.body_timeout.min(http.request_timeout / 2) },
    }
}

fn surroundings(config: &Config, world: &World) -> Surroundings {
    Surroundings {
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        proxies: TrustedProxies::new(config.http.trusted_proxies.clone(), ForwardedHeader::XForwardedFor),
    }
}
