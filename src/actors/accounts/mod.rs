//! Everything that happens to one account, told as stories: each command is a file.
//!
//! ```text
//!   handler ─► Accounts::log_in ─► who is it? ─► Directory ─► account actor ─► login::log_in
//!                                   (storage)     (admits)     (in order)       (reserve, compare,
//!                                                                                settle, answer)
//!                                                                                 └─► afterwards
//! ```
//!
//! What guesses at a secret (log-in, codes, change of password) goes through the account's actor,
//! one at a time, and so does asking for a mailed link. What is finished after an answer is no
//! business of the actor's any more (`afterwards`). What only storage decides (registration,
//! following a link) runs on the caller's task.
//! Unknown identifiers go to one of a fixed set of shadow actors and take the same path in the
//! same time.

mod afterwards;
mod attempts;
mod client;
mod codes;
mod contact;
mod device_code;
mod entry;
mod invitation;
mod links;
mod login;
mod password;
mod phone;
mod registration;
mod test_identities;
mod unlock;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::attempts::RecordedLocks;
pub use self::client::Client;
pub use self::codes::tidy as tidy_code;
pub use self::contact::{ChangeContact, ChangeContactOutcome, ConfirmContact, ConfirmContactOutcome};
pub use self::device_code::{CodeOutcome, ConfirmDevice};
pub use self::entry::SignedIn;
pub use self::invitation::{Invite, InviteOutcome};
pub use self::links::{
    LinkRequest, LinkRequestOutcome, ResetPassword, ResetPasswordOutcome, StartReset, StartResetOutcome, Wanted,
    token as link_token,
};
pub use self::login::{LogIn, LogInOutcome};
pub use self::password::{ChangePassword, ChangePasswordOutcome};
pub use self::phone::{
    RegisterPhone, RegisterPhoneOutcome, RequestCode, RequestCodeOutcome, VerifyCode, VerifyCodeOutcome,
};
pub use self::registration::{RegisterEmail, RegisterEmailOutcome};
pub use self::test_identities::test_identities_taken;

use self::afterwards::Afterwards;
use super::ask::{ReplyPort, ask};
use super::auditor::Auditor;
use super::budget::Budget;
use super::directory::{AccountKey, Directory, Resident, SHADOWS, Who};
use super::failure::Failure;
use super::hasher::Hasher;
use super::keyring::Keyring;
use super::senders::Postman;
use super::tokens::Revocations;
use crate::clock::Clock;
use crate::crypto::digest::Digests;
use crate::domain::contact::Contact;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, KeyId, MessageId, NodeId};
use crate::domain::locale::Locale;
use crate::domain::message::{Content, Message};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::ephemeral::{self, AttemptSubject, EphemeralStore, MailCount, MailVerdict};
use crate::limits::Limits;
use crate::secret::SecretString;
use crate::storage::{Birth, LinkPurpose, Notes, Storage};
use crate::tenant::TenantContext;

/// What every story may use.
pub struct Deps {
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// What must survive.
    pub storage: Storage,
    /// What may expire.
    pub ephemeral: Arc<dyn EphemeralStore>,
    /// Argon2id.
    pub hasher: Hasher,
    /// Codes, link tokens, digests of contacts.
    pub digests: Arc<Digests>,
    /// Signing keys.
    pub keyring: Keyring,
    /// Which sessions have ended.
    pub revocations: Revocations,
    /// Messages on their way.
    pub postman: Postman,
    /// What messages may cost.
    pub budget: Budget,
    /// The audit log, for what may be lost.
    pub auditor: Auditor,
    /// What was compared is told here, and strangers are held back under attack.
    pub limits: Limits,
    /// This process, owner of the outbox rows it writes.
    pub node: NodeId,
    /// Locks known to be on record.
    pub recorded_locks: RecordedLocks,
    /// How long things may take.
    pub timings: Timings,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// An answer from an account actor, waiting included.
    pub ask: Duration,
    /// A reserved attempt before it counts as a failure: the ask and two seconds.
    pub lease: Duration,
    /// An outbox row before another node may take it.
    pub outbox_lease: Duration,
}

