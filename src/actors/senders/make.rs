//! From a tenant's settings to its senders, and what of them could never be one.
//!
//! A document is judged by making its senders, before it is saved: what the maker takes then, a line
//! takes when the first message needs it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::route::Offered;
use crate::actors::credentials::{Credentials, Place};
use crate::clock::Clock;
use crate::delivery::Sender;
use crate::delivery::outbound::{Guard, Refusal};
use crate::delivery::sms::{
    self, AfricasTalkingSettings, HttpBody, HttpMethod, HttpSettings, InfobipSettings, InvalidSettings, OrangeSettings,
    SmsOptions, SmsProvider, TwilioSettings, VonageSettings,
};
use crate::delivery::smtp::{self, SmtpLogin, SmtpSender, SmtpSettings, SmtpSettingsError};
use crate::domain::fault::Fault;
use crate::domain::ids::TenantId;
use crate::domain::message::Channel;
use crate::domain::settings::{
    BadSetting, Sealed, Settings, SmsKind, SmsSender, SmtpSecurity, SmtpServer, SuccessRule,
};
use crate::secret::ExposeSecret as _;

/// A credential that does not open: sealed under another master key, or damaged.
const CREDENTIAL: &str = "credential_unreadable";

/// Settings that no sender can be made of, although they were saved: a rule has changed since.
const SETTINGS: &str = "settings_unusable";

/// A member its kind cannot do without.
const MISSING: &str = "required";

/// Makes the senders of tenants' own. Clones share everything.
#[derive(Clone)]
pub struct Maker {
    /// Opens what they log in with.
    pub credentials: Credentials,
    /// Where they may connect to.
    pub guard: Guard,
    /// The time.
    pub clock: Clock,
}

/// The member of a sender's settings of which none can be made, and why; an empty one if it is the sender
/// as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit {
    member: &'static str,
    reason: &'static str,
}

impl Unfit {
    /// What the delivery log says of it.
    pub(super) fn word(self) -> &'static str {
        if self.reason == CREDENTIAL { CREDENTIAL } else { SETTINGS }
    }

    fn fault(self, channel: &str, at: usize) -> Fault {
        let setting = self.setting(channel, at);
        let pointer = Fault::from(setting.clone()).pointer;
        Fault::new(pointer, self.reason, setting.to_string())
    }

    fn setting(self, channel: &str, at: usize) -> BadSetting {
        let dot = if self.member.is_empty() { "" } else { "." };
        let path = format!("{channel}.senders[{at}]{dot}{}", self.member).into();
        let reason = match self.reason {
            sms::NUMBER_MISSING => "must have `{to}` or `{to_digits}` in its url, headers or body".to_owned(),
            sms::TEXT_MISSING => "must have `{text}` or `{code}` in its url, headers or body".to_owned(),
            word => format!("cannot be used ({word})"),
        };
        BadSetting { path, reason }
    }
}

impl From<InvalidSettings> for Unfit {
    fn from(invalid: InvalidSettings) -> Self {
        // What the document calls `from` with every provider has another name with one.
        let member = if invalid.setting == "sender_address" { "from" } else { invalid.setting };
        Self { member, reason: invalid.reason }
    }
}

impl From<SmtpSettingsError> for Unfit {
    fn from(error: SmtpSettingsError) -> Self {
        let (member, reason) = match error {
            SmtpSettingsError::Host(refusal @ Refusal::Port) => ("port", refusal.code()),
            SmtpSettingsError::Host(refusal @ Refusal::Unencrypted) => ("security", refusal.code()),
            SmtpSettingsError::Host(refusal) => ("host", refusal.code()),
            SmtpSettingsError::From => ("from", "malformed"),
            SmtpSettingsError::ReplyTo => ("reply_to", "malformed"),
            SmtpSettingsError::ExtraRoots | SmtpSettingsError::Tls => ("security", "tls_unavailable"),
        };
        Self { member, reason }
    }
}

