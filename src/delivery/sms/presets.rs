//! Providers that need no code of their own: a request and a rule for [`generic`](super::generic),
//! and what their codes mean.

use serde_json::json;

use super::generic::{HttpBody, HttpMethod, HttpSender, HttpSettings, SuccessRule};
use super::{InvalidSettings, SmsOptions, basic_auth, under};
use crate::delivery::Stage;
use crate::delivery::http::Fault;
use crate::secret::{ExposeSecret as _, SecretString};

const FORM: &str = "application/x-www-form-urlencoded";

/// Longest receipt URL that Vonage takes.
const VONAGE_CALLBACK: usize = 100;

/// Vonage's SMS API.
#[derive(Debug, Clone)]
pub struct VonageSettings {
    /// The account's key.
    pub api_key: String,
    /// Its secret.
    pub api_secret: SecretString,
    /// A number or a sender name.
    pub from: String,
    /// In place of `https://rest.nexmo.com`.
    pub base_url: Option<String>,
}

/// It answers 200 whatever happened; the status stands in the body, one for each part of the text.
const VONAGE_FAULTS: &[Fault] = &[
    Fault::later("1", Stage::Recipient),
    Fault::never("2", Stage::Sender),
    Fault::never("3", Stage::Recipient),
    Fault::never("4", Stage::Auth),
    Fault::later("5", Stage::Recipient),
    Fault::never("8", Stage::Auth),
    Fault::never("9", Stage::Sender),
    Fault::later("10", Stage::Recipient),
    Fault::never("11", Stage::Auth),
    Fault::never("14", Stage::Auth),
    Fault::never("15", Stage::Sender),
    Fault::never("23", Stage::Sender),
    Fault::never("32", Stage::Auth),
];

pub(super) fn vonage(settings: &VonageSettings, options: &SmsOptions) -> Result<HttpSender, InvalidSettings> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("from", required("from", &settings.from)?);
    if let Some(callback) = options.callback.as_ref().filter(|callback| callback.len() <= VONAGE_CALLBACK) {
        form.append_pair("callback", callback);
    }
    let request = HttpSettings {
        url: under(settings.base_url.as_deref().unwrap_or("https://rest.nexmo.com"), "/sms/json")?,
        method: HttpMethod::Post,
        headers: vec![
            ("content-type".to_owned(), FORM.into()),
            ("authorization".to_owned(), basic_auth(&settings.api_key, settings.api_secret.expose_secret()).into()),
        ],
        body: HttpBody::Text(format!("{}&to={{to_digits}}&text={{text}}&type={{encoding}}", form.finish())),
        success: SuccessRule {
            status: vec![200],
            pointer: Some("/messages/0/status".to_owned()),
            equals: Some(json!("0")),
            reference: Some("/messages/0/message-id".to_owned()),
            code: None,
        },
    };
    HttpSender::new(request, VONAGE_FAULTS, options).map_err(in_base_url)
}

/// Africa's Talking's bulk SMS.
#[derive(Debug, Clone)]
pub struct AfricasTalkingSettings {
    /// The application's user name; `sandbox` reaches their sandbox.
    pub username: String,
    /// Its key.
    pub api_key: SecretString,
    /// A short code or sender name; theirs unless set.
    pub from: Option<String>,
    /// In place of `https://api.africastalking.com`.
    pub base_url: Option<String>,
}

/// It answers 201 when it has read the request; what became of each number stands in the body.
const AFRICAS_TALKING_FAULTS: &[Fault] = &[
    Fault::never("401", Stage::Recipient),
    Fault::never("402", Stage::Sender),
    Fault::never("403", Stage::Recipient),
    Fault::never("404", Stage::Recipient),
    Fault::never("405", Stage::Sender),
    Fault::never("406", Stage::Recipient),
    Fault::never("407", Stage::Recipient),
    Fault::never("409", Stage::Recipient),
    Fault::later("500", Stage::Recipient),
    Fault::later("501", Stage::Recipient),
    Fault::never("502", Stage::Recipient),
];

