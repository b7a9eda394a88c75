//! The outbound guard: where a sender may connect to when a tenant names the host.
//!
//! ```text
//!  at save:  host, port, encryption ─► what can be refused without a look-up
//!  at send:  host ─► Resolver, once ─► every address judged ─► those left are dialled, as they are
//! ```
//!
//! Without it a tenant's settings and the test button are a port scanner into the operator's
//! network, and a cloud's metadata service hands out keys (ASVS 15.3.2, 13.2.4). Names prove
//! nothing: what counts is the address, and the address that was judged is the one connected to,
//! so a name whose answer changes between the two gains nothing. A refusal says the same word
//! whatever stands at the address.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::{DeliveryError, Stage};

/// More addresses than this of one name are not even judged.
const MAX_ADDRESSES: usize = 8;

/// The port of HTTP providers.
const HTTPS_PORT: u16 = 443;

/// The port that `http` means when a URL names none.
const HTTP_PORT: u16 = 80;

/// The ports of mail submission: RFC 8314, RFC 6409, and what hosts offer where 587 is blocked.
const SMTP_PORTS: [u16; 3] = [465, 587, 2525];

/// What is spoken to a host: decides which ports it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP under TLS.
    Https,
    /// HTTP in the clear.
    Http,
    /// SMTP under TLS, from the first byte or by `STARTTLS`.
    SmtpTls,
    /// SMTP in the clear.
    SmtpPlain,
}

impl Transport {
    const fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::SmtpTls)
    }

    /// May it be spoken to the public internet on this port?
    fn may_use(self, port: u16) -> bool {
        match self {
            Self::Https => port == HTTPS_PORT,
            Self::SmtpTls => SMTP_PORTS.contains(&port),
            Self::Http | Self::SmtpPlain => false,
        }
    }
}

/// Why a setting can never be used; known without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a host name nor an address, or no URL at all.
    #[error("not a host")]
    Malformed,
    /// An address of the inside.
    #[error("this host is not allowed")]
    Host,
    /// Not a port of this protocol.
    #[error("this port is not allowed")]
    Port,
    /// Not encrypted.
    #[error("encryption is required")]
    Unencrypted,
    /// A scheme other than `https` and `http`.
    #[error("only https is spoken")]
    Scheme,
    /// User name or password in the URL: everybody who sees the URL would see them.
    #[error("credentials do not belong in a URL")]
    Credentials,
}

impl Refusal {
    /// A stable word for a settings answer.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "host_malformed",
            Self::Host => "host_refused",
            Self::Port => "port_refused",
            Self::Unencrypted => "encryption_required",
            Self::Scheme => "scheme_refused",
            Self::Credentials => "credentials_in_url",
        }
    }
}

/// Finds the addresses of a name. Tests put their own in place of the system's.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Every address of `host`.
    ///
    /// # Errors
    /// If it has none, or nobody can say.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Whose host it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A tenant's: the public internet and the operator's list.
    Tenant,
    /// The operator's own: anywhere, but in the clear only within the list.
    Operator,
}

/// Decides where senders may connect to, and connects them. Clones share everything.
#[derive(Clone)]
pub struct Guard {
    allow: Arc<[IpNet]>,
    trust: Trust,
    resolver: Arc<dyn Resolver>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("allow", &self.allow).field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Guard {
    /// For hosts that tenants give. `allow` is the operator's list of networks that may be reached
    /// all the same, on any port, also in the clear.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow: allow.into(), trust: Trust::Tenant, resolver: Arc::new(SystemResolver) }
    }

    /// For the operator's own hosts: they may stand anywhere, on any port, but nothing goes in the
    /// clear beyond `allow`, whatever the name resolves to today.
    #[must_use]
    pub fn for_operator(allow: Vec<IpNet>) -> Self {
        Self { trust: Trust::Operator, ..Self::new(allow) }
    }

