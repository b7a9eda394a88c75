//! Registration, uniqueness, lapse, erasure; tenant isolation.

use guichet::actors::accounts::test_identities_taken;
use guichet::domain::account::Account;
use guichet::domain::contact::{Contact, EmailAddress, PhoneNumber};
use guichet::domain::device::DeviceProof;
use guichet::domain::event::EventKind;
use guichet::domain::ids::{ChallengeId, TenantId};
use guichet::domain::message::Message;
use guichet::domain::test_identity::TestIdentities;
use guichet::secret::ExposeSecret;
use guichet::storage::{
    ContactChange, ContactChanged, EmailRegistered, LinkPurpose, Notes, Opened, Opening, PhoneRegistered,
    PhoneRegistration, Storage, StorageError, Verified,
};

use super::{
    DAY, T0, a_tenant, an_account, device, digest, email_account, event, id, message, open, race, register, secret,
    session, silent,
};
use crate::harness::databases::on_every_database;

async fn an_account_reads_back_as_it_was_written(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = email_account(tenant, "awa@example.com");
    register(&storage, &account, &silent(T0)).await;

    let (found, hash) = storage.accounts().find_with_credential(tenant, account.id).await.unwrap().unwrap();

    assert_eq!(found, account);
    assert_eq!(hash.unwrap().password_hash.expose_secret(), "$argon2id$first");
    let contact = Contact::Email(account.email.clone().unwrap());
    assert_eq!(storage.accounts().find_id(tenant, &contact).await.unwrap(), Some(account.id));
}

async fn an_address_is_unique_within_its_tenant_under_parallel_fire(storage: Storage) {
    let (one, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    let racers = storage.clone();

    let created = race(
        20,
        move |_| {
            let storage = racers.clone();
            async move { register(&storage, &email_account(one, "awa@example.com"), &silent(T0)).await.0 }
        },
        |outcome| *outcome == EmailRegistered::Created,
    )
    .await;

    assert_eq!(created, 1);
    let elsewhere = register(&storage, &email_account(other, "awa@example.com"), &silent(T0)).await;
    assert_eq!(elsewhere.0, EmailRegistered::Created);
}

async fn a_taken_address_writes_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    an_account(&storage, tenant, "awa@example.com").await;
    let thief = email_account(tenant, "awa@example.com");
    let (messages, events) = ([message(tenant, "awa@example.com")], [event(tenant, thief.id, EventKind::UserCreated)]);
    let notes = Notes { messages: &messages, events: &events, ..silent(T0) };

    assert_eq!(register(&storage, &thief, &notes).await.0, EmailRegistered::EmailTaken);

    assert_eq!(storage.accounts().find(tenant, thief.id).await.unwrap(), None);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 0);
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap(), []);
}

async fn a_lapsed_registration_frees_its_address(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let (first, second) = (email_account(tenant, "awa@example.com"), email_account(tenant, "awa@example.com"));
    let (_, first_link) = register(&storage, &first, &silent(T0)).await;

    assert_eq!(register(&storage, &second, &silent(T0 + DAY / 2)).await.0, EmailRegistered::EmailTaken);
    let later = T0 + DAY;
    assert_eq!(register(&storage, &second, &silent(later)).await.0, EmailRegistered::Created);

    assert_eq!(storage.accounts().find(tenant, first.id).await.unwrap(), None);
    assert_eq!(storage.links().verify_email(tenant, first_link, later, &[]).await.unwrap(), Verified::Invalid);
}

async fn a_proven_address_never_lapses(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;

    let taken = register(&storage, &email_account(tenant, "awa@example.com"), &silent(T0 + 365 * DAY)).await;
    storage.housekeeping().sweep(T0 + 365 * DAY, 100).await.unwrap();

    assert_eq!(taken.0, EmailRegistered::EmailTaken);
    assert_eq!(storage.accounts().find(tenant, account.id).await.unwrap(), Some(account));
}

async fn a_verification_link_used_again_answers_well_and_notes_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let other = a_tenant(&storage, "other").await;
    let account = email_account(tenant, "awa@example.com");
    let (_, link) = register(&storage, &account, &silent(T0)).await;
    let events = [event(tenant, account.id, EventKind::UserVerified)];
    let links = storage.links();

    assert_eq!(links.verify_email(other, link, T0, &events).await.unwrap(), Verified::Invalid);
    assert_eq!(links.verify_email(tenant, link, T0, &events).await.unwrap(), Verified::Verified(account.id));
    assert_eq!(links.verify_email(tenant, link, T0, &events).await.unwrap(), Verified::AlreadyVerified(account.id));
    assert_eq!(links.verify_email(tenant, link, T0 + DAY, &events).await.unwrap(), Verified::Invalid);

    assert!(storage.accounts().find(tenant, account.id).await.unwrap().unwrap().is_verified());
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap().len(), 1);
}

