//! Sessions: one per challenge, one successor per refresh token, an end that everyone hears of.

use std::time::Duration;

use guichet::domain::account::Account;
use guichet::domain::event::EventKind;
use guichet::domain::session::{EndCause, Session};
use guichet::domain::token::RefreshFacts;
use guichet::storage::{LinkPurpose, Notes, Opened, Opening, Rotation, Storage};

use super::{
    DAY, T0, a_tenant, an_account, device, digest, email_account, event, id, link, message, open, race, secret,
    session, silent,
};
use crate::harness::databases::on_every_database;

async fn a_session_reads_back_as_it_was_written(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let trusted = device();
    let written = Session {
        challenge: Some(id()),
        device: Some(trusted.id),
        label: Some("Firefox".to_owned()),
        ..session(&account, T0)
    };
    let refresh = open(&storage, &written, Some(&trusted)).await;

    let found = storage.sessions().find_by_refresh(tenant, &refresh).await.unwrap().unwrap();

    assert_eq!(found.session, written);
    assert_eq!(found.facts, RefreshFacts { replaced_at: None, successor_used: false });
    assert_eq!(storage.sessions().find(tenant, written.id).await.unwrap(), Some(written.clone()));
    let (of_account, of_other) = (account.id, id());
    assert_eq!(
        storage.sessions().find_live_of(tenant, written.id, of_account, T0).await.unwrap(),
        Some(written.clone())
    );
    assert_eq!(storage.sessions().find_live_of(tenant, written.id, of_other, T0).await.unwrap(), None);
    assert_eq!(storage.sessions().find_live_of(tenant, written.id, of_account, T0 + 30 * DAY).await.unwrap(), None);
}

async fn one_challenge_opens_one_session_under_parallel_fire(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (racers, challenge, owner) = (storage.clone(), id(), account.clone());

    let opened = race(
        50,
        move |_| {
            let storage = racers.clone();
            let session = Session { challenge: Some(challenge), ..session(&owner, T0) };
            async move {
                let (messages, events) = (
                    [message(tenant, "awa@example.com")],
                    [event(tenant, session.account, EventKind::AuthnTokenCreated)],
                );
                let notes = Notes { messages: &messages, events: &events, ..silent(T0) };
                let opening = Opening {
                    session: &session,
                    refresh_digest: digest(),
                    devices: &[],
                    compared: None,
                    answered: None,
                    max_sessions: 10,
                };
                storage.sessions().open(&opening, &notes).await.unwrap()
            }
        },
        |outcome| matches!(outcome, Opened::Opened { .. }),
    )
    .await;

    assert_eq!(opened, 1);
    assert_eq!(storage.sessions().list(tenant, account.id, T0).await.unwrap().len(), 1);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 1);
    assert_eq!(storage.audit().page(tenant, None, 100).await.unwrap().len(), 1);
}

async fn beyond_the_maximum_the_oldest_session_ends(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let sessions: Vec<_> = (0..3).map(|n| session(&account, T0 + n * Duration::from_secs(1))).collect();
    let mut ended = vec![];
    for session in &sessions {
        let opening = Opening {
            session,
            refresh_digest: digest(),
            devices: &[],
            compared: None,
            answered: None,
            max_sessions: 2,
        };
        let Opened::Opened { ended: now, .. } =
            storage.sessions().open(&opening, &silent(session.authenticated_at)).await.unwrap()
        else {
            panic!("has no challenge to spend");
        };
        ended.extend(now);
    }

    assert_eq!(ended, [sessions[0].id]);
    let live: Vec<_> = storage.sessions().list(tenant, account.id, T0).await.unwrap().iter().map(|s| s.id).collect();
    assert_eq!(live, [sessions[2].id, sessions[1].id]);
    assert_eq!(storage.sessions().revoked_since(T0).await.unwrap()[0].session, sessions[0].id);
}

async fn many_sign_ins_at_once_never_exceed_the_maximum(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (racers, owner) = (storage.clone(), account.clone());

    race(
        30,
        move |_| {
            let (storage, session) = (racers.clone(), session(&owner, T0));
            async move {
                let opening = Opening {
                    session: &session,
                    refresh_digest: digest(),
                    devices: &[],
                    compared: None,
                    answered: None,
                    max_sessions: 3,
                };
                storage.sessions().open(&opening, &silent(T0)).await.unwrap()
            }
        },
        |_| true,
    )
    .await;

    assert_eq!(storage.sessions().list(tenant, account.id, T0).await.unwrap().len(), 3);
}

