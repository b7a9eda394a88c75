//! The story of one message: sender by sender, each attempt written down, settled once.
//!
//! ```text
//!  for each sender in order
//!     breaker open ─────────────────────► the next one
//!     an earlier one may have charged for it ──► pay again ──ceiling──► stop: dead
//!     mark the row as handed over ──lost claim──► stop: another node has it
//!     ask it ──accepted──► settled: sent
//!        ├─ refused · not taken for now ─► the next one, with the same code
//!        └─ no answer ───────────────────► SMS: settled, never again · mail: once more
//!  nobody took it ─► again later, if it is worth it then; else dead, with the reason
//! ```
//!
//! **Duplicates.** The mark is written before the sender is asked, and whoever later finds a row with
//! a mark and an ended lease knows that it *may* have left. An SMS is then never sent again: none is
//! doubled, whatever dies when. The price is a window: a process that dies between the mark and the
//! request, or whose request fails without a word, leaves an SMS unsent, shown as dead
//! (`unanswered`); the person asks again. A mail is sent once more in that case: one may be doubled,
//! none is lost.

use std::time::{Duration, Instant};

use super::Office;
use super::breaker;
use super::route::{Route, Way};
use crate::actors::budget::{self, Booked};
use crate::delivery::{DeliveryError, Envelope, Receipt};
use crate::domain::delivery::{DeliveryState, send_until};
use crate::domain::ids::DeliveryId;
use crate::domain::message::{Channel, Message};
use crate::domain::time::Timestamp;
use crate::storage::{Attempt, Claimed, Settled, StorageError};
use crate::telemetry;
use crate::tenant::TenantContext;

/// First pause before a message is tried again; doubled each time, with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A message may have left, and nobody knows.
const UNANSWERED: &str = "unanswered";

/// A kill switch was thrown after the message was written.
const STOPPED: &str = "sms_stopped";

/// The tenant's budget has no room for another sender's charge.
const OVER_BUDGET: &str = "over_budget";

/// One message under way, and what was tried with it.
struct Delivery<'a> {
    office: &'a Office,
    claimed: &'a Claimed,
    /// Who was asked under earlier claims.
    history: Vec<(String, DeliveryState)>,
    /// What was tried since the row was last written.
    tried: Vec<Attempt>,
    /// The last refusal's word.
    refusal: Option<String>,
    /// Whether somebody may take it later.
    may_pass: bool,
    /// The earliest end of an open breaker's pause.
    open_until: Option<Timestamp>,
}

/// What a message's next sender may charge for.
enum Fare {
    /// What was booked as the message was written.
    Paid,
    /// This, booked besides.
    Again(TenantContext, budget::Receipt),
}

/// How the walk over the senders went on.
enum Step {
    /// The next sender may be asked.
    Next,
    /// The message's row is written, or somebody else's to write.
    Over,
}

impl Office {
    /// Sends a message along its route and writes down what became of it.
    pub(super) async fn deliver(&self, claimed: &Claimed, route: &Route) {
        if let Err(error) = self.try_to_deliver(claimed, route).await {
            // Its lease will end, and whoever claims it then sees how far it came.
            tracing::warn!(%error, message.id = %claimed.message.id, "a message's outcome could not be written");
        }
    }

    async fn try_to_deliver(&self, claimed: &Claimed, route: &Route) -> Result<(), StorageError> {
        let mut delivery = Delivery::new(self, claimed).await?;
        if delivery.was_left_unanswered().await? {
            return Ok(());
        }
        let now = self.clock.now();
        if send_until(&claimed.message, claimed.created_at) <= now {
            return delivery.expire().await;
        }
        if let Some(reason) = route.shut().or_else(|| self.stopped(&claimed.message)) {
            return delivery.die_unasked(reason).await;
        }
        let envelope = match self.renderer.envelope(&claimed.message, now) {
            Ok(envelope) => envelope,
            Err(error) => {
                let template = claimed.message.content.template();
                tracing::error!(%error, template, "a message cannot be rendered");
                return delivery.die_unasked("render").await;
            }
        };
        for way in route.ways() {
            if let Step::Over = delivery.ask(way, &envelope, route).await? {
                return Ok(());
            }
        }
        delivery.nobody_took_it().await
    }

