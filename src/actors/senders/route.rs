//! The way messages of one line take: which senders, in which order, as the settings say now.
//!
//! `own`, `platform` and `off` are switched as a unit. A route is built when the first message needs
//! it and again when the settings have another version; a sender whose own settings are the same is
//! kept, with its connections, its provider's token and its breaker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::breaker::Breaker;
use super::make::{Maker, Unfit};
use crate::crypto::digest::Digests;
use crate::delivery::{DeliveryError, Envelope, Receipt, Sender, Stage, sms, smtp};
use crate::domain::message::Channel;
use crate::domain::settings::{Mode, Settings, SmsSender, SmtpServer};
use crate::domain::time::Timestamp;
use crate::tenant::TenantContext;

/// A sender of the operator's, shared by all tenants whose mode is `platform`.
#[derive(Clone)]
pub struct Offered {
    /// What it is called in the delivery log.
    pub name: String,
    /// The sender.
    pub transport: Arc<dyn Sender>,
    /// What one send takes at most.
    pub limit: Duration,
}

/// The operator's senders, in order. None of a channel: what is sent over it is refused.
#[derive(Clone, Default)]
pub struct Platform {
    /// How mail leaves.
    pub email: Vec<Offered>,
    /// How text messages leave.
    pub sms: Vec<Offered>,
}

impl Platform {
    fn of(&self, channel: Channel) -> &[Offered] {
        match channel {
            Channel::Email => &self.email,
            Channel::Sms => &self.sms,
        }
    }
}

/// Builds routes from settings documents.
pub struct Transports {
    /// For tenants without senders of their own.
    pub platform: Platform,
    /// Makes their own.
    pub maker: Maker,
    /// Names the secrets of receipts.
    pub digests: Arc<Digests>,
}

/// One sender of a route.
pub(super) struct Way {
    pub(super) name: String,
    pub(super) transport: Arc<dyn Sender>,
    /// What one send takes at most.
    pub(super) limit: Duration,
    pub(super) breaker: Breaker,
    /// Whether its provider tells later what became of a message.
    pub(super) has_receipts: bool,
    made_from: MadeFrom,
}

/// What a sender was built from: the same again, and it may be kept.
#[derive(Debug, Clone, PartialEq)]
enum MadeFrom {
    Platform,
    Smtp(Box<SmtpServer>),
    /// With the URL that its receipts go to.
    Sms(Box<SmsSender>, String),
}

/// The senders of one line, at one version of the settings.
pub(super) struct Route {
    version: Option<u64>,
    shut: Option<&'static str>,
    ways: Vec<Arc<Way>>,
}

impl Route {
    /// Stands where building one failed, a fault of ours; the next message builds another.
    pub(super) const fn broken() -> Self {
        Self { version: None, shut: Some("internal"), ways: Vec::new() }
    }

    /// The settings' version it was built from; none if there was no tenant.
    pub(super) const fn version(&self) -> Option<u64> {
        self.version
    }

    /// Why nothing leaves, if nothing does.
    pub(super) const fn shut(&self) -> Option<&'static str> {
        self.shut
    }

    /// The senders, in order.
    pub(super) fn ways(&self) -> &[Arc<Way>] {
        &self.ways
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.ways.iter().map(|way| way.name.as_str()).collect()
    }

    /// Until when no sender takes anything, if every breaker is open.
    pub(super) fn closed_until(&self) -> Option<Timestamp> {
        let pauses = self.ways.iter().map(|way| way.breaker.open_until()).collect::<Option<Vec<_>>>()?;
        pauses.into_iter().min()
    }
}

impl Transports {
    /// Whether anything can leave for a tenant over a channel at all.
    pub(super) fn can_send(&self, tenant: &TenantContext, channel: Channel) -> bool {
        match mode(tenant.settings(), channel) {
            Mode::Off => false,
            Mode::Own => senders(tenant.settings(), channel) > 0,
            Mode::Platform => self.platform.of(channel).iter().any(|offered| offered.transport.is_set_up()),
        }
    }

    /// The route of a tenant's messages, with what can be kept of the one before.
    pub(super) fn route(&self, tenant: Option<&TenantContext>, channel: Channel, before: Option<&Route>) -> Route {
        let Some(tenant) = tenant else {
            return Route { version: None, shut: Some("unknown_tenant"), ways: Vec::new() };
        };
        let shut = (mode(tenant.settings(), channel) == Mode::Off).then_some("channel_off");
        let ways = self.ways(tenant, tenant.settings(), channel, before);
        Route { version: Some(tenant.version()), shut, ways }
    }

