//! Sends one-time codes and compares answers to them.
//!
//! Nothing here knows a code for longer than it takes to compare it: the challenge names the
//! inputs of its derivation, the sender derives it again when the message leaves, and so does the
//! comparison below. Only a test identity's code is known: it is the listed one.

use std::sync::Arc;
use std::time::Duration;

use super::{Deps, test_identities};
use crate::actors::budget::{Booked, Outgoing};
use crate::actors::failure::Failure;
use crate::crypto::digest::{self, CodeSubject as CodeDerivation};
use crate::domain::account::Account;
use crate::domain::contact::Contact;
use crate::domain::ids::{AccountId, ChallengeId, OperationId, TenantId};
use crate::domain::locale::Locale;
use crate::domain::lockout::Lane;
use crate::domain::message::{Channel, CodeRef, Content};
use crate::domain::otp::{Challenge, CodePurpose, CodeRules, Send, SendVerdict, TryVerdict};
use crate::domain::time::Timestamp;
use crate::ephemeral::{CodeOwner, CodeSubject, Consume, EphemeralError, EphemeralStore, Guess};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::telemetry;
use crate::tenant::TenantContext;

/// A code to be sent.
pub(super) struct CodeSend<'a> {
    pub tenant: &'a TenantContext,
    pub purpose: CodePurpose,
    pub to: Destination,
    /// Whose contact it is, if anybody's.
    pub account: Option<&'a Account>,
    pub lane: Lane,
    /// The network that asked, if that is known.
    pub client: Option<&'a str>,
    pub locale: Option<Locale>,
    /// The version of the password it is sent after: once that is withdrawn, nothing answers the code.
    pub credential: Option<i64>,
}

impl CodeSend<'_> {
    fn is_test(&self) -> bool {
        test_identities::code(self.tenant, &self.to.contact, self.account).is_some()
    }

    fn challenge_id(&self, deps: &Deps) -> ChallengeId {
        let bytes = deps.entropy.bytes();
        if self.is_test() { ChallengeId::for_test(bytes) } else { ChallengeId::random(bytes) }
    }
}

/// Whether the account has shown that the number is its own.
fn has_proven(account: Option<&Account>, contact: &Contact) -> bool {
    let own = account.and_then(|account| account.phone.as_ref());
    matches!(contact, Contact::Phone(number) if own == Some(number))
}

/// Whose book counts it, and where it goes.
pub(super) struct Destination {
    pub subject: CodeOwner,
    pub contact: Contact,
}

/// The book of an account, whatever its contact.
pub(super) const fn account_subject(account: AccountId) -> CodeOwner {
    CodeOwner::Account(account)
}

/// The book of a contact, whether or not it has an account.
pub(super) fn contact_subject(deps: &Deps, tenant: &TenantContext, contact: &Contact) -> CodeOwner {
    CodeOwner::Contact(*deps.digests.contact(tenant.id(), contact).as_bytes())
}

/// A code that waits for its answer.
pub(super) struct Waiting {
    pub challenge: ChallengeId,
    /// What is left of its life.
    pub life: Duration,
}

impl Waiting {
    /// As the store saw it `at` that moment of its own.
    fn seen(challenge: &Challenge, at: Timestamp) -> Self {
        Self { challenge: challenge.id, life: at.until(challenge.expires) }
    }
}

/// What became of a request for a code.
pub(super) enum Issued {
    /// On its way.
    Sent(Waiting),
    /// Sent a moment ago; the next one fits after `wait`.
    Cooling { waiting: Option<Waiting>, wait: Duration },
    /// Sent too often; the next one fits after `wait`.
    Ceiling { wait: Duration },
}

