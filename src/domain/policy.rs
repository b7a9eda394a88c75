//! A tenant's rules: every tunable number, its legal range, and what a profile demands.
//!
//! A [`Policy`] is what the rest of the house reads: complete, checked, immutable. It is made from
//! a [`Profile`] (the defaults and the floors) and the tenant's own [`Settings`] (single values
//! that may only be stricter than the floors). See ASVS 6.1.1 (documented
//! throttling).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::SmsPolicy;
use super::contact::Region;
use super::limits::LimitPolicies;
use super::locale::Locale;
use super::settings::{BadSetting, Settings};
use super::signing_key::Algorithm;
use super::test_identity::TestIdentities;

/// A named set of defaults and floors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// The contract of the two original APIs; the `default` tenant's profile.
    #[serde(rename = "classic")]
    Classic,
    /// OWASP ASVS 5 level 1 and what of level 2 applies; every new tenant's profile.
    #[serde(rename = "asvs-l1")]
    AsvsL1,
}

impl Profile {
    /// The word used in configuration, storage and the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::AsvsL1 => "asvs-l1",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "classic" => Ok(Self::Classic),
            "asvs-l1" => Ok(Self::AsvsL1),
            _ => Err(UnknownProfile),
        }
    }
}

/// The text names no profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile: expected `classic` or `asvs-l1`")]
pub struct UnknownProfile;

/// How a kind of code looks and how long it may be guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePolicy {
    /// Decimal digits, 4 to 10.
    pub length: u8,
    /// Life of a challenge, 60 to 600 s (ASVS 6.5.5: at most 10 minutes).
    pub ttl: Duration,
    /// Wrong answers a challenge survives, per lane, 1 to 5.
    pub tries: u32,
}

impl CodePolicy {
    /// Codes under six digits are guessable enough to need ceilings over all challenges of a number.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.length < 6
    }
}

/// How often codes may be sent to one contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResendPolicy {
    /// Pause between two sends.
    pub cooldown: Duration,
    /// Sends in any hour.
    pub per_hour: u32,
    /// Sends in any day.
    pub per_day: u32,
}

/// When guessing passwords leads to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// Failures within `window` that lock.
    pub threshold: u32,
    /// How long failures are remembered, counted from the last.
    pub window: Duration,
    /// How long a lock lasts.
    pub duration: Duration,
    /// Consecutive failures, over all windows, after which only a reset helps (NIST 800-63B-4
    /// §3.2.2 asks for at most 100).
    pub hard_limit: Option<u32>,
    /// Whether a locked account says so, or answers like a wrong password.
    pub disclose: bool,
}

/// What a password must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest code points.
    pub min_length: usize,
    /// Whether commonly used passwords are refused (ASVS 6.2.4).
    pub refuse_common: bool,
}

/// Lives of tokens and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// Life of an access token.
    pub access_ttl: Duration,
    /// Life of a session from sign-in, whatever happens.
    pub refresh_absolute: Duration,
    /// Life of a session from its last refresh, if limited.
    pub refresh_idle: Option<Duration>,
    /// How long a replaced refresh token still yields its unused successor.
    pub refresh_grace: Duration,
    /// `aud` of first-party tokens; the issuer if unset.
    pub audience: Option<String>,
    /// Most sessions an account may have; beyond it the oldest ends.
    pub max_sessions: u32,
    /// How new keys sign.
    pub algorithm: Algorithm,
    /// How long a key signs before another takes its place.
    pub key_rotation: Duration,
    /// How long tokens are still judged by revocations that could not be read anew; after it they
    /// are refused.
    pub max_stale: Duration,
    /// Whether browsers hold the access token in a cookie.
    pub cookie: bool,
}

/// The longest life any tenant may give an access token, and so how long a revocation matters.
pub const LONGEST_ACCESS_LIFE: Duration = DAY;

/// What proves a phone number at registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrantKind {
    /// Phone + client address + `User-Agent`, as the original API's clients expect.
    Address,
    /// Only the `registration_token` of the verify step.
    Token,
}

