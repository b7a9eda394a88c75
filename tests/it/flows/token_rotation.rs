//! Refresh tokens: every use replaces them, and a spent one that comes back ends the session.

use super::{AWA, NUMBER, Tokens, a_person, a_phone_person, is_good, minutes, refresh, seconds, sign_in};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_refresh_gives_a_new_pair_and_the_old_access_token_lives_on,
    within_the_grace_a_spent_token_gives_the_same_successor_again,
    a_spent_token_whose_successor_was_used_ends_the_session,
    a_spent_token_after_the_grace_ends_the_session,
    the_owner_is_told_once_of_a_token_that_was_used_twice,
    of_parallel_refreshes_all_get_the_same_successor,
    an_access_token_ends_by_itself,
    a_session_ends_after_thirty_days_however_often_it_is_refreshed,
    a_strict_session_ends_after_fourteen_idle_days,
    an_invented_refresh_token_is_refused,
);

async fn a_refresh_gives_a_new_pair_and_the_old_access_token_lives_on(gateway: Gateway) {
    for (door, life) in [(gateway.classic(), 3_600), (gateway.strict(), 600)] {
        let device = a_person(door, AWA).await;
        let tokens = sign_in(door, AWA, &device).await;
        gateway.clock.advance(seconds(1));

        let refreshed = refresh(door, &tokens.refresh).await.expect(200);

        assert_eq!(refreshed.members(), ["expires_in", "refresh_token", "token", "token_type"]);
        assert_eq!(refreshed["expires_in"], life);
        assert_ne!(refreshed.word("refresh_token"), tokens.refresh);
        assert!(is_good(door, &refreshed.word("token")).await);
        assert!(is_good(door, &tokens.access).await);
    }
}

async fn within_the_grace_a_spent_token_gives_the_same_successor_again(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let successor = refresh(door, &tokens.refresh).await.expect(200).word("refresh_token");
    gateway.clock.advance(seconds(28));

    let again = refresh(door, &tokens.refresh).await.expect(200);
    let once_more = refresh(door, &tokens.refresh).await.expect(200);

    assert_eq!(again.word("refresh_token"), successor);
    assert_eq!(once_more.word("refresh_token"), successor);
    refresh(door, &successor).await.expect(200);
}

async fn a_spent_token_whose_successor_was_used_ends_the_session(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let other = sign_in(door, AWA, &device).await;
    let successor = Tokens::from(&refresh(door, &tokens.refresh).await.expect(200));
    let newest = Tokens::from(&refresh(door, &successor.refresh).await.expect(200));

    let refused = refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    assert_eq!(refused["message"], "The refresh token is not valid.");

    refresh(door, &newest.refresh).await.refused(401, "invalid_token");
    for access in [&tokens.access, &successor.access, &newest.access] {
        assert!(!is_good(door, access).await);
    }
    // It ends that session and no other.
    assert!(is_good(door, &other.access).await);
}

async fn a_spent_token_after_the_grace_ends_the_session(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let successor = refresh(door, &tokens.refresh).await.expect(200).word("refresh_token");
    gateway.clock.advance(seconds(31));

    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");

    refresh(door, &successor).await.refused(401, "invalid_token");
    assert!(!is_good(door, &tokens.access).await);
}

async fn the_owner_is_told_once_of_a_token_that_was_used_twice(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = sign_in(door, AWA, &a_person(door, AWA).await).await;
    refresh(door, &tokens.refresh).await.expect(200);
    gateway.clock.advance(seconds(31));

    for _ in 0..3 {
        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    }

    assert_eq!(gateway.posted(AWA, "token_reuse").await, 1);
    gateway.inbox.next_with(AWA, "its key was used twice").await;
    let told = gateway.tables().await;
    assert!(told.iter().any(|(table, row)| table == "audit" && row.contains("authn_token_reuse")));

    // Who has no address is not texted: the message would tell nothing to act on.
    let phone = a_phone_person(door, NUMBER, 4).await;
    refresh(door, &phone.refresh).await.expect(200);
    gateway.clock.advance(seconds(31));
    refresh(door, &phone.refresh).await.refused(401, "invalid_token");
    assert_eq!(gateway.posted(NUMBER, "token_reuse").await, 0);
}

async fn of_parallel_refreshes_all_get_the_same_successor(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;

    let answers = futures_util::future::join_all((0..8).map(|_| refresh(door, &tokens.refresh))).await;

    let mut successors: Vec<_> = answers.into_iter().map(|answer| answer.expect(200).word("refresh_token")).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
}

async fn an_access_token_ends_by_itself(gateway: Gateway) {
    for (door, life) in [(gateway.classic(), 3_600), (gateway.strict(), 600)] {
        let device = a_person(door, AWA).await;
        let tokens = sign_in(door, AWA, &device).await;

        gateway.clock.advance(seconds(life - 10));
        assert!(is_good(door, &tokens.access).await);
        // The clocks of two nodes may differ by half a minute.
        gateway.clock.advance(seconds(41));

        assert!(!is_good(door, &tokens.access).await);
        refresh(door, &tokens.refresh).await.expect(200);
    }
}

async fn a_session_ends_after_thirty_days_however_often_it_is_refreshed(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = a_person(door, AWA).await;
        let mut tokens = sign_in(door, AWA, &device).await;
        for _ in 0..3 {
            gateway.clock.advance(minutes(60 * 24 * 9));
            tokens = Tokens::from(&refresh(door, &tokens.refresh).await.expect(200));
        }

        gateway.clock.advance(minutes(60 * 24 * 3));

        refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
        assert!(!is_good(door, &tokens.access).await);
    }
}

async fn a_strict_session_ends_after_fourteen_idle_days(gateway: Gateway) {
    let (strict, classic) = (gateway.strict(), gateway.classic());
    let strict_tokens = sign_in(strict, AWA, &a_person(strict, AWA).await).await;
    let classic_tokens = sign_in(classic, AWA, &a_person(classic, AWA).await).await;

    gateway.clock.advance(minutes(60 * 24 * 14));

    refresh(strict, &strict_tokens.refresh).await.refused(401, "invalid_token");
    refresh(classic, &classic_tokens.refresh).await.expect(200);
}

async fn an_invented_refresh_token_is_refused(gateway: Gateway) {
    let invented = "A".repeat(43);
    for token in [invented.as_str(), "", "\u{0}", "a b"] {
        refresh(gateway.classic(), token).await.refused(401, "invalid_token");
    }
}