    /// The same with another way of looking names up.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// What of a URL can be refused before anybody looks its host up. A placeholder may stand in
    /// its path or query.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_url(&self, url: &str) -> Result<(), Refusal> {
        self.origin(url).map(|_| ())
    }

    /// What of a host can be refused before anybody looks it up.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_host(&self, host: &str, port: u16, transport: Transport) -> Result<(), Refusal> {
        self.target(host, port, transport).map(|_| ())
    }

    /// The host that a URL names, checked as by [`Guard::check_url`].
    pub(super) fn origin(&self, url: &str) -> Result<Target, Refusal> {
        // The parser forgives what others read otherwise: lines broken, slashes left out or turned.
        let strange = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
        let after_scheme = url.split_once("://").map(|(_, rest)| rest);
        if url.contains(strange) || after_scheme.is_none_or(|rest| rest.starts_with('/')) {
            return Err(Refusal::Malformed);
        }
        let url = Url::parse(url).map_err(|_| Refusal::Malformed)?;
        let transport = match url.scheme() {
            "https" => Transport::Https,
            "http" => Transport::Http,
            _ => return Err(Refusal::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let port = url.port_or_known_default().ok_or(Refusal::Malformed)?;
        self.checked(url.host().ok_or(Refusal::Malformed)?.to_owned(), port, transport)
    }

    /// The same for a host by itself.
    pub(super) fn target(&self, host: &str, port: u16, transport: Transport) -> Result<Target, Refusal> {
        // Settings write an IPv6 address bare, URLs in brackets.
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => Host::Ipv6(address),
            Err(_) => Host::parse(host).map_err(|_| Refusal::Malformed)?,
        };
        self.checked(host, port, transport)
    }

    fn checked(&self, host: Host, port: u16, transport: Transport) -> Result<Target, Refusal> {
        // The parser also lets through what no name on the internet has, such as braces.
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if matches!(&host, Host::Domain(name) if absolute(name).is_empty() || !is_name(name)) {
            return Err(Refusal::Malformed);
        }
        let target = Target { host, port, transport };
        match &target.host {
            // The port first: it is the mistake that people make.
            Host::Ipv4(address) => self.explain(IpAddr::V4(*address), port, transport)?,
            Host::Ipv6(address) => self.explain(IpAddr::V6(*address), port, transport)?,
            Host::Domain(name) if is_localhost(name) => {
                let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let permitted = own.iter().any(|address| self.permits(*address, port, transport));
                if !permitted {
                    return Err(Refusal::Host);
                }
            }
            // It may turn out to stand in an allowed network, if there is one.
            Host::Domain(_) if self.allow.is_empty() => self.explain_port(port, transport)?,
            Host::Domain(_) => {}
        }
        if port == 0 { Err(Refusal::Port) } else { Ok(target) }
    }

    fn explain(&self, address: IpAddr, port: u16, transport: Transport) -> Result<(), Refusal> {
        if self.permits(address, port, transport) {
            return Ok(());
        }
        if self.trust == Trust::Tenant && !is_public(address) {
            return Err(Refusal::Host);
        }
        self.explain_port(port, transport)
    }

    fn explain_port(&self, port: u16, transport: Transport) -> Result<(), Refusal> {
        if !transport.is_encrypted() {
            return Err(Refusal::Unencrypted);
        }
        if self.trust == Trust::Tenant && !transport.may_use(port) { Err(Refusal::Port) } else { Ok(()) }
    }

    /// May this address be connected to, for this? The whole rule, in one place.
    fn permits(&self, address: IpAddr, port: u16, transport: Transport) -> bool {
        let address = address.to_canonical();
        if self.allow.iter().any(|network| network.contains(&address)) {
            return true;
        }
        match self.trust {
            Trust::Operator => transport.is_encrypted(),
            Trust::Tenant => transport.may_use(port) && is_public(address),
        }
    }

    /// The addresses of `target` that may be connected to: they are what to dial, for a second
    /// look-up could answer otherwise.
    pub(super) async fn resolve(&self, target: &Target, deadline: Instant) -> Result<Vec<SocketAddr>, DeliveryError> {
        let found = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => match timeout_at(deadline, self.resolver.resolve(absolute(name))).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => return Err(DeliveryError::temporary(Stage::Resolve, "host_not_found")),
                Err(_) => return Err(DeliveryError::temporary(Stage::Resolve, "time_out")),
            },
        };
        let permitted = found
            .into_iter()
            .take(MAX_ADDRESSES)
            .filter(|address| self.permits(*address, target.port, target.transport))
            .map(|address| SocketAddr::new(address.to_canonical(), target.port))
            .collect::<Vec<_>>();
        if permitted.is_empty() {
            return Err(DeliveryError::refused(Stage::Resolve, "refused_host"));
        }
        Ok(permitted)
    }

    /// Resolves, judges and dials: the first permitted address that answers. Each address but the
    /// last gets its share of the time, so that a dead one leaves some for the next.
    pub(super) async fn connect(&self, target: &Target, deadline: Instant) -> Result<TcpStream, DeliveryError> {
        let addresses = self.resolve(target, deadline).await?;
        let mut failure = DeliveryError::temporary(Stage::Connect, "connect_failed");
        for (at, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - at).unwrap_or(1);
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(_)) => failure = DeliveryError::temporary(Stage::Connect, "connect_failed"),
                Err(_) => failure = DeliveryError::temporary(Stage::Connect, "time_out"),
            }
        }
        Err(failure)
    }
}

/// A host that passed what can be checked without a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: Host,
    port: u16,
    transport: Transport,
}