async fn fifty_rotations_at_once_have_one_winner(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let session = session(&account, T0);
    let old_digest = open(&storage, &session, None).await;
    let (racers, later) = (storage.clone(), T0 + DAY);

    let won = race(
        50,
        move |n| {
            let storage = racers.clone();
            let (new_digest, sealed) = (digest(), vec![u8::try_from(n).unwrap()]);
            async move {
                let rotation = Rotation { old_digest, new_digest, sealed_successor: &sealed };
                storage.sessions().rotate(tenant, &rotation, later).await.unwrap().then_some((new_digest, sealed))
            }
        },
        Option::is_some,
    )
    .await;

    assert_eq!(won, 1);
    let spent = storage.sessions().find_by_refresh(tenant, &old_digest).await.unwrap().unwrap();
    assert_eq!(spent.facts, RefreshFacts { replaced_at: Some(later), successor_used: false });
    assert_eq!(spent.successor_sealed.map(|sealed| sealed.len()), Some(1));
    assert_eq!(spent.session.refreshed_at, later);
}

/// Both take the session before its tokens; in opposite orders they would wait for each other.
async fn refreshing_while_an_account_is_erased_fails_neither(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let mut racers = vec![];
    for n in 0..20 {
        let account = an_account(&storage, tenant, &format!("awa{n}@example.com")).await;
        let mut old_digest = open(&storage, &session(&account, T0), None).await;
        let (refreshing, erasing) = (storage.clone(), storage.clone());
        racers.push(tokio::spawn(async move {
            for _ in 0..200 {
                let rotation = Rotation { old_digest, new_digest: digest(), sealed_successor: b"sealed" };
                if !refreshing.sessions().rotate(tenant, &rotation, T0).await.unwrap() {
                    return;
                }
                old_digest = rotation.new_digest;
            }
        }));
        racers.push(tokio::spawn(async move {
            assert!(erasing.accounts().erase(tenant, account.id, T0, &[], |_| [0; 32]).await.unwrap());
        }));
    }
    for racer in racers {
        racer.await.unwrap();
    }
}

/// Both take the session before they revoke it.
async fn signing_out_while_an_account_is_erased_fails_neither(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    for round in 0..20 {
        let account = an_account(&storage, tenant, &format!("awa{round}@example.com")).await;
        let sessions: Vec<_> = (0..6).map(|_| session(&account, T0)).collect();
        for session in &sessions {
            open(&storage, session, None).await;
        }
        let mut racers = vec![];
        for session in sessions {
            let ending = storage.clone();
            racers.push(tokio::spawn(async move {
                ending.sessions().end(tenant, session.id, EndCause::Logout, &silent(T0)).await.map(drop)
            }));
        }
        let erasing = storage.clone();
        racers.push(tokio::spawn(async move {
            erasing.accounts().erase(tenant, account.id, T0, &[], |_| [0; 32]).await.map(|erased| assert!(erased))
        }));
        for racer in racers {
            racer.await.unwrap().unwrap();
        }
    }

    assert_eq!(storage.sessions().revoked_since(T0).await.unwrap().len(), 20 * 6);
}

async fn a_used_successor_shows_on_its_predecessor(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (first, second, third) = (open(&storage, &session(&account, T0), None).await, digest(), digest());

    for (old_digest, new_digest) in [(first, second), (second, third)] {
        let rotation = Rotation { old_digest, new_digest, sealed_successor: b"sealed" };
        assert!(storage.sessions().rotate(tenant, &rotation, T0).await.unwrap());
    }

    let used = |digest| {
        let storage = storage.clone();
        async move { storage.sessions().find_by_refresh(tenant, &digest).await.unwrap().unwrap().facts.successor_used }
    };
    assert!(used(first).await);
    assert!(!used(second).await);
}

