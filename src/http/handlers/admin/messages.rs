//! What was sent and what became of it; *send test*.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::page::{self, Page};
use crate::actors::administration::messages::{Delivery, TESTS_PER_HOUR, TestOutcome, Tested};
use crate::domain::contact::Contact;
use crate::domain::ids::{DeliveryId, MessageId};
use crate::domain::message::Channel;
use crate::domain::role::Role;
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::handlers::body;
use crate::http::limited;
use crate::http::openapi::Doc;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const LOG: &str = "/admin/v1/tenants/{slug}/messages";
const TEST_EMAIL: &str = "/admin/v1/tenants/{slug}/email/test";
const TEST_SMS: &str = "/admin/v1/tenants/{slug}/sms/test";

/// What the limit on tests is called in header fields, and its window.
const SENDER_TESTS: &str = "sender-tests";
const HOUR: Duration = Duration::from_hours(1);

/// The stage of a message that a sender has taken.
const ACCEPTED: &str = "accepted";

const ABOUT_TESTS: &str = "One real message through each sender of the settings in force, or of what the patch in \
                           `settings` would make of them; nothing is saved. The code in it opens nothing. Ten an hour for each channel. \
                           A number must be where those settings let text messages go (`sms.regions`); where a kill \
                           switch stops them, no sender is asked and each answers `sender` with `stopped`.";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    use ProblemCode as P;
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LOG, list)
        .describe(
            Doc::new("messages", "Attempts at messages, newest first")
                .about("A message that its first sender refused has a row for each sender. There is neither text nor code, and no recipient.")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .query("recipient", "To exactly this address or number, in any spelling.")
                .answer::<Page<AttemptView>>(200, "A page of them.")
                .problems(&[P::Validation, P::InvalidEmail, P::InvalidPhone]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, TEST_EMAIL, test_email)
        .describe(
            Doc::new("messages", "Send a test mail")
                .about(ABOUT_TESTS)
                .body::<NewTest>()
                .answer::<TestView>(200, "How far it came.")
                .problems(&[P::Validation, P::CredentialRequired, P::InvalidRequest, P::InvalidEmail, P::TooManyRequests]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, TEST_SMS, test_sms)
        .describe(
            Doc::new("messages", "Send a test SMS")
                .about(ABOUT_TESTS)
                .body::<NewTest>()
                .answer::<TestView>(200, "How far it came.")
                .problems(&[P::Validation, P::CredentialRequired, P::InvalidRequest, P::InvalidPhone, P::TooManyRequests]),
        )
}

/// One attempt at a message.
#[derive(Serialize, JsonSchema)]
pub(super) struct AttemptView {
    #[schemars(with = "String")]
    id: DeliveryId,
    /// Attempts at one message share it.
    #[schemars(with = "String")]
    message: MessageId,
    at: String,
    /// `sms` or `email`.
    channel: String,
    template: String,
    /// The sender's name; empty if none was to be asked.
    sender: String,
    /// The how-manieth of its message, from 1.
    attempt: u32,
    /// `skipped`, `refused`, `temporary`, `unknown`, `accepted`, `sent`, `undelivered` or `delivered`.
    state: &'static str,
    /// How far it came, if it failed.
    stage: Option<String>,
    /// Why it failed: a word of ours or the provider's code.
    code: Option<String>,
    latency_ms: u64,
    /// When a receipt last changed the state.
    told_at: Option<String>,
    /// `queued`, `sent`, `dead` or `expired`; null once the message itself is swept.
    message_state: Option<String>,
}

impl From<Delivery> for AttemptView {
    fn from(one: Delivery) -> Self {
        Self {
            id: one.id,
            message: one.message,
            at: one.at.to_rfc3339(),
            channel: one.channel,
            template: one.template,
            sender: one.sender,
            attempt: one.number,
            state: one.state.as_str(),
            stage: one.stage,
            code: one.code,
            latency_ms: u64::try_from(one.latency.as_millis()).unwrap_or(u64::MAX),
            told_at: one.told_at.map(Timestamp::to_rfc3339),
            message_state: one.message_state,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTest {
    /// An address or a number.
    to: String,
    /// A JSON merge patch of the settings, as for saving them.
    #[schemars(with = "Option<Settings>")]
    settings: Option<Value>,
}

/// How far the senders came.
#[derive(Serialize, JsonSchema)]
struct TestView {
    /// `accepted`, or the stage that failed: `resolve`, `connect`, `tls`, `auth`, `sender` or `recipient`.
    stage: &'static str,
    /// Why it failed, or what the provider calls the message.
    detail: String,
    /// Whose result this is: the first sender that took the message, else the first.
    sender: String,
    /// Each of them in order, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    senders: Vec<SenderView>,
}

#[derive(Serialize, JsonSchema)]
struct SenderView {
    sender: String,
    stage: &'static str,
    detail: String,
}

impl TestView {
    fn of(outcomes: Vec<TestOutcome>) -> Option<Self> {
        let taken = outcomes.iter().find(|one| one.stage == ACCEPTED);
        let TestOutcome { sender, stage, detail } = taken.or_else(|| outcomes.first())?.clone();
        let each = |one: TestOutcome| SenderView { sender: one.sender, stage: one.stage, detail: one.detail };
        let senders = if outcomes.len() > 1 { outcomes.into_iter().map(each).collect() } else { Vec::new() };
        Some(Self { stage, detail, sender, senders })
    }
}

async fn list(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let (limit, before) = (page::limit(&request)?, page::after(&request)?);
    let recipient = match request.query("recipient") {
        None => None,
        Some(typed) if typed.contains('@') => Some(Contact::Email(body::email(&typed)?)),
        Some(typed) => {
            let tenant = desk.administration.context(visit.tenant.id).await?;
            Some(Contact::Phone(body::phone(&typed, &tenant)?))
        }
    };
    let rows = desk.messages.page(&visit.tenant, recipient.as_ref(), before, limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.id.to_string(), AttemptView::from);
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

async fn test_email(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    test(&desk, visit, request, Channel::Email).await
}

async fn test_sms(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    test(&desk, visit, request, Channel::Sms).await
}

async fn test(desk: &Desk, visit: Visit, mut request: Request, channel: Channel) -> Answer {
    let NewTest { to, settings } = request.json().await?;
    let Visit { holder, tenant } = visit;
    let to = match channel {
        Channel::Email => Contact::Email(body::email(&to)?),
        Channel::Sms => Contact::Phone(body::phone(&to, &desk.administration.context(tenant.id).await?)?),
    };
    let draft = desk.administration.draft(&tenant, &settings.unwrap_or_else(|| json!({}))).await;
    let draft = draft.map_err(|refusal| refusal.below("/settings"))?;
    let outcomes = match desk.messages.test(&holder, &tenant, &draft, to).await? {
        Tested::Asked(outcomes) => outcomes,
        Tested::TooMany { wait } => return Err(limited::used_up(SENDER_TESTS, TESTS_PER_HOUR, HOUR, wait)),
        Tested::NoSender => Vec::new(),
    };
    let view = TestView::of(outcomes).ok_or_else(|| {
        Problem::from(ProblemCode::InvalidRequest).with_message("The channel is off: there is no sender to be tested.")
    })?;
    Ok(Reply::json(StatusCode::OK, &view).no_store())
}