/// Books a send, writes it to the outbox, hands it to the sender. If it cannot be written, or the
/// store's verdict is lost, the booking is given back: unless the store stays away, a person is never
/// told to wait for a code that was not sent. What a ceiling of the tenant's budget withholds is the
/// exception, and told in [`crate::domain::budget`].
pub(super) async fn issue(
    deps: &Deps,
    send: &CodeSend<'_>,
    content: impl FnOnce(CodeRef) -> Content,
) -> Result<Issued, Failure> {
    let channel = send.to.contact.channel();
    let stays = send.is_test() || channel == Channel::Sms && deps.budget.is_stopped(send.tenant);
    if !stays && !deps.postman.can_send(send.tenant, channel) {
        tracing::error!(channel = channel.as_str(), "a code was asked for, but there is no sender");
        return Err(Failure::Unavailable);
    }
    let subject = CodeSubject { owner: send.to.subject, purpose: send.purpose };
    let rules = CodeRules::of(send.tenant.policy(), send.purpose);
    let ask = Send {
        operation: OperationId::random(deps.entropy.bytes()),
        fresh: send.challenge_id(deps),
        key_id: deps.digests.key_id().to_owned(),
        lane: send.lane,
        credential: send.credential,
    };
    let verdict = match deps.ephemeral.send_code(send.tenant.id(), &subject, &rules, &ask).await {
        Ok(verdict) => verdict,
        Err(error) => {
            let (store, tenant) = (Arc::clone(&deps.ephemeral), send.tenant.id());
            tokio::spawn(async move {
                if let Err(error) = give_back_lost(store.as_ref(), tenant, &subject, &rules, &ask).await {
                    tracing::warn!(%error, "a code that was not sent may be booked");
                }
            });
            return Err(error.into());
        }
    };
    let (challenge, sent_at) = match verdict {
        SendVerdict::Send { challenge, sent_at } => (challenge, sent_at),
        SendVerdict::Cooling { challenge, wait } => {
            let waiting = challenge.map(|challenge| Waiting::seen(&challenge, wait.at));
            return Ok(Issued::Cooling { waiting, wait: wait.left() });
        }
        SendVerdict::Ceiling(wait) => return Ok(Issued::Ceiling { wait: wait.left() }),
    };
    if let Err(failure) = post(deps, send, &challenge, content).await {
        deps.ephemeral.give_back_send(send.tenant.id(), &subject, send.lane, sent_at).await?;
        return Err(failure);
    }
    Ok(Issued::Sent(Waiting::seen(&challenge, sent_at)))
}

/// Gives back a send that may have been booked though no verdict came: asked again under its operation,
/// the store says what it said. Tried once; nobody waits for it.
async fn give_back_lost(
    store: &dyn EphemeralStore,
    tenant: TenantId,
    subject: &CodeSubject,
    rules: &CodeRules,
    ask: &Send,
) -> Result<(), EphemeralError> {
    match store.send_code(tenant, subject, rules, ask).await? {
        SendVerdict::Send { sent_at, .. } => store.give_back_send(tenant, subject, ask.lane, sent_at).await,
        SendVerdict::Cooling { .. } | SendVerdict::Ceiling(_) => Ok(()),
    }
}

/// Pays for the message and writes it, unless a test identity or a ceiling keeps it here.
async fn post(
    deps: &Deps,
    send: &CodeSend<'_>,
    challenge: &Challenge,
    content: impl FnOnce(CodeRef) -> Content,
) -> Result<(), Failure> {
    if send.is_test() {
        test_identities::note(deps, send.tenant, send.account.map(|account| account.id), "sent");
        return Ok(());
    }
    let (to, proven) = (&send.to.contact, has_proven(send.account, &send.to.contact));
    let outgoing = Outgoing { tenant: send.tenant, to, proven, client: send.client };
    let receipt = match deps.budget.book(&outgoing).await? {
        Booked::Taken(receipt) => receipt,
        // A device that the account knows may be told what nobody else is.
        Booked::Withheld if send.lane != Lane::Strangers => return Err(Failure::Unavailable),
        Booked::Withheld => return Ok(()),
    };
    let message =
        deps.message(send.tenant, to.clone(), send.locale, content(CodeRef::from(challenge)), challenge.expires);
    let posted = deps.post(message).await;
    if posted.is_err() {
        deps.budget.give_back(send.tenant, &receipt).await?;
    }
    posted
}

/// An answer to a code.
pub(super) struct Answer<'a> {
    pub tenant: &'a TenantContext,
    pub purpose: CodePurpose,
    pub to: Destination,
    /// Whose contact it is, if anybody's.
    pub account: Option<&'a Account>,
    pub lane: Lane,
    pub wanted: Option<ChallengeId>,
    pub code: &'a str,
    /// The version of the password as it is now, where the code was sent after one.
    pub credential: Option<i64>,
}

/// What an answer is worth.
#[derive(Clone, Copy)]
pub(super) enum Checked {
    /// Right, and this caller is the one that consumed the challenge.
    Right(ChallengeId),
    /// Wrong.
    Wrong,
    /// Nothing waits for it: expired, consumed, tries used up, or never sent.
    Expired,
    /// Too many wrong answers today; one is taken again after `wait`.
    Ceiling { wait: Duration },
}

