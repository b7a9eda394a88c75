//! The password step of a sign-in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::afterwards::Afterwards;
use super::attempts::{Attempts, Failed, Place, Unwritten};
use super::client::Client;
use super::codes::{self, CodeSend, Destination, Issued, Waiting};
use super::entry::{self, Entry, SignedIn};
use super::{Deps, attempt_subject, directory_id};
use crate::actors::ask::ReplyPort;
use crate::actors::directory::Who;
use crate::actors::failure::Failure;
use crate::actors::hasher::Priority;
use crate::crypto::password_hash::Verification;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, EmailAddress};
use crate::domain::device::Standing;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId};
use crate::domain::lockout::Lane;
use crate::domain::message::Content;

use crate::domain::otp::CodePurpose;
use crate::domain::session::Proof;
use crate::domain::sign_in::{PasswordVerdict, judge_password};
use crate::ephemeral::AttemptSubject;
use crate::secret::SecretString;
use crate::telemetry;
use crate::tenant::TenantContext;

/// E-mail and password, as presented.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical address.
    pub email: EmailAddress,
    /// The password, normalised.
    pub password: SecretString,
    /// Who asks.
    pub client: Client,
    /// Waiting for a place among the attempts ends then.
    pub deadline: Instant,
}

/// What the person is told.
#[derive(Debug)]
pub enum LogInOutcome {
    /// Signed in.
    SignedIn(Box<SignedIn>),
    /// Right password on a new device: a code was mailed (or a moment ago).
    CodeSent {
        /// What the code answers.
        challenge: ChallengeId,
        /// How long it is good for.
        life: Duration,
    },
    /// Too many codes were sent to this person.
    CodeCeiling {
        /// How long until the next may be.
        wait: Duration,
    },
    /// The tenant is under attack, and too much comes from where this came.
    HeldBack {
        /// How long to wait.
        wait: Duration,
    },
    /// Unknown, wrong, or (where the policy says so) locked: one answer.
    Refused,
    /// Right password, unproven address.
    Unverified,
    /// Right password, disabled account.
    Disabled,
    /// Locked, and the policy tells.
    Locked,
}

/// Facts in, verdict out, changes written, answer given.
pub(super) async fn log_in(
    deps: &Arc<Deps>,
    afterwards: &Afterwards,
    who: Who,
    ask: LogIn,
    reply: ReplyPort<Result<LogInOutcome, Failure>>,
) {
    let (answer, remainder) = match compare(deps, who, &ask).await {
        Ok(Step::Refused { outcome, remainder }) => (Ok(outcome), remainder),
        Ok(Step::Right(matched)) => (admit(deps, &ask, &matched).await, None),
        Err(failure) => (Err(failure), None),
    };
    let _nobody_waits = reply.send(answer);
    if let Some(remainder) = remainder {
        let deps = Arc::clone(deps);
        afterwards.see_to(Box::pin(async move { remainder.write_down(&deps, &ask.tenant).await })).await;
    }
}

enum Step {
    Refused { outcome: LogInOutcome, remainder: Option<Box<Remainder>> },
    Right(Box<Matched>),
}

/// What a refusal leaves to be written down after its answer.
struct Remainder {
    subject: AttemptSubject,
    lane: Lane,
    account: Option<Account>,
    unwritten: Unwritten,
}

impl Remainder {
    async fn write_down(self, deps: &Deps, tenant: &TenantContext) {
        let Self { subject, lane, account, unwritten } = self;
        let attempts = Attempts { deps, tenant, subject, lane, account: account.as_ref() };
        if let Err(failure) = attempts.write_down(unwritten).await {
            tracing::warn!(%failure, "a refusal was answered but not written down");
        }
    }
}

/// A right password, and what was read when it was compared.
struct Matched {
    account: Account,
    /// Which password it was.
    version: i64,
    standing: Standing,
}