impl Deps {
    fn event(
        &self,
        tenant: &TenantContext,
        account: Option<AccountId>,
        kind: EventKind,
        cause: Option<&'static str>,
    ) -> Event {
        Event { tenant: tenant.id(), account, kind, at: self.clock.now(), cause, key: None, subject: None }
    }

    /// What an administrator did to an account.
    fn admin_event(
        &self,
        tenant: &TenantContext,
        account: AccountId,
        kind: EventKind,
        cause: &'static str,
        key: Option<KeyId>,
    ) -> Event {
        Event { key, ..self.event(tenant, Some(account), kind, Some(cause)) }
    }

    /// Tells the audit log of something that changed nothing.
    fn note(&self, tenant: &TenantContext, account: Option<AccountId>, kind: EventKind) {
        self.auditor.record(self.event(tenant, account, kind, None));
    }

    fn birth(&self) -> Birth {
        Birth { node: self.node, lease: self.timings.outbox_lease }
    }

    fn notes<'a>(&self, messages: &'a [Message], events: &'a [Event]) -> Notes<'a> {
        Notes { now: self.clock.now(), birth: self.birth(), messages, events }
    }

    /// Writes a message on its own and hands it to its sender.
    async fn post(&self, message: Message) -> Result<(), Failure> {
        self.storage.outbox().enqueue(&self.notes(std::slice::from_ref(&message), &[])).await?;
        self.postman.dispatch(message);
        Ok(())
    }

    /// Books a mail about an account's safety; none beyond the ceiling of such mails, which each class of
    /// them has for itself. Whoever does not write the mail gives the booking back.
    async fn book_warning(
        &self,
        tenant: &TenantContext,
        to: &Contact,
        class: &'static str,
    ) -> Result<Option<MailCount<'static>>, Failure> {
        let mail = MailCount::new(&self.entropy, *self.digests.contact(tenant.id(), to).as_bytes(), class);
        let ceiling = &tenant.policy().security_mails;
        let counted = self.ephemeral.count_mail(tenant.id(), ceiling, &mail).await?;
        Ok((counted == MailVerdict::Allowed).then_some(mail))
    }

    /// Takes back the booking of a mail that was not written; where that fails, the day has one mail less.
    async fn give_back_warning(&self, tenant: &TenantContext, booked: &MailCount<'_>) {
        if let Err(error) = self.ephemeral.give_back_mail(tenant.id(), booked).await {
            tracing::warn!(%error, "the booking of a mail that was not written could not be given back");
        }
    }

    fn message(
        &self,
        tenant: &TenantContext,
        to: Contact,
        locale: Option<Locale>,
        content: Content,
        not_after: Timestamp,
    ) -> Message {
        let id = MessageId::at(self.clock.now(), self.entropy.bytes());
        let locale = locale.unwrap_or(tenant.policy().locale);
        Message { id, tenant: tenant.id(), to, locale, content, not_after }
    }
}

/// The book of attempts that `who` is counted in.
fn attempt_subject(deps: &Deps, tenant: &TenantContext, who: Who, contact: &Contact) -> AttemptSubject {
    match who {
        Who::Account(id) => AttemptSubject::Account(id),
        Who::Shadow(_) => AttemptSubject::Shadow(deps.digests.shadow(tenant.id(), contact, ephemeral::SHADOWS)),
    }
}

/// A shadow asks storage the same questions as an account, about an id that nobody has.
fn directory_id(who: Who) -> AccountId {
    match who {
        Who::Account(id) => id,
        Who::Shadow(_) => AccountId::random([0; 16]),
    }
}

