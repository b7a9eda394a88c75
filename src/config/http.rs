//! `[http]`: the two listeners, and how much of them one client may hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use super::problems::Findings;
use super::values::{duration, networks};

/// hyper's own floor for a connection's read buffer.
const LEAST_HEAD_BYTES: usize = 8 * 1_024;

/// Listeners, bounds and deadlines of the front end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address of the public listener. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the admin listener. Keep it off the internet.
    pub admin_listen: SocketAddr,
    /// Scheme, host and port under which people and apps reach the public listener; the `iss` of
    /// every token begins with it, so changing it ends the tokens in use. See [`Http::platform_url`].
    pub public_url: Option<Url>,
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Tenant` headers are believed. Too wide a
    /// list lets clients choose their own address, and with it their limits.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Open connections of each listener; further ones wait in the kernel's queue.
    pub max_connections: NonZeroUsize,
    /// Those of them that one peer may have (IPv6 by /64), so that none takes all; further ones of its are
    /// closed at once. Unset: half of `max_connections`. `trusted_proxies` may have any number.
    pub max_connections_per_peer: Option<NonZeroUsize>,
    /// Requests being worked on at once; further ones are refused with 503. One tenant may have eight
    /// ninths of them at most. Token checks and key documents have as many places of their own.
    pub max_in_flight: NonZeroUsize,
    /// Longest request body, in bytes; beyond it 413.
    pub body_limit_bytes: NonZeroUsize,
    /// Longest request line and headers together, in bytes; beyond it 431. At least 8192.
    pub head_limit_bytes: NonZeroUsize,
    /// How long a client may take to send its headers.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long a client may take to send its body; then 408. At most half of `request_timeout`, which
    /// runs meanwhile.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long a connection may stay open with nothing asked on it.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long one request may take from its headers to its answer; then 503.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long requests may still run after the signal to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: SocketAddr::new(loopback, 3000),
            admin_listen: SocketAddr::new(loopback, 3001),
            public_url: None,
            trusted_proxies: Vec::new(),
            max_connections: count(10_000),
            max_connections_per_peer: None,
            max_in_flight: count(2_048),
            body_limit_bytes: count(64 * 1_024),
            head_limit_bytes: count(16 * 1_024),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl Http {
    /// How many connections one peer may have.
    #[must_use]
    pub fn max_connections_per_peer(&self) -> usize {
        self.max_connections_per_peer.map_or(self.max_connections.get().div_ceil(2), NonZeroUsize::get)
    }

    /// What people reach this node under, without a slash at the end: `public_url`, else plain
    /// http on the address that was `bound` (`localhost` where that is every address).
    #[must_use]
    pub fn platform_url(&self, bound: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.origin().ascii_serialization(),
            None if bound.ip().is_unspecified() => format!("http://localhost:{}", bound.port()),
            None => format!("http://{bound}"),
        }
    }

    /// Is the public listener for others than this machine, under a URL that nobody else can reach?
    #[must_use]
    pub fn lacks_public_url(&self) -> bool {
        self.public_url.is_none() && !self.listen.ip().is_loopback()
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            findings.add("http.admin_listen", format!("{} is the public listener's address", self.admin_listen));
        }
        if self.head_limit_bytes.get() < LEAST_HEAD_BYTES {
            findings.add("http.head_limit_bytes", format!("must be at least {LEAST_HEAD_BYTES}"));
        }
        if self.public_url.as_ref().is_some_and(|url| !is_origin(url)) {
            findings.add("http.public_url", "must be only scheme, host and port, as \"https://login.example.com\"");
        }
    }
}

fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}
