//! Delivery receipts: what a provider calls back to say what became of a message.
//!
//! Pure reading. Whether the call may be believed is judged before: Twilio signs its calls
//! ([`twilio_signature_holds`]); the others are known by a secret in the URL that they were given.
//! Receipts come early, twice, out of order, and for messages nobody knows; that is for whoever
//! keeps the messages. What cannot be read is no report, never an error: a provider that is told
//! off calls again and again.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::{ProviderKind, scalar};
use crate::delivery::{Reason, Receipt};

/// Reports taken from one call; providers send one, Infobip a few.
const MAX_REPORTS: usize = 100;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// On the phone. Final.
    Delivered,
    /// It will not arrive. Final.
    Undelivered,
    /// On its way.
    Sent,
    /// The provider does not know, or says a word that we do not.
    Unknown,
}

impl DeliveryState {
    /// A stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Sent => "sent",
            Self::Unknown => "unknown",
        }
    }
}

/// One message's news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// What [`Receipt::reference`](crate::delivery::Receipt) called it.
    pub reference: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Why not, in the provider's code.
    pub code: Option<Reason>,
}

/// A provider's call, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    /// Its method.
    pub method: &'a Method,
    /// What follows the `?` of its URL; empty if nothing does.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

impl DeliveryReport {
    fn new(reference: Option<String>, state: DeliveryState, code: Option<String>) -> Option<Self> {
        let reference = Receipt::named(reference).reference?;
        // Zero is every provider's word for no error.
        let code = code.filter(|code| !code.trim_start_matches('0').is_empty());
        Some(Self { reference, state, code: code.as_deref().map(Reason::code) })
    }
}

/// The reports of a call.
#[must_use]
pub fn reports(provider: ProviderKind, callback: &Callback<'_>) -> Vec<DeliveryReport> {
    let fields = Fields::of(callback);
    let one = match provider {
        ProviderKind::Twilio => twilio(&fields),
        ProviderKind::Vonage => vonage(&fields),
        ProviderKind::AfricasTalking => africas_talking(&fields),
        ProviderKind::Orange => orange(&fields),
        ProviderKind::Http => generic(&fields),
        ProviderKind::Infobip => return infobip(&fields),
    };
    one.into_iter().collect()
}

/// Did whoever holds the account's token sign this call to exactly `url`, as Twilio was given it?
/// `verify` answers whether the second is the HMAC-SHA1 of the first under that token, in constant
/// time.
///
/// What is signed: the URL, then the form's pairs sorted by name, names and values run together.
#[must_use]
pub fn twilio_signature_holds(url: &str, callback: &Callback<'_>, verify: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let Some(presented) = callback.headers.get("x-twilio-signature") else { return false };
    let Ok(presented) = STANDARD.decode(presented) else { return false };
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(callback.body).collect();
    pairs.sort();
    // A pair sent twice is signed once.
    pairs.dedup();
    let mut signed = url.to_owned();
    for (name, value) in &pairs {
        signed.push_str(name);
        signed.push_str(value);
    }
    verify(signed.as_bytes(), &presented)
}

/// What a call says, however it says it.
enum Fields {
    Json(Value),
    Pairs(Vec<(String, String)>),
}

impl Fields {
    fn of(callback: &Callback<'_>) -> Self {
        let pairs = |bytes: &[u8]| form_urlencoded::parse(bytes).into_owned().collect();
        if *callback.method == Method::GET || callback.body.is_empty() {
            return Self::Pairs(pairs(callback.query.as_bytes()));
        }
        let kind = callback.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.contains("form-urlencoded") {
            return Self::Pairs(pairs(callback.body));
        }
        // Some send JSON without saying so.
        serde_json::from_slice(callback.body).map_or_else(|_| Self::Pairs(pairs(callback.body)), Self::Json)
    }

    /// A member of that name at the top.
    fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Json(value) => value.get(name).and_then(scalar),
            Self::Pairs(pairs) => pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        }
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        match self {
            Self::Json(value) => value.pointer(pointer),
            Self::Pairs(_) => None,
        }
    }
}

/// The state of a word, letters' case aside.
fn state_of(word: &str, words: &[(&str, DeliveryState)]) -> DeliveryState {
    let known = words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or(DeliveryState::Unknown, |(_, state)| *state)
}

