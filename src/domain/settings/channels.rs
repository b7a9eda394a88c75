//! How a tenant's messages leave: its own senders in their order, the platform's, or not at all.
//!
//! A channel is switched as a unit, never member by member: `own` must be complete to be taken, so
//! that a half-set form breaks nothing, and `platform` shows nothing of the platform's credentials.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BudgetSettings, Sealed, Setter};
use crate::domain::contact::{EmailAddress, Region};

/// Most senders a channel may list: each may hold up a message until its deadline.
const MOST_SENDERS: usize = 5;

/// Whose senders a channel uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The tenant's own, in their order.
    Own,
    /// The operator's.
    #[default]
    Platform,
    /// Nobody's: nothing leaves.
    Off,
}

/// How mail leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmailSettings {
    /// Whose senders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The tenant's own, tried in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<SmtpServer>,
}

/// How a connection to a mail server is protected; never opportunistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// In the clear: only to hosts the operator allows.
    None,
    /// STARTTLS, required (RFC 3207).
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// The one kind of mail sender there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailKind {
    /// A mail server.
    #[default]
    Smtp,
}

/// A tenant's own mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmtpServer {
    /// `smtp`.
    #[serde(default)]
    pub kind: MailKind,
    /// What it is matched by when the document changes, and called in the delivery log.
    #[serde(default = "smtp_name")]
    pub name: String,
    /// Host name.
    pub host: String,
    /// 465, 587 or 2525; any, for a host the operator allows.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Log-in name, if the server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password; write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// `From`: an address, or `Name <address>`.
    pub from: String,
    /// `Reply-To`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Seconds for a whole send, 1 to 60; 15 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

fn smtp_name() -> String {
    "smtp".to_owned()
}

/// How text messages leave, and where they may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SmsSettings {
    /// Whose senders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Regions that messages may go to (ISO 3166-1 alpha-2); unset is the profile's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// What they may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetSettings>,
    /// The tenant's own, tried in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<SmsSender>,
}

/// Who carries a text message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmsKind {
    /// Twilio Programmable Messaging.
    Twilio,
    /// Orange SMS API (Africa and Middle East).
    Orange,
    /// Vonage SMS API.
    Vonage,
    /// Africa's Talking.
    Africastalking,
    /// Infobip.
    Infobip,
    /// Any provider with an HTTP API, described by the tenant.
    Http,
}

impl SmsKind {
    /// The word of the settings document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Orange => "orange",
            Self::Vonage => "vonage",
            Self::Africastalking => "africastalking",
            Self::Infobip => "infobip",
            Self::Http => "http",
        }
    }

    /// Members with a credential that it cannot do without.
    #[must_use]
    pub const fn credentials(self) -> &'static [&'static str] {
        match self {
            Self::Twilio => &["auth_token"],
            Self::Orange => &["client_secret"],
            Self::Vonage => &["api_key", "api_secret"],
            Self::Africastalking | Self::Infobip => &["api_key"],
            Self::Http => &[],
        }
    }
}

/// A tenant's own SMS provider. One flat shape for all kinds, so that a wrong member is named by
/// its path; [`Self::missing`] says which of them a kind needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsSender {
    /// Which provider.
    pub kind: SmsKind,
    /// What it is matched by when the document changes, and called in the delivery log; the kind if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sender people see: a number, short code or alphanumeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where the provider's API is, if not at its usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Seconds for a whole call, 1 to 60; 10 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Twilio: the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_sid: Option<String>,
    /// Twilio: its token; also checks receipts. Write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<Sealed>,
    /// Twilio: instead of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messaging_service_sid: Option<String>,
    /// Orange: the OAuth client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Orange: its secret. Write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Sealed>,
    /// Orange: the registered name shown instead of the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// Africa's Talking: the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Vonage, Africa's Talking, Infobip: the key. Write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Sealed>,
    /// Vonage: the secret beside the key. Write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_secret: Option<Sealed>,
    /// HTTP: where to send; `{to} {text} {code} {reference}` are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// HTTP: `POST` if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// HTTP: headers; their values are write-only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Sealed>,
    /// HTTP: an object goes as JSON, a string as it is, with the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// HTTP: what an answer must look like; any 2xx if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<SuccessRule>,
}

