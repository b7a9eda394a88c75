//! *Send test*: one real message through every sender of a draft, and how far each came.
//!
//! The draft is not saved yet. The renderer and the senders are those that real messages take, made in
//! the same way; only the outbox is left out, which has no part in whether a sender works. The code in
//! the message opens nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Postman;
use super::route::Way;
use crate::actors::failure::Failure;
use crate::delivery::{DeliveryError, Envelope, Stage};
use crate::domain::budget::Withheld;
use crate::domain::contact::Contact;
use crate::domain::ids::{ChallengeId, MessageId};
use crate::domain::message::{Channel, CodeRef, Content, Message};
use crate::domain::policy::{Policy, ResendPolicy};
use crate::domain::settings::Settings;
use crate::ephemeral::{MailCount, MailVerdict};
use crate::tenant::TenantContext;

/// What a test may take, so that its answer comes within a request's time.
const LIMIT: Duration = Duration::from_secs(7);

/// Tests of one channel that a tenant may make in an hour: a button that sends is also a way to send much.
pub const TESTS_PER_HOUR: u32 = 10;

const CEILING: ResendPolicy =
    ResendPolicy { cooldown: Duration::ZERO, per_hour: TESTS_PER_HOUR, per_day: 24 * TESTS_PER_HOUR };

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tested {
    /// How far each sender came, in the draft's order.
    Asked(Vec<TestOutcome>),
    /// The channel is off, or there is no sender.
    NoSender,
    /// Too many tests.
    TooMany {
        /// How long until the next one fits.
        wait: Duration,
    },
}

/// How far one sender came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// The sender's name.
    pub sender: String,
    /// The stage reached: `accepted`, or the one that failed.
    pub stage: &'static str,
    /// Why it failed, or what the provider calls the message; empty if there is nothing to tell.
    pub detail: String,
}

impl Postman {
    /// Sends a test message to `to` through every sender that `draft` names for its kind of contact; `policy` is
    /// what the draft makes of the tenant's rules. A kill switch that stops codes stops tests.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the tests cannot be counted.
    pub async fn test(
        &self,
        tenant: &TenantContext,
        draft: &Settings,
        policy: &Policy,
        to: Contact,
    ) -> Result<Tested, Failure> {
        let office = &self.0.office;
        let (here, whose, hasty, channel) = (Arc::clone(office), tenant.clone(), hastened(draft), to.channel());
        // Senders under TLS read the system's certificates from disk.
        let made = tokio::task::spawn_blocking(move || here.transports.ways(&whose, &hasty, channel, None));
        let ways = made.await.map_err(|_| Failure::Internal)?;
        if ways.is_empty() {
            return Ok(Tested::NoSender);
        }
        if channel == Channel::Sms && office.budget.would_be_stopped(draft, policy) {
            return Ok(Tested::Asked(ways.iter().map(|way| held_back(&way.name)).collect()));
        }
        let class = match channel {
            Channel::Email => "email_test",
            Channel::Sms => "sms_test",
        };
        let count = MailCount::new(&office.entropy, [0; 32], class);
        if let MailVerdict::Refused(wait) = office.ephemeral.count_mail(tenant.id(), &CEILING, &count).await? {
            return Ok(Tested::TooMany { wait: wait.left() });
        }
        let message = self.test_message(tenant, draft, to);
        let envelope = office.renderer.envelope(&message, office.clock.now()).map_err(|error| {
            tracing::error!(%error, "a test message cannot be rendered");
            Failure::Internal
        })?;
        Ok(Tested::Asked(join_all(ways.iter().map(|way| try_one(way, &envelope))).await))
    }

    fn test_message(&self, tenant: &TenantContext, draft: &Settings, to: Contact) -> Message {
        let office = &self.0.office;
        let (now, policy) = (office.clock.now(), tenant.policy());
        let rules = match to.channel() {
            Channel::Email => policy.email_code,
            Channel::Sms => policy.sms_code,
        };
        let code = CodeRef {
            challenge: ChallengeId::random(office.entropy.bytes()),
            key_id: office.renderer.digests.key_id().to_owned(),
            length: rules.length,
        };
        Message {
            id: MessageId::at(now, office.entropy.bytes()),
            tenant: tenant.id(),
            content: match to.channel() {
                Channel::Email => Content::DeviceCode(code),
                Channel::Sms => Content::SignInCode(code),
            },
            to,
            locale: draft.locale.unwrap_or(policy.locale),
            not_after: now + rules.ttl,
        }
    }
}

/// The draft with no deadline beyond a test's.
fn hastened(draft: &Settings) -> Settings {
    let mut draft = draft.clone();
    let most = LIMIT.as_secs();
    for server in &mut draft.email.senders {
        server.timeout = Some(server.timeout.unwrap_or(most).min(most));
    }
    for sender in &mut draft.sms.senders {
        sender.timeout = Some(sender.timeout.unwrap_or(most).min(most));
    }
    draft
}

/// What is told of a sender that was not even asked.
fn held_back(sender: &str) -> TestOutcome {
    let detail = Withheld::Stopped.as_str().to_owned();
    TestOutcome { sender: sender.to_owned(), stage: Stage::Sender.as_str(), detail }
}

async fn try_one(way: &Way, envelope: &Envelope) -> TestOutcome {
    let late = || Err(DeliveryError::temporary(Stage::Connect, "time_out"));
    // A sender of the operator's has its own, longer deadline.
    let outcome = tokio::time::timeout(LIMIT + Duration::from_secs(1), way.transport.send(envelope)).await;
    let (stage, detail) = match outcome.unwrap_or_else(|_| late()) {
        Ok(receipt) => (Stage::Accepted, receipt.reference.unwrap_or_default()),
        Err(error) => (error.stage(), error.reason().to_string()),
    };
    TestOutcome { sender: way.name.clone(), stage: stage.as_str(), detail }
}
