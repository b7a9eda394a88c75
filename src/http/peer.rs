//! Which client a request comes from, and how far its headers are believed.
//!
//! The socket's address is the only thing nobody can invent, so it decides unless it belongs to a
//! trusted proxy. Then the chain the proxies wrote is walked from the right: each trusted hop
//! vouches for the one left of it, the first untrusted hop is the client, and a hop that is no
//! address ends the walk. The left-most entry, which any client may write, is never simply
//! believed. Only the one header that the operator names is read: a proxy that maintains
//! `X-Forwarded-For` passes a client's own `Forwarded` through untouched, and the reverse.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// No honest chain is longer; the walk ends here at the latest.
const MAX_HOPS: usize = 32;

/// The header in which the operator's proxies keep the chain of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` with `X-Forwarded-Proto`: what nearly every gateway writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies that are believed, and where they write what they know.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    /// Believes `header` from senders within `networks`; no networks, nobody is believed.
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// Does this address belong to a trusted proxy?
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Finds out who sent a request that arrived from `socket` with these headers.
    pub fn origin(&self, socket: SocketAddr, headers: &HeaderMap) -> Origin {
        let peer = socket.ip().to_canonical();
        if !self.contains(peer) {
            return Origin { client: ClientAddress::stated(peer), scheme: Scheme::Http, via_trusted_proxy: false };
        }
        let walked = match self.header {
            ForwardedHeader::XForwardedFor => self.walk(
                right_to_left(headers, &X_FORWARDED_FOR).map(|hop| Hop { address: parse_hop(hop), scheme: None }),
            ),
            ForwardedHeader::Forwarded => self.walk(right_to_left(headers, &FORWARDED).map(parse_forwarded)),
        };
        let scheme = match self.header {
            ForwardedHeader::XForwardedFor => right_to_left(headers, &X_FORWARDED_PROTO).next().map(Scheme::from_text),
            ForwardedHeader::Forwarded => walked.as_ref().and_then(|hop| hop.scheme),
        };
        Origin {
            client: walked.and_then(|hop| hop.address).map_or(ClientAddress::proxy(peer), ClientAddress::stated),
            scheme: scheme.unwrap_or(Scheme::Http),
            via_trusted_proxy: true,
        }
    }

    /// The right-most untrusted hop, else the left-most one that could be read.
    fn walk(&self, hops: impl Iterator<Item = Hop>) -> Option<Hop> {
        let mut client = None;
        for hop in hops.take(MAX_HOPS) {
            let Some(address) = hop.address else { break };
            client = Some(hop);
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

/// One entry of the chain; no address where it is hidden, unknown or malformed.
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
}

/// All entries of a list header, the last line's last entry first.
fn right_to_left<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    // A line that is no text is one unreadable entry, so that it ends the walk.
    lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or("?").rsplit(',').map(str::trim))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

fn parse_forwarded(element: &str) -> Hop {
    match rfc7239::parse(element).next() {
        Some(Ok(node)) => Hop {
            address: node.forwarded_for.as_ref().and_then(rfc7239::NodeIdentifier::ip).map(IpAddr::to_canonical),
            scheme: node.protocol.map(|text| Scheme::from_text(text.trim_matches('"'))),
        },
        _ => Hop { address: None, scheme: None },
    }
}

/// How the client speaks to the outermost proxy, or to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS, ended by a trusted proxy.
    Https,
}

impl Scheme {
    fn from_text(text: &str) -> Self {
        if text.eq_ignore_ascii_case("https") { Self::Https } else { Self::Http }
    }
}

/// What is known about a request's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address that limits and device rules go by.
    pub client: ClientAddress,
    /// The scheme of the client's own connection; `Http` unless a trusted proxy says otherwise.
    pub scheme: Scheme,
    /// Did the request come in through a trusted proxy, so that its other headers count?
    pub via_trusted_proxy: bool,
}

/// A client's network address; IPv4-mapped IPv6 counts as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    address: IpAddr,
    is_proxy: bool,
}

