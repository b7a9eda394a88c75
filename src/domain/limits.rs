//! Named limits: who may ask how much of what, and the arithmetic that decides.
//!
//! A tenant's rules hold one [`LimitPolicy`] per [`LimitName`]: the profile's default, or what the
//! tenant set within its legal range. [`bucket`] is the arithmetic (GCRA, exact in integers);
//! [`spray`] the rule by which wrong passwords over many accounts count as an attack. Contacts are
//! limited by the logs of [`otp`](super::otp): `code-contact` only names that rule here.

pub mod bucket;
pub mod spray;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use self::bucket::Rate;
use super::policy::ResendPolicy;

/// Every limit there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitName {
    /// Guessing at passwords and at what stands beside them.
    LoginClient,
    /// Asking for codes and links, and answering them.
    CodeClient,
    /// Messages to one contact: the resend rule, counted in its book.
    CodeContact,
    /// Registering.
    RegisterClient,
    /// Trading refresh tokens.
    RefreshClient,
    /// Everything else a person's app asks for.
    ApiClient,
    /// All of a tenant's requests but token checks and published keys.
    TenantTotal,
    /// Introspection by one app.
    IntrospectApp,
    /// Token checks for one app.
    ForwardAuthApp,
}

/// What a limit counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitKey {
    /// The client's address; IPv6 by /64, and at [`OF_A_SITE`] times the rate by /48.
    Client,
    /// A canonical e-mail address or phone number.
    Contact,
    /// An account.
    Account,
    /// One of the tenant's apps.
    App,
    /// The tenant as a whole.
    Tenant,
}

impl LimitName {
    /// Every name, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::LoginClient,
        Self::CodeClient,
        Self::CodeContact,
        Self::RegisterClient,
        Self::RefreshClient,
        Self::ApiClient,
        Self::TenantTotal,
        Self::IntrospectApp,
        Self::ForwardAuthApp,
    ];

    /// The name in settings, header fields, metrics and store keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginClient => "login-client",
            Self::CodeClient => "code-client",
            Self::CodeContact => "code-contact",
            Self::RegisterClient => "register-client",
            Self::RefreshClient => "refresh-client",
            Self::ApiClient => "api-client",
            Self::TenantTotal => "tenant-total",
            Self::IntrospectApp => "introspect-app",
            Self::ForwardAuthApp => "forward-auth-app",
        }
    }

    /// What it counts by. Not a setting: another key would be another limit.
    #[must_use]
    pub const fn key(self) -> LimitKey {
        match self {
            Self::LoginClient | Self::CodeClient | Self::RegisterClient | Self::RefreshClient | Self::ApiClient => {
                LimitKey::Client
            }
            Self::CodeContact => LimitKey::Contact,
            Self::TenantTotal => LimitKey::Tenant,
            Self::IntrospectApp | Self::ForwardAuthApp => LimitKey::App,
        }
    }

    /// The window of its default, which ceilings are for.
    #[must_use]
    pub const fn default_window(self) -> Duration {
        self.default_policy().rate.window
    }

    /// The default of every profile, and the floor of `asvs-l1`.
    pub(super) const fn default_policy(self) -> LimitPolicy {
        const MINUTE: Duration = Duration::from_secs(60);
        let (requests, window, mode) = match self {
            Self::LoginClient | Self::CodeClient | Self::RegisterClient => (60, MINUTE, LimitMode::Enforce),
            Self::RefreshClient => (120, MINUTE, LimitMode::Enforce),
            Self::ApiClient => (600, MINUTE, LimitMode::Enforce),
            Self::TenantTotal => (2_000, Duration::from_secs(1), LimitMode::Enforce),
            // Counted elsewhere: its numbers are the resend rule's.
            Self::CodeContact => (5, Duration::from_secs(3_600), LimitMode::Enforce),
            Self::IntrospectApp | Self::ForwardAuthApp => (6_000, MINUTE, LimitMode::Off),
        };
        LimitPolicy { rate: Rate { requests, window }, mode }
    }
}

/// By hand, as a word and not as a variant: only so does a fault below it name it in its path.
impl<'de> Deserialize<'de> for LimitName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let named = Self::ALL.iter().find(|name| name.as_str() == word);
        named.copied().ok_or_else(|| D::Error::unknown_field(&word, &[]))
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a limit does when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitMode {
    /// Refuses.
    Enforce,
    /// Counts what it would refuse, and admits.
    Record,
    /// Nothing; costs nothing.
    Off,
}

/// One limit of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// How much in which time.
    pub rate: Rate,
    /// What happens beyond it.
    pub mode: LimitMode,
}

/// How much more than one of its clients an IPv6 site (/48) may ask. Providers give a subscriber up to
/// that much, and sixty-five thousand networks are a way around any limit by /64; others serve many
/// people out of one.
pub const OF_A_SITE: u32 = 16;

/// One subject of a limit, small enough to be copied into every key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitSubject {
    /// A client by its address; only [`LimitSubject::client`] makes one.
    Client(IpAddr),
    /// All IPv6 clients of one /48; only [`LimitSubject::site`] makes one.
    Site(Ipv6Addr),
    /// An app of the tenant.
    App(Uuid),
    /// The tenant.
    Tenant,
}

