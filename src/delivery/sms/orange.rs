//! Orange's SMS API for Africa and the Middle East: a token, then
//! `POST /smsmessaging/v1/outbound/{sender}/requests`.
//!
//! The token lives for an hour. It is fetched by the first message that needs it; others that come
//! meanwhile wait for the same fetch. A message refused with 401 makes one fresh token and tries
//! once more with it: the refusal was complete, so nothing is sent twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{InvalidSettings, SmsOptions, basic_auth, client, number, path_and_query, scalar, secret_header, under};
use crate::clock::Clock;
use crate::delivery::http::{Answer, Fault, HttpClient, refusal};
use crate::delivery::{DeliveryError, Envelope, Receipt, Sender, Stage};
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret as _, SecretString};

/// Orange's own address.
const BASE_URL: &str = "https://api.orange.com";

/// A token this close to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(60);

/// A token whose life nobody tells is kept this long.
const DEFAULT_LIFE: Duration = Duration::from_secs(600);

/// What its codes mean (GSMA OneAPI): the policies are about the contract, not the caller.
const FAULTS: &[Fault] = &[
    Fault::later("SVC0001", Stage::Recipient),
    Fault::never("SVC0002", Stage::Sender),
    Fault::never("SVC0003", Stage::Sender),
    Fault::never("SVC0004", Stage::Recipient),
    Fault::never("SVC0280", Stage::Recipient),
    Fault::later("POL0001", Stage::Sender),
    Fault::never("POL1009", Stage::Sender),
    Fault::never("POL3003", Stage::Sender),
    Fault::never("POL3101", Stage::Sender),
];

/// An Orange application and whom it sends as.
#[derive(Debug, Clone)]
pub struct OrangeSettings {
    /// The application's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// The country's sender number, such as `+2210000`.
    pub sender_address: String,
    /// A name that Orange has agreed to.
    pub sender_name: Option<String>,
    /// In place of Orange's own address.
    pub base_url: Option<String>,
}

/// Sends through Orange.
pub(super) struct OrangeSender {
    client: Arc<HttpClient>,
    path: String,
    sender_address: String,
    sender_name: Option<String>,
    timeout: Duration,
    tokens: Tokens,
}

impl OrangeSender {
    pub(super) fn new(settings: OrangeSettings, options: &SmsOptions) -> Result<Self, InvalidSettings> {
        let digits = settings.sender_address.strip_prefix('+').unwrap_or(&settings.sender_address);
        if !(3..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidSettings::new("sender_address", "malformed"));
        }
        let sender_address = format!("tel:+{digits}");
        let base_url = settings.base_url.as_deref().unwrap_or(BASE_URL);
        let encoded = utf8_percent_encode(&sender_address, NON_ALPHANUMERIC);
        let url = under(base_url, &format!("/smsmessaging/v1/outbound/{encoded}/requests"))?;
        let path = path_and_query(&url).to_owned();
        let client = Arc::new(client("base_url", base_url, options)?);
        let authorization = basic_auth(&settings.client_id, settings.client_secret.expose_secret());
        let tokens = Tokens {
            client: Arc::clone(&client),
            path: path_and_query(&under(base_url, "/oauth/v3/token")?).to_owned(),
            authorization: secret_header("client_secret", &authorization)?,
            clock: options.clock.clone(),
            flight: Mutex::new(None),
        };
        Ok(Self { client, path, sender_address, sender_name: settings.sender_name, timeout: options.timeout, tokens })
    }

    fn body(&self, envelope: &Envelope) -> Result<Bytes, DeliveryError> {
        let mut request = json!({
            "address": format!("tel:{}", number(envelope)?),
            "senderAddress": self.sender_address,
            "outboundSMSTextMessage": { "message": envelope.rendered.text },
        });
        if let (Some(name), Some(request)) = (&self.sender_name, request.as_object_mut()) {
            request.insert("senderName".to_owned(), json!(name));
        }
        Ok(Bytes::from(json!({ "outboundSMSMessageRequest": request }).to_string()))
    }

    async fn post(&self, body: Bytes, token: &Token, deadline: Instant) -> Result<Answer, DeliveryError> {
        let request = Request::post(self.path.as_str())
            .header(AUTHORIZATION, token.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| DeliveryError::refused(Stage::Sender, "request_malformed"))?;
        self.client.call(request, deadline).await
    }
}