/// Reserve, compare, settle.
async fn compare(deps: &Deps, who: Who, ask: &LogIn) -> Result<Step, Failure> {
    let tenant = &ask.tenant;
    let id = directory_id(who);
    let found = deps.storage.accounts().find_with_credential(tenant.id(), id).await?;
    let found = found.filter(|(account, _)| !account.has_lapsed(deps.clock.now()));
    let (account, credential) = found.unzip();
    let credential = credential.flatten();
    let standing = ask.client.standing(deps, tenant, id).await?;
    let subject = attempt_subject(deps, tenant, who, &Contact::Email(ask.email.clone()));
    let attempts = Attempts { deps, tenant, subject, lane: standing.lane, account: account.as_ref() };

    if standing.lane == Lane::Strangers
        && let Some(wait) = deps.limits.check_stranger(tenant, ask.client.limited_as).await
    {
        return Ok(Step::Refused { outcome: LogInOutcome::HeldBack { wait }, remainder: None });
    }
    let attempt = match attempts.reserve(ask.deadline).await? {
        Place::Granted(attempt) => attempt,
        Place::Locked(lock) => {
            let unwritten = Unwritten::Lock(lock);
            let remainder = Box::new(Remainder { subject, lane: standing.lane, account, unwritten });
            return Ok(Step::Refused { outcome: locked(tenant), remainder: Some(remainder) });
        }
        Place::Stopped => {
            distrust(deps, tenant, id, standing.lane).await?;
            return Ok(Step::Refused { outcome: locked(tenant), remainder: None });
        }
    };
    let priority = if standing.is_trusted() { Priority::KnownDevice } else { Priority::Stranger };
    let phc = credential.as_ref().map(|credential| credential.password_hash.clone());
    let compared = deps.hasher.verify(tenant.id(), priority, ask.password.clone(), phc).await;
    let matched = match compared {
        Ok(verification) => verification,
        Err(error) => {
            attempts.give_back(attempt).await;
            return Err(error.into());
        }
    };
    metrics::counter!(telemetry::PASSWORD_VERIFICATIONS).increment(1);

    if let (Verification::Matches { rehash }, Some(account), Some(credential)) = (matched, &account, credential) {
        attempts.succeed(attempt).await?;
        if rehash {
            strengthen(deps, account, ask.password.clone(), &credential.password_hash).await;
        }
        return Ok(Step::Right(Box::new(Matched { account: account.clone(), version: credential.version, standing })));
    }
    let Failed { lock, unwritten } = attempts.fail(attempt).await?;
    deps.note(tenant, account.as_ref().map(|account| account.id), EventKind::AuthnLoginFail);
    let outcome = lock.map_or(LogInOutcome::Refused, |_| locked(tenant));
    let left = |unwritten| Box::new(Remainder { subject, lane: standing.lane, account, unwritten });
    Ok(Step::Refused { outcome, remainder: unwritten.map(left) })
}

/// What a right password leads to.
async fn admit(deps: &Deps, ask: &LogIn, matched: &Matched) -> Result<LogInOutcome, Failure> {
    let Matched { account, version, standing } = matched;
    match judge_password(account, true, *standing) {
        PasswordVerdict::Refused => Ok(LogInOutcome::Refused),
        PasswordVerdict::Unverified => Ok(LogInOutcome::Unverified),
        PasswordVerdict::Disabled => Ok(LogInOutcome::Disabled),
        PasswordVerdict::NewDevice => mail_device_code(deps, ask, account, *version).await,
        PasswordVerdict::SignedIn => {
            let (proof, device, compared) = (Proof::Password, standing.device, Some(*version));
            let entry = Entry { proof, challenge: None, device, trust: false, compared, answered: None };
            let signed_in = entry::open(deps, &ask.tenant, account, &ask.client, entry).await?;
            // Reset or forgotten while it was compared: the password counts as what it is by now.
            Ok(signed_in.map_or(LogInOutcome::Refused, |entry| LogInOutcome::SignedIn(Box::new(entry))))
        }
    }
}

/// A code to the account's own address; within the cooldown the same answer, and nothing is sent.
async fn mail_device_code(deps: &Deps, ask: &LogIn, account: &Account, compared: i64) -> Result<LogInOutcome, Failure> {
    let Some(email) = account.email.clone() else { return Ok(LogInOutcome::Refused) };
    let send = CodeSend {
        tenant: &ask.tenant,
        purpose: CodePurpose::NewDevice,
        to: Destination { subject: codes::account_subject(account.id), contact: Contact::Email(email) },
        account: Some(account),
        lane: Lane::Strangers,
        client: ask.client.address_prefix.as_deref(),
        locale: ask.client.locale.or(account.locale),
        credential: Some(compared),
    };
    Ok(match codes::issue(deps, &send, Content::DeviceCode).await? {
        Issued::Sent(waiting) | Issued::Cooling { waiting: Some(waiting), .. } => {
            let Waiting { challenge, life } = waiting;
            LogInOutcome::CodeSent { challenge, life }
        }
        Issued::Cooling { waiting: None, wait } | Issued::Ceiling { wait } => LogInOutcome::CodeCeiling { wait },
    })
}

/// Hashes a password anew at today's cost; a failure costs nothing but the next try.
async fn strengthen(deps: &Deps, account: &Account, password: SecretString, compared: &SecretString) {
    if let Err(failure) = entry::rehash(deps, account, password, compared).await {
        tracing::warn!(%failure, "a password hash could not be renewed");
    }
}

/// A device at its own hard stop loses trust; its owner signs in as on a new one.
async fn distrust(deps: &Deps, tenant: &TenantContext, account: AccountId, lane: Lane) -> Result<(), Failure> {
    if let Lane::Device(device) = lane {
        let events = [deps.event(tenant, Some(account), EventKind::DeviceForgotten, Some("hard_limit"))];
        if deps.storage.devices().forget(tenant.id(), account, device, deps.clock.now(), &events).await? {
            deps.revocations.announce(tenant.id()).await;
        }
    }
    Ok(())
}

/// What a locked account says.
fn locked(tenant: &TenantContext) -> LogInOutcome {
    if tenant.policy().lockout.disclose { LogInOutcome::Locked } else { LogInOutcome::Refused }
}