/// All of a tenant's rules, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which floors hold.
    pub profile: Profile,
    /// Where national phone forms belong, if anywhere.
    pub region: Option<Region>,
    /// The language of messages when neither request nor account says.
    pub locale: Locale,
    /// Codes sent by SMS.
    pub sms_code: CodePolicy,
    /// Codes sent by mail.
    pub email_code: CodePolicy,
    /// Sends to a contact from strangers.
    pub resend: ResendPolicy,
    /// Sends to a contact from a device its account knows.
    pub device_resend: ResendPolicy,
    /// Consecutive wrong short codes after which sending pauses.
    pub short_code_streak: u32,
    /// How long sending pauses then.
    pub short_code_silence: Duration,
    /// Wrong short codes a day from strangers, over all challenges of a number.
    pub short_code_wrong_per_day: u32,
    /// Guessing passwords.
    pub lockout: LockoutPolicy,
    /// Choosing passwords.
    pub password: PasswordPolicy,
    /// Tokens and sessions.
    pub tokens: TokenPolicy,
    /// What proves a phone number at registration.
    pub registration_grant: GrantKind,
    /// Life of that proof.
    pub registration_grant_ttl: Duration,
    /// Whether registration tells that a user exists.
    pub discloses_existing: bool,
    /// Whether a known `User-Agent` counts as a device.
    pub trusts_user_agent: bool,
    /// Life of a verification link.
    pub verification_ttl: Duration,
    /// Life of a reset link.
    pub reset_ttl: Duration,
    /// Life of an invitation, and of the account it made if nobody follows it.
    pub invitation_ttl: Duration,
    /// Mails with links to one address (each kind counted apart).
    pub link_mails: ResendPolicy,
    /// Mails about an account's safety to one address.
    pub security_mails: ResendPolicy,
    /// Requests by client, app and tenant.
    pub limits: LimitPolicies,
    /// Where text messages may go and what they may cost.
    pub sms: SmsPolicy,
    /// Contacts whose code is fixed and to which nothing is sent.
    pub test_identities: TestIdentities,
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Policy {
    /// The defaults of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let classic = Self {
            profile,
            region: None,
            locale: Locale::En,
            sms_code: CodePolicy { length: 4, ttl: 5 * MINUTE, tries: 5 },
            email_code: CodePolicy { length: 6, ttl: 5 * MINUTE, tries: 5 },
            resend: ResendPolicy { cooldown: Duration::from_secs(30), per_hour: 5, per_day: 10 },
            device_resend: ResendPolicy { cooldown: Duration::from_secs(30), per_hour: 3, per_day: 5 },
            short_code_streak: 10,
            short_code_silence: HOUR,
            short_code_wrong_per_day: 15,
            lockout: LockoutPolicy {
                threshold: 5,
                window: 30 * MINUTE,
                duration: 30 * MINUTE,
                hard_limit: None,
                disclose: true,
            },
            password: PasswordPolicy { min_length: 6, refuse_common: false },
            tokens: TokenPolicy {
                access_ttl: HOUR,
                refresh_absolute: 30 * DAY,
                refresh_idle: None,
                refresh_grace: Duration::from_secs(30),
                audience: None,
                max_sessions: 100,
                algorithm: Algorithm::Es256,
                key_rotation: 90 * DAY,
                max_stale: HOUR,
                cookie: false,
            },
            registration_grant: GrantKind::Address,
            registration_grant_ttl: 5 * MINUTE,
            discloses_existing: true,
            trusts_user_agent: true,
            verification_ttl: DAY,
            reset_ttl: 30 * MINUTE,
            invitation_ttl: DAY,
            link_mails: ResendPolicy { cooldown: Duration::from_secs(30), per_hour: 5, per_day: 10 },
            security_mails: ResendPolicy { cooldown: Duration::ZERO, per_hour: 5, per_day: 5 },
            limits: LimitPolicies::defaults(),
            sms: SmsPolicy::wide(),
            test_identities: TestIdentities::default(),
        };
        match profile {
            Profile::Classic => classic,
            Profile::AsvsL1 => Self {
                sms_code: CodePolicy { length: 6, tries: 3, ..classic.sms_code },
                email_code: CodePolicy { tries: 3, ..classic.email_code },
                lockout: LockoutPolicy { hard_limit: Some(50), disclose: false, ..classic.lockout },
                password: PasswordPolicy { min_length: 15, refuse_common: true },
                tokens: TokenPolicy {
                    access_ttl: 10 * MINUTE,
                    refresh_idle: Some(14 * DAY),
                    max_sessions: 10,
                    max_stale: 10 * MINUTE,
                    ..classic.tokens
                },
                registration_grant: GrantKind::Token,
                discloses_existing: false,
                trusts_user_agent: false,
                sms: SmsPolicy::narrow(),
                ..classic
            },
        }
    }

    /// The profile's defaults with a tenant's settings on top.
    ///
    /// # Errors
    /// Every setting that is out of range or laxer than its profile's floor, by its path.
    pub fn with(profile: Profile, settings: &Settings) -> Result<Self, Vec<BadSetting>> {
        let mut policy = Self::of(profile);
        let mut bad = Vec::new();
        settings.apply(&mut policy, &mut bad);
        if bad.is_empty() { Ok(policy) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_profiles_are_the_table_of_the_contract() {
        let classic = Policy::of(Profile::Classic);
        let strict = Policy::of(Profile::AsvsL1);

        assert_eq!((classic.sms_code.length, classic.sms_code.tries), (4, 5));
        assert_eq!((strict.sms_code.length, strict.sms_code.tries), (6, 3));
        assert_eq!((classic.email_code.length, strict.email_code.tries), (6, 3));
        assert_eq!((classic.password.min_length, strict.password.min_length), (6, 15));
        assert_eq!((classic.tokens.access_ttl, strict.tokens.access_ttl), (HOUR, 10 * MINUTE));
        assert!(classic.lockout.disclose && !strict.lockout.disclose);
        assert_eq!(strict.lockout.hard_limit, Some(50));
    }

    #[test]
    fn a_profiles_floor_cannot_be_undercut_and_every_bad_setting_is_named() {
        let lax = settings(
            r#"{"otp":{"sms":{"length":4}},"lockout":{"threshold":6,"disclose":true},"password":{"min_length":8},
                "registration":{"grant":"address"}}"#,
        );

        let paths: Vec<_> = Policy::with(Profile::AsvsL1, &lax).unwrap_err().into_iter().map(|bad| bad.path).collect();

        assert_eq!(
            paths,
            ["otp.sms.length", "lockout.threshold", "lockout.disclose", "password.min_length", "registration.grant"]
        );
        assert!(Policy::with(Profile::Classic, &lax).is_ok());
    }

    #[test]
    fn a_stricter_setting_is_taken() {
        let policy =
            Policy::with(Profile::Classic, &settings(r#"{"otp":{"sms":{"length":6,"ttl":120}},"region":"SN"}"#))
                .unwrap();

        assert_eq!(policy.sms_code.length, 6);
        assert_eq!(policy.sms_code.ttl, 2 * MINUTE);
        assert_eq!(policy.region.unwrap().code(), "SN");
    }

    #[test]
    fn unknown_settings_are_refused_and_unset_ones_are_not_written() {
        assert!(serde_json::from_str::<Settings>(r#"{"lockuot":{}}"#).is_err());
        assert_eq!(serde_json::to_string(&Settings::default()).unwrap(), "{}");
    }
}