    /// The senders that a settings document, saved or not, names for a channel.
    pub(super) fn ways(
        &self,
        tenant: &TenantContext,
        settings: &Settings,
        channel: Channel,
        before: Option<&Route>,
    ) -> Vec<Arc<Way>> {
        let known = before.map(Route::ways).unwrap_or_default();
        let keep_or = |name: &str, made_from: MadeFrom, make: &dyn Fn(MadeFrom) -> Way| {
            let kept = known.iter().find(|way| way.name == name && way.made_from == made_from);
            kept.cloned().unwrap_or_else(|| Arc::new(make(made_from)))
        };
        match (mode(settings, channel), channel) {
            (Mode::Off, _) => Vec::new(),
            (Mode::Platform, _) => {
                let offered = self.platform.of(channel).iter();
                offered.map(|offered| keep_or(&offered.name, MadeFrom::Platform, &|made| offered.way(made))).collect()
            }
            (Mode::Own, Channel::Email) => {
                let make = |server: &SmtpServer| {
                    let made_from = MadeFrom::Smtp(Box::new(server.clone()));
                    keep_or(&server.name, made_from, &|made| self.mail_way(tenant, server, made))
                };
                settings.email.senders.iter().map(make).collect()
            }
            (Mode::Own, Channel::Sms) => {
                let make = |sender: &SmsSender| {
                    let callback = self.callback_url(tenant, sender.name());
                    let made_from = MadeFrom::Sms(Box::new(sender.clone()), callback.clone());
                    keep_or(sender.name(), made_from, &|made| self.sms_way(tenant, sender, &callback, made))
                };
                settings.sms.senders.iter().map(make).collect()
            }
        }
    }

    fn mail_way(&self, tenant: &TenantContext, server: &SmtpServer, made_from: MadeFrom) -> Way {
        let limit = server.timeout.map_or(smtp::DEFAULT_TIMEOUT, Duration::from_secs);
        let transport = self.maker.mail(tenant.id(), server, limit).unwrap_or_else(Unusable::sender);
        let (name, breaker) = (server.name.clone(), Breaker::default());
        Way { name, transport, limit, breaker, has_receipts: false, made_from }
    }

    fn sms_way(&self, tenant: &TenantContext, sender: &SmsSender, callback: &str, made_from: MadeFrom) -> Way {
        let limit = sender.timeout.map_or(sms::DEFAULT_TIMEOUT, Duration::from_secs);
        let made = self.maker.sms(tenant.id(), sender, limit, Some(callback.to_owned()));
        let transport = made.unwrap_or_else(Unusable::sender);
        let (name, breaker) = (sender.name().to_owned(), Breaker::default());
        Way { name, transport, limit, breaker, has_receipts: true, made_from }
    }

    /// Where a provider of that name reports deliveries, on the platform's own address.
    pub(super) fn callback_url(&self, tenant: &TenantContext, sender: &str) -> String {
        let slug = tenant.slug();
        let platform = tenant.issuer().strip_suffix(&format!("/t/{slug}")).unwrap_or(tenant.issuer());
        let token = self.digests.receipt_token(tenant.id(), sender);
        format!("{platform}/hooks/{slug}/{sender}?token={token}")
    }
}

impl Offered {
    fn way(&self, made_from: MadeFrom) -> Way {
        Way {
            name: self.name.clone(),
            transport: Arc::clone(&self.transport),
            limit: self.limit,
            breaker: Breaker::default(),
            has_receipts: false,
            made_from,
        }
    }
}

pub(super) fn mode(settings: &Settings, channel: Channel) -> Mode {
    let mode = match channel {
        Channel::Email => settings.email.mode,
        Channel::Sms => settings.sms.mode,
    };
    mode.unwrap_or_default()
}

fn senders(settings: &Settings, channel: Channel) -> usize {
    match channel {
        Channel::Email => settings.email.senders.len(),
        Channel::Sms => settings.sms.senders.len(),
    }
}

/// Stands where a sender cannot be made: refuses with the reason, so that the next one is asked and the
/// log tells why.
struct Unusable(&'static str);

impl Unusable {
    fn sender(unfit: Unfit) -> Arc<dyn Sender> {
        Arc::new(Self(unfit.word()))
    }
}

#[async_trait]
impl Sender for Unusable {
    async fn send(&self, _: &Envelope) -> Result<Receipt, DeliveryError> {
        Err(DeliveryError::refused(Stage::Resolve, self.0))
    }
}