    /// A kill switch keeps the texts here that wait for another try, too.
    fn stopped(&self, message: &Message) -> Option<&'static str> {
        let tenants = self.renderer.tenants.snapshot();
        let tenant = tenants.by_id(message.tenant).filter(|_| message.channel() == Channel::Sms)?;
        self.budget.is_stopped(tenant).then_some(STOPPED)
    }

    /// Writes down that a message outlived its worth in the outbox.
    pub(super) async fn expire(&self, claimed: &Claimed) -> Result<(), StorageError> {
        Delivery::new(self, claimed).await?.expire().await
    }

    /// Doubling, capped, with up to half as much again of jitter.
    fn pause(&self, attempts: u32) -> Duration {
        let base = FIRST_PAUSE.saturating_mul(1 << attempts.min(10)).min(LONGEST_PAUSE);
        base + base * u32::from(self.jitter()) / 510
    }

    fn jitter(&self) -> u8 {
        let [jitter] = self.entropy.bytes::<1>();
        jitter
    }
}

impl<'a> Delivery<'a> {
    async fn new(office: &'a Office, claimed: &'a Claimed) -> Result<Self, StorageError> {
        let message = &claimed.message;
        let is_first = claimed.claim == super::FIRST_CLAIM;
        let history = if is_first {
            Vec::new()
        } else {
            office.storage.deliveries().of_message(message.tenant, message.id).await?
        };
        let (tried, refusal, open_until) = (Vec::new(), None, None);
        Ok(Self { office, claimed, history, tried, refusal, may_pass: false, open_until })
    }

    /// A process died with the message in its hands: what it did not write down is written now.
    async fn was_left_unanswered(&mut self) -> Result<bool, StorageError> {
        let Some(handed) = &self.claimed.handed else { return Ok(false) };
        let attempt = self.attempt(&handed.to, handed.at, DeliveryState::Unknown);
        self.tried.push(Attempt { code: Some("sender_died".to_owned()), ..attempt });
        if self.may_be_doubled() {
            return Ok(false);
        }
        self.settle(Settled::Dead { reason: UNANSWERED }).await?;
        Ok(true)
    }

    /// Unanswered mail is sent once more; an unanswered text might cost and confuse twice.
    fn may_be_doubled(&self) -> bool {
        let told = self.history.iter().map(|(_, state)| *state).chain(self.tried.iter().map(|attempt| attempt.state));
        let unanswered = told.filter(|state| *state == DeliveryState::Unknown).count();
        self.claimed.message.channel() == Channel::Email && unanswered <= 1
    }

    /// Gives the message to one sender, unless it was asked before or has been failing.
    async fn ask(&mut self, way: &Way, envelope: &Envelope, route: &Route) -> Result<Step, StorageError> {
        if !self.is_open(way) {
            return Ok(Step::Next);
        }
        let (now, lease) = (self.office.clock.now(), way.limit + self.office.lease);
        let pass = match way.breaker.admit(now, lease) {
            Ok(pass) => pass,
            Err(until) => {
                self.pass_by(way, until, route);
                return Ok(Step::Next);
            }
        };
        let Some(fare) = self.hand_over(way, lease, now).await.inspect_err(|_| way.breaker.give_back(pass, now))?
        else {
            way.breaker.give_back(pass, now);
            return Ok(Step::Over);
        };
        self.history.extend(self.tried.drain(..).map(|attempt| (attempt.sender, attempt.state)));
        let begun = Instant::now();
        let sending = tokio::time::timeout(way.limit + self.office.lease / 2, way.transport.send(envelope));
        let outcome = sending.await.unwrap_or_else(|_| Err(DeliveryError::unknown("time_out")));
        way.breaker.record(pass, breaker::works(&outcome), self.office.clock.now(), self.office.jitter());
        let state = state_of(&outcome);
        if !state.may_have_cost() {
            self.refund(fare).await;
        }
        let attempt = self.attempt(&way.name, now, state);
        self.tried.push(Attempt { latency: begun.elapsed(), ..attempt });
        match outcome {
            Ok(receipt) => self.accepted(receipt, way, route).await.map(|()| Step::Over),
            Err(error) => self.failed(way, &error).await,
        }
    }

    /// Marks the message as given to this sender, paid for. `None` if it ends here: its time is over, there
    /// is no money for it, or another node has it.
    async fn hand_over(&mut self, way: &Way, lease: Duration, now: Timestamp) -> Result<Option<Fare>, StorageError> {
        if send_until(&self.claimed.message, self.claimed.created_at) <= now {
            self.expire().await?;
            return Ok(None);
        }
        let Some(fare) = self.pay_again(way).await? else { return Ok(None) };
        let outbox = self.office.storage.outbox();
        if !outbox.hand_over(self.claimed, &way.name, lease, &self.tried, now).await? {
            self.refund(fare).await;
            return Ok(None);
        }
        Ok(Some(fare))
    }