fn phone_account(storage_tenant: TenantId, number: &str) -> Account {
    Account {
        email: None,
        phone: Some(PhoneNumber::parse(number, None).unwrap()),
        phone_as_given: None,
        username: None,
        unverified_until: None,
        ..email_account(storage_tenant, "unused@example.com")
    }
}

async fn register_phone(storage: &Storage, account: &Account, proof: ChallengeId) -> PhoneRegistered {
    let (session, device) = (session(account, T0), device());
    let opening = Opening {
        session: &session,
        refresh_digest: digest(),
        devices: std::slice::from_ref(&device),
        compared: None,
        answered: None,
        max_sessions: 10,
    };
    let registration = PhoneRegistration { account, proof, opening };
    storage.accounts().create_with_phone(&registration, &silent(T0)).await.unwrap()
}

async fn a_proof_registers_one_account(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let proof: ChallengeId = id();
    let racers = storage.clone();

    let created = race(
        20,
        move |n| {
            let storage = racers.clone();
            let account = phone_account(tenant, &format!("+2217712345{n:02}"));
            async move { register_phone(&storage, &account, proof).await }
        },
        |outcome| matches!(outcome, PhoneRegistered::Created { device: Some(_) }),
    )
    .await;

    assert_eq!(created, 1);
}

async fn a_taken_number_keeps_the_proof_unspent(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let owner = phone_account(tenant, "+221771234567");
    register_phone(&storage, &owner, id()).await;
    let proof: ChallengeId = id();

    let taken = register_phone(&storage, &phone_account(tenant, "+221771234567"), proof).await;
    let other = register_phone(&storage, &phone_account(tenant, "+221771234568"), proof).await;

    assert_eq!(taken, PhoneRegistered::PhoneTaken);
    assert!(matches!(other, PhoneRegistered::Created { .. }));
    assert_eq!(storage.sessions().list(tenant, owner.id, T0).await.unwrap().len(), 1);
}

/// A person signed in, whose number and address are `before` and then `after`.
async fn moved(storage: &Storage, tenant: TenantId) -> (Account, [Contact; 2], [Contact; 2]) {
    let email = |text: &str| Contact::Email(EmailAddress::parse(text).unwrap());
    let phone = |text: &str| Contact::Phone(PhoneNumber::parse(text, None).unwrap());
    let before = [email("awa@example.com"), phone("+221771234567")];
    let after = [email("diop@example.com"), phone("+221771234568")];
    let account = an_account(storage, tenant, "awa@example.com").await;
    let keep = session(&account, T0);
    open(storage, &keep, None).await;
    let steps = [(None, &before[1]), (Some(&before[0]), &after[0]), (Some(&before[1]), &after[1])];
    for (old, new) in steps {
        let change = ContactChange { tenant, account: account.id, old, new, proof: id(), keep: keep.id };
        let changed = storage.accounts().change_contact(&change, &silent(T0)).await.unwrap();
        assert_eq!(changed, ContactChanged::Changed);
    }
    (account, before, after)
}

/// The code was right, and the number was given up before the session was opened.
async fn a_code_to_a_number_that_was_given_up_opens_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let (account, [_, before], [_, after]) = moved(&storage, tenant).await;
    let sign_in = async |number: &Contact| {
        let session = session(&account, T0);
        let opening = Opening {
            session: &session,
            refresh_digest: digest(),
            devices: &[],
            compared: None,
            answered: Some(number),
            max_sessions: 10,
        };
        storage.sessions().open(&opening, &silent(T0)).await.unwrap()
    };

    assert_eq!(sign_in(&before).await, Opened::Stale);
    assert!(matches!(sign_in(&after).await, Opened::Opened { .. }));
}

/// The mail was worded before the address was given up, and would be written after it.
async fn no_link_is_issued_to_an_address_that_was_given_up(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let (account, [before, _], [after, _]) = moved(&storage, tenant).await;
    let mail = |to: &Contact| [Message { to: to.clone(), ..message(tenant, "unused@example.com") }];
    let link = || super::link(&account, LinkPurpose::Reset, T0 + DAY);
    let (links, passwords, unknowable) = (storage.links(), storage.passwords(), secret("$unknowable"));

    let messages = mail(&before);
    let late = Notes { messages: &messages, ..silent(T0) };
    assert!(!links.issue(&link(), &late).await.unwrap());
    assert!(!passwords.withdraw(&link(), &unknowable, &late).await.unwrap());
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 0);

    let [first, second] = [mail(&after), mail(&after)];
    assert!(links.issue(&link(), &Notes { messages: &first, ..silent(T0) }).await.unwrap());
    let notes = Notes { messages: &second, ..silent(T0) };
    assert!(passwords.withdraw(&link(), &unknowable, &notes).await.unwrap());
}