impl Maker {
    /// Every sender of a document's channel that none can be made of, whether or not the channel uses
    /// it now. Blocks: certificates are read from disk.
    #[must_use]
    pub fn faults(&self, tenant: TenantId, settings: &Settings, channel: Channel) -> Vec<Fault> {
        let made: Vec<_> = match channel {
            Channel::Email => {
                let make = |server| self.mail(tenant, server, smtp::DEFAULT_TIMEOUT);
                settings.email.senders.iter().map(make).collect()
            }
            Channel::Sms => {
                let make = |sender| self.complete_sms(tenant, sender, sms::DEFAULT_TIMEOUT);
                settings.sms.senders.iter().map(make).collect()
            }
        };
        let unfit = made.into_iter().enumerate().filter_map(|(at, made)| Some((at, made.err()?)));
        unfit.map(|(at, unfit)| unfit.fault(channel.as_str(), at)).collect()
    }

    /// The operator's SMS providers, for tenants whose mode is `platform`. Their credentials are sealed for
    /// `whose` document; nobody is told where to report deliveries.
    ///
    /// # Errors
    /// Every one that no sender can be made of, by its path in a settings document.
    pub fn offered(&self, whose: TenantId, providers: &[SmsSender]) -> Result<Vec<Offered>, Vec<BadSetting>> {
        let (mut offered, mut bad) = (Vec::new(), Vec::new());
        for (at, provider) in providers.iter().enumerate() {
            let limit = provider.timeout.map_or(sms::DEFAULT_TIMEOUT, Duration::from_secs);
            match self.complete_sms(whose, provider, limit) {
                Ok(transport) => offered.push(Offered { name: provider.name().to_owned(), transport, limit }),
                Err(unfit) => bad.push(unfit.setting("sms", at)),
            }
        }
        if bad.is_empty() { Ok(offered) } else { Err(bad) }
    }

    /// A tenant's mail server, as one sender.
    pub(super) fn mail(
        &self,
        tenant: TenantId,
        server: &SmtpServer,
        timeout: Duration,
    ) -> Result<Arc<dyn Sender>, Unfit> {
        let place = Place { tenant, channel: Channel::Email, sender: &server.name, member: "password" };
        let login = match (&server.username, &server.password) {
            (Some(username), Some(sealed)) => {
                let password = self
                    .credentials
                    .open(&place, sealed)
                    .map_err(|_| Unfit { member: "password", reason: CREDENTIAL })?;
                Some(SmtpLogin { username: username.clone(), password })
            }
            _ => None,
        };
        let settings = SmtpSettings {
            host: server.host.clone(),
            port: server.port,
            security: match server.security {
                SmtpSecurity::None => smtp::Security::None,
                SmtpSecurity::Starttls => smtp::Security::StartTls,
                SmtpSecurity::Tls => smtp::Security::Tls,
            },
            login,
            from: server.from.clone(),
            reply_to: server.reply_to.clone(),
            timeout,
            extra_roots: None,
        };
        let sender = SmtpSender::new(settings, self.clock.clone(), self.guard.clone());
        sender.map(|sender| Arc::new(sender) as Arc<dyn Sender>).map_err(Unfit::from)
    }

    /// A provider about to be saved or offered, as one sender: it must say what it is given, too.
    fn complete_sms(&self, tenant: TenantId, sender: &SmsSender, timeout: Duration) -> Result<Arc<dyn Sender>, Unfit> {
        let made = self.sms(tenant, sender, timeout, None)?;
        match self.provider(tenant, sender)?.lacks() {
            Some(invalid) => Err(invalid.into()),
            None => Ok(made),
        }
    }

