//! When a client counts as a device its owner trusts.
//!
//! A device token (256 random bits, made when trust is given) is the real thing. A `User-Agent`
//! counts only under the profile `classic`, as in the original API, and even there it has a
//! counter of its own only from the address prefix where it was trusted: anyone can copy a header.
//! The first of header, cookie, `User-Agent` that is *present* decides; an unknown value is a
//! stranger, with no second chance through a weaker proof.
//!
//! Trust ends: with the last sign-in's age, and when too many devices were trusted since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::DeviceId;
use super::lockout::Lane;
use super::time::Timestamp;

/// How long trust lasts after a sign-in; a browser keeps its device cookie as long.
pub const TRUST_LIFE: Duration = Duration::from_hours(90 * 24);

/// Devices that one account trusts at most: a client that shows no device token, as those of the original
/// API do not, leaves another one behind at every sign-in.
pub const MOST_TRUSTED: u32 = 20;

/// What a request offered as its device, in the order of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceProof {
    /// SHA-256 of a device token from `X-Device-Id` or the device cookie.
    Token([u8; 32]),
    /// Keyed digest of the `User-Agent`, for this account.
    UserAgent([u8; 32]),
}

/// How an account came to recognise a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// By a token that guichet issued.
    Token,
    /// By its `User-Agent` (`classic` only).
    UserAgent,
}

/// A device as storage knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Its id.
    pub id: DeviceId,
    /// How it is recognised.
    pub kind: DeviceKind,
    /// The address prefix (/24 or /48) where it was trusted, for `UserAgent` devices.
    pub trusted_from: Option<String>,
    /// When it last signed in.
    pub last_seen_at: Timestamp,
}

impl KnownDevice {
    /// Not used for so long that it is a stranger's again.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.last_seen_at + TRUST_LIFE <= now
    }
}

/// What a client's proof is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The trusted device, if it is one.
    pub device: Option<DeviceId>,
    /// Whose counter its attempts move.
    pub lane: Lane,
}

impl Standing {
    /// Someone nobody vouches for.
    pub const STRANGER: Self = Self { device: None, lane: Lane::Strangers };

    /// Whether the new-device code is skipped.
    #[must_use]
    pub const fn is_trusted(self) -> bool {
        self.device.is_some()
    }
}

/// What the device found for a proof (if any) is worth to a client at `address_prefix`.
#[must_use]
pub fn standing(
    found: Option<&KnownDevice>,
    now: Timestamp,
    trusts_user_agent: bool,
    address_prefix: Option<&str>,
) -> Standing {
    match found.filter(|device| !device.has_lapsed(now)) {
        Some(device) if device.kind == DeviceKind::Token => {
            Standing { device: Some(device.id), lane: Lane::Device(device.id) }
        }
        Some(device) if trusts_user_agent => {
            let at_home = address_prefix.is_some() && device.trusted_from.as_deref() == address_prefix;
            let lane = if at_home { Lane::Device(device.id) } else { Lane::Strangers };
            Standing { device: Some(device.id), lane }
        }
        _ => Standing::STRANGER,
    }
}

/// A client's `User-Agent` in words of ours: browser and system, as far as they are known. Whatever else
/// it says is a stranger's text, and has no place in a mail.
#[must_use]
pub fn described(user_agent: &str) -> Option<String> {
    // Each names those after it too.
    const BROWSERS: [(&str, &str); 10] = [
        ("SamsungBrowser/", "Samsung Internet"),
        ("OPR/", "Opera"),
        ("Opera", "Opera"),
        ("Edg", "Edge"),
        ("FxiOS/", "Firefox"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("okhttp/", "an app"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iPadOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let first = |known: &[(&str, &'static str)]| {
        known.iter().find(|(part, _)| user_agent.contains(part)).map(|(_, word)| *word)
    };
    let words: Vec<_> = [first(&BROWSERS), first(&SYSTEMS)].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_described_in_our_words_alone() {
        let galaxy = "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) \
                      SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36";
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.0 Mobile/15E148 Safari/604.1";
        for (agent, expected) in [
            (galaxy, Some("Samsung Internet, Android")),
            (iphone, Some("Safari, iOS")),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
                Some("Firefox, Windows"),
            ),
            ("Firefox/1 call https://evil.example now", Some("Firefox")),
            ("win a prize at https://evil.example", None),
            ("", None),
        ] {
            assert_eq!(described(agent).as_deref(), expected, "{agent}");
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn device(kind: DeviceKind) -> KnownDevice {
        let trusted_from = Some("192.0.2.0/24".to_owned());
        KnownDevice { id: DeviceId::random([1; 16]), kind, trusted_from, last_seen_at: NOW }
    }

    #[test]
    fn a_token_is_worth_the_same_from_anywhere() {
        let known = device(DeviceKind::Token);

        for from in [Some("192.0.2.0/24"), Some("198.51.100.0/24"), None] {
            assert_eq!(standing(Some(&known), NOW, false, from).lane, Lane::Device(known.id));
        }
    }

    #[test]
    fn a_copied_user_agent_skips_the_code_but_counts_among_strangers() {
        let known = device(DeviceKind::UserAgent);

        let copied = standing(Some(&known), NOW, true, Some("198.51.100.0/24"));

        assert!(copied.is_trusted());
        assert_eq!(copied.lane, Lane::Strangers);
        assert_eq!(standing(Some(&known), NOW, true, Some("192.0.2.0/24")).lane, Lane::Device(known.id));
    }

    #[test]
    fn outside_the_classic_profile_a_user_agent_is_a_stranger() {
        assert_eq!(standing(Some(&device(DeviceKind::UserAgent)), NOW, false, None), Standing::STRANGER);
        assert_eq!(standing(None, NOW, true, None), Standing::STRANGER);
    }

    #[test]
    fn what_was_not_used_for_the_life_of_its_cookie_is_a_stranger() {
        for kind in [DeviceKind::Token, DeviceKind::UserAgent] {
            let known = device(kind);
            let at = |moment| standing(Some(&known), moment, true, known.trusted_from.as_deref());

            assert!(at(NOW + TRUST_LIFE - Duration::from_millis(1)).is_trusted());
            assert_eq!(at(NOW + TRUST_LIFE), Standing::STRANGER);
        }
    }
}