async fn an_ended_session_rotates_no_more_and_ends_once(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let session = session(&account, T0);
    let old_digest = open(&storage, &session, None).await;
    let events = [event(tenant, account.id, EventKind::AuthnTokenRevoked)];

    let notes = Notes { events: &events, ..silent(T0) };
    assert!(storage.sessions().end(tenant, session.id, EndCause::Reuse, &notes).await.unwrap());
    assert!(!storage.sessions().end(tenant, session.id, EndCause::Logout, &notes).await.unwrap());

    let rotation = Rotation { old_digest, new_digest: digest(), sealed_successor: b"sealed" };
    assert!(!storage.sessions().rotate(tenant, &rotation, T0).await.unwrap());
    assert_eq!(storage.sessions().find_by_refresh(tenant, &old_digest).await.unwrap().unwrap().facts.replaced_at, None);
    assert_eq!(storage.audit().page(tenant, None, 10).await.unwrap().len(), 1);
    let revoked = storage.sessions().revoked_since(T0).await.unwrap();
    assert_eq!((revoked.len(), revoked[0].tenant, revoked[0].session), (1, tenant, session.id));
    assert_eq!(storage.sessions().revoked_since(T0 + DAY).await.unwrap(), []);
}

async fn logging_out_everywhere_may_spare_one(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let (awa, moussa) = (
        an_account(&storage, tenant, "awa@example.com").await,
        an_account(&storage, tenant, "moussa@example.com").await,
    );
    let (here, there, elsewhere) = (session(&awa, T0), session(&awa, T0), session(&moussa, T0));
    for session in [&here, &there, &elsewhere] {
        open(&storage, session, None).await;
    }
    let sessions = storage.sessions();

    let spared = sessions.end_all(tenant, awa.id, Some(here.id), EndCause::Logout, &silent(T0)).await.unwrap();
    let all = sessions.end_all(tenant, awa.id, None, EndCause::Logout, &silent(T0)).await.unwrap();

    assert_eq!((spared, all), (vec![there.id], vec![here.id]));
    assert!(sessions.find_live_of(tenant, elsewhere.id, moussa.id, T0).await.unwrap().is_some());
}

async fn no_session_opens_for_an_account_that_is_gone_or_disabled(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let disabled = Account { disabled: true, ..email_account(tenant, "moussa@example.com") };
    super::register(&storage, &disabled, &silent(T0)).await;

    for account in [&email_account(tenant, "awa@example.com"), &disabled] {
        assert_eq!(open_with(&storage, &session(account, T0), None).await, Opened::Stale);
    }
}

async fn no_session_opens_on_a_device_that_was_forgotten(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let known = storage.devices().trust(tenant, account.id, &device()).await.unwrap();
    let session = Session { device: Some(known), ..session(&account, T0) };
    storage.devices().forget(tenant, account.id, known, T0, &[]).await.unwrap();

    assert_eq!(open_with(&storage, &session, None).await, Opened::Stale);

    assert_eq!(storage.sessions().list(tenant, account.id, T0).await.unwrap(), []);
}

/// The hash may be another by then, the password not.
async fn no_session_opens_on_a_password_that_was_changed(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (first, anew) = (secret("$argon2id$first"), secret("$argon2id$anew"));
    assert!(storage.accounts().rehash(tenant, account.id, &first, &anew).await.unwrap());
    let before = open_with(&storage, &session(&account, T0), Some(1)).await;
    let reset = link(&account, LinkPurpose::Reset, T0 + DAY);
    storage.links().issue(&reset, &silent(T0)).await.unwrap();
    storage.passwords().reset(tenant, reset.id, &secret("$new"), &silent(T0)).await.unwrap();

    let after = open_with(&storage, &session(&account, T0), Some(1)).await;

    assert!(matches!(before, Opened::Opened { .. }), "{before:?}");
    assert_eq!(after, Opened::Stale);
    assert_eq!(storage.sessions().list(tenant, account.id, T0).await.unwrap(), []);
    let version = version(&storage, &account).await;
    assert!(matches!(open_with(&storage, &session(&account, T0), Some(version)).await, Opened::Opened { .. }));
}

/// What a password opens now.
async fn version(storage: &Storage, account: &Account) -> i64 {
    let found = storage.accounts().find_with_credential(account.tenant, account.id).await.unwrap();
    found.and_then(|(_, credential)| credential).unwrap().version
}