impl LimitSubject {
    /// A client: an IPv4 address, or an IPv6 /64, which is one subscriber's network. IPv4 in IPv6
    /// clothing is IPv4.
    #[must_use]
    pub fn client(address: IpAddr) -> Self {
        Self::Client(masked(address, 0, 64))
    }

    /// The site around a client, if it has one.
    #[must_use]
    pub const fn site(self) -> Option<Self> {
        match self {
            Self::Client(IpAddr::V6(address)) => Some(Self::Site(Ipv6Addr::from_bits(address.to_bits() >> 80 << 80))),
            _ => None,
        }
    }

    /// What a tenant's administrator may see of it: a client's neighbourhood, an app, or nothing.
    #[must_use]
    pub fn shown(self) -> String {
        match self {
            Self::Client(address @ IpAddr::V4(_)) => format!("{}/24", masked(address, 8, 64)),
            Self::Client(address) => format!("{address}/64"),
            Self::Site(address) => format!("{address}/48"),
            Self::App(app) => app.to_string(),
            Self::Tenant => "*".to_owned(),
        }
    }
}

/// An address without its last bits.
fn masked(address: IpAddr, v4_host_bits: u32, v6_host_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> v4_host_bits << v4_host_bits).into()),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> v6_host_bits << v6_host_bits)),
    }
}

/// The text of store keys.
impl fmt::Display for LimitSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(address) => address.fmt(f),
            // Else it would be one with the first client in it.
            Self::Site(address) => write!(f, "{address}/48"),
            Self::App(app) => app.fmt(f),
            Self::Tenant => f.write_str("all"),
        }
    }
}

impl fmt::Debug for LimitSubject {
    /// Addresses are personal data: none reaches a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client(…)",
            Self::Site(_) => "Site(…)",
            Self::App(_) => "App(…)",
            Self::Tenant => "Tenant",
        })
    }
}

/// All limits of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicies {
    set: BTreeMap<LimitName, LimitPolicy>,
}

impl LimitPolicies {
    /// The defaults, the same for every profile.
    #[must_use]
    pub const fn defaults() -> Self {
        Self { set: BTreeMap::new() }
    }

    /// The limit of that name.
    #[must_use]
    pub fn get(&self, name: LimitName) -> LimitPolicy {
        self.set.get(&name).copied().unwrap_or(name.default_policy())
    }

    /// Sets a limit that was found legal.
    pub(super) fn set(&mut self, name: LimitName, policy: LimitPolicy) {
        self.set.insert(name, policy);
    }

    /// Whether the tenant set it.
    #[must_use]
    pub fn is_set(&self, name: LimitName) -> bool {
        self.set.contains_key(&name)
    }

    /// The limit of that name, as the limits page shows it: `code-contact` is the resend rule.
    #[must_use]
    pub fn shown(&self, name: LimitName, resend: &ResendPolicy) -> LimitPolicy {
        let mut policy = self.get(name);
        if name == LimitName::CodeContact {
            policy.rate.requests = resend.per_hour;
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_table_of_the_contract() {
        let shown: Vec<_> = LimitName::ALL
            .iter()
            .map(|name| {
                let LimitPolicy { rate, mode } = LimitPolicies::defaults().get(*name);
                format!("{name} {}/{} {:?} {mode:?}", rate.requests, rate.window.as_secs(), name.key())
            })
            .collect();

        assert_eq!(
            shown,
            [
                "login-client 60/60 Client Enforce",
                "code-client 60/60 Client Enforce",
                "code-contact 5/3600 Contact Enforce",
                "register-client 60/60 Client Enforce",
                "refresh-client 120/60 Client Enforce",
                "api-client 600/60 Client Enforce",
                "tenant-total 2000/1 Tenant Enforce",
                "introspect-app 6000/60 App Off",
                "forward-auth-app 6000/60 App Off",
            ]
        );
    }

    #[test]
    fn a_name_is_spelled_alike_everywhere() {
        for name in LimitName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
    }

    #[test]
    fn a_client_is_a_v4_address_or_a_v6_network_whatever_its_spelling() {
        let of = |text: &str| LimitSubject::client(text.parse().unwrap());

        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.8"), of("192.0.2.7"));
        assert_eq!(of("2001:db8::1"), of("2001:DB8:0:0:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_eq!(of("192.0.2.7").shown(), "192.0.2.0/24");
        assert_eq!(of("2001:db8::1").shown(), "2001:db8::/64");
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::");
        let site = of("2001:db8::1").site().unwrap();
        assert_eq!(of("2001:db8:0:ffff::1").site(), Some(site));
        assert_ne!(of("2001:db8:1::1").site(), Some(site));
        assert_eq!((of("192.0.2.7").site(), site.site()), (None, None));
        assert_eq!((site.to_string(), site.shown()), ("2001:db8::/48".to_owned(), "2001:db8::/48".to_owned()));
        assert!(!format!("{site:?}").contains("2001"));
        assert!(!format!("{:?}", of("192.0.2.7")).contains("192"));
    }
}
