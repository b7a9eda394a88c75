//! The settings document: a tenant's own values, each optional, as it is stored and patched.
//!
//! ```text
//!  admin API / file ─► Settings (this shape, unknown members refused) ─► Policy::with (ranges, floors)
//!                            │                                        └► senders, templates, … read it as it is
//!                            └ secrets only sealed ([`Sealed`]): the document never holds a plain one
//! ```
//!
//! One file per large section: [`channels`] says how messages leave, [`templates`] what they say,
//! [`budget`] what they may cost, [`limits`] who may ask how often. Every number's legal range
//! stands beside the section that sets it. [`document`] is how admins read and change it.

pub mod budget;
pub mod channels;
pub mod document;
pub mod limits;
mod sealed;
pub mod templates;

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contact::Region;
use super::locale::Locale;
use super::policy::{GrantKind, LockoutPolicy, PasswordPolicy, Policy, Profile, TokenPolicy};
use super::signing_key::Algorithm;

pub use budget::{BudgetSettings, TestIdentitySettings};
pub use channels::{EmailSettings, Mode, SmsKind, SmsSender, SmsSettings, SmtpSecurity, SmtpServer, SuccessRule};
pub use limits::{LimitSettings, LimitsSettings};
pub use sealed::Sealed;
pub use templates::{TemplateName, TemplateSettings};

/// A setting that cannot be taken, named by its path in the settings document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct BadSetting {
    /// Dotted path, as in `otp.sms.length`.
    pub path: Cow<'static, str>,
    /// What would be right.
    pub reason: String,
}

/// A tenant's own values, each optional: the stored settings document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Requests by client, app and tenant.
    #[serde(skip_serializing_if = "is_unset")]
    pub limits: LimitsSettings,
    /// Where links in messages lead: an https URL on one of the tenant's domains or the platform's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// How mail leaves.
    #[serde(skip_serializing_if = "is_unset")]
    pub email: EmailSettings,
    /// How text messages leave, and where they may go.
    #[serde(skip_serializing_if = "is_unset")]
    pub sms: SmsSettings,
    /// Texts of its own.
    #[serde(skip_serializing_if = "is_unset")]
    pub templates: TemplateSettings,
    /// Contacts whose code is fixed and to which nothing is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test_identities: Vec<TestIdentitySettings>,
}

fn is_unset<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }
    )*};
}
use sections;

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
    /// Proof of a phone number at registration, and invitations.
    RegistrationSettings {
        /// What proves it.
        grant: GrantKind,
        /// Seconds an invitation lives.
        invitation_ttl: u64,
    }
}

/// Copies settings onto a policy, collecting what is out of range.
pub(super) struct Setter<'a> {
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

    /// A number whose path is put together.
    fn count(&mut self, path: String, value: Option<u64>, range: std::ops::RangeInclusive<u64>, target: &mut u64) {
        match value {
            Some(value) if range.contains(&value) => *target = value,
            Some(_) => self.refuse(path, format!("must be from {} to {}", range.start(), range.end())),
            None => {}
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

    fn refuse(&mut self, path: impl Into<Cow<'static, str>>, reason: impl Into<String>) {
        self.bad.push(BadSetting { path: path.into(), reason: reason.into() });
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
    /// Puts the values onto a profile's policy; `bad` takes every one that is out of range, laxer than
    /// the profile's floor, or half set.
    pub(super) fn apply(&self, policy: &mut Policy, bad: &mut Vec<BadSetting>) {
        let strict = policy.profile == Profile::AsvsL1;
        policy.region = self.region.or(policy.region);
        policy.locale = self.locale.unwrap_or(policy.locale);
        let mut set = Setter { strict, bad };
        self.otp.apply(policy, &mut set);
        self.lockout.apply(&mut policy.lockout, &mut set);
        self.password.apply(&mut policy.password, &mut set);
        self.tokens.apply(&mut policy.tokens, &mut set);
        let week = 7 * 86_400;
        let invitation_ttl = self.registration.invitation_ttl;
        set.seconds("registration.invitation_ttl", invitation_ttl, 3_600..=week, &mut policy.invitation_ttl);
        match self.registration.grant {
            Some(GrantKind::Address) if strict => {
                set.refuse("registration.grant", "profile asvs-l1 demands token".to_owned());
            }
            Some(grant) => policy.registration_grant = grant,
            None => {}
        }
        self.limits.apply(&mut policy.limits, &mut set);
        self.email.check(&mut set);
        self.sms.check(&mut set);
        self.templates.check(&mut set);
        self.sms.apply(policy, &mut set);
        budget::test_identities(&self.test_identities, policy, &mut set);
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
                set.refuse("tokens.algorithm", "profile asvs-l1 demands ES256, EdDSA or RS256");
            }
            Some(algorithm) => policy.algorithm = algorithm,
            None => {}
        }
        let mut days = 90;
        set.number("tokens.key_rotation", self.key_rotation, 1..=365, &mut days);
        policy.key_rotation = days * Duration::from_hours(24);
        // A node that hears nothing must not trust a token for longer than the token itself lives.
        policy.max_stale = policy.access_ttl;
        set.seconds("tokens.max_stale", self.max_stale, 10..=longest, &mut policy.max_stale);
        policy.cookie = self.cookie.unwrap_or(policy.cookie);
    }
}