/// One request to an account's actor, with its reply port.
pub enum Command {
    /// The password step.
    LogIn(LogIn, ReplyPort<Result<LogInOutcome, Failure>>),
    /// A mailed code's answer.
    ConfirmDevice(ConfirmDevice, ReplyPort<Result<CodeOutcome, Failure>>),
    /// A code by SMS, please.
    RequestCode(RequestCode, ReplyPort<Result<RequestCodeOutcome, Failure>>),
    /// A texted code's answer.
    VerifyCode(VerifyCode, ReplyPort<Result<VerifyCodeOutcome, Failure>>),
    /// A mailed link, please.
    MailLink(LinkRequest, Wanted, ReplyPort<Result<LinkRequestOutcome, Failure>>),
    /// A code to a new contact, please.
    ChangeContact(ChangeContact, ReplyPort<Result<ChangeContactOutcome, Failure>>),
    /// That code's answer.
    ConfirmContact(ConfirmContact, ReplyPort<Result<ConfirmContactOutcome, Failure>>),
    /// Another password.
    ChangePassword(ChangePassword, ReplyPort<Result<ChangePasswordOutcome, Failure>>),
}

/// What an account actor does with a command; shared by all of them.
pub struct Stories {
    deps: Arc<Deps>,
    afterwards: Afterwards,
}

impl Resident for Stories {
    type Command = Command;

    /// Past the lease an attempt is void anyway, and a store that never answers must not hold the
    /// actor; whoever asked has been answered by then.
    async fn handle(&self, key: AccountKey, command: Command) {
        let story = self.tell(key.who, command);
        if tokio::time::timeout(self.deps.timings.lease, story).await.is_err() {
            tracing::warn!("a story was cut off: a store did not answer");
        }
    }
}

impl Stories {
    /// One line per command.
    async fn tell(&self, who: Who, command: Command) {
        let Self { deps, afterwards } = self;
        match command {
            Command::LogIn(ask, reply) if !reply.is_closed() => {
                login::log_in(deps, afterwards, who, ask, reply).await;
            }
            Command::ConfirmDevice(ask, reply) if !reply.is_closed() => {
                answer(reply, device_code::confirm(deps, who, &ask).await);
            }
            Command::RequestCode(ask, reply) if !reply.is_closed() => {
                answer(reply, phone::request_code(deps, who, &ask).await);
            }
            Command::VerifyCode(ask, reply) if !reply.is_closed() => {
                answer(reply, phone::verify_code(deps, who, &ask).await);
            }
            Command::MailLink(ask, wanted, reply) if !reply.is_closed() => {
                links::mail(deps, afterwards, who, ask, wanted, reply).await;
            }
            Command::ChangePassword(ask, reply) if !reply.is_closed() => {
                answer(reply, password::change(deps, ask).await);
            }
            Command::ChangeContact(ask, reply) if !reply.is_closed() => {
                answer(reply, contact::change(deps, &ask).await);
            }
            Command::ConfirmContact(ask, reply) if !reply.is_closed() => {
                answer(reply, contact::confirm(deps, &ask).await);
            }
            // The client has gone before anything was begun: nothing counts.
            _ => {}
        }
    }
}

/// The client may have gone meanwhile; what was begun is settled all the same.
fn answer<T>(reply: ReplyPort<T>, answer: T) {
    let _nobody_waits = reply.send(answer);
}

/// The door for the front end: typed methods that hide mailboxes and messages.
#[derive(Clone)]
pub struct Accounts {
    deps: Arc<Deps>,
    directory: Directory<Stories>,
    afterwards: Afterwards,
}

impl Accounts {
    /// Opens the door over a directory made by `directory`.
    #[must_use]
    pub fn new(deps: Arc<Deps>, directory: impl FnOnce(Stories) -> Directory<Stories>) -> Self {
        let afterwards = Afterwards::new(deps.timings.lease);
        let directory = directory(Stories { deps: Arc::clone(&deps), afterwards: afterwards.clone() });
        Self { deps, directory, afterwards }
    }