async fn a_rehash_never_puts_an_old_password_back(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let accounts = storage.accounts();

    let stronger = secret("$argon2id$stronger");
    assert!(accounts.rehash(tenant, account.id, &secret("$argon2id$first"), &stronger).await.unwrap());
    assert!(!accounts.rehash(tenant, account.id, &secret("$argon2id$first"), &secret("$late")).await.unwrap());

    let (_, hash) = accounts.find_with_credential(tenant, account.id).await.unwrap().unwrap();
    let hash = hash.unwrap();
    assert_eq!(hash.password_hash.expose_secret(), "$argon2id$stronger");
    assert_eq!(hash.version, 1, "it is the same password");
}

async fn erasing_leaves_ids_in_the_log_and_nothing_else(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let session = session(&account, T0);
    let refresh = open(&storage, &session, Some(&device())).await;
    let messages = [message(tenant, "awa@example.com"), message(tenant, "moussa@example.com")];
    let link = super::link(&account, LinkPurpose::Reset, T0 + DAY);
    assert!(storage.links().issue(&link, &silent(T0)).await.unwrap());
    storage.outbox().enqueue(&Notes { messages: &messages, ..silent(T0) }).await.unwrap();

    let events = [event(tenant, account.id, EventKind::UserDeleted)];
    assert!(storage.accounts().erase(tenant, account.id, T0, &events, |_| [0; 32]).await.unwrap());
    assert!(!storage.accounts().erase(tenant, account.id, T0, &events, |_| [0; 32]).await.unwrap());

    assert_eq!(storage.accounts().find(tenant, account.id).await.unwrap(), None);
    assert_eq!(storage.sessions().find(tenant, session.id).await.unwrap(), None);
    assert_eq!(storage.sessions().find_by_refresh(tenant, &refresh).await.unwrap(), None);
    assert_eq!(storage.devices().list(tenant, account.id).await.unwrap(), []);
    assert_eq!(storage.links().find(tenant, link.id).await.unwrap(), None);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 1);
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap()[0].account, Some(account.id));
    assert_eq!(storage.sessions().revoked_since(T0).await.unwrap()[0].session, session.id);
    assert_eq!(
        register(&storage, &email_account(tenant, "awa@example.com"), &silent(T0)).await.0,
        EmailRegistered::Created
    );
}

async fn trusting_a_device_again_keeps_its_id(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let first = device();
    let again = guichet::storage::NewDevice { id: id(), label: Some("Chrome".to_owned()), ..first.clone() };

    assert_eq!(storage.devices().trust(tenant, account.id, &first).await.unwrap(), first.id);
    assert_eq!(storage.devices().trust(tenant, account.id, &again).await.unwrap(), first.id);
    let sign_in = guichet::domain::session::Session { device: Some(first.id), ..session(&account, T0 + DAY) };
    open(&storage, &sign_in, None).await;

    let listed = storage.devices().list(tenant, account.id).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].label.as_deref(), listed[0].known.last_seen_at), (Some("Chrome"), T0 + DAY));
}

async fn forgetting_a_device_ends_its_sessions(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (here, there) = (session(&account, T0), session(&account, T0));
    let lost = device();
    open(&storage, &here, None).await;
    open(&storage, &there, Some(&lost)).await;

    let events = [event(tenant, account.id, EventKind::DeviceForgotten)];
    assert!(storage.devices().forget(tenant, account.id, lost.id, T0, &events).await.unwrap());
    assert!(!storage.devices().forget(tenant, account.id, lost.id, T0, &events).await.unwrap());

    let proof = DeviceProof::Token(lost.digest);
    assert_eq!(storage.devices().find(tenant, account.id, proof).await.unwrap(), None);
    let live: Vec<_> =
        storage.sessions().list(tenant, account.id, T0).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(live, [here.id]);
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap().len(), 1);
}