impl Target {
    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// As certificates name it: an IPv6 address without brackets.
    pub(super) fn certificate_name(&self) -> String {
        match &self.host {
            Host::Domain(name) => absolute(name).to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// As `Host` names it.
    pub(super) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Domain(name) => absolute(name).to_owned(),
            address => address.to_string(),
        };
        let default = if self.transport == Transport::Https { HTTPS_PORT } else { HTTP_PORT };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

/// The name without the dot that may end it: certificates do not have it.
fn absolute(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Names that mean this machine whatever a resolver says (RFC 6761 §6.3). The parser has made
/// them lower case.
fn is_localhost(name: &str) -> bool {
    let name = absolute(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Is it an address of the public internet, by IANA's special-purpose registries? In doubt it is
/// not.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, private, loopback; multicast, reserved and broadcast.
        [0 | 10 | 127 | 224..=255, ..] | [172, 16..=31, ..] | [192, 168, ..]
        // Shared by a carrier's customers (RFC 6598), link-local with the clouds' metadata.
        | [100, 64..=127, ..] | [169, 254, ..]
        // Protocol assignments, the old 6to4 relay, benchmarking, documentation.
        | [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _]
        // Azure's virtual host: public by number, metadata and health by use.
        | [168, 63, 129, 16]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 (RFC 6052): the IPv4 address in its last 32 bits is what is reached.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)))
        }
        // Protocol assignments with Teredo, ORCHID and benchmarking; documentation; 6to4. Teredo
        // and 6to4 carry an IPv4 address of anybody's choosing and serve no server today.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast; everything else is loopback, local, multicast, mapped or reserved.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(networks: &[&str]) -> Vec<IpNet> {
        networks.iter().map(|network| network.parse().unwrap()).collect()
    }

    #[test]
    fn only_the_public_internet_is_public() {
        let inside = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in inside {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let outside = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.0.3.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ];
        for address in outside {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_can_be_refused_at_save_is() {
        let guard = Guard::new(Vec::new());
        let url = |text| guard.check_url(text).err();
        let host = |name, port, transport| guard.check_host(name, port, transport).err();

        assert_eq!(url("https://api.example.com/send?to={to}"), None);
        assert_eq!(url("https://api.example.com:8443/"), Some(Refusal::Port));
        assert_eq!(url("http://api.example.com/"), Some(Refusal::Unencrypted));
        assert_eq!(url("https://{to}.example.com/"), Some(Refusal::Malformed));
        assert_eq!(url("https://key@api.example.com/"), Some(Refusal::Credentials));
        assert_eq!(url("gopher://api.example.com/"), Some(Refusal::Scheme));
        assert_eq!(host("smtp.example.com", 587, Transport::SmtpTls), None);
        assert_eq!(host("smtp.example.com", 25, Transport::SmtpTls), Some(Refusal::Port));
        assert_eq!(host("smtp.example.com", 587, Transport::SmtpPlain), Some(Refusal::Unencrypted));
        assert_eq!(host("", 587, Transport::SmtpTls), Some(Refusal::Malformed));
        assert_eq!(host(".", 587, Transport::SmtpTls), Some(Refusal::Malformed));
        assert_eq!(host("smtp.example.com", 0, Transport::SmtpTls), Some(Refusal::Port));
    }

    #[test]
    fn an_allowed_network_may_use_any_port_and_no_encryption() {
        let guard = Guard::new(allow(&["10.1.0.0/16", "fd12::/16"]));

        assert_eq!(guard.check_url("http://10.1.2.3:8080/"), Ok(()));
        assert_eq!(guard.check_url("http://[fd12::1]:8080/"), Ok(()));
        assert_eq!(guard.check_host("::ffff:10.1.2.3", 25, Transport::SmtpPlain), Ok(()));
        assert_eq!(guard.check_url("https://10.2.0.1/"), Err(Refusal::Host));
        assert_eq!(guard.check_url("http://8.8.8.8/"), Err(Refusal::Unencrypted));
        // Where a name leads is only known when it is looked up.
        assert_eq!(guard.check_host("relay.example.com", 25, Transport::SmtpPlain), Ok(()));
        assert_eq!(guard.check_host("localhost", 25, Transport::SmtpPlain), Err(Refusal::Host));
    }

    #[test]
    fn the_operators_own_host_stands_anywhere_but_speaks_in_the_clear_only_where_allowed() {
        let guard = Guard::for_operator(allow(&["127.0.0.0/8"]));
        let cases = [
            ("127.0.0.1", 25, Transport::SmtpPlain, true),
            ("::ffff:127.0.0.1", 25, Transport::SmtpPlain, true),
            ("192.0.2.1", 25, Transport::SmtpPlain, false),
            ("192.0.2.1", 587, Transport::SmtpTls, true),
            ("10.0.0.1", 25, Transport::SmtpTls, true),
        ];
        for (address, port, transport, permitted) in cases {
            assert_eq!(guard.permits(address.parse().unwrap(), port, transport), permitted, "{address} {transport:?}");
        }
    }
}
