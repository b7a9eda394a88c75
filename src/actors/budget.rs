//! What sending costs: asked before a message is written, given back if it cannot be.
//!
//! ```text
//!   codes::issue ──► Budget::book ─┬─► the tenant's ceilings: one script, all or none
//!                                  └─► the recipient's day over all tenants, in a slot of its own
//!   senders, next ─► book_again ───► the tenant's ceilings: another provider is about to charge
//! ```
//!
//! The rules, and what a caller sees of them, are told in [`crate::domain::budget`]. Nothing here
//! is kept: both books are the ephemeral store's, and two nodes share one count.

use std::sync::Arc;
use std::time::Duration;

use super::auditor::Auditor;
use super::failure::Failure;
use crate::clock::Clock;
use crate::crypto::digest::Digests;
use crate::domain::budget::{BudgetUsage, RECIPIENT_PER_DAY, Reached, Spend, Withheld, region_of};
use crate::domain::contact::{Contact, PhoneNumber};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::OperationId;
use crate::domain::policy::Policy;
use crate::domain::settings::{Mode, Settings};
use crate::entropy::Entropy;
use crate::ephemeral::{EphemeralStore, MailVerdict, RecipientCount};
use crate::telemetry;
use crate::tenant::TenantContext;

/// Asks the books. Clones share everything.
#[derive(Clone)]
pub struct Budget {
    /// The books.
    pub ephemeral: Arc<dyn EphemeralStore>,
    /// Names recipients.
    pub digests: Arc<Digests>,
    /// Randomness.
    pub entropy: Entropy,
    /// The time.
    pub clock: Clock,
    /// Who hears of a ceiling that was reached.
    pub auditor: Auditor,
    /// The operator's kill switch: no tenant's text messages leave.
    pub sms_stopped: bool,
}

/// A message about to be written.
pub(super) struct Outgoing<'a> {
    pub tenant: &'a TenantContext,
    pub to: &'a Contact,
    /// Whether an account of the tenant has proven the number.
    pub proven: bool,
    /// The network that asked for it, if that is known.
    pub client: Option<&'a str>,
}

impl<'a> Outgoing<'a> {
    /// A mail: only its recipient's day counts it.
    pub(super) const fn mail(tenant: &'a TenantContext, to: &'a Contact) -> Self {
        Self { tenant, to, proven: false, client: None }
    }
}

/// What became of it.
pub(super) enum Booked {
    /// Write it; give it back if that fails.
    Taken(Receipt),
    /// Do not write it, and do not say so.
    Withheld,
}

/// What was taken for a message.
pub(super) struct Receipt {
    spend: Option<Spend>,
    /// None for a message that its recipient's day has counted already.
    recipient: Option<RecipientCount>,
}

impl Budget {
    /// What a tenant's text messages used of its ceilings.
    ///
    /// # Errors
    /// [`Failure`] if the store is away.
    pub async fn usage(&self, tenant: &TenantContext) -> Result<BudgetUsage, Failure> {
        Ok(self.ephemeral.budget_usage(tenant.id()).await?)
    }

    /// Whether a kill switch stops a tenant's text messages, the operator's or its own.
    pub(super) fn is_stopped(&self, tenant: &TenantContext) -> bool {
        self.would_be_stopped(tenant.settings(), tenant.policy())
    }

    /// The same, were these the settings in force.
    pub(super) fn would_be_stopped(&self, settings: &Settings, policy: &Policy) -> bool {
        self.sms_stopped || settings.sms.mode == Some(Mode::Off) || policy.sms.budget.stopped
    }

    /// Takes a message from every ceiling it falls under, or from none.
    pub(super) async fn book(&self, outgoing: &Outgoing<'_>) -> Result<Booked, Failure> {
        let spend = match outgoing.to {
            Contact::Phone(number) => Some(self.spend(outgoing, number)),
            Contact::Email(_) => None,
        };
        if let Some(spend) = &spend
            && !self.take(outgoing.tenant, spend).await?
        {
            return Ok(Booked::Withheld);
        }
        let counted = self.count(outgoing).await;
        if let Ok(Ok(recipient)) = counted {
            return Ok(Booked::Taken(Receipt { spend, recipient: Some(recipient) }));
        }
        if let Some(spend) = &spend {
            self.ephemeral.give_back_budget(outgoing.tenant.id(), spend).await?;
        }
        counted.map(|_| Booked::Withheld)
    }

    /// Takes a mail that an administrator causes, who is told how long until the next one fits if this one
    /// does not.
    pub(super) async fn book_mail(
        &self,
        tenant: &TenantContext,
        to: &Contact,
    ) -> Result<Result<Receipt, Duration>, Failure> {
        let counted = self.count(&Outgoing::mail(tenant, to)).await?;
        Ok(counted.map(|recipient| Receipt { spend: None, recipient: Some(recipient) }))
    }

