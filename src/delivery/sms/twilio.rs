//! Twilio's Programmable Messaging: `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::Instant;

use super::{InvalidSettings, SmsOptions, basic_auth, client, number, path_and_query, secret_header, under};
use crate::clock::Clock;
use crate::delivery::http::{Answer, Fault, HttpClient, refusal};
use crate::delivery::{DeliveryError, Envelope, Receipt, Sender, Stage};
use crate::secret::{ExposeSecret as _, SecretString};

/// Twilio's own address.
const BASE_URL: &str = "https://api.twilio.com";

/// Longest validity period it takes, in seconds.
const MAX_VALIDITY: u64 = 36_000;

/// What its codes mean where the HTTP status does not say enough
/// (twilio.com/docs/api/errors).
const FAULTS: &[Fault] = &[
    Fault::never("20003", Stage::Auth),
    Fault::never("20404", Stage::Sender),
    Fault::later("20429", Stage::Recipient),
    Fault::never("21212", Stage::Sender),
    Fault::never("21603", Stage::Sender),
    Fault::never("21606", Stage::Sender),
    Fault::never("21659", Stage::Sender),
    Fault::never("21660", Stage::Sender),
    Fault::never("21701", Stage::Sender),
    Fault::later("21611", Stage::Sender),
];

/// A Twilio account and whom it sends as.
#[derive(Debug, Clone)]
pub struct TwilioSettings {
    /// `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// Its token; it also signs the delivery receipts.
    pub auth_token: SecretString,
    /// A number or sender name of the account; this or `messaging_service_sid`.
    pub from: Option<String>,
    /// `MG` and 32 hexadecimal digits.
    pub messaging_service_sid: Option<String>,
    /// In place of Twilio's own address.
    pub base_url: Option<String>,
}

/// Sends through Twilio.
pub(super) struct TwilioSender {
    client: HttpClient,
    path: String,
    authorization: HeaderValue,
    /// `From` or `MessagingServiceSid`, with its value.
    sender: (&'static str, String),
    callback: Option<String>,
    timeout: Duration,
    clock: Clock,
}

impl TwilioSender {
    pub(super) fn new(settings: TwilioSettings, options: &SmsOptions) -> Result<Self, InvalidSettings> {
        if !is_sid(&settings.account_sid, "AC") {
            return Err(InvalidSettings::new("account_sid", "malformed"));
        }
        let sender = match (settings.from, settings.messaging_service_sid) {
            (Some(from), None) if !from.trim().is_empty() => ("From", from),
            (None, Some(sid)) if is_sid(&sid, "MG") => ("MessagingServiceSid", sid),
            (None, Some(_)) => return Err(InvalidSettings::new("messaging_service_sid", "malformed")),
            (_, None) => return Err(InvalidSettings::new("from", "required")),
            (Some(_), Some(_)) => return Err(InvalidSettings::new("from", "ambiguous")),
        };
        let base_url = settings.base_url.as_deref().unwrap_or(BASE_URL);
        let url = under(base_url, &format!("/2010-04-01/Accounts/{}/Messages.json", settings.account_sid))?;
        let authorization = basic_auth(&settings.account_sid, settings.auth_token.expose_secret());
        Ok(Self {
            client: client("base_url", base_url, options)?,
            path: path_and_query(&url).to_owned(),
            authorization: secret_header("auth_token", &authorization)?,
            sender,
            callback: options.callback.clone(),
            timeout: options.timeout,
            clock: options.clock.clone(),
        })
    }

    fn form(&self, envelope: &Envelope) -> Result<String, DeliveryError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", number(envelope)?);
        form.append_pair(self.sender.0, &self.sender.1);
        form.append_pair("Body", &envelope.rendered.text);
        if let Some(callback) = &self.callback {
            form.append_pair("StatusCallback", callback);
        }
        if let Some(not_after) = envelope.not_after {
            // A dead code must not arrive: better dropped on the way.
            let left = self.clock.now().until(not_after).as_secs().clamp(1, MAX_VALIDITY);
            form.append_pair("ValidityPeriod", &left.to_string());
        }
        Ok(form.finish())
    }
}

#[async_trait]
impl Sender for TwilioSender {
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
        let request = Request::post(self.path.as_str())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(self.form(envelope)?)))
            .map_err(|_| DeliveryError::refused(Stage::Sender, "request_malformed"))?;
        judge(&self.client.call(request, Instant::now() + self.timeout).await?)
    }
}

/// Of a message or of an error, what counts.
#[derive(Deserialize)]
struct Told {
    sid: Option<String>,
    /// A word for a message, the HTTP status for an error.
    status: Option<serde_json::Value>,
    error_code: Option<u32>,
    code: Option<u32>,
}

fn judge(answer: &Answer) -> Result<Receipt, DeliveryError> {
    let told = serde_json::from_slice::<Told>(&answer.body).ok();
    if !answer.status.is_success() {
        let code = told.and_then(|told| told.code).map(|code| code.to_string());
        return Err(refusal(answer.status, code.as_deref(), FAULTS));
    }
    let Some(told) = told else { return Err(DeliveryError::unknown("answer_unreadable")) };
    let given_up = ["failed", "undelivered", "canceled"];
    if told.status.as_ref().and_then(serde_json::Value::as_str).is_some_and(|status| given_up.contains(&status)) {
        let code = told.error_code.map(|code| code.to_string());
        return Err(refusal(answer.status, code.as_deref(), FAULTS));
    }
    Ok(Receipt::named(told.sid))
}

/// Two letters and 32 hexadecimal digits.
fn is_sid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