    /// How many account actors live now.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.directory.len()
    }

    /// What messages may cost.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.deps.budget
    }

    /// The actors.
    #[must_use]
    pub const fn directory(&self) -> &Directory<Stories> {
        &self.directory
    }

    /// Lets every actor finish what it has, and what it left to be done.
    pub async fn drain(&self, deadline: Duration) {
        let finished = async {
            self.directory.drain(deadline).await;
            self.afterwards.finished().await;
        };
        let _in_time = tokio::time::timeout(deadline, finished).await;
    }

    /// When waiting for a place among the attempts ends, with time left to say so.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.deps.timings.ask.mul_f32(0.75)
    }

    /// The password step of a sign-in.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn log_in(&self, ask: LogIn) -> Result<LogInOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Email(ask.email.clone())).await?;
        self.tell(key, |reply| Command::LogIn(ask, reply)).await
    }

    /// The answer to a code mailed for a new device.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn confirm_device(&self, ask: ConfirmDevice) -> Result<CodeOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Email(ask.email.clone())).await?;
        self.tell(key, |reply| Command::ConfirmDevice(ask, reply)).await
    }

    /// A code by SMS.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn request_code(&self, ask: RequestCode) -> Result<RequestCodeOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Phone(ask.phone.clone())).await?;
        self.tell(key, |reply| Command::RequestCode(ask, reply)).await
    }

    /// The answer to a code sent by SMS.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn verify_code(&self, ask: VerifyCode) -> Result<VerifyCodeOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Phone(ask.phone.clone())).await?;
        self.tell(key, |reply| Command::VerifyCode(ask, reply)).await
    }

    /// A change of password by someone signed in.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn change_password(&self, ask: ChangePassword) -> Result<ChangePasswordOutcome, Failure> {
        let key = AccountKey { tenant: ask.tenant.id(), who: Who::Account(ask.account) };
        self.tell(key, |reply| Command::ChangePassword(ask, reply)).await
    }

    /// A code to the contact that is to take the place of the one of its kind.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn change_contact(&self, ask: ChangeContact) -> Result<ChangeContactOutcome, Failure> {
        let key = AccountKey { tenant: ask.tenant.id(), who: Who::Account(ask.account) };
        self.tell(key, |reply| Command::ChangeContact(ask, reply)).await
    }

    /// The answer to that code.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn confirm_contact(&self, ask: ConfirmContact) -> Result<ConfirmContactOutcome, Failure> {
        let key = AccountKey { tenant: ask.tenant.id(), who: Who::Account(ask.account) };
        self.tell(key, |reply| Command::ConfirmContact(ask, reply)).await
    }

    /// Registers a proven number.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn register_phone(&self, ask: RegisterPhone) -> Result<RegisterPhoneOutcome, Failure> {
        self.to_its_end(|deps| async move { phone::register(&deps, ask).await }).await
    }

    /// Registers with e-mail and password.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn register_email(&self, ask: RegisterEmail) -> Result<RegisterEmailOutcome, Failure> {
        self.to_its_end(|deps| async move { registration::register(&deps, ask).await }).await
    }

    /// Whether a verification link still does something; asked by its page.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn verification_is_live(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        self.in_time(links::is_live(&self.deps, tenant, LinkPurpose::Verification, token)).await
    }

    /// Whether a reset link still does something; asked by its page.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn reset_is_live(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        self.in_time(links::is_live(&self.deps, tenant, LinkPurpose::Reset, token)).await
    }

    /// Whether an invitation still does something; asked by its page.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn invitation_is_live(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        self.in_time(links::is_live(&self.deps, tenant, LinkPurpose::Invitation, token)).await
    }

    /// Whether the link of a lock's mail still does something; asked by its page.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn unlock_is_live(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        self.in_time(links::is_live(&self.deps, tenant, LinkPurpose::Unlock, token)).await
    }

    /// Proves the address a verification link was mailed to; false if the link is dead.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn verify_email(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        let (tenant, token) = (tenant.clone(), token.clone());
        self.to_its_end(|deps| async move { links::verify_email(&deps, &tenant, &token).await }).await
    }

    /// Mails another verification link, if there is something to verify.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn resend_verification(&self, ask: LinkRequest) -> Result<LinkRequestOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Email(ask.email.clone())).await?;
        self.tell(key, |reply| Command::MailLink(ask, Wanted::Verification, reply)).await
    }

    /// Mails a reset link, if there is an account.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn forgot_password(&self, ask: LinkRequest) -> Result<LinkRequestOutcome, Failure> {
        let key = self.key(&ask.tenant, &Contact::Email(ask.email.clone())).await?;
        self.tell(key, |reply| Command::MailLink(ask, Wanted::Reset, reply)).await
    }

    /// Sets a new password behind a mailed link.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn reset_password(&self, ask: ResetPassword) -> Result<ResetPasswordOutcome, Failure> {
        self.to_its_end(|deps| async move { links::reset_password(&deps, ask).await }).await
    }

    /// Sets the first password behind an invitation, and proves its address.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn accept_invitation(&self, ask: ResetPassword) -> Result<ResetPasswordOutcome, Failure> {
        self.to_its_end(|deps| async move { links::accept_invitation(&deps, ask).await }).await
    }

    /// Ends a lock by the link in its mail; false if the link is dead.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn unlock_by_link(&self, tenant: &TenantContext, token: &SecretString) -> Result<bool, Failure> {
        let (tenant, token) = (tenant.clone(), token.clone());
        self.to_its_end(|deps| async move { unlock::by_link(&deps, &tenant, &token).await }).await
    }

    /// Zeroes every counter of an account because an administrator says so; false if there is no such
    /// account.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn unlock(
        &self,
        tenant: &TenantContext,
        account: AccountId,
        key: Option<KeyId>,
    ) -> Result<bool, Failure> {
        let tenant = tenant.clone();
        self.to_its_end(|deps| async move { unlock::by_admin(&deps, &tenant, account, key).await }).await
    }

    /// Invites a person.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn invite(&self, ask: Invite) -> Result<InviteOutcome, Failure> {
        self.to_its_end(|deps| async move { invitation::invite(&deps, &ask).await }).await
    }

    /// Mails a reset link because an administrator says so.
    ///
    /// # Errors
    /// [`Failure`] if nothing was decided.
    pub async fn start_reset(&self, ask: StartReset) -> Result<StartResetOutcome, Failure> {
        self.to_its_end(|deps| async move { links::start_reset(&deps, &ask).await }).await
    }

    /// Whose actor serves a contact: its account's, or a shadow's. One query either way.
    async fn key(&self, tenant: &TenantContext, contact: &Contact) -> Result<AccountKey, Failure> {
        let found = self.in_time(async { Ok(self.deps.storage.accounts().find_id(tenant.id(), contact).await?) });
        let who = match found.await? {
            Some(id) => Who::Account(id),
            None => Who::Shadow(self.deps.digests.shadow(tenant.id(), contact, SHADOWS)),
        };
        Ok(AccountKey { tenant: tenant.id(), who })
    }

    async fn tell<T>(
        &self,
        key: AccountKey,
        command: impl FnOnce(ReplyPort<Result<T, Failure>>) -> Command,
    ) -> Result<T, Failure> {
        ask(self.deps.timings.ask, |reply| self.directory.deliver(key, command(reply))).await?
    }

    /// Only asks: may be cut off at any point.
    async fn in_time<T>(&self, question: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.deps.timings.ask, question).await.unwrap_or(Err(Failure::Unavailable))
    }

    /// A story that changes something goes on though its client hangs up half-way.
    async fn to_its_end<T, F>(&self, story: impl FnOnce(Arc<Deps>) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let bounded = tokio::time::timeout(self.deps.timings.lease, story(Arc::clone(&self.deps)));
        match tokio::time::timeout(self.deps.timings.ask, tokio::spawn(bounded)).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Err(_panicked)) => Err(Failure::Internal),
            Ok(Ok(Err(_))) | Err(_) => Err(Failure::Unavailable),
        }
    }
}