async fn no_session_opens_on_a_password_that_was_compared_before_all_of_them_were_ended(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let compared = version(&storage, &account).await;

    storage.sessions().end_all(tenant, account.id, None, EndCause::Admin, &silent(T0)).await.unwrap();

    assert_eq!(open_with(&storage, &session(&account, T0), Some(compared)).await, Opened::Stale);
    let since = version(&storage, &account).await;
    assert!(matches!(open_with(&storage, &session(&account, T0), Some(since)).await, Opened::Opened { .. }));
}

async fn every_device_becomes_trusted_with_the_session_or_none_does(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (devices, challenge) = ([device(), device()], id());
    let mut outcomes = vec![];
    for devices in [&devices, &[device(), device()]] {
        let session = Session { challenge: Some(challenge), ..session(&account, T0) };
        let opening = Opening {
            session: &session,
            refresh_digest: digest(),
            devices,
            compared: None,
            answered: None,
            max_sessions: 10,
        };
        outcomes.push(storage.sessions().open(&opening, &silent(T0)).await.unwrap());
    }

    assert_eq!(outcomes, [Opened::Opened { ended: vec![], device: Some(devices[0].id) }, Opened::ChallengeSpent]);
    let mut trusted: Vec<_> =
        storage.devices().list(tenant, account.id).await.unwrap().iter().map(|device| device.known.id).collect();
    let mut expected = devices.map(|device| device.id);
    trusted.sort();
    expected.sort();
    assert_eq!(trusted, expected);
}

async fn open_with(storage: &Storage, session: &Session, compared: Option<i64>) -> Opened {
    let opening =
        Opening { session, refresh_digest: digest(), devices: &[], compared, answered: None, max_sessions: 10 };
    storage.sessions().open(&opening, &silent(T0)).await.unwrap()
}

async fn sweeping_removes_what_is_over_and_keeps_what_matters(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let (over, kept) = (session(&account, T0), session(&account, T0));
    let over_refresh = open(&storage, &over, None).await;
    let old_digest = open(&storage, &kept, None).await;
    storage.sessions().end(tenant, over.id, EndCause::Logout, &silent(T0)).await.unwrap();
    let rotation = Rotation { old_digest, new_digest: digest(), sealed_successor: b"sealed" };
    storage.sessions().rotate(tenant, &rotation, T0).await.unwrap();
    super::register(&storage, &email_account(tenant, "lapsing@example.com"), &silent(T0)).await;

    let early = storage.housekeeping().sweep(T0 + DAY / 2, 100).await.unwrap();
    let swept = storage.housekeeping().sweep(T0 + 2 * DAY, 100).await.unwrap();

    assert_eq!((early.sessions, early.accounts, early.sealed_successors), (0, 0, 1));
    assert_eq!((swept.sessions, swept.accounts, swept.links, swept.revocations), (1, 1, 2, 1));
    assert_eq!(storage.sessions().find_by_refresh(tenant, &over_refresh).await.unwrap(), None);
    let spent = storage.sessions().find_by_refresh(tenant, &old_digest).await.unwrap().unwrap();
    assert_eq!((spent.facts.replaced_at, spent.successor_sealed), (Some(T0), None));
}

on_every_database!(
    a_session_reads_back_as_it_was_written,
    one_challenge_opens_one_session_under_parallel_fire,
    beyond_the_maximum_the_oldest_session_ends,
    many_sign_ins_at_once_never_exceed_the_maximum,
    fifty_rotations_at_once_have_one_winner,
    refreshing_while_an_account_is_erased_fails_neither,
    signing_out_while_an_account_is_erased_fails_neither,
    a_used_successor_shows_on_its_predecessor,
    an_ended_session_rotates_no_more_and_ends_once,
    logging_out_everywhere_may_spare_one,
    no_session_opens_for_an_account_that_is_gone_or_disabled,
    no_session_opens_on_a_device_that_was_forgotten,
    no_session_opens_on_a_password_that_was_changed,
    no_session_opens_on_a_password_that_was_compared_before_all_of_them_were_ended,
    every_device_becomes_trusted_with_the_session_or_none_does,
    sweeping_removes_what_is_over_and_keeps_what_matters,
);
