//! A tenant's rules: every tunable number, its legal range, and what a profile demands.
//!
//! A [`Policy`] is what the rest of the house reads: complete, checked, immutable. It is made from
//! a [`Profile`] (the defaults and the floors) and the tenant's own [`Settings`] (single values
//! that may only be stricter than the floors). See ASVS 6.1.1 (documented
//! throttling).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contact::Region;
use super::locale::Locale;
use super::signing_key::Algorithm;

/// A named set of defaults and floors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Mails with links to one address (each kind counted apart).
    pub link_mails: ResendPolicy,
    /// Mails about an account's safety to one address.
    pub security_mails: ResendPolicy,
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
            link_mails: ResendPolicy { cooldown: Duration::from_secs(30), per_hour: 5, per_day: 10 },
            security_mails: ResendPolicy { cooldown: Duration::ZERO, per_hour: 5, per_day: 5 },
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

/// A setting that cannot be taken, named by its path in the settings document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct BadSetting {
    /// Dotted path, as in `otp.sms.length`.
    pub path: &'static str,
    /// What would be right.
    pub reason: String,
}

/// A tenant's own values, each optional: the stored settings document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where national phone forms belong (ISO 3166-1 alpha-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The tenant's language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<Locale>,
    /// Codes by channel.
    #[serde(skip_serializing_if = "is_unset")]
    pub otp: OtpSettings,
    /// Guessing passwords.
    #[serde(skip_serializing_if = "is_unset")]
    pub lockout: LockoutSettings,
    /// Choosing passwords.
    #[serde(skip_serializing_if = "is_unset")]
    pub password: PasswordSettings,
    /// Tokens and sessions.
    #[serde(skip_serializing_if = "is_unset")]
    pub tokens: TokenSettings,
    /// Proof of a phone number at registration.
    #[serde(skip_serializing_if = "is_unset")]
    pub registration: RegistrationSettings,
}

fn is_unset<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }
    )*};
}

sections! {
    /// Codes by channel and how often they are sent.
    OtpSettings {
        /// Codes sent by SMS.
        sms: CodeSettings,
        /// Codes sent by mail.
        email: CodeSettings,
        /// Sends to one contact.
        resend: ResendSettings,
    }
    /// One kind of code.
    CodeSettings {
        /// Digits.
        length: u8,
        /// Seconds.
        ttl: u64,
        /// Wrong answers a challenge survives.
        tries: u32,
    }
    /// Sends to one contact.
    ResendSettings {
        /// Seconds between two sends.
        cooldown: u64,
        /// Sends in any hour.
        per_hour: u32,
        /// Sends in any day.
        per_day: u32,
    }
    /// Guessing passwords.
    LockoutSettings {
        /// Failures that lock.
        threshold: u32,
        /// Seconds that failures are remembered.
        window: u64,
        /// Seconds that a lock lasts.
        duration: u64,
        /// Consecutive failures after which only a reset helps.
        hard_limit: u32,
        /// Whether a locked account says so.
        disclose: bool,
    }
    /// Choosing passwords.
    PasswordSettings {
        /// Fewest code points.
        min_length: usize,
        /// Whether common passwords are refused.
        refuse_common: bool,
    }
    /// Tokens and sessions.
    TokenSettings {
        /// Seconds an access token lives.
        access_ttl: u64,
        /// Seconds a session lives from sign-in.
        refresh_absolute: u64,
        /// Seconds a session lives from its last refresh.
        refresh_idle: u64,
        /// Seconds a replaced refresh token still yields its unused successor.
        refresh_grace: u64,
        /// `aud` of first-party tokens.
        audience: String,
        /// Most sessions of an account.
        max_sessions: u32,
        /// How new keys sign: `ES256`, `EdDSA`, `RS256` or `HS256`.
        algorithm: Algorithm,
        /// Days a key signs.
        key_rotation: u32,
        /// Seconds that tokens are judged by revocations that could not be read anew.
        max_stale: u64,
        /// Whether browsers hold the access token in a cookie.
        cookie: bool,
    }
    /// Proof of a phone number at registration.
    RegistrationSettings {
        /// What proves it.
        grant: GrantKind,
    }
}

/// Copies settings onto a policy, collecting what is out of range.
struct Setter<'a> {
    strict: bool,
    bad: &'a mut Vec<BadSetting>,
}

impl Setter<'_> {
    fn number<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        path: &'static str,
        value: Option<T>,
        range: std::ops::RangeInclusive<T>,
        target: &mut T,
    ) {
        let Some(value) = value else { return };
        if range.contains(&value) {
            *target = value;
        } else {
            self.refuse(path, format!("must be from {} to {}", range.start(), range.end()));
        }
    }

    fn seconds(
        &mut self,
        path: &'static str,
        value: Option<u64>,
        range: std::ops::RangeInclusive<u64>,
        target: &mut Duration,
    ) {
        let mut seconds = target.as_secs();
        self.number(path, value, range, &mut seconds);
        *target = Duration::from_secs(seconds);
    }

    fn refuse(&mut self, path: &'static str, reason: String) {
        self.bad.push(BadSetting { path, reason });
    }

    /// A switch that the strict profile holds in one position.
    fn switch(&mut self, path: &'static str, value: Option<bool>, floor: bool, target: &mut bool) {
        match value {
            Some(value) if self.strict && value != floor => {
                self.refuse(path, format!("profile asvs-l1 demands {floor}"));
            }
            Some(value) => *target = value,
            None => {}
        }
    }
}

