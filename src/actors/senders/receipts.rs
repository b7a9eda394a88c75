//! Delivery receipts: a provider calls back to say what became of a message.
//!
//! A call is believed if its URL carries the secret that was given to the provider for this tenant and
//! sender, and, where the provider signs its calls (Twilio), if the signature holds for exactly that
//! URL. What it says moves the delivery log forward, in whatever order it comes; *undelivered* takes
//! the message to its next sender while it is worth sending.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::{Office, Postman, route};
use crate::actors::credentials::Place;
use crate::actors::failure::Failure;
use crate::crypto::digest;
use crate::delivery::sms::ProviderKind;
use crate::delivery::sms::receipts::{self, Callback, DeliveryReport};
use crate::domain::delivery::DeliveryState;
use crate::domain::message::Channel;
use crate::domain::settings::{Mode, SmsKind, SmsSender};
use crate::storage::{Noted, Receipt};
use crate::telemetry;
use crate::tenant::TenantContext;

/// A provider's call, as it came.
#[derive(Debug)]
pub struct ReceiptCall {
    /// Its method.
    pub method: Method,
    /// What follows the `?` of its URL; holds the secret.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptOutcome {
    /// Taken in, whether or not there was news in it.
    Taken,
    /// No such sender, or not its secret: one answer for both.
    Unknown,
    /// The secret is right and the signature is not.
    Forged,
}

/// Takes receipts in. Clones share everything.
#[derive(Clone)]
pub struct Receipts(Arc<Office>);

impl Receipts {
    /// For what this postman sends.
    #[must_use]
    pub fn new(postman: &Postman) -> Self {
        Self(Arc::clone(&postman.0.office))
    }

    /// Where a tenant's provider is to report deliveries; holds a secret. Providers that take it with
    /// each message get it by themselves; for the others it is pasted into their console.
    #[must_use]
    pub fn callback_url(&self, tenant: &TenantContext, sender: &str) -> String {
        self.0.transports.callback_url(tenant, sender)
    }

    /// Takes in a call for the sender of that name.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if storage is away; providers call again.
    pub async fn take(
        &self,
        tenant: &TenantContext,
        sender: &str,
        call: &ReceiptCall,
    ) -> Result<ReceiptOutcome, Failure> {
        let Some(settings) = self.sender(tenant, sender, call) else { return Ok(ReceiptOutcome::Unknown) };
        let callback = Callback { method: &call.method, query: &call.query, headers: &call.headers, body: &call.body };
        if settings.kind == SmsKind::Twilio && !self.is_signed(tenant, settings, &callback) {
            return Ok(ReceiptOutcome::Forged);
        }
        for report in receipts::reports(provider(settings.kind), &callback) {
            self.note(tenant, sender, &report).await?;
        }
        Ok(ReceiptOutcome::Taken)
    }

    /// The tenant's own sender of that name, if the call carries its secret.
    fn sender<'a>(&self, tenant: &'a TenantContext, name: &str, call: &ReceiptCall) -> Option<&'a SmsSender> {
        let settings = tenant.settings();
        let own = (route::mode(settings, Channel::Sms) == Mode::Own).then_some(&settings.sms.senders)?;
        let expected = self.0.renderer.digests.receipt_token(tenant.id(), name);
        let presented = form_urlencoded::parse(call.query.as_bytes()).find(|(member, _)| member == "token")?.1;
        // Also for a name that nobody has: the time tells no more than the answer.
        let is_right = digest::constant_time_eq(expected.as_bytes(), presented.as_bytes());
        own.iter().find(|sender| sender.name() == name).filter(|_| is_right)
    }

    fn is_signed(&self, tenant: &TenantContext, sender: &SmsSender, callback: &Callback<'_>) -> bool {
        let place = Place { tenant: tenant.id(), channel: Channel::Sms, sender: sender.name(), member: "auth_token" };
        let Some(Ok(token)) =
            sender.auth_token.as_ref().map(|sealed| self.0.transports.maker.credentials.open(&place, sealed))
        else {
            return false;
        };
        let url = self.callback_url(tenant, sender.name());
        receipts::twilio_signature_holds(&url, callback, |signed, presented| {
            digest::hmac_sha1_holds(&token, signed, presented)
        })
    }

    async fn note(&self, tenant: &TenantContext, sender: &str, report: &DeliveryReport) -> Result<(), Failure> {
        let state = match report.state {
            receipts::DeliveryState::Sent => DeliveryState::Sent,
            receipts::DeliveryState::Delivered => DeliveryState::Delivered,
            receipts::DeliveryState::Undelivered => DeliveryState::Undelivered,
            receipts::DeliveryState::Unknown => return Ok(()),
        };
        let code = report.code.as_ref().map(crate::delivery::Reason::as_str);
        let receipt = Receipt { tenant: tenant.id(), sender, reference: &report.reference, state, code };
        let senders: Vec<_> = tenant.settings().sms.senders.iter().map(SmsSender::name).collect();
        let noted = self.0.storage.deliveries().note(&receipt, &senders, self.0.clock.now()).await?;
        if matches!(noted, Noted::Changed | Noted::SentAgain) {
            metrics::counter!(telemetry::DELIVERIES, "channel" => "sms", "state" => state.as_str()).increment(1);
        }
        Ok(())
    }
}

const fn provider(kind: SmsKind) -> ProviderKind {
    match kind {
        SmsKind::Twilio => ProviderKind::Twilio,
        SmsKind::Orange => ProviderKind::Orange,
        SmsKind::Vonage => ProviderKind::Vonage,
        SmsKind::Africastalking => ProviderKind::AfricasTalking,
        SmsKind::Infobip => ProviderKind::Infobip,
        SmsKind::Http => ProviderKind::Http,
    }
}