/// Counts the guess, then compares, then consumes.
pub(super) async fn check(deps: &Deps, answer: &Answer<'_>) -> Result<Checked, Failure> {
    let subject = CodeSubject { owner: answer.to.subject, purpose: answer.purpose };
    let rules = CodeRules::of(answer.tenant.policy(), answer.purpose);
    let operation = OperationId::random(deps.entropy.bytes());
    let guess = Guess { operation, lane: answer.lane, wanted: answer.wanted, credential: answer.credential };
    let challenge = match deps.ephemeral.guess_code(answer.tenant.id(), &subject, &rules, &guess).await? {
        TryVerdict::Compare(challenge) => challenge,
        TryVerdict::NoChallenge => return Ok(Checked::Expired),
        TryVerdict::Ceiling(wait) => return Ok(Checked::Ceiling { wait: wait.left() }),
    };
    metrics::counter!(telemetry::CODE_COMPARISONS).increment(1);
    let account = answer.account.map(|account| account.id);
    let is_test = challenge.id.is_test();
    let Some(expected) = expected(deps, answer, &challenge) else { return Ok(Checked::Expired) };
    if !digest::constant_time_eq(expected.expose_secret().as_bytes(), answer.code.as_bytes()) {
        if is_test {
            test_identities::note(deps, answer.tenant, account, "wrong");
        }
        return Ok(Checked::Wrong);
    }
    let operation = OperationId::random(deps.entropy.bytes());
    let consume = Consume { operation, lane: answer.lane, answered: challenge.id };
    if !deps.ephemeral.consume_code(answer.tenant.id(), &subject, &consume).await? {
        return Ok(Checked::Expired);
    }
    match &answer.to.contact {
        _ if is_test => test_identities::note(deps, answer.tenant, account, "right"),
        Contact::Phone(number) if !has_proven(answer.account, &answer.to.contact) => {
            deps.budget.verified(answer.tenant, number).await;
        }
        _ => {}
    }
    Ok(Checked::Right(challenge.id))
}

/// The right answer: the listed code of a challenge made for a test identity that is one still,
/// else the derived one.
fn expected(deps: &Deps, answer: &Answer<'_>, challenge: &Challenge) -> Option<SecretString> {
    if challenge.id.is_test() {
        return test_identities::code(answer.tenant, &answer.to.contact, answer.account).map(SecretString::from);
    }
    let derivation = CodeDerivation {
        tenant: answer.tenant.id(),
        purpose: answer.purpose.as_str(),
        contact: answer.to.contact.as_str(),
        challenge: challenge.id,
        length: challenge.length,
    };
    deps.digests.code(&challenge.key_id, &derivation)
}

/// A code as people type it: spaces and dashes dropped, full-width digits narrowed.
#[must_use]
pub fn tidy(typed: &str) -> String {
    let narrow = |c: char| match c {
        '\u{ff10}'..='\u{ff19}' => char::from_digit(u32::from(c) - 0xff10, 10).unwrap_or(c),
        other => other,
    };
    typed.chars().map(narrow).filter(|c| !c.is_whitespace() && !"-\u{2010}\u{2011}\u{2013}".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::policy::{Policy, Profile};
    use crate::entropy::Entropy;
    use crate::ephemeral::memory::MemoryStore;

    #[tokio::test]
    async fn a_send_whose_reply_was_lost_is_given_back_whether_or_not_it_was_booked() {
        let entropy = Entropy::system();
        let store = MemoryStore::new(Clock::system(), entropy.clone());
        let tenant = TenantId::random(entropy.bytes());
        let subject = CodeSubject { owner: CodeOwner::Contact([1; 32]), purpose: CodePurpose::PhoneSignIn };
        let rules = CodeRules::of(&Policy::of(Profile::Classic), subject.purpose);
        let ask = || Send {
            operation: OperationId::random(entropy.bytes()),
            fresh: ChallengeId::random(entropy.bytes()),
            key_id: "k".to_owned(),
            lane: Lane::Strangers,
            credential: None,
        };
        let (booked, never_ran) = (ask(), ask());
        store.send_code(tenant, &subject, &rules, &booked).await.unwrap();

        for lost in [&booked, &never_ran] {
            give_back_lost(&store, tenant, &subject, &rules, lost).await.unwrap();
        }

        let next = store.send_code(tenant, &subject, &rules, &ask()).await.unwrap();
        assert!(matches!(next, SendVerdict::Send { .. }), "{next:?}");
        // One that was refused took nothing that could be given back.
        let refused = ask();
        store.send_code(tenant, &subject, &rules, &refused).await.unwrap();
        give_back_lost(&store, tenant, &subject, &rules, &refused).await.unwrap();
        let after = store.send_code(tenant, &subject, &rules, &ask()).await.unwrap();
        assert!(matches!(after, SendVerdict::Cooling { .. }), "{after:?}");
    }

    #[test]
    fn a_code_is_read_as_people_type_it_and_keeps_its_zeros() {
        for typed in ["0042", " 0042 ", "00 42", "00-42", "００４２"] {
            assert_eq!(tidy(typed), "0042", "{typed}");
        }
    }
}