impl Settings {
    fn apply(&self, policy: &mut Policy, bad: &mut Vec<BadSetting>) {
        let strict = policy.profile == Profile::AsvsL1;
        policy.region = self.region.or(policy.region);
        policy.locale = self.locale.unwrap_or(policy.locale);
        let mut set = Setter { strict, bad };
        self.otp.apply(policy, &mut set);
        self.lockout.apply(&mut policy.lockout, &mut set);
        self.password.apply(&mut policy.password, &mut set);
        self.tokens.apply(&mut policy.tokens, &mut set);
        match self.registration.grant {
            Some(GrantKind::Address) if strict => {
                set.refuse("registration.grant", "profile asvs-l1 demands token".to_owned());
            }
            Some(grant) => policy.registration_grant = grant,
            None => {}
        }
    }
}

impl OtpSettings {
    fn apply(&self, policy: &mut Policy, set: &mut Setter<'_>) {
        let (shortest, most_tries) = if set.strict { (6, 3) } else { (4, 5) };
        let longest = if set.strict { 300 } else { 600 };
        let sms = self.sms.clone().unwrap_or_default();
        set.number("otp.sms.length", sms.length, shortest..=10, &mut policy.sms_code.length);
        set.seconds("otp.sms.ttl", sms.ttl, 60..=longest, &mut policy.sms_code.ttl);
        set.number("otp.sms.tries", sms.tries, 1..=most_tries, &mut policy.sms_code.tries);
        let email = self.email.clone().unwrap_or_default();
        set.number("otp.email.length", email.length, 6..=10, &mut policy.email_code.length);
        set.seconds("otp.email.ttl", email.ttl, 60..=longest, &mut policy.email_code.ttl);
        set.number("otp.email.tries", email.tries, 1..=most_tries, &mut policy.email_code.tries);
        let resend = self.resend.clone().unwrap_or_default();
        let (soonest, hourly, daily) = if set.strict { (30, 5, 10) } else { (15, 20, 50) };
        set.seconds("otp.resend.cooldown", resend.cooldown, soonest..=120, &mut policy.resend.cooldown);
        set.number("otp.resend.per_hour", resend.per_hour, 1..=hourly, &mut policy.resend.per_hour);
        set.number("otp.resend.per_day", resend.per_day, 1..=daily, &mut policy.resend.per_day);
    }
}

impl LockoutSettings {
    fn apply(&self, policy: &mut LockoutPolicy, set: &mut Setter<'_>) {
        let most = if set.strict { 5 } else { 20 };
        let shortest = if set.strict { 1_800 } else { 60 };
        set.number("lockout.threshold", self.threshold, 1..=most, &mut policy.threshold);
        set.seconds("lockout.window", self.window, shortest..=86_400, &mut policy.window);
        set.seconds("lockout.duration", self.duration, shortest..=86_400, &mut policy.duration);
        if self.hard_limit.is_some() {
            let highest = if set.strict { 50 } else { 100 };
            let mut limit = highest;
            set.number("lockout.hard_limit", self.hard_limit, 10..=highest, &mut limit);
            policy.hard_limit = Some(limit);
        }
        set.switch("lockout.disclose", self.disclose, false, &mut policy.disclose);
    }
}

impl PasswordSettings {
    fn apply(&self, policy: &mut PasswordPolicy, set: &mut Setter<'_>) {
        let shortest = if set.strict { 15 } else { 6 };
        set.number("password.min_length", self.min_length, shortest..=64, &mut policy.min_length);
        set.switch("password.refuse_common", self.refuse_common, true, &mut policy.refuse_common);
    }
}

impl TokenSettings {
    fn apply(&self, policy: &mut TokenPolicy, set: &mut Setter<'_>) {
        const THIRTY_DAYS: u64 = 30 * 86_400;
        let longest = if set.strict { 600 } else { 86_400 };
        set.seconds("tokens.access_ttl", self.access_ttl, 60..=longest, &mut policy.access_ttl);
        set.seconds(
            "tokens.refresh_absolute",
            self.refresh_absolute,
            3_600..=THIRTY_DAYS,
            &mut policy.refresh_absolute,
        );
        if self.refresh_idle.is_some() {
            let longest = if set.strict { 14 * 86_400 } else { THIRTY_DAYS };
            let mut idle = Duration::from_secs(longest);
            set.seconds("tokens.refresh_idle", self.refresh_idle, 600..=longest, &mut idle);
            policy.refresh_idle = Some(idle);
        }
        let most_grace = if set.strict { 30 } else { 300 };
        set.seconds("tokens.refresh_grace", self.refresh_grace, 0..=most_grace, &mut policy.refresh_grace);
        if let Some(audience) = &self.audience {
            if audience.is_empty() || audience.len() > 255 || audience.chars().any(char::is_control) {
                set.refuse("tokens.audience", "must be 1 to 255 printable characters".to_owned());
            } else {
                policy.audience = Some(audience.clone());
            }
        }
        let most = if set.strict { 10 } else { 1_000 };
        set.number("tokens.max_sessions", self.max_sessions, 1..=most, &mut policy.max_sessions);
        match self.algorithm {
            // One secret both signs and verifies: whoever can check a token can make one.
            Some(Algorithm::Hs256) if set.strict => {
                set.refuse("tokens.algorithm", "profile asvs-l1 demands ES256, EdDSA or RS256".to_owned());
            }
            Some(algorithm) => policy.algorithm = algorithm,
            None => {}
        }
        let mut days = 90;
        set.number("tokens.key_rotation", self.key_rotation, 1..=365, &mut days);
        policy.key_rotation = days * DAY;
        // A node that hears nothing must not trust a token for longer than the token itself lives.
        policy.max_stale = policy.access_ttl;
        set.seconds("tokens.max_stale", self.max_stale, 10..=longest, &mut policy.max_stale);
        policy.cookie = self.cookie.unwrap_or(policy.cookie);
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