/// Everything of tenant `one`, asked for and acted on under tenant `other`: nothing is found, nothing moves.
async fn tenant_isolation(storage: Storage) {
    let (one, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    let account = an_account(&storage, one, "awa@example.com").await;
    let (session, trusted) = (session(&account, T0), device());
    let refresh = open(&storage, &session, Some(&trusted)).await;
    let reset = super::link(&account, LinkPurpose::Reset, T0 + DAY);
    let mail = message(one, "awa@example.com");
    storage.links().issue(&reset, &Notes { messages: std::slice::from_ref(&mail), ..silent(T0) }).await.unwrap();
    let hash = secret("$stolen");
    let (id, notes) = (account.id, silent(T0));
    let rotation = guichet::storage::Rotation { old_digest: refresh, new_digest: digest(), sealed_successor: b"x" };
    let logout = guichet::domain::session::EndCause::Logout;
    let sent = guichet::storage::Settled::Sent;

    let contact = Contact::Email(account.email.clone().unwrap());
    assert_eq!(storage.accounts().find_id(other, &contact).await.unwrap(), None);
    assert_eq!(storage.accounts().find(other, id).await.unwrap(), None);
    assert!(!storage.accounts().rehash(other, id, &secret("$argon2id$first"), &hash).await.unwrap());
    assert!(!storage.accounts().erase(other, id, T0, &[], |_| [0; 32]).await.unwrap());
    assert_eq!(storage.links().find(other, reset.id).await.unwrap(), None);
    let stolen = storage.passwords().reset(other, reset.id, &hash, &notes).await.unwrap();
    assert_eq!(stolen, guichet::storage::Reset::Invalid);
    assert!(!storage.passwords().change(other, id, session.id, 1, &hash, &notes).await.unwrap());
    assert_eq!(storage.devices().find(other, id, DeviceProof::Token(trusted.digest)).await.unwrap(), None);
    assert_eq!(storage.devices().list(other, id).await.unwrap(), []);
    assert!(!storage.devices().forget(other, id, trusted.id, T0, &[]).await.unwrap());
    let trust = storage.devices().trust(other, id, &device()).await;
    assert!(matches!(trust, Err(StorageError::Conflict(_))), "{trust:?}");
    assert_eq!(storage.attempts().load(other, id).await.unwrap().0, 0);
    assert_eq!(storage.sessions().find(other, session.id).await.unwrap(), None);
    assert_eq!(storage.sessions().find_live_of(other, session.id, id, T0).await.unwrap(), None);
    assert_eq!(storage.sessions().find_by_refresh(other, &refresh).await.unwrap(), None);
    assert!(!storage.sessions().rotate(other, &rotation, T0).await.unwrap());
    assert!(!storage.sessions().end(other, session.id, logout, &notes).await.unwrap());
    assert_eq!(storage.sessions().end_all(other, id, None, logout, &notes).await.unwrap(), []);
    assert_eq!(storage.sessions().list(other, id, T0).await.unwrap(), []);
    assert!(!storage.outbox().settle(other, mail.id, 1, sent, &[], T0).await.unwrap());

    assert_eq!(storage.accounts().find(one, id).await.unwrap(), Some(account));
    assert!(storage.sessions().find_live_of(one, session.id, id, T0).await.unwrap().is_some());
    assert!(storage.sessions().rotate(one, &rotation, T0).await.unwrap());
    assert!(storage.outbox().settle(one, mail.id, 1, sent, &[], T0).await.unwrap());
}

on_every_database!(
    a_test_identity_cannot_be_saved_over_an_ordinary_account,
    an_account_reads_back_as_it_was_written,
    an_address_is_unique_within_its_tenant_under_parallel_fire,
    a_taken_address_writes_nothing,
    a_lapsed_registration_frees_its_address,
    a_proven_address_never_lapses,
    a_verification_link_used_again_answers_well_and_notes_nothing,
    a_proof_registers_one_account,
    a_taken_number_keeps_the_proof_unspent,
    a_code_to_a_number_that_was_given_up_opens_nothing,
    no_link_is_issued_to_an_address_that_was_given_up,
    a_rehash_never_puts_an_old_password_back,
    erasing_leaves_ids_in_the_log_and_nothing_else,
    trusting_a_device_again_keeps_its_id,
    forgetting_a_device_ends_its_sessions,
    tenant_isolation,
);

async fn a_test_identity_cannot_be_saved_over_an_ordinary_account(storage: Storage) {
    let tenant = a_tenant(&storage, "acme").await;
    let awa = an_account(&storage, tenant, "awa@example.com").await;
    let tester = Account { test: true, ..email_account(tenant, "tester@example.com") };
    register(&storage, &tester, &silent(T0)).await;
    assert!(storage.accounts().find(tenant, tester.id).await.unwrap().unwrap().test);
    let mut identities = TestIdentities::default();
    for address in ["tester@example.com", "awa@example.com", "free@example.com"] {
        identities.insert(Contact::Email(EmailAddress::parse(address).unwrap()), "1234".to_owned());
    }

    let taken = test_identities_taken(&storage, tenant, &identities).await.unwrap();
    let elsewhere = a_tenant(&storage, "elsewhere").await;

    assert!(!awa.test);
    let paths: Vec<_> = taken.into_iter().map(|bad| bad.path.into_owned()).collect();
    assert_eq!(paths, ["test_identities[1]"]);
    assert!(test_identities_taken(&storage, elsewhere, &identities).await.unwrap().is_empty());
}