#[async_trait]
impl Sender for OrangeSender {
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
        let body = self.body(envelope)?;
        let deadline = Instant::now() + self.timeout;
        let token = self.tokens.get(None, self.timeout).await?;
        let mut answer = self.post(body.clone(), &token, deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let left = deadline.saturating_duration_since(Instant::now());
            let fresh = self.tokens.get(Some(&token), left).await?;
            answer = self.post(body, &fresh, deadline).await?;
        }
        judge(&answer)
    }
}

fn judge(answer: &Answer) -> Result<Receipt, DeliveryError> {
    let told = serde_json::from_slice::<Value>(&answer.body).ok();
    let at = |pointer| told.as_ref().and_then(|told| told.pointer(pointer)).and_then(scalar);
    if !answer.status.is_success() {
        let code = at("/requestError/serviceException/messageId")
            .or_else(|| at("/requestError/policyException/messageId"))
            .or_else(|| at("/code"));
        return Err(refusal(answer.status, code.as_deref(), FAULTS));
    }
    // The last part of the resource's address is what a receipt calls the message.
    let resource = at("/outboundSMSMessageRequest/resourceURL");
    let reference = resource.and_then(|url| url.rsplit('/').next().map(str::to_owned));
    Ok(Receipt::named(reference))
}

/// A token, ready for use.
#[derive(Clone)]
struct Token {
    authorization: HeaderValue,
    /// Not to be used from then on.
    expires: Timestamp,
}

type Fetch = Shared<BoxFuture<'static, Result<Token, DeliveryError>>>;

/// The current token, or the one fetch for it that is under way.
struct Tokens {
    client: Arc<HttpClient>,
    path: String,
    authorization: HeaderValue,
    clock: Clock,
    flight: Mutex<Option<Fetch>>,
}

impl Tokens {
    /// A token other than `refused`: the cached one while it lives, else a fresh one.
    ///
    /// The fetch has the first caller's deadline; whoever joins it later ends no later than that.
    async fn get(&self, refused: Option<&Token>, within: Duration) -> Result<Token, DeliveryError> {
        let fetch = {
            let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
            match flight.as_ref().filter(|fetch| self.serves(fetch, refused)) {
                Some(fetch) => fetch.clone(),
                None => flight.insert(self.fetch(Instant::now() + within)).clone(),
            }
        };
        fetch.await
    }

    /// Is it still under way, or did it bring a token that lives and was not refused?
    fn serves(&self, fetch: &Fetch, refused: Option<&Token>) -> bool {
        match fetch.peek() {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(token)) => {
                self.clock.now() < token.expires
                    && refused.is_none_or(|refused| refused.authorization != token.authorization)
            }
        }
    }

    fn fetch(&self, deadline: Instant) -> Fetch {
        let (client, clock) = (Arc::clone(&self.client), self.clock.clone());
        let request = Request::post(self.path.as_str())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from_static(b"grant_type=client_credentials")));
        let fetching = async move {
            let request = request.map_err(|_| DeliveryError::refused(Stage::Auth, "request_malformed"))?;
            let answer = client.call(request, deadline).await.map_err(nothing_was_sent)?;
            read_token(&answer, clock.now())
        };
        fetching.boxed().shared()
    }
}

/// Without a token no message left: silence here is as definite as a refusal.
fn nothing_was_sent(error: DeliveryError) -> DeliveryError {
    match error {
        DeliveryError::Unknown { reason } => DeliveryError::Temporary { stage: Stage::Auth, reason },
        definite => definite,
    }
}

fn read_token(answer: &Answer, now: Timestamp) -> Result<Token, DeliveryError> {
    let told = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if !answer.status.is_success() {
        // Whatever it says, it says it about our credentials.
        let error = refusal(answer.status, told.get("error").and_then(scalar).as_deref(), &[]);
        return Err(match error {
            DeliveryError::Refused { reason, .. } => DeliveryError::Refused { stage: Stage::Auth, reason },
            DeliveryError::Temporary { reason, .. } => DeliveryError::Temporary { stage: Stage::Auth, reason },
            unknown @ DeliveryError::Unknown { .. } => unknown,
        });
    }
    let unreadable = || DeliveryError::temporary(Stage::Auth, "answer_unreadable");
    let token = told.get("access_token").and_then(Value::as_str).ok_or_else(unreadable)?;
    // RFC 6749 §5.1 wants a number; Orange sends a string.
    let seconds = told.get("expires_in").and_then(scalar).and_then(|text| text.parse::<u64>().ok());
    let life = seconds.map_or(DEFAULT_LIFE, Duration::from_secs);
    let authorization = secret_header("access_token", &format!("Bearer {token}")).map_err(|_| unreadable())?;
    Ok(Token { authorization, expires: now + life.saturating_sub(MARGIN) })
}