    /// Pays for a text message that a sender before may have charged for: what was written is paid for
    /// once. `None` if it ends here, since the budget has no room or cannot be asked.
    async fn pay_again(&mut self, way: &Way) -> Result<Option<Fare>, StorageError> {
        let message = &self.claimed.message;
        let is_paid_for = self.history.iter().all(|(_, state)| !state.may_have_cost());
        if is_paid_for || message.channel() == Channel::Email {
            return Ok(Some(Fare::Paid));
        }
        let tenants = self.office.renderer.tenants.snapshot();
        let Some(tenant) = tenants.by_id(message.tenant) else {
            self.settle(Settled::Dead { reason: "unknown_tenant" }).await?;
            return Ok(None);
        };
        match self.office.budget.book_again(tenant, &message.to).await {
            Ok(Booked::Taken(receipt)) => Ok(Some(Fare::Again(tenant.clone(), receipt))),
            Ok(Booked::Withheld) => {
                let attempt = self.attempt(&way.name, self.office.clock.now(), DeliveryState::Skipped);
                self.tried.push(Attempt { code: Some(OVER_BUDGET.to_owned()), ..attempt });
                self.settle(Settled::Dead { reason: OVER_BUDGET }).await?;
                Ok(None)
            }
            Err(failure) => {
                tracing::warn!(%failure, message.id = %message.id, "what a message costs could not be booked");
                self.again_or_never("budget_unavailable").await?;
                Ok(None)
            }
        }
    }

    /// Nothing was charged: the money is there for others.
    async fn refund(&self, fare: Fare) {
        let Fare::Again(tenant, receipt) = fare else { return };
        if let Err(failure) = self.office.budget.give_back(&tenant, &receipt).await {
            tracing::warn!(%failure, "what a message did not cost could not be given back");
        }
    }

    /// May this sender be asked? Not if it said never, or may have sent it; a mail that it did not
    /// answer for may go to it once more.
    fn is_open(&self, way: &Way) -> bool {
        let asked = |state: DeliveryState| {
            let once_more = state == DeliveryState::Unknown && self.claimed.message.channel() == Channel::Email;
            state.leaves_the_sender_open() || once_more
        };
        self.history.iter().filter(|(sender, _)| *sender == way.name).all(|(_, state)| asked(*state))
    }

    /// Passes a failing sender by; written down if that brings the message to another.
    fn pass_by(&mut self, way: &Way, until: Timestamp, route: &Route) {
        self.may_pass = true;
        self.open_until = Some(self.open_until.map_or(until, |known| known.min(until)));
        if route.closed_until().is_none() {
            let attempt = self.attempt(&way.name, self.office.clock.now(), DeliveryState::Skipped);
            self.tried.push(Attempt { code: Some("breaker_open".to_owned()), ..attempt });
        }
    }

    async fn accepted(&mut self, receipt: Receipt, way: &Way, route: &Route) -> Result<(), StorageError> {
        if let Some(attempt) = self.tried.last_mut() {
            attempt.reference.clone_from(&receipt.reference);
        }
        self.settle(Settled::Sent).await?;
        if let Some(reference) = receipt.reference.filter(|_| way.has_receipts) {
            let (tenant, now) = (self.claimed.message.tenant, self.office.clock.now());
            let deliveries = self.office.storage.deliveries();
            deliveries.match_early(tenant, &way.name, &reference, &route.names(), now).await?;
        }
        Ok(())
    }

    async fn failed(&mut self, way: &Way, error: &DeliveryError) -> Result<Step, StorageError> {
        tracing::warn!(
            %error,
            message.id = %self.claimed.message.id,
            message.channel = self.claimed.message.channel().as_str(),
            sender.name = way.name,
            "a message was not delivered"
        );
        if let Some(attempt) = self.tried.last_mut() {
            attempt.stage = Some(error.stage().as_str());
            attempt.code = Some(error.reason().to_string());
        }
        match error {
            DeliveryError::Refused { reason, .. } => self.refusal = Some(reason.to_string()),
            DeliveryError::Temporary { reason, .. } => {
                self.refusal = Some(reason.to_string());
                self.may_pass = true;
            }
            DeliveryError::Unknown { .. } if self.may_be_doubled() => {
                self.again_or_never(UNANSWERED).await?;
                return Ok(Step::Over);
            }
            DeliveryError::Unknown { .. } => {
                self.settle(Settled::Dead { reason: UNANSWERED }).await?;
                return Ok(Step::Over);
            }
        }
        Ok(Step::Next)
    }

