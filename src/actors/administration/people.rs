//! What an admin may ask about people, and do to them.
//!
//! Nobody here chooses a password or sees a code: an invitation and a reset are links that their owner
//! follows. What ends a sign-in is in force on every node within its next poll.

use std::time::Duration;

use super::{Holder, Refusal};
use crate::actors::accounts::{Accounts, Invite, InviteOutcome, StartReset, StartResetOutcome};
use crate::actors::failure::Failure;
use crate::actors::sessions::Sessions;
use crate::clock::Clock;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, AttemptId, SessionId, TenantId};
use crate::domain::locale::Locale;
use crate::domain::lockout::{Counter, Lane};
use crate::domain::session::EndCause;
use crate::domain::time::Timestamp;
use crate::storage::{Birth, Notes, Storage, StorageError};
use crate::tenant::TenantContext;

pub use crate::storage::{
    AuditEntry, AuditFilter, AuditPage, Delivery, Device, Kept, LockInForce, PeopleFilter, PeoplePage, Person, Status,
};

/// The longest a question of storage takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attempts at messages to one contact in an export at most; ceilings let nobody have as many.
const MOST_DELIVERIES: u32 = 10_000;

/// What admins may ask about people.
#[derive(Clone)]
pub struct People {
    /// Stories about one account.
    pub accounts: Accounts,
    /// Tokens and sessions.
    pub sessions: Sessions,
    /// What is kept.
    pub storage: Storage,
    /// The time.
    pub clock: Clock,
    /// Who writes outbox rows here.
    pub birth: Birth,
}

/// One person in full.
#[derive(Debug, Clone)]
pub struct Details {
    /// Who, and how they stand.
    pub person: Person,
    /// Trusted devices, last seen first.
    pub devices: Vec<Device>,
    /// How many sign-ins live.
    pub sessions: usize,
    /// Failures counted, by who made them.
    pub counters: Vec<(Lane, Counter)>,
}

/// Everything that is kept about a person.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// As an admin sees them.
    pub details: Details,
    /// Sign-ins, links, locks, messages.
    pub kept: Kept,
    /// Attempts at messages to their contacts, as long as the log keeps them.
    pub deliveries: Vec<Delivery>,
    /// What the audit log says of them, newest first.
    pub events: Vec<AuditEntry>,
}

impl People {
    /// A page of people.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if storage is away.
    pub async fn page(&self, tenant: TenantId, filter: &PeopleFilter) -> Result<PeoplePage, Refusal> {
        self.in_time(self.storage.people().page(tenant, filter, self.clock.now())).await
    }

    /// Whose contact this is.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if storage is away.
    pub async fn holder_of(&self, tenant: TenantId, contact: &Contact) -> Result<Option<AccountId>, Refusal> {
        self.in_time(self.storage.accounts().find_id(tenant, contact)).await
    }

    /// One person.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what storage may give.
    pub async fn show(&self, tenant: TenantId, id: AccountId) -> Result<Details, Refusal> {
        let now = self.clock.now();
        self.in_time(async {
            let Some(person) = self.storage.people().find(tenant, id, now).await? else { return Ok(None) };
            let devices = self.storage.devices().list(tenant, id).await?;
            let sessions = self.storage.sessions().list(tenant, id, now).await?.len();
            let (_, counters) = self.storage.attempts().load(tenant, id).await?;
            let counters = counters.into_iter().map(|(lane, counter)| (lane, counter.at(now))).collect();
            Ok(Some(Details { person, devices, sessions, counters }))
        })
        .await?
        .ok_or(Refusal::NotFound)
    }

    /// Everything that is kept about a person; being asked is itself on record.
    ///
    /// # Errors
    /// As [`People::show`].
    pub async fn export(&self, holder: &Holder, tenant: TenantId, id: AccountId) -> Result<Dossier, Refusal> {
        let details = self.show(tenant, id).await?;
        let event = self.event(holder, tenant, id, EventKind::SensitiveRead, "export");
        self.in_time(async {
            self.storage.audit().record(&[event]).await?;
            let kept = self.storage.people().kept(tenant, id).await?;
            let deliveries = self.deliveries_to(tenant, &details.person).await?;
            let mut filter = AuditFilter { account: Some(id), limit: 1_000, ..AuditFilter::default() };
            let mut events = Vec::new();
            loop {
                let page = self.storage.audit().find(tenant, &filter).await?;
                events.extend(page.entries);
                filter.before = page.next;
                if filter.before.is_none() {
                    return Ok(Dossier { details, kept, deliveries, events });
                }
            }
        })
        .await
    }

    /// The log names nobody: it is asked by the digests of the contacts they have now.
    async fn deliveries_to(&self, tenant: TenantId, person: &Person) -> Result<Vec<Delivery>, StorageError> {
        let email = person.account.email.clone().map(Contact::Email);
        let phone = person.account.phone.clone().map(Contact::Phone);
        let mut found = Vec::new();
        for contact in [email, phone].into_iter().flatten() {
            let recipient = *self.sessions.digests.contact(tenant, &contact).as_bytes();
            found.extend(self.storage.deliveries().page(tenant, Some(recipient), None, MOST_DELIVERIES).await?);
        }
        Ok(found)
    }

