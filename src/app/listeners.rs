//! The two listeners: the public one with tenants, the admin one without.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::services::Admin;
use super::{StartError, World, internal};
use crate::config::Config;
use crate::http::body::BodyLimits;
use crate::http::gate::{Gate, TenantOfRequest};
use crate::http::handlers::{self, health};
use crate::http::middleware::{FrontEnd, NoHooks, RequestLimits, Surroundings};
use crate::http::peer::{ForwardedHeader, TrustedProxies};
use crate::http::router::Router;
use crate::http::server::{self, Listening, ServerLimits};
use crate::tenant::Tenants;

pub(super) async fn public(
    config: &Config,
    world: &World,
    gate: Gate,
    tenants: Tenants,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let router = Router::new(handlers::public()).map_err(internal)?;
    let front =
        FrontEnd::new(router, Arc::new(gate), TenantOfRequest(tenants), requests(config), surroundings(config, world));
    listen(config.http.listen, front, config, stop).await
}

pub(super) async fn admin(
    config: &Config,
    world: &World,
    admin: Admin,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let router = Router::new(health::routes()).map_err(internal)?;
    let front = FrontEnd::new(router, Arc::new(admin), NoHooks, requests(config), surroundings(config, world));
    listen(config.http.admin_listen, front, config, stop).await
}

async fn listen<S: Send + Sync + 'static>(
    address: SocketAddr,
    front: FrontEnd<S>,
    config: &Config,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let http = &config.http;
    let limits = ServerLimits {
        max_connections: http.max_connections.get(),
        header_timeout: http.header_timeout,
        idle_timeout: http.idle_timeout,
        drain_timeout: http.drain_timeout,
        head_limit: http.head_limit_bytes.get(),
    };
    server::start(address, front, limits, stop)
        .await
        .map_err(|error| StartError::Io { what: format!("cannot listen on {address}"), error })
}

fn requests(config: &Config) -> RequestLimits {
    let http = &config.http;
    RequestLimits {
        max_in_flight: http.max_in_flight.get(),
        request_timeout: http.request_timeout,
        body: BodyLimits { bytes: http.body_limit_bytes.get(), time: http.body_timeout },
    }
}

fn surroundings(config: &Config, world: &World) -> Surroundings {
    Surroundings {
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        proxies: TrustedProxies::new(config.http.trusted_proxies.clone(), ForwardedHeader::XForwardedFor),
    }
}