    /// Every sender refused, failed or was passed by.
    async fn nobody_took_it(&mut self) -> Result<(), StorageError> {
        let reason = self.refusal.clone().unwrap_or_else(|| {
            let was_undelivered = self.history.iter().any(|(_, state)| *state == DeliveryState::Undelivered);
            let reason = match self.open_until {
                Some(_) => "breaker_open",
                None if was_undelivered => "undelivered",
                None => "no_sender",
            };
            reason.to_owned()
        });
        if self.may_pass {
            self.again_or_never(&reason).await
        } else {
            self.settle(Settled::Dead { reason: &reason }).await
        }
    }

    /// Back to the outbox, if it will be worth sending then.
    async fn again_or_never(&mut self, reason: &str) -> Result<(), StorageError> {
        let (claimed, now) = (self.claimed, self.office.clock.now());
        // Only waiting for a breaker is no attempt.
        let tried =
            self.tried.iter().any(|attempt| attempt.state != DeliveryState::Skipped) || claimed.handed.is_some();
        let pause = self.office.pause(claimed.attempts);
        let after = match self.open_until {
            Some(until) if !tried => now.until(until).max(FIRST_PAUSE) + pause / 4,
            _ => pause,
        };
        let may_try = !tried || claimed.attempts + 1 < self.office.max_attempts;
        let worth_it = now + after < send_until(&claimed.message, claimed.created_at);
        if may_try && worth_it {
            self.settle(Settled::Retry { after, tried, reason }).await
        } else {
            self.settle(Settled::Dead { reason }).await
        }
    }

    async fn expire(&mut self) -> Result<(), StorageError> {
        if self.history.is_empty() && self.tried.is_empty() {
            self.note_unasked("expired");
        }
        self.settle(Settled::Expired).await
    }

    async fn die_unasked(&mut self, reason: &'static str) -> Result<(), StorageError> {
        self.note_unasked(reason);
        self.settle(Settled::Dead { reason }).await
    }

    /// The log shows every message, also one that nobody was asked to take.
    fn note_unasked(&mut self, reason: &'static str) {
        let attempt = self.attempt("", self.office.clock.now(), DeliveryState::Skipped);
        self.tried.push(Attempt { code: Some(reason.to_owned()), ..attempt });
    }

    async fn settle(&mut self, outcome: Settled<'_>) -> Result<(), StorageError> {
        let (message, claim) = (&self.claimed.message, self.claimed.claim);
        let outbox = self.office.storage.outbox();
        let now = self.office.clock.now();
        if !outbox.settle(message.tenant, message.id, claim, outcome, &self.tried, now).await? {
            tracing::warn!(message.id = %message.id, "a message was settled by another node meanwhile");
            return Ok(());
        }
        if matches!(outcome, Settled::Dead { .. } | Settled::Expired) {
            metrics::counter!(telemetry::MESSAGES_DEAD, "channel" => message.channel().as_str()).increment(1);
        }
        Ok(())
    }

    /// An attempt to be filled in and written down.
    fn attempt(&self, sender: &str, at: Timestamp, state: DeliveryState) -> Attempt {
        let message = &self.claimed.message;
        let channel = message.channel();
        metrics::counter!(telemetry::DELIVERIES, "channel" => channel.as_str(), "state" => state.as_str()).increment(1);
        let number = u32::try_from(self.history.len() + self.tried.len() + 1).unwrap_or(u32::MAX);
        Attempt {
            id: DeliveryId::at(at, self.office.entropy.bytes()),
            tenant: message.tenant,
            message: message.id,
            sender: sender.to_owned(),
            channel,
            template: message.content.template(),
            number,
            at,
            latency: Duration::ZERO,
            state,
            stage: None,
            code: None,
            reference: None,
            recipient: *self.office.renderer.digests.contact(message.tenant, &message.to).as_bytes(),
        }
    }
}

const fn state_of(outcome: &Result<Receipt, DeliveryError>) -> DeliveryState {
    match outcome {
        Ok(_) => DeliveryState::Accepted,
        Err(DeliveryError::Refused { .. }) => DeliveryState::Refused,
        Err(DeliveryError::Temporary { .. }) => DeliveryState::Temporary,
        Err(DeliveryError::Unknown { .. }) => DeliveryState::Unknown,
    }
}