fn twilio(fields: &Fields) -> Option<DeliveryReport> {
    let words = [
        ("delivered", DeliveryState::Delivered),
        ("read", DeliveryState::Delivered),
        ("undelivered", DeliveryState::Undelivered),
        ("failed", DeliveryState::Undelivered),
        ("canceled", DeliveryState::Undelivered),
        ("accepted", DeliveryState::Sent),
        ("scheduled", DeliveryState::Sent),
        ("queued", DeliveryState::Sent),
        ("sending", DeliveryState::Sent),
        ("sent", DeliveryState::Sent),
    ];
    let state = state_of(&fields.get("MessageStatus")?, &words);
    DeliveryReport::new(fields.get("MessageSid"), state, fields.get("ErrorCode"))
}

fn vonage(fields: &Fields) -> Option<DeliveryReport> {
    let words = [
        ("delivered", DeliveryState::Delivered),
        ("expired", DeliveryState::Undelivered),
        ("failed", DeliveryState::Undelivered),
        ("rejected", DeliveryState::Undelivered),
        ("deleted", DeliveryState::Undelivered),
        ("accepted", DeliveryState::Sent),
        ("buffered", DeliveryState::Sent),
    ];
    let state = state_of(&fields.get("status")?, &words);
    DeliveryReport::new(fields.get("messageId"), state, fields.get("err-code"))
}

fn africas_talking(fields: &Fields) -> Option<DeliveryReport> {
    let words = [
        ("Success", DeliveryState::Delivered),
        ("Rejected", DeliveryState::Undelivered),
        ("Failed", DeliveryState::Undelivered),
        ("AbsentSubscriber", DeliveryState::Undelivered),
        ("Expired", DeliveryState::Undelivered),
        ("Sent", DeliveryState::Sent),
        ("Submitted", DeliveryState::Sent),
        ("Buffered", DeliveryState::Sent),
    ];
    let state = state_of(&fields.get("status")?, &words);
    DeliveryReport::new(fields.get("id"), state, fields.get("failureReason"))
}

fn orange(fields: &Fields) -> Option<DeliveryReport> {
    let words = [
        ("DeliveredToTerminal", DeliveryState::Delivered),
        ("DeliveryImpossible", DeliveryState::Undelivered),
        ("DeliveredToNetwork", DeliveryState::Sent),
        ("MessageWaiting", DeliveryState::Sent),
        ("DeliveryUncertain", DeliveryState::Unknown),
    ];
    let notification = fields.at("/deliveryInfoNotification")?;
    let status = notification.pointer("/deliveryInfo/deliveryStatus").and_then(Value::as_str)?;
    // The resource's address, or its last part alone.
    let data = notification.get("callbackData").and_then(Value::as_str)?;
    let reference = data.rsplit('/').next().map(str::to_owned);
    let state = state_of(status, &words);
    let code = (state == DeliveryState::Undelivered).then(|| status.to_owned());
    DeliveryReport::new(reference, state, code)
}

fn infobip(fields: &Fields) -> Vec<DeliveryReport> {
    let results = fields.at("/results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let report = |result: &Value| {
        let state = match result.pointer("/status/groupId").and_then(Value::as_u64)? {
            0 | 1 => DeliveryState::Sent,
            2 | 4 | 5 => DeliveryState::Undelivered,
            3 => DeliveryState::Delivered,
            _ => DeliveryState::Unknown,
        };
        let code = result.pointer("/error/id").and_then(scalar);
        DeliveryReport::new(result.get("messageId").and_then(scalar), state, code)
    };
    results.iter().take(MAX_REPORTS).filter_map(report).collect()
}

/// Any other provider, or a program between it and us: `reference`, `status`, `code`.
fn generic(fields: &Fields) -> Option<DeliveryReport> {
    let words = [
        ("delivered", DeliveryState::Delivered),
        ("undelivered", DeliveryState::Undelivered),
        ("sent", DeliveryState::Sent),
    ];
    let state = state_of(&fields.get("status")?, &words);
    DeliveryReport::new(fields.get("reference"), state, fields.get("code"))
}