pub(super) fn africas_talking(
    settings: &AfricasTalkingSettings,
    options: &SmsOptions,
) -> Result<HttpSender, InvalidSettings> {
    let sandbox = settings.username == "sandbox";
    let own = if sandbox { "https://api.sandbox.africastalking.com" } else { "https://api.africastalking.com" };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("username", required("username", &settings.username)?).append_pair("bulkSMSMode", "1");
    if let Some(from) = &settings.from {
        form.append_pair("from", from);
    }
    let request = HttpSettings {
        url: under(settings.base_url.as_deref().unwrap_or(own), "/version1/messaging")?,
        method: HttpMethod::Post,
        headers: vec![("content-type".to_owned(), FORM.into()), ("apikey".to_owned(), settings.api_key.clone())],
        body: HttpBody::Text(format!("{}&to={{to}}&message={{text}}", form.finish())),
        success: SuccessRule {
            status: vec![200, 201],
            pointer: Some("/SMSMessageData/Recipients/0/statusCode".to_owned()),
            // Processed, sent, queued.
            equals: Some(json!([100, 101, 102])),
            reference: Some("/SMSMessageData/Recipients/0/messageId".to_owned()),
            code: None,
        },
    };
    HttpSender::new(request, AFRICAS_TALKING_FAULTS, options).map_err(in_base_url)
}

/// Infobip's SMS API, version 3.
#[derive(Debug, Clone)]
pub struct InfobipSettings {
    /// The account's key.
    pub api_key: SecretString,
    /// A number or a sender name.
    pub from: String,
    /// The account's own address, such as `https://xyz123.api.infobip.com`, in place of
    /// `https://api.infobip.com`.
    pub base_url: Option<String>,
}

/// By the group of a message's status: undeliverable, expired, rejected.
const INFOBIP_FAULTS: &[Fault] = &[
    Fault::never("2", Stage::Recipient),
    Fault::never("4", Stage::Recipient),
    Fault::never("5", Stage::Recipient),
    Fault::never("UNAUTHORIZED", Stage::Auth),
    Fault::later("TOO_MANY_REQUESTS", Stage::Recipient),
];

pub(super) fn infobip(settings: &InfobipSettings, options: &SmsOptions) -> Result<HttpSender, InvalidSettings> {
    let mut message = json!({
        "sender": required("from", &settings.from)?,
        "destinations": [{ "to": "{to_digits}" }],
        "content": { "text": "{text}" },
    });
    if let (Some(callback), Some(message)) = (&options.callback, message.as_object_mut()) {
        let report = json!({ "delivery": { "url": callback }, "contentType": "application/json" });
        message.insert("webhooks".to_owned(), report);
    }
    let request = HttpSettings {
        url: under(settings.base_url.as_deref().unwrap_or("https://api.infobip.com"), "/sms/3/messages")?,
        method: HttpMethod::Post,
        headers: vec![("authorization".to_owned(), format!("App {}", settings.api_key.expose_secret()).into())],
        body: HttpBody::Json(json!({ "messages": [message] })),
        success: SuccessRule {
            status: Vec::new(),
            pointer: Some("/messages/0/status/groupId".to_owned()),
            // Accepted, pending, delivered.
            equals: Some(json!([0, 1, 3])),
            reference: Some("/messages/0/messageId".to_owned()),
            code: Some("/requestError/serviceException/messageId".to_owned()),
        },
    };
    HttpSender::new(request, INFOBIP_FAULTS, options).map_err(in_base_url)
}

fn required<'a>(setting: &'static str, value: &'a str) -> Result<&'a str, InvalidSettings> {
    if value.trim().is_empty() { Err(InvalidSettings::new(setting, "required")) } else { Ok(value) }
}

/// A preset's URL is its base URL and a route of ours, its headers are one credential.
fn in_base_url(invalid: InvalidSettings) -> InvalidSettings {
    match invalid.setting {
        "url" => InvalidSettings { setting: "base_url", ..invalid },
        "headers" => InvalidSettings { setting: "api_key", ..invalid },
        _ => invalid,
    }
}
