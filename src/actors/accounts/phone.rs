//! Signing in with a code sent by SMS, and registering a number that was just proven.

use std::time::Duration;

use super::client::Client;
use super::codes::{self, Answer, CodeSend, Destination, Issued, Waiting};
use super::device_code::{CodeOutcome, accepted};
use super::entry::{self, Entry, SignedIn};
use super::{Deps, directory_id, test_identities};
use crate::actors::directory::Who;
use crate::actors::failure::Failure;
use crate::domain::account::Account;
use crate::domain::contact::{Contact, PhoneNumber};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, ChallengeId};
use crate::domain::lockout::Lane;
use crate::domain::message::Content;
use crate::domain::otp::{CodePurpose, CodeRules};
use crate::domain::policy::GrantKind;
use crate::domain::session::Proof;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::{PhoneRegistered, PhoneRegistration};
use crate::tenant::TenantContext;

/// A request for a code.
#[derive(Debug, Clone)]
pub struct RequestCode {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical number.
    pub phone: PhoneNumber,
    /// Who asks.
    pub client: Client,
}

/// What became of it; the same whether or not the number has an account.
#[derive(Debug)]
pub enum RequestCodeOutcome {
    /// On its way.
    Sent {
        /// How long the code is good for.
        life: Duration,
        /// How long until it may be sent again.
        cooldown: Duration,
    },
    /// Too soon or too often.
    Wait {
        /// How long until the next send is allowed.
        wait: Duration,
    },
}

/// Sends a code to the number.
pub(super) async fn request_code(deps: &Deps, who: Who, ask: &RequestCode) -> Result<RequestCodeOutcome, Failure> {
    let id = directory_id(who);
    let contact = Contact::Phone(ask.phone.clone());
    // Asked for unknown numbers too, so that both take the same path.
    let account = deps.storage.accounts().find(ask.tenant.id(), id).await?;
    let lane = ask.client.code_lane(deps, &ask.tenant, id).await?;
    let send = CodeSend {
        tenant: &ask.tenant,
        purpose: CodePurpose::PhoneSignIn,
        to: Destination { subject: codes::contact_subject(deps, &ask.tenant, &contact), contact },
        account: account.as_ref(),
        lane,
        client: ask.client.address_prefix.as_deref(),
        locale: ask.client.locale.or(account.as_ref().and_then(|account| account.locale)),
        credential: None,
    };
    let rules = CodeRules::of(ask.tenant.policy(), send.purpose);
    Ok(match codes::issue(deps, &send, Content::SignInCode).await? {
        Issued::Sent(Waiting { life, .. }) => RequestCodeOutcome::Sent { life, cooldown: rules.resend(lane).cooldown },
        Issued::Cooling { wait, .. } | Issued::Ceiling { wait } => RequestCodeOutcome::Wait { wait },
    })
}

/// The answer to a code.
#[derive(Debug, Clone)]
pub struct VerifyCode {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical number.
    pub phone: PhoneNumber,
    /// The digits, tidied.
    pub code: SecretString,
    /// Who asks.
    pub client: Client,
}

/// What the answer leads to.
#[derive(Debug)]
pub enum VerifyCodeOutcome {
    /// The number has an account, or the answer was not right.
    Code(CodeOutcome),
    /// The number is proven, and nobody has registered it yet.
    NotRegistered {
        /// Proves the number at registration.
        registration_token: SecretString,
    },
}

/// Judges the answer. A right one trusts the device too.
pub(super) async fn verify_code(deps: &Deps, who: Who, ask: &VerifyCode) -> Result<VerifyCodeOutcome, Failure> {
    entry::have_keys(deps, &ask.tenant).await?;
    let id = directory_id(who);
    let account = deps.storage.accounts().find(ask.tenant.id(), id).await?;
    let lane = ask.client.code_lane(deps, &ask.tenant, id).await?;
    let contact = Contact::Phone(ask.phone.clone());
    let answer = Answer {
        tenant: &ask.tenant,
        purpose: CodePurpose::PhoneSignIn,
        to: Destination { subject: codes::contact_subject(deps, &ask.tenant, &contact), contact },
        account: account.as_ref(),
        lane,
        wanted: None,
        code: ask.code.expose_secret(),
        credential: None,
    };
    let challenge = match accepted(codes::check(deps, &answer).await?) {
        Ok(challenge) => challenge,
        Err(refusal) => return Ok(VerifyCodeOutcome::Code(refusal)),
    };
    let Some(account) = account else {
        return Ok(VerifyCodeOutcome::NotRegistered { registration_token: grant(deps, ask, challenge).await? });
    };
    if account.disabled {
        return Ok(VerifyCodeOutcome::Code(CodeOutcome::Disabled));
    }
    let device = match lane {
        Lane::Device(device) => Some(device),
        Lane::Strangers => None,
    };
    let (challenge, answered) = (Some(challenge), Some(Contact::Phone(ask.phone.clone())));
    let entry = Entry { proof: Proof::Sms, challenge, device, trust: true, compared: None, answered };
    let opened = entry::open(deps, &ask.tenant, &account, &ask.client, entry).await?;
    let outcome = opened.map_or(CodeOutcome::Expired, |entry| CodeOutcome::SignedIn(Box::new(entry)));
    Ok(VerifyCodeOutcome::Code(outcome))
}