/// What an answer must look like for the message to count as accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessRule {
    /// Statuses; any 2xx if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// JSON pointer (RFC 6901) into the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What must stand there; anything, if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// JSON pointer to the provider's name for the message, which receipts will bear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl SmtpServer {
    /// Members that hold a credential.
    pub const CREDENTIALS: &'static [&'static str] = &["password"];
    /// Members that say where a credential goes: change one, and the credential must be given anew.
    pub const TARGET: &'static [&'static str] = &["kind", "host", "port", "security"];
}

impl SmsSender {
    /// Members that hold a credential; so does every value in `headers`.
    pub const CREDENTIALS: &'static [&'static str] = &["auth_token", "client_secret", "api_key", "api_secret"];
    /// Members that say where a credential goes: change one, and the credential must be given anew.
    pub const TARGET: &'static [&'static str] = &["kind", "url", "base_url"];

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.as_str())
    }

    /// Members its kind cannot do without and that are not set.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let needed: &[(&'static str, bool)] = &match self.kind {
            SmsKind::Twilio => vec![
                ("account_sid", self.account_sid.is_some()),
                ("auth_token", self.auth_token.is_some()),
                ("from", self.from.is_some() || self.messaging_service_sid.is_some()),
            ],
            SmsKind::Orange => vec![
                ("client_id", self.client_id.is_some()),
                ("client_secret", self.client_secret.is_some()),
                ("from", self.from.is_some()),
            ],
            SmsKind::Vonage => vec![
                ("api_key", self.api_key.is_some()),
                ("api_secret", self.api_secret.is_some()),
                ("from", self.from.is_some()),
            ],
            SmsKind::Africastalking => {
                vec![("username", self.username.is_some()), ("api_key", self.api_key.is_some())]
            }
            SmsKind::Infobip => vec![
                ("base_url", self.base_url.is_some()),
                ("api_key", self.api_key.is_some()),
                ("from", self.from.is_some()),
            ],
            SmsKind::Http => vec![("url", self.url.is_some())],
        };
        needed.iter().filter(|(_, is_set)| !is_set).map(|&(member, _)| member).collect()
    }
}

impl EmailSettings {
    pub(super) fn check(&self, set: &mut Setter<'_>) {
        own_needs_senders(set, "email", self.mode, self.senders.len());
        names_differ(set, "email", self.senders.iter().map(|server| server.name.as_str()));
        for (at, server) in self.senders.iter().enumerate() {
            server.check(set, &format!("email.senders[{at}]"));
        }
    }
}

impl SmtpServer {
    fn check(&self, set: &mut Setter<'_>, path: &str) {
        if self.host.is_empty() || self.host.len() > 255 {
            set.refuse(format!("{path}.host"), "must be a host name");
        }
        if self.port == 0 {
            set.refuse(format!("{path}.port"), "must be from 1 to 65535");
        }
        if !is_mailbox(&self.from) {
            set.refuse(format!("{path}.from"), "must be an address, or `Name <address>`");
        }
        if self.reply_to.as_deref().is_some_and(|address| !is_mailbox(address)) {
            set.refuse(format!("{path}.reply_to"), "must be an address, or `Name <address>`");
        }
        if self.username.is_some() != self.password.is_some() {
            set.refuse(format!("{path}.password"), "username and password are set together or not at all");
        }
        timeout_fits(set, path, self.timeout);
    }
}