    /// Counts a message for its recipient's day; how long until the next one fits, if this one does not.
    async fn count(&self, outgoing: &Outgoing<'_>) -> Result<Result<RecipientCount, Duration>, Failure> {
        let recipient = RecipientCount {
            operation: self.operation(),
            recipient: *self.digests.recipient(outgoing.to).as_bytes(),
            per_day: RECIPIENT_PER_DAY,
        };
        match self.ephemeral.count_recipient(&recipient).await? {
            MailVerdict::Allowed => Ok(Ok(recipient)),
            MailVerdict::Refused(wait) => {
                self.take(outgoing.tenant, &Spend::on_nothing(self.operation(), Withheld::Recipient)).await?;
                Ok(Err(wait.left()))
            }
        }
    }

    /// Takes a text message that one sender may have charged for once more, for the next sender. Only
    /// what it costs counts again: neither who asked nor what its number shares with others has changed.
    pub(super) async fn book_again(&self, tenant: &TenantContext, to: &Contact) -> Result<Booked, Failure> {
        let Contact::Phone(number) = to else { return Ok(Booked::Taken(Receipt { spend: None, recipient: None })) };
        let spend = self.spend(&Outgoing { tenant, to, proven: true, client: None }, number);
        if !self.take(tenant, &spend).await? {
            return Ok(Booked::Withheld);
        }
        Ok(Booked::Taken(Receipt { spend: Some(spend), recipient: None }))
    }

    /// Gives back what was taken for a message that could not be written, or that nobody took.
    pub(super) async fn give_back(&self, tenant: &TenantContext, receipt: &Receipt) -> Result<(), Failure> {
        if let Some(spend) = &receipt.spend {
            self.ephemeral.give_back_budget(tenant.id(), spend).await?;
        }
        if let Some(recipient) = &receipt.recipient {
            self.ephemeral.give_back_recipient(recipient).await?;
        }
        Ok(())
    }

    /// A code to a number that no account has came back.
    pub(super) async fn verified(&self, tenant: &TenantContext, number: &PhoneNumber) {
        if let Err(error) = self.ephemeral.count_verified(tenant.id(), &region_of(number)).await {
            tracing::warn!(%error, "a verified code was not counted for its region");
        }
    }

    fn spend(&self, outgoing: &Outgoing<'_>, number: &PhoneNumber) -> Spend {
        let sms = &outgoing.tenant.policy().sms;
        let mut spend = Spend::on(&sms.budget, self.operation(), number);
        if outgoing.proven {
            spend.unproven_prefix = None;
        }
        spend.client = outgoing.client.map(str::to_owned);
        spend.withheld = if self.is_stopped(outgoing.tenant) {
            Some(Withheld::Stopped)
        } else if sms.regions.allow(number) {
            None
        } else {
            Some(Withheld::Region)
        };
        spend
    }

    /// Whether it was taken; whoever has to hear of a ceiling hears of it.
    async fn take(&self, tenant: &TenantContext, spend: &Spend) -> Result<bool, Failure> {
        let verdict = self.ephemeral.take_budget(tenant.id(), &tenant.policy().sms.budget, spend).await?;
        if let Some(reached) = verdict.reached {
            self.tell(tenant, &spend.region, reached, verdict.taken);
        }
        Ok(verdict.taken)
    }

    /// The metric counts every one; the log and the audit log hear of a kind and region once an hour.
    fn tell(&self, tenant: &TenantContext, region: &str, reached: Reached, recorded: bool) {
        let reason = reached.by.as_str();
        let name = if recorded { telemetry::SENDS_OVER_BUDGET } else { telemetry::SENDS_WITHHELD };
        metrics::counter!(name, "reason" => reason).increment(1);
        if !reached.tell {
            return;
        }
        tracing::warn!(tenant.slug = %tenant.slug(), limit.name = reason, region, recorded, "a ceiling of messages was reached");
        let kind = match reached.by {
            _ if recorded => EventKind::SmsCeilingRecorded,
            Withheld::Region => EventKind::SmsRegionRefused,
            Withheld::Ratio => EventKind::SmsRegionStopped,
            Withheld::Recipient => EventKind::RecipientCeilingReached,
            Withheld::Stopped | Withheld::Messages | Withheld::Money | Withheld::Client | Withheld::Prefix => {
                EventKind::SmsCeilingReached
            }
        };
        let (tenant, at) = (tenant.id(), self.clock.now());
        self.auditor.record(Event { tenant, account: None, kind, at, cause: Some(reason), key: None, subject: None });
    }

    fn operation(&self) -> OperationId {
        OperationId::random(self.entropy.bytes())
    }
}
