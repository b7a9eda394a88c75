//! The contract of storage, held against both databases.

mod accounts;
mod attempts;
mod deliveries;
mod housekeeping;
mod nodes;
mod outbox;
mod passwords;
mod schema;
mod sessions;
mod signing_keys;
mod tenants;

use std::time::Duration;

use guichet::domain::account::Account;
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::device::DeviceKind;
use guichet::domain::event::{Event, EventKind};
use guichet::domain::ids::{AccountId, ChallengeId, DeviceId, MessageId, NodeId, SessionId, TenantId};
use guichet::domain::locale::Locale;
use guichet::domain::message::{Content, Message};
use guichet::domain::policy::Profile;
use guichet::domain::session::{Proof, Session};
use guichet::domain::time::Timestamp;
use guichet::entropy::Entropy;
use guichet::secret::SecretString;
use guichet::storage::{
    Birth, EmailRegistered, EmailRegistration, LinkPurpose, NewDevice, NewLink, NewTenant, Notes, Opened, Opening,
    Storage,
};

use crate::harness::databases;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY: Duration = Duration::from_hours(24);

/// A fresh id of any kind.
fn id<T: From<uuid::Uuid>>() -> T {
    uuid::Builder::from_random_bytes(Entropy::system().bytes()).into_uuid().into()
}

fn digest() -> [u8; 32] {
    Entropy::system().bytes()
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// Nothing told, nothing noted.
fn silent(now: Timestamp) -> Notes<'static> {
    let birth = Birth { node: id::<NodeId>(), lease: Duration::from_secs(30) };
    Notes { now, birth, messages: &[], events: &[] }
}

fn event(tenant: TenantId, account: AccountId, kind: EventKind) -> Event {
    Event { tenant, account: Some(account), kind, at: T0, cause: None, key: None, subject: None }
}

fn message(tenant: TenantId, to: &str) -> Message {
    Message {
        id: id::<MessageId>(),
        tenant,
        to: Contact::Email(EmailAddress::parse(to).unwrap()),
        locale: Locale::Fr,
        content: Content::PasswordChanged,
        not_after: T0 + DAY,
    }
}

fn new_tenant(slug: &str) -> NewTenant {
    NewTenant { created_at: T0, ..databases::new_tenant(slug, Profile::AsvsL1) }
}

async fn a_tenant(storage: &Storage, slug: &str) -> TenantId {
    databases::make_tenant(storage, &new_tenant(slug)).await
}

fn email_account(tenant: TenantId, email: &str) -> Account {
    Account {
        tenant,
        id: id(),
        email: Some(EmailAddress::parse(email).unwrap()),
        email_verified_at: None,
        phone: None,
        phone_as_given: Some("123456789".to_owned()),
        username: Some("awa".to_owned()),
        first_name: None,
        last_name: None,
        locale: Some(Locale::Fr),
        disabled: false,
        test: false,
        created_at: T0,
        unverified_until: Some(T0 + DAY),
    }
}

fn link(account: &Account, purpose: LinkPurpose, expires_at: Timestamp) -> NewLink {
    NewLink { id: id::<ChallengeId>(), tenant: account.tenant, account: account.id, purpose, expires_at }
}

/// Registers, and gives back the verification link.
async fn register(storage: &Storage, account: &Account, notes: &Notes<'_>) -> (EmailRegistered, ChallengeId) {
    let link = link(account, LinkPurpose::Verification, notes.now + DAY);
    let password_hash = secret("$argon2id$first");
    let registration = EmailRegistration { account, password_hash: &password_hash, devices: &[], link: &link };
    (storage.accounts().create_with_email(&registration, notes).await.unwrap(), link.id)
}

/// A registered account with a proven address.
async fn an_account(storage: &Storage, tenant: TenantId, email: &str) -> Account {
    let account = email_account(tenant, email);
    let (registered, link) = register(storage, &account, &silent(T0)).await;
    assert_eq!(registered, EmailRegistered::Created);
    storage.links().verify_email(tenant, link, T0, &[]).await.unwrap();
    storage.accounts().find(tenant, account.id).await.unwrap().unwrap()
}

fn device() -> NewDevice {
    NewDevice {
        id: id::<DeviceId>(),
        kind: DeviceKind::Token,
        digest: digest(),
        trusted_from: None,
        label: Some("Firefox".to_owned()),
        created_at: T0,
    }
}

fn session(account: &Account, at: Timestamp) -> Session {
    Session {
        tenant: account.tenant,
        id: id::<SessionId>(),
        account: account.id,
        client_id: "first-party".to_owned(),
        proof: Proof::Password,
        challenge: None,
        device: None,
        label: None,
        authenticated_at: at,
        refreshed_at: at,
        expires_at: at + 30 * DAY,
        ended_at: None,
    }
}

/// Opens a session of `account`; its id and the digest of its refresh token.
async fn open(storage: &Storage, session: &Session, device: Option<&NewDevice>) -> [u8; 32] {
    let refresh_digest = digest();
    let opening = Opening {
        session,
        refresh_digest,
        devices: device.map_or(&[], std::slice::from_ref),
        compared: None,
        answered: None,
        max_sessions: 10,
    };
    let opened = storage.sessions().open(&opening, &silent(session.authenticated_at)).await.unwrap();
    assert!(matches!(opened, Opened::Opened { .. }));
    refresh_digest
}

/// Runs `call` that many times at once and counts the answers that satisfy `wins`.
async fn race<F, T>(times: usize, call: impl Fn(usize) -> F, wins: impl Fn(&T) -> bool) -> usize
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let racers: Vec<_> = (0..times).map(|n| tokio::spawn(call(n))).collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(wins(&racer.await.unwrap()));
    }
    won
}