impl ClientAddress {
    /// An address that somebody believable named.
    pub fn stated(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), is_proxy: false }
    }

    fn proxy(address: IpAddr) -> Self {
        Self { address, is_proxy: true }
    }

    /// The address itself.
    pub fn ip(&self) -> IpAddr {
        self.address
    }

    /// Is this only the trusted proxy, which named no client? Then a limit by address would be one
    /// bucket for everybody behind it.
    pub fn is_proxy(&self) -> bool {
        self.is_proxy
    }

    /// The client, if one was named: a proxy that names none must not make one client of everybody behind it.
    pub fn named(self) -> Option<Self> {
        (!self.is_proxy).then_some(self)
    }

    /// What limits count by: an IPv4 address, or an IPv6 /64, which is one subscriber's network.
    pub fn key(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => Ipv6Net::new_assert(address, 64).trunc().to_string(),
        }
    }

    /// The neighbourhood: IPv4 /24, IPv6 /48.
    pub fn prefix(&self) -> String {
        match self.address {
            IpAddr::V4(address) => Ipv4Net::new_assert(address, 24).trunc().to_string(),
            IpAddr::V6(address) => Ipv6Net::new_assert(address, 48).trunc().to_string(),
        }
    }
}

impl fmt::Debug for ClientAddress {
    /// Addresses are personal data: none reaches a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        TrustedProxies::new(networks, header)
    }

    fn socket(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 4_711)
    }

    fn resolve(kind: ForwardedHeader, peer: &str, lines: &[&str]) -> Origin {
        let name = if kind == ForwardedHeader::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).unwrap());
        }
        proxies(kind).origin(socket(peer), &headers)
    }

    #[test]
    fn the_right_most_untrusted_hop_of_x_forwarded_for_is_the_client() {
        #[rustfmt::skip]
        let chains: &[(&str, &[&str], &str)] = &[
            // nobody is believed but trusted proxies
            ("203.0.113.9", &[], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("203.0.113.9", &["127.0.0.1"], "203.0.113.9"),
            ("203.0.113.9", &["10.0.0.1, 10.0.0.2"], "203.0.113.9"),
            ("2001:db8::9", &["198.51.100.1"], "2001:db8::9"),
            ("11.0.0.1", &["198.51.100.1"], "11.0.0.1"),
            // one proxy
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &[""], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &[" 198.51.100.1 "], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1:443"], "198.51.100.1"),
            ("127.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("::ffff:127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["198.51.100.1"], "198.51.100.1"),
            // spoofed on the left
            ("127.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["10.0.0.1, 198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["junk, 198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            // several proxies
            ("127.0.0.1", &["198.51.100.1, 10.0.0.1"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1, 10.0.0.1, 10.0.0.2"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1", "10.0.0.1, 10.0.0.2"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1,fd00::2,10.0.0.1"], "198.51.100.1"),
            ("127.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // the walk stops at what is no address
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, unknown, 10.0.0.1"], "10.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, , 10.0.0.1"], "10.0.0.1"),
            ("127.0.0.1", &["198.51.100.1,"], "127.0.0.1"),
            ("127.0.0.1", &["999.1.1.1"], "127.0.0.1"),
            ("127.0.0.1", &["fe80::1%eth0"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1:99999"], "127.0.0.1"),
            ("127.0.0.1", &["0x7f.1"], "127.0.0.1"),
        ];
        for (peer, lines, client) in chains {
            let origin = resolve(ForwardedHeader::XForwardedFor, peer, lines);
            assert_eq!(origin.client.ip().to_string(), *client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_right_most_untrusted_element_of_forwarded_is_the_client() {
        #[rustfmt::skip]
        let chains: &[(&str, &[&str], &str, Scheme)] = &[
            ("203.0.113.9", &["for=198.51.100.1;proto=https"], "203.0.113.9", Scheme::Http),
            ("127.0.0.1", &["for=198.51.100.1;proto=https"], "198.51.100.1", Scheme::Https),
            ("127.0.0.1", &["For=\"[2001:db8::1]:443\";proto=http"], "2001:db8::1", Scheme::Http),
            ("127.0.0.1", &["for=1.1.1.1;proto=https, for=198.51.100.1;proto=http"], "198.51.100.1", Scheme::Http),
            ("127.0.0.1", &["for=198.51.100.1;proto=https, for=10.0.0.1;proto=http"], "198.51.100.1", Scheme::Https),
            ("127.0.0.1", &["for=198.51.100.1", "for=_hidden"], "127.0.0.1", Scheme::Http),
            ("127.0.0.1", &["for=unknown"], "127.0.0.1", Scheme::Http),
            ("127.0.0.1", &["for=\"1.1.1.1, for=198.51.100.1"], "198.51.100.1", Scheme::Http),
            ("127.0.0.1", &["nonsense"], "127.0.0.1", Scheme::Http),
        ];
        for (peer, lines, client, scheme) in chains {
            let origin = resolve(ForwardedHeader::Forwarded, peer, lines);
            assert_eq!(origin.client.ip().to_string(), *client, "{peer} {lines:?}");
            assert_eq!(origin.scheme, *scheme, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_header_that_was_not_named_is_not_read() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_static("for=198.51.100.1;proto=https"));

        let origin = proxies(ForwardedHeader::XForwardedFor).origin(socket("127.0.0.1"), &headers);

        assert_eq!(origin.client, ClientAddress::proxy("127.0.0.1".parse().unwrap()));
        assert_eq!(origin.scheme, Scheme::Http);
    }

    #[test]
    fn a_proxy_that_names_no_client_is_known_as_one() {
        assert!(resolve(ForwardedHeader::XForwardedFor, "10.0.0.1", &[]).client.is_proxy());
        assert!(!resolve(ForwardedHeader::XForwardedFor, "10.0.0.1", &["198.51.100.1"]).client.is_proxy());
        assert!(!resolve(ForwardedHeader::XForwardedFor, "203.0.113.9", &[]).client.is_proxy());
    }

    #[test]
    fn the_scheme_is_believed_from_trusted_proxies_only() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        let proxies = proxies(ForwardedHeader::XForwardedFor);

        assert_eq!(proxies.origin(socket("127.0.0.1"), &headers).scheme, Scheme::Https);
        assert_eq!(proxies.origin(socket("203.0.113.9"), &headers).scheme, Scheme::Http);
    }

    #[test]
    fn one_subscriber_is_one_key() {
        let address = |text: &str| ClientAddress::stated(text.parse::<IpAddr>().unwrap().to_canonical());

        assert_eq!(address("203.0.113.9").key(), "203.0.113.9");
        assert_eq!(address("203.0.113.9").prefix(), "203.0.113.0/24");
        assert_eq!(address("::ffff:203.0.113.9").key(), "203.0.113.9");
        assert_eq!(address("2001:db8:1:2:3:4:5:6").key(), "2001:db8:1:2::/64");
        assert_eq!(address("2001:DB8:1:2::ffff").key(), "2001:db8:1:2::/64");
        assert_eq!(address("2001:db8:1:2:3:4:5:6").prefix(), "2001:db8:1::/48");
    }

    proptest! {
        #[test]
        fn no_header_changes_the_key_of_an_untrusted_peer(
            names in proptest::collection::vec(
                proptest::sample::select(vec![
                    "x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip",
                    "cf-connecting-ip", "x-forwarded-proto", "x-forwarded-host", "via", "x-envoy-external-address",
                ]), 0..6),
            values in proptest::collection::vec("[ -~]{0,60}|(10\\.0\\.0\\.[0-9], ?){1,4}127\\.0\\.0\\.1", 6),
            named in proptest::bool::ANY,
        ) {
            let kind = if named { ForwardedHeader::Forwarded } else { ForwardedHeader::XForwardedFor };
            let mut headers = HeaderMap::new();
            for (name, value) in names.iter().zip(&values) {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }

            let origin = proxies(kind).origin(socket("203.0.113.9"), &headers);

            prop_assert_eq!(origin.client.key(), "203.0.113.9");
            prop_assert_eq!(origin.scheme, Scheme::Http);
            prop_assert!(!origin.via_trusted_proxy);
        }

        #[test]
        fn a_client_behind_a_proxy_cannot_move_its_own_key(spoofed in "[ -~]{0,80}") {
            for kind in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let appended = if kind == ForwardedHeader::Forwarded { "for=198.51.100.1" } else { "198.51.100.1" };
                let origin = resolve(kind, "127.0.0.1", &[&format!("{spoofed}, {appended}")]);
                prop_assert_eq!(origin.client.key(), "198.51.100.1");
            }
        }
    }
}