/// Proof of the number for the register step: a token, and (`registration.grant = address`) a
/// grant for clients of the original API, which send no token.
async fn grant(deps: &Deps, ask: &VerifyCode, challenge: ChallengeId) -> Result<SecretString, Failure> {
    let policy = ask.tenant.policy();
    if let Some(digest) = grant_digest(deps, &ask.tenant, &ask.phone, &ask.client) {
        deps.ephemeral.put_grant(ask.tenant.id(), digest, challenge, policy.registration_grant_ttl).await?;
    }
    let expires = deps.clock.now() + policy.registration_grant_ttl;
    Ok(deps.digests.registration_token(ask.tenant.id(), &ask.phone, challenge, expires))
}

/// What a client without a token shows: number, address and `User-Agent`, all three the same.
fn grant_digest(deps: &Deps, tenant: &TenantContext, phone: &PhoneNumber, client: &Client) -> Option<[u8; 32]> {
    if tenant.policy().registration_grant != GrantKind::Address {
        return None;
    }
    let address = client.address_key.as_deref()?;
    let agent = client.user_agent.as_deref().unwrap_or_default();
    Some(*deps.digests.grant(tenant.id(), phone, address, agent).as_bytes())
}

/// A registration of a proven number.
#[derive(Clone)]
pub struct RegisterPhone {
    /// In which tenant.
    pub tenant: TenantContext,
    /// The canonical number.
    pub phone: PhoneNumber,
    /// The person's first name.
    pub first_name: String,
    /// The person's last name.
    pub last_name: String,
    /// The proof of the verify step, if the client kept it.
    pub registration_token: Option<SecretString>,
    /// Who asks.
    pub client: Client,
}

/// What it leads to.
#[derive(Debug)]
pub enum RegisterPhoneOutcome {
    /// Registered and signed in.
    Registered(Box<SignedIn>),
    /// The number was not proven, or the proof was used before.
    NotVerified,
    /// The number has an account.
    Exists,
}

/// Registers the number. The proof is spent in the same transaction that makes the account, so
/// one proof makes one account on however many nodes.
pub(super) async fn register(deps: &Deps, ask: RegisterPhone) -> Result<RegisterPhoneOutcome, Failure> {
    entry::have_keys(deps, &ask.tenant).await?;
    let Some(proof) = proof(deps, &ask).await? else { return Ok(RegisterPhoneOutcome::NotVerified) };
    let now = deps.clock.now();
    let account = Account {
        tenant: ask.tenant.id(),
        id: AccountId::at(now, deps.entropy.bytes()),
        email: None,
        email_verified_at: None,
        phone: Some(ask.phone.clone()),
        phone_as_given: None,
        username: None,
        first_name: Some(ask.first_name),
        last_name: Some(ask.last_name),
        locale: ask.client.locale,
        disabled: false,
        test: proof.is_test(),
        created_at: now,
        unverified_until: None,
    };
    let (challenge, answered) = (Some(proof), Some(Contact::Phone(ask.phone.clone())));
    let entry = Entry { proof: Proof::Sms, challenge, device: None, trust: true, compared: None, answered };
    let prepared = entry::prepare(deps, &ask.tenant, account.id, &ask.client, &entry);
    let events = [deps.event(&ask.tenant, Some(account.id), EventKind::UserCreated, Some("phone"))];
    let registration = PhoneRegistration { account: &account, proof, opening: prepared.opening() };
    match deps.storage.accounts().create_with_phone(&registration, &deps.notes(&[], &events)).await? {
        PhoneRegistered::Created { .. } => {
            if account.test {
                test_identities::note(deps, &ask.tenant, Some(account.id), "registered");
            }
            let signed_in = entry::finish(deps, &ask.tenant, account, prepared).await?;
            Ok(RegisterPhoneOutcome::Registered(Box::new(signed_in)))
        }
        PhoneRegistered::PhoneTaken => Ok(RegisterPhoneOutcome::Exists),
        PhoneRegistered::ProofSpent => Ok(RegisterPhoneOutcome::NotVerified),
    }
}

/// The proof of the verify step: the token if there is one, even a wrong one; else the grant.
async fn proof(deps: &Deps, ask: &RegisterPhone) -> Result<Option<ChallengeId>, Failure> {
    let tenant = ask.tenant.id();
    if let Some(token) = &ask.registration_token {
        let now = deps.clock.now();
        return Ok(deps.digests.open_registration_token(token.expose_secret(), tenant, &ask.phone, now));
    }
    match grant_digest(deps, &ask.tenant, &ask.phone, &ask.client) {
        Some(digest) => Ok(deps.ephemeral.take_grant(tenant, digest).await?),
        None => Ok(None),
    }
}