impl SmsSettings {
    pub(super) fn check(&self, set: &mut Setter<'_>) {
        own_needs_senders(set, "sms", self.mode, self.senders.len());
        names_differ(set, "sms", self.senders.iter().map(SmsSender::name));
        for (at, sender) in self.senders.iter().enumerate() {
            let path = format!("sms.senders[{at}]");
            for member in sender.missing() {
                set.refuse(format!("{path}.{member}"), format!("kind {} needs it", sender.kind.as_str()));
            }
            timeout_fits(set, &path, sender.timeout);
        }
    }
}

fn own_needs_senders(set: &mut Setter<'_>, channel: &str, mode: Option<Mode>, senders: usize) {
    if mode == Some(Mode::Own) && senders == 0 {
        set.refuse(format!("{channel}.senders"), "mode `own` needs at least one sender");
    }
    if senders > MOST_SENDERS {
        set.refuse(format!("{channel}.senders"), format!("at most {MOST_SENDERS}"));
    }
}

fn names_differ<'a>(set: &mut Setter<'_>, channel: &str, names: impl Iterator<Item = &'a str>) {
    let mut known = BTreeSet::new();
    for (at, name) in names.enumerate() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 40 || !name.chars().all(is_word) {
            let reason = "must be 1 to 40 letters, digits, `.`, `-` or `_`";
            set.refuse(format!("{channel}.senders[{at}].name"), reason);
        } else if !known.insert(name) {
            set.refuse(format!("{channel}.senders[{at}].name"), "another sender has that name");
        }
    }
}

fn timeout_fits(set: &mut Setter<'_>, path: &str, timeout: Option<u64>) {
    if timeout.is_some_and(|seconds| !(1..=60).contains(&seconds)) {
        set.refuse(format!("{path}.timeout"), "must be from 1 to 60");
    }
}

/// An address, or a printable name before one in angle brackets (RFC 5322 §3.4).
fn is_mailbox(text: &str) -> bool {
    let address = match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((name, address)) if !name.chars().any(|c| c.is_control() || "<>".contains(c)) => address,
        Some(_) => return false,
        None => text,
    };
    EmailAddress::parse(address).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::domain::policy::{Policy, Profile};
    use crate::domain::settings::Settings;

    fn refused(json: &str) -> Vec<String> {
        let settings: Settings = serde_json::from_str(json).unwrap();
        let refused = Policy::with(Profile::AsvsL1, &settings).err().unwrap_or_default();
        refused.into_iter().map(|bad| bad.path.into_owned()).collect()
    }

    #[test]
    fn own_is_complete_or_not_taken() {
        assert_eq!(refused(r#"{"sms":{"mode":"own"},"email":{"mode":"own"}}"#), ["email.senders", "sms.senders"]);
        assert_eq!(
            refused(r#"{"sms":{"mode":"own","senders":[{"kind":"twilio","account_sid":"AC1"}]}}"#),
            ["sms.senders[0].auth_token", "sms.senders[0].from"]
        );
        assert_eq!(refused(r#"{"sms":{"mode":"own","senders":[{"kind":"http","url":"https://a.test/"}]}}"#), [""; 0]);
    }

    #[test]
    fn senders_are_told_apart_by_name() {
        let two =
            r#"{"sms":{"senders":[{"kind":"http","url":"https://a.test/"},{"kind":"http","url":"https://b.test/"}]}}"#;

        assert_eq!(refused(two), ["sms.senders[1].name"]);
    }

    #[test]
    fn a_mail_server_is_checked_member_by_member() {
        let bad = r#"{"email":{"senders":[{"host":"","port":0,"security":"tls","username":"a","from":"a\r\nBcc: b@c.test","timeout":0}]}}"#;

        assert_eq!(
            refused(bad),
            ["host", "port", "from", "password", "timeout"].map(|member| format!("email.senders[0].{member}"))
        );
        let good = r#"{"email":{"mode":"own","senders":[{"kind":"smtp","host":"mail.a.test","port":587,"security":"starttls","from":"Acme <no-reply@a.test>"}]}}"#;
        assert_eq!(refused(good), [""; 0]);
    }
}