    /// A tenant's provider, as one sender.
    pub(super) fn sms(
        &self,
        tenant: TenantId,
        sender: &SmsSender,
        timeout: Duration,
        callback: Option<String>,
    ) -> Result<Arc<dyn Sender>, Unfit> {
        let (guard, clock) = (self.guard.clone(), self.clock.clone());
        let options = SmsOptions { guard, clock, timeout, callback, extra_roots: None };
        sms::sender(self.provider(tenant, sender)?, &options).map_err(|invalid| {
            let unfit = Unfit::from(invalid);
            // Presets are requests to a URL that begins with the tenant's base.
            let is_base = unfit.member == "url" && sender.kind != SmsKind::Http;
            if is_base { Unfit { member: "base_url", ..unfit } } else { unfit }
        })
    }

    /// The provider that a sender's settings describe, its credentials opened.
    fn provider(&self, tenant: TenantId, sender: &SmsSender) -> Result<SmsProvider, Unfit> {
        let open_at = |named: &'static str, member: &str, sealed: &Sealed| {
            let place = Place { tenant, channel: Channel::Sms, sender: sender.name(), member };
            self.credentials.open(&place, sealed).map_err(|_| Unfit { member: named, reason: CREDENTIAL })
        };
        let open = |member: &'static str, sealed: Option<&Sealed>| {
            open_at(member, member, sealed.ok_or(Unfit { member, reason: MISSING })?)
        };
        let text = |member: &'static str, text: &Option<String>| text.clone().ok_or(Unfit { member, reason: MISSING });
        let headers = sender.headers.iter().map(|(name, sealed)| {
            open_at("headers", &format!("headers.{name}"), sealed).map(|value| (name.clone(), value))
        });
        let base_url = sender.base_url.clone();
        Ok(match sender.kind {
            SmsKind::Twilio => SmsProvider::Twilio(TwilioSettings {
                account_sid: text("account_sid", &sender.account_sid)?,
                auth_token: open("auth_token", sender.auth_token.as_ref())?,
                from: sender.from.clone(),
                messaging_service_sid: sender.messaging_service_sid.clone(),
                base_url,
            }),
            SmsKind::Orange => SmsProvider::Orange(OrangeSettings {
                client_id: text("client_id", &sender.client_id)?,
                client_secret: open("client_secret", sender.client_secret.as_ref())?,
                sender_address: text("from", &sender.from)?,
                sender_name: sender.sender_name.clone(),
                base_url,
            }),
            SmsKind::Vonage => SmsProvider::Vonage(VonageSettings {
                api_key: open("api_key", sender.api_key.as_ref())?.expose_secret().to_owned(),
                api_secret: open("api_secret", sender.api_secret.as_ref())?,
                from: text("from", &sender.from)?,
                base_url,
            }),
            SmsKind::Africastalking => SmsProvider::AfricasTalking(AfricasTalkingSettings {
                username: text("username", &sender.username)?,
                api_key: open("api_key", sender.api_key.as_ref())?,
                from: sender.from.clone(),
                base_url,
            }),
            SmsKind::Infobip => SmsProvider::Infobip(InfobipSettings {
                api_key: open("api_key", sender.api_key.as_ref())?,
                from: text("from", &sender.from)?,
                base_url,
            }),
            SmsKind::Http => SmsProvider::Http(HttpSettings {
                url: text("url", &sender.url)?,
                method: method(sender.method.as_deref())?,
                headers: headers.collect::<Result<_, _>>()?,
                body: match &sender.body {
                    None => HttpBody::Empty,
                    Some(Value::String(text)) => HttpBody::Text(text.clone()),
                    Some(document) => HttpBody::Json(document.clone()),
                },
                success: success(sender.success.clone().unwrap_or_default()),
            }),
        })
    }
}

fn method(word: Option<&str>) -> Result<HttpMethod, Unfit> {
    match word.unwrap_or("POST") {
        "GET" => Ok(HttpMethod::Get),
        "POST" => Ok(HttpMethod::Post),
        "PUT" => Ok(HttpMethod::Put),
        _ => Err(Unfit { member: "method", reason: "method_unknown" }),
    }
}

fn success(rule: SuccessRule) -> sms::SuccessRule {
    let SuccessRule { status, pointer, equals, reference } = rule;
    sms::SuccessRule { status, pointer, equals, reference, code: None }
}
