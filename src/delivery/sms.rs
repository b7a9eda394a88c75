//! Sends SMS over HTTP, each provider in its own words.
//!
//! | provider | here | why it is not a preset |
//! | --- | --- | --- |
//! | Twilio | [`twilio`] | its validity period follows from a code's life |
//! | Orange | [`orange`] | a token first |
//! | Vonage, Africa's Talking, Infobip | [`presets`] of [`generic`] | — |
//! | any other | [`generic`]: a request with placeholders, and a rule for success | — |
//!
//! [`sender`] makes any of them from its settings. A sender makes one request for one message
//! (Orange: and one for a token); whether to ask it again or the next one is decided above, by
//! what the [`DeliveryError`] says. Delivery receipts come back on their own: [`receipts`].

use std::sync::Arc;
use std::time::Duration;

use super::http::{ClientError, HttpClient};
use super::outbound::Guard;
use super::{DeliveryError, Envelope, Sender, Stage};
use crate::clock::Clock;
use crate::domain::contact::Contact;

pub mod generic;
pub mod orange;
pub mod presets;
pub mod receipts;
pub mod twilio;

pub use super::http::DEFAULT_TIMEOUT;
pub use generic::{HttpBody, HttpMethod, HttpSettings, NUMBER_MISSING, SuccessRule, TEXT_MISSING};
pub use orange::OrangeSettings;
pub use presets::{AfricasTalkingSettings, InfobipSettings, VonageSettings};
pub use twilio::TwilioSettings;

/// A provider with its settings.
#[derive(Debug, Clone)]
pub enum SmsProvider {
    /// Twilio.
    Twilio(TwilioSettings),
    /// Orange, for Africa and the Middle East.
    Orange(OrangeSettings),
    /// Vonage, once Nexmo.
    Vonage(VonageSettings),
    /// Africa's Talking.
    AfricasTalking(AfricasTalkingSettings),
    /// Infobip.
    Infobip(InfobipSettings),
    /// Any provider with an HTTP interface.
    Http(HttpSettings),
}

impl SmsProvider {
    /// Its kind in the settings document, and in the path of its receipts.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Twilio(_) => ProviderKind::Twilio,
            Self::Orange(_) => ProviderKind::Orange,
            Self::Vonage(_) => ProviderKind::Vonage,
            Self::AfricasTalking(_) => ProviderKind::AfricasTalking,
            Self::Infobip(_) => ProviderKind::Infobip,
            Self::Http(_) => ProviderKind::Http,
        }
    }

    /// What no message through it could say. To be asked before it is saved or offered: one that a tenant
    /// saved before goes on as it is.
    #[must_use]
    pub fn lacks(&self) -> Option<InvalidSettings> {
        match self {
            Self::Http(settings) => settings.lacks(),
            _ => None,
        }
    }
}

/// The kinds of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// Twilio.
    Twilio,
    /// Orange.
    Orange,
    /// Vonage.
    Vonage,
    /// Africa's Talking.
    AfricasTalking,
    /// Infobip.
    Infobip,
    /// Any other.
    Http,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Twilio, Self::Orange, Self::Vonage, Self::AfricasTalking, Self::Infobip, Self::Http];

    /// Its word in settings and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Orange => "orange",
            Self::Vonage => "vonage",
            Self::AfricasTalking => "africastalking",
            Self::Infobip => "infobip",
            Self::Http => "http",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a sender needs besides its provider's settings.
#[derive(Debug, Clone)]
pub struct SmsOptions {
    /// Judges every address that is connected to.
    pub guard: Guard,
    /// Ages tokens and idle connections.
    pub clock: Clock,
    /// Limit of one whole send; [`DEFAULT_TIMEOUT`] unless set.
    pub timeout: Duration,
    /// Where the provider reports deliveries, if it takes the URL with each message (Twilio,
    /// Infobip, and Vonage up to 100 characters); the others have it set in their own console.
    pub callback: Option<String>,
    /// Certificates trusted besides the system's, in PEM.
    pub extra_roots: Option<Vec<u8>>,
}

/// Which setting to correct, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: {reason}")]
pub struct InvalidSettings {
    /// The setting's name in the settings document; empty if it is all of them together.
    pub setting: &'static str,
    /// A fixed word.
    pub reason: &'static str,
}

impl InvalidSettings {
    pub(super) const fn new(setting: &'static str, reason: &'static str) -> Self {
        Self { setting, reason }
    }
}

/// The sender of a provider; nothing is connected yet. It keeps connections and tokens, so make
/// one per settings version, not per message.
///
/// # Errors
/// [`InvalidSettings`] names the setting to correct.
pub fn sender(provider: SmsProvider, options: &SmsOptions) -> Result<Arc<dyn Sender>, InvalidSettings> {
    Ok(match provider {
        SmsProvider::Twilio(settings) => Arc::new(twilio::TwilioSender::new(settings, options)?),
        SmsProvider::Orange(settings) => Arc::new(orange::OrangeSender::new(settings, options)?),
        SmsProvider::Vonage(settings) => Arc::new(presets::vonage(&settings, options)?),
        SmsProvider::AfricasTalking(settings) => Arc::new(presets::africas_talking(&settings, options)?),
        SmsProvider::Infobip(settings) => Arc::new(presets::infobip(&settings, options)?),
        SmsProvider::Http(settings) => Arc::new(generic::HttpSender::new(settings, &[], options)?),
    })
}

/// A client for `url`, which the setting of that name gave.
fn client(setting: &'static str, url: &str, options: &SmsOptions) -> Result<HttpClient, InvalidSettings> {
    let made = HttpClient::new(url, options.guard.clone(), options.clock.clone(), options.extra_roots.as_deref());
    made.map_err(|error| match error {
        ClientError::Refused(refusal) => InvalidSettings::new(setting, refusal.code()),
        ClientError::ExtraRoots => InvalidSettings::new("extra_roots", "malformed"),
    })
}

/// The URL of `route` under a provider's base URL, which may have a path of its own.
fn under(base_url: &str, route: &str) -> Result<String, InvalidSettings> {
    if base_url.contains(['?', '#', '{', '}']) {
        return Err(InvalidSettings::new("base_url", "query_refused"));
    }
    Ok(format!("{}{route}", base_url.trim_end_matches('/')))
}

/// What follows the authority of an absolute URL, as it was written: the parser that judged the
/// host would escape the braces of placeholders.
fn path_and_query(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    let path = after_scheme.get(at..).unwrap_or_default().split('#').next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

/// The number an SMS goes to.
fn number(envelope: &Envelope) -> Result<&str, DeliveryError> {
    match &envelope.to {
        Contact::Phone(number) => Ok(number.as_str()),
        Contact::Email(_) => Err(DeliveryError::refused(Stage::Recipient, "not_a_number")),
    }
}

/// A value of a provider's JSON answer as text: some send `"0"`, some `0`.
fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// `Authorization: Basic …` (RFC 7617).
fn basic_auth(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let both = zeroize::Zeroizing::new(format!("{user}:{password}"));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both.as_bytes()))
}

/// A header value that hyper does not print.
fn secret_header(setting: &'static str, value: &str) -> Result<http::HeaderValue, InvalidSettings> {
    let mut value = http::HeaderValue::try_from(value).map_err(|_| InvalidSettings::new(setting, "malformed"))?;
    value.set_sensitive(true);
    Ok(value)
}