    /// Invites a person.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if nothing was decided.
    pub async fn invite(
        &self,
        holder: &Holder,
        tenant: TenantContext,
        email: EmailAddress,
        username: Option<String>,
        locale: Option<Locale>,
    ) -> Result<InviteOutcome, Refusal> {
        Ok(self.accounts.invite(Invite { tenant, email, username, locale, key: holder.key }).await?)
    }

    /// Mails a reset link; of a `compromised` password nothing works any more from now on.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if nothing was decided.
    pub async fn reset(
        &self,
        holder: &Holder,
        tenant: TenantContext,
        account: AccountId,
        compromised: bool,
    ) -> Result<StartResetOutcome, Refusal> {
        Ok(self.accounts.start_reset(StartReset { tenant, account, compromised, key: holder.key }).await?)
    }

    /// Zeroes every counter and ends every lock.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what the stores may give.
    pub async fn unlock(&self, holder: &Holder, tenant: &TenantContext, id: AccountId) -> Result<(), Refusal> {
        if self.accounts.unlock(tenant, id, holder.key).await? { Ok(()) } else { Err(Refusal::NotFound) }
    }

    /// Lets nobody in through the account any more, and ends its sessions.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what storage may give.
    pub async fn disable(&self, holder: &Holder, tenant: &TenantContext, id: AccountId) -> Result<(), Refusal> {
        let events = [self.event(holder, tenant.id(), id, EventKind::UserUpdated, "disabled")];
        let disabled = self.storage.accounts();
        let ended = self.in_time(disabled.disable(tenant.id(), id, &self.notes(&events))).await?;
        self.tell(tenant, ended.ok_or(Refusal::NotFound)?).await;
        Ok(())
    }

    /// Lets the account sign in again.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what storage may give.
    pub async fn enable(&self, holder: &Holder, tenant: TenantId, id: AccountId) -> Result<(), Refusal> {
        let events = [self.event(holder, tenant, id, EventKind::UserUpdated, "enabled")];
        let enabled = self.in_time(self.storage.accounts().enable(tenant, id, &self.notes(&events))).await?;
        if enabled { Ok(()) } else { Err(Refusal::NotFound) }
    }

    /// Ends every session of the account.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what storage may give.
    pub async fn end_sessions(&self, holder: &Holder, tenant: &TenantContext, id: AccountId) -> Result<(), Refusal> {
        let events = [self.event(holder, tenant.id(), id, EventKind::AuthnTokenRevoked, "admin")];
        let notes = self.notes(&events);
        let ended = self
            .in_time(async {
                if self.storage.accounts().find(tenant.id(), id).await?.is_none() {
                    return Ok(None);
                }
                let sessions = self.storage.sessions();
                sessions.end_all(tenant.id(), id, None, EndCause::Admin, &notes).await.map(Some)
            })
            .await?;
        self.tell(tenant, ended.ok_or(Refusal::NotFound)?).await;
        Ok(())
    }

    /// Erases the person.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what storage may give.
    pub async fn erase(&self, holder: &Holder, tenant: TenantId, id: AccountId) -> Result<(), Refusal> {
        let events = [self.event(holder, tenant, id, EventKind::UserDeleted, "admin")];
        let digest = |contact: &Contact| *self.sessions.digests.contact(tenant, contact).as_bytes();
        let accounts = self.storage.accounts();
        let erased = self.in_time(accounts.erase(tenant, id, self.clock.now(), &events, digest)).await?;
        if !erased {
            return Err(Refusal::NotFound);
        }
        self.sessions.revocations.announce(tenant).await;
        Ok(())
    }

    /// Locks in force, the longest first; one more than `limit` if there are more.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if storage is away.
    pub async fn locks(
        &self,
        tenant: TenantId,
        before: Option<(Timestamp, AttemptId)>,
        limit: u32,
    ) -> Result<Vec<LockInForce>, Refusal> {
        self.in_time(self.storage.people().locks(tenant, before, limit + 1, self.clock.now())).await
    }

    /// A page of the audit log.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if storage is away.
    pub async fn audit(&self, tenant: TenantId, filter: &AuditFilter) -> Result<AuditPage, Refusal> {
        self.in_time(self.storage.audit().find(tenant, filter)).await
    }

    /// Tells the other nodes at once; they would learn it at their next poll.
    async fn tell(&self, tenant: &TenantContext, ended: Vec<SessionId>) {
        self.sessions.revocations.tell(tenant.id(), &ended).await;
    }

    fn event(
        &self,
        holder: &Holder,
        tenant: TenantId,
        account: AccountId,
        kind: EventKind,
        cause: &'static str,
    ) -> Event {
        Event {
            tenant,
            account: Some(account),
            kind,
            at: self.clock.now(),
            cause: Some(cause),
            key: holder.key,
            subject: None,
        }
    }

    fn notes<'a>(&self, events: &'a [Event]) -> Notes<'a> {
        Notes { now: self.clock.now(), birth: self.birth, messages: &[], events }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StorageError>>) -> Result<T, Refusal> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Refusal::Failed(Failure::Unavailable)),
        }
    }
}
