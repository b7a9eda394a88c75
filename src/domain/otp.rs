//! Counts sends of one-time codes and guesses at them: the book of one contact and purpose.
//!
//! A challenge holds no code. The code is derived from the challenge's id under a key that only
//! guichet has, so a dump of the store opens nothing and a resend carries the *same* code (its
//! expiry does not move, its tries are not refilled). Tries are counted before anything is
//! compared, and one caller of N consumes the challenge.
//!
//! ```text
//!   send ──► live challenge with tries left? ──yes──► same id again (cooldown, per hour, per day)
//!                         │no
//!                         └──► a new challenge
//!   guess ─► try counted ──► compare elsewhere ──► right: consume (one winner) · wrong: nothing to do
//! ```
//!
//! Strangers share one lane; a device the account knows has tries and sends of its own, so a
//! stranger cannot deny the owner's sign-in. Short codes (under six digits) have two further
//! ceilings, counted over all challenges. See ASVS 6.5.1–6.6.3.
//!
//! As in [`super::lockout`], the in-process store runs these functions and the Redis scripts are
//! their twins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ChallengeId, OperationId};
use super::lockout::{Lane, VERDICT_MEMORY};
use super::policy::{CodePolicy, Policy, ResendPolicy};
use super::time::{Timestamp, Wait};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What a code is for; a right code for one purpose is wrong for every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePurpose {
    /// Signing in with a phone number.
    PhoneSignIn,
    /// Confirming a new device after a right password.
    NewDevice,
    /// Proving a contact that is to become the account's own.
    ContactChange,
}

impl CodePurpose {
    /// The word used in store keys and key derivation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PhoneSignIn => "phone_sign_in",
            Self::NewDevice => "new_device",
            Self::ContactChange => "contact_change",
        }
    }
}

/// The numbers that govern one book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeRules {
    /// Shape and life of the code.
    pub code: CodePolicy,
    /// Sends from strangers.
    pub resend: ResendPolicy,
    /// Sends from a known device.
    pub device_resend: ResendPolicy,
    /// Consecutive wrong guesses of strangers after which sending to them pauses (short codes).
    pub streak: Option<u32>,
    /// How long it pauses.
    pub silence: Duration,
    /// Wrong guesses of strangers in any day, over all challenges (short codes).
    pub wrong_per_day: Option<u32>,
}

impl CodeRules {
    /// The rules a tenant's policy sets for a purpose.
    #[must_use]
    pub fn of(policy: &Policy, purpose: CodePurpose) -> Self {
        let code = match purpose {
            CodePurpose::PhoneSignIn => policy.sms_code,
            // Whichever way it travels: what takes an account over is never a short code.
            CodePurpose::NewDevice | CodePurpose::ContactChange => policy.email_code,
        };
        Self {
            code,
            resend: policy.resend,
            device_resend: policy.device_resend,
            streak: code.is_short().then_some(policy.short_code_streak),
            silence: policy.short_code_silence,
            wrong_per_day: code.is_short().then_some(policy.short_code_wrong_per_day),
        }
    }

    /// The sending rules of a lane.
    #[must_use]
    pub fn resend(&self, lane: Lane) -> ResendPolicy {
        match lane {
            Lane::Strangers => self.resend,
            Lane::Device(_) => self.device_resend,
        }
    }
}

/// A code waiting for an answer; everything needed to derive it again, but not the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Its id: 122 random bits, the derivation's nonce.
    pub id: ChallengeId,
    /// Which code key derives it.
    pub key_id: String,
    /// Digits.
    pub length: u8,
    /// When it dies.
    pub expires: Timestamp,
    /// Guesses taken, by lane.
    pub tries: BTreeMap<Lane, u32>,
    /// What the account's password opened when it was sent, where it was sent after one: once that is
    /// withdrawn, nothing answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<i64>,
}

/// Answer to a request for a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendVerdict {
    /// Send it (a new challenge, or the living one again).
    Send {
        /// The challenge to derive the code from.
        challenge: Challenge,
        /// The moment booked for this send; names it if it must be given back.
        sent_at: Timestamp,
    },
    /// Sent a moment ago.
    Cooling {
        /// The living challenge, if there is one.
        challenge: Option<Challenge>,
        /// Until the next send is allowed.
        wait: Wait,
    },
    /// The hour's or day's sends are used up, or too many wrong guesses paused sending: until then.
    Ceiling(Wait),
}

/// Answer to a guess, before anything is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TryVerdict {
    /// The guess is counted: compare it with this challenge's code.
    Compare(Challenge),
    /// Nothing is waiting for an answer (never sent, expired, consumed, withdrawn, other id, tries used up).
    NoChallenge,
    /// Too many wrong guesses today: none is taken until then.
    Ceiling(Wait),
}

/// Sends and wrong guesses of one lane, newest last, none older than a day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneLog {
    /// Moments of sends.
    pub sends: Vec<Timestamp>,
    /// Moments of guesses not proven right.
    pub wrong: Vec<Timestamp>,
}

/// Everything remembered about the codes of one contact and purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CodeBook {
    /// The code waiting for an answer.
    pub challenge: Option<Challenge>,
    /// By lane.
    pub lanes: BTreeMap<Lane, LaneLog>,
    /// Strangers' wrong guesses since the last right one.
    pub streak: u32,
    /// Nothing is sent to strangers before this.
    pub silent_until: Option<Timestamp>,
    /// First verdicts of sends, for repeats.
    pub sends: BTreeMap<OperationId, (Timestamp, SendVerdict)>,
    /// First verdicts of guesses, for repeats.
    pub tries: BTreeMap<OperationId, (Timestamp, TryVerdict)>,
    /// Operations that consumed a challenge, for repeats.
    pub consumed: BTreeMap<OperationId, (Timestamp, bool)>,
}

/// One request for a code.
#[derive(Debug, Clone)]
pub struct Send {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// Id of the challenge, should a new one be needed.
    pub fresh: ChallengeId,
    /// Key that would derive its code.
    pub key_id: String,
    /// Who asks.
    pub lane: Lane,
    /// The version of the password it is sent after, where it is.
    pub credential: Option<i64>,
}

impl CodeBook {
    /// Books a send, or says why not.
    pub fn send(&mut self, rules: &CodeRules, ask: &Send, now: Timestamp) -> SendVerdict {
        self.sweep(now);
        if let Some((_, first)) = self.sends.get(&ask.operation) {
            return first.clone();
        }
        if let Some(refusal) = self.refuse_send(rules, ask, now) {
            return refusal;
        }
        let spent = |c: &Challenge| c.tries.get(&ask.lane).is_some_and(|tries| *tries >= rules.code.tries);
        let challenge = match self.challenge.take() {
            Some(living) if !spent(&living) && serves(&living, ask) => living,
            _ => Challenge {
                id: ask.fresh,
                key_id: ask.key_id.clone(),
                length: rules.code.length,
                expires: now + rules.code.ttl,
                tries: BTreeMap::new(),
                credential: ask.credential,
            },
        };
        self.challenge = Some(challenge.clone());
        self.lanes.entry(ask.lane).or_default().sends.push(now);
        let verdict = SendVerdict::Send { challenge, sent_at: now };
        self.sends.insert(ask.operation, (now, verdict.clone()));
        verdict
    }

    /// Takes back a booked send that could not be written to the outbox.
    pub fn give_back(&mut self, lane: Lane, sent_at: Timestamp) {
        if let Some(log) = self.lanes.get_mut(&lane)
            && let Some(position) = log.sends.iter().rposition(|at| *at == sent_at)
        {
            log.sends.remove(position);
        }
    }

    /// Counts a guess, then says what to compare it with. `credential` is the version of the account's
    /// password as it is now, for codes that are sent after one.
    pub fn guess(
        &mut self,
        rules: &CodeRules,
        operation: OperationId,
        lane: Lane,
        wanted: Option<ChallengeId>,
        credential: Option<i64>,
        now: Timestamp,
    ) -> TryVerdict {
        self.sweep(now);
        if let Some((_, first)) = self.tries.get(&operation) {
            return first.clone();
        }
        let log = self.lanes.entry(lane).or_default();
        if let (Lane::Strangers, Some(ceiling)) = (lane, rules.wrong_per_day)
            && let Some(until) = frees_at(&log.wrong, ceiling, DAY, now)
        {
            return TryVerdict::Ceiling(Wait { at: now, until });
        }
        let meant = |c: &&mut Challenge| wanted.is_none_or(|id| id == c.id) && c.credential == credential;
        let Some(challenge) = self.challenge.as_mut().filter(meant) else {
            return TryVerdict::NoChallenge;
        };
        let tries = challenge.tries.entry(lane).or_default();
        if *tries >= rules.code.tries {
            return TryVerdict::NoChallenge;
        }
        *tries += 1;
        log.wrong.push(now);
        let challenge = challenge.clone();
        if lane == Lane::Strangers {
            self.count_streak(rules, now);
        }
        let verdict = TryVerdict::Compare(challenge);
        self.tries.insert(operation, (now, verdict.clone()));
        verdict
    }

    /// Ends a challenge that was answered rightly; true for exactly one caller.
    pub fn consume(&mut self, operation: OperationId, lane: Lane, answered: ChallengeId, now: Timestamp) -> bool {
        self.sweep(now);
        if let Some((_, first)) = self.consumed.get(&operation) {
            return *first;
        }
        // The guess was booked as wrong before it was compared; it was not.
        if let Some(log) = self.lanes.get_mut(&lane) {
            log.wrong.pop();
        }
        if lane == Lane::Strangers {
            self.streak = 0;
            self.silent_until = None;
        }
        let won = self.challenge.take_if(|c| c.id == answered).is_some();
        self.consumed.insert(operation, (now, won));
        won
    }

    /// When the book holds nothing worth keeping any more, if nobody asks again.
    #[must_use]
    pub fn idle_after(&self, now: Timestamp) -> Timestamp {
        let challenge = self.challenge.iter().map(|c| c.expires);
        let logs = self.lanes.values().flat_map(|log| log.sends.iter().chain(&log.wrong).map(|at| *at + DAY));
        challenge.chain(logs).chain(self.silent_until).max().unwrap_or(now).max(now + VERDICT_MEMORY)
    }

    fn refuse_send(&self, rules: &CodeRules, ask: &Send, now: Timestamp) -> Option<SendVerdict> {
        let resend = rules.resend(ask.lane);
        let sends = self.lanes.get(&ask.lane).map_or(&[][..], |log| &log.sends);
        // Nobody waits with a code that is not theirs, nor, after a right password, without any: it was
        // answered, and the next new device wants one of its own.
        let is_waited_for = match &self.challenge {
            Some(living) => serves(living, ask),
            None => ask.credential.is_none(),
        };
        // Without a password all wait again as soon as a code of the other kind has ended.
        let may_wait = is_waited_for || ask.credential.is_none();

        let silence = self.silent_until.filter(|until| ask.lane == Lane::Strangers && *until > now);
        let hour = frees_at(sends, resend.per_hour, HOUR, now);
        let day = frees_at(sends, resend.per_day, DAY, now);
        let ceiling = [silence, hour, day].into_iter().flatten().max();
        let cooled = sends.last().map(|last| *last + resend.cooldown).filter(|until| may_wait && *until > now);
        // The last of those that refuse: whoever waits so long is sent a code.
        let wait = Wait { at: now, until: ceiling.max(cooled)? };
        // After a right password, the code that was just sent is told of again whatever the ceilings say.
        if cooled.is_some() && is_waited_for && (ceiling.is_none() || ask.credential.is_some()) {
            return Some(SendVerdict::Cooling { challenge: self.challenge.clone(), wait });
        }
        ceiling.map(|_| SendVerdict::Ceiling(wait))
    }

    fn count_streak(&mut self, rules: &CodeRules, now: Timestamp) {
        self.streak += 1;
        if rules.streak.is_some_and(|limit| self.streak >= limit) {
            self.streak = 0;
            self.silent_until = Some(now + rules.silence);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.challenge.take_if(|c| c.expires <= now);
        self.silent_until.take_if(|until| *until <= now);
        for log in self.lanes.values_mut() {
            log.sends.retain(|at| *at + DAY > now);
            log.wrong.retain(|at| *at + DAY > now);
        }
        // A streak is forgotten with its last guess, so that a book swept as idle and one kept agree.
        if self.lanes.get(&Lane::Strangers).is_none_or(|log| log.wrong.is_empty()) {
            self.streak = 0;
        }
        self.lanes.retain(|_, log| !log.sends.is_empty() || !log.wrong.is_empty());
        self.sends.retain(|_, (at, _)| *at + VERDICT_MEMORY > now);
        self.tries.retain(|_, (at, _)| *at + VERDICT_MEMORY > now);
        self.consumed.retain(|_, (at, _)| *at + VERDICT_MEMORY > now);
    }
}

/// Whether a code that lives is the one asked for: sent after the same password, if after any, and a
/// test identity's only while the contact is one.
fn serves(living: &Challenge, ask: &Send) -> bool {
    living.credential == ask.credential && living.id.is_test() == ask.fresh.is_test()
}

/// A sliding log of `most` events per `window`: when the next one fits, or `None` if it fits now.
#[must_use]
pub fn frees_at(log: &[Timestamp], most: u32, window: Duration, now: Timestamp) -> Option<Timestamp> {
    let recent: Vec<_> = log.iter().filter(|at| **at + window > now).collect();
    let over = recent.len().checked_sub(usize::try_from(most).unwrap_or(usize::MAX))?;
    recent.get(over).map(|at| **at + window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DeviceId;
    use crate::domain::policy::Profile;

    const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const STRANGERS: Lane = Lane::Strangers;

    struct Story {
        book: CodeBook,
        rules: CodeRules,
        now: Timestamp,
        calls: u16,
    }

    impl Story {
        fn new(profile: Profile) -> Self {
            let rules = CodeRules::of(&Policy::of(profile), CodePurpose::PhoneSignIn);
            Self { book: CodeBook::default(), rules, now: T0, calls: 0 }
        }

        fn id(&mut self) -> [u8; 16] {
            self.calls += 1;
            let mut bytes = [3; 16];
            bytes[..2].copy_from_slice(&self.calls.to_be_bytes());
            bytes
        }

        fn ask(&mut self, lane: Lane) -> Send {
            let id = self.id();
            let (operation, fresh) = (OperationId::random(id), ChallengeId::random(id));
            Send { operation, fresh, key_id: "k".to_owned(), lane, credential: None }
        }

        fn send(&mut self, lane: Lane) -> SendVerdict {
            let ask = self.ask(lane);
            self.book.send(&self.rules, &ask, self.now)
        }

        fn send_to_a_test_identity(&mut self) -> SendVerdict {
            let ask = Send { fresh: ChallengeId::for_test(self.id()), ..self.ask(STRANGERS) };
            self.book.send(&self.rules, &ask, self.now)
        }

        fn send_after(&mut self, password: i64) -> SendVerdict {
            let ask = Send { credential: Some(password), ..self.ask(STRANGERS) };
            self.book.send(&self.rules, &ask, self.now)
        }

        fn sent(&mut self, lane: Lane) -> ChallengeId {
            match self.send(lane) {
                SendVerdict::Send { challenge, .. } => challenge.id,
                other => panic!("not sent: {other:?}"),
            }
        }

        fn guess(&mut self, lane: Lane) -> TryVerdict {
            let operation = OperationId::random(self.id());
            self.book.guess(&self.rules, operation, lane, None, None, self.now)
        }

        fn consume(&mut self, id: ChallengeId) -> bool {
            let operation = OperationId::random(self.id());
            self.book.consume(operation, STRANGERS, id, self.now)
        }

        fn wait(&mut self, length: Duration) {
            self.now = self.now + length;
        }
    }

    #[test]
    fn a_resend_carries_the_same_challenge_and_does_not_move_its_end() {
        let mut story = Story::new(Profile::Classic);
        let first = story.sent(STRANGERS);
        let expires = story.book.challenge.clone().unwrap().expires;

        assert!(matches!(story.send(STRANGERS), SendVerdict::Cooling { .. }));
        story.wait(30 * SECOND);

        assert_eq!(story.sent(STRANGERS), first);
        assert_eq!(story.book.challenge.unwrap().expires, expires);
    }

    #[test]
    fn the_sixth_send_of_an_hour_waits_exactly_for_the_first_to_age() {
        let mut story = Story::new(Profile::Classic);
        for _ in 0..5 {
            story.sent(STRANGERS);
            story.wait(60 * SECOND);
        }

        assert_eq!(story.send(STRANGERS), SendVerdict::Ceiling(Wait { at: story.now, until: T0 + HOUR }));
        story.now = T0 + HOUR;
        story.sent(STRANGERS);
    }

    #[test]
    fn whoever_is_refused_by_several_waits_for_the_last_of_them() {
        let mut story = Story::new(Profile::Classic);
        for _ in 0..4 {
            story.sent(STRANGERS);
            story.wait(60 * SECOND);
        }
        story.now = T0 + HOUR - 10 * SECOND;
        story.sent(STRANGERS);
        story.wait(SECOND);

        // The hour has room again in nine seconds, but the last send is too fresh by then.
        let until = T0 + HOUR + 20 * SECOND;
        assert_eq!(story.send(STRANGERS), SendVerdict::Ceiling(Wait { at: story.now, until }));
        story.now = until;
        story.sent(STRANGERS);

        // Silenced for an hour, and the day's sends are used up.
        for _ in 0..4 {
            story.wait(HOUR);
            story.sent(STRANGERS);
        }
        story.book.silent_until = Some(story.now + HOUR);
        assert_eq!(story.send(STRANGERS), SendVerdict::Ceiling(Wait { at: story.now, until: T0 + DAY }));
        story.now = T0 + DAY;
        story.sent(STRANGERS);
    }

    #[test]
    fn a_test_identity_and_an_ordinary_contact_neither_share_a_code_nor_wait_for_the_others() {
        let mut story = Story::new(Profile::Classic);
        story.sent(STRANGERS);

        let SendVerdict::Send { challenge: listed, .. } = story.send_to_a_test_identity() else { panic!("not sent") };
        assert!(listed.id.is_test());
        assert!(matches!(story.send_to_a_test_identity(), SendVerdict::Cooling { .. }));
        assert!(!story.sent(STRANGERS).is_test());
        assert!(matches!(story.send(STRANGERS), SendVerdict::Cooling { .. }));

        // Whoever waits for the hour waits for the pace as well: the other's code may be over by then.
        for since in [3_310 * SECOND, 3_595 * SECOND] {
            story.now = T0 + since;
            assert!(matches!(story.send_to_a_test_identity(), SendVerdict::Send { .. }));
        }
        story.wait(SECOND);
        let until = T0 + HOUR + 25 * SECOND;
        assert_eq!(story.send(STRANGERS), SendVerdict::Ceiling(Wait { at: story.now, until }));
        story.now = until;
        story.sent(STRANGERS);
    }

    #[test]
    fn after_a_password_the_code_that_was_just_sent_is_told_of_at_the_ceiling_too() {
        let mut story = Story::new(Profile::Classic);
        for _ in 0..4 {
            assert!(matches!(story.send_after(1), SendVerdict::Send { .. }));
            story.wait(60 * SECOND);
        }
        let SendVerdict::Send { challenge: last, .. } = story.send_after(1) else { panic!("not sent") };

        let told = story.send_after(1);

        let wait = Wait { at: story.now, until: T0 + HOUR };
        assert_eq!(told, SendVerdict::Cooling { challenge: Some(last), wait });
        // Another password's is not.
        assert_eq!(story.send_after(2), SendVerdict::Ceiling(wait));
        story.wait(30 * SECOND);
        assert!(matches!(story.send_after(1), SendVerdict::Ceiling(_)));
    }

    #[test]
    fn a_code_dies_after_its_tries_and_the_next_send_makes_a_new_one() {
        let mut story = Story::new(Profile::Classic);
        let first = story.sent(STRANGERS);
        for _ in 0..5 {
            assert!(matches!(story.guess(STRANGERS), TryVerdict::Compare(_)));
        }

        assert_eq!(story.guess(STRANGERS), TryVerdict::NoChallenge);
        story.wait(30 * SECOND);
        assert_ne!(story.sent(STRANGERS), first);
        assert_eq!(story.book.streak, 5);
    }

    #[test]
    fn a_code_is_good_until_its_last_moment() {
        let mut story = Story::new(Profile::Classic);
        story.sent(STRANGERS);

        story.wait(Duration::from_millis(299_999));
        assert!(matches!(story.guess(STRANGERS), TryVerdict::Compare(_)));
        story.wait(Duration::from_millis(1));
        assert_eq!(story.guess(STRANGERS), TryVerdict::NoChallenge);
    }

    #[test]
    fn one_of_many_right_answers_wins_and_none_counts_as_wrong() {
        let mut story = Story::new(Profile::Classic);
        let id = story.sent(STRANGERS);
        for _ in 0..3 {
            story.guess(STRANGERS);
        }

        let winners = (0..3).filter(|_| story.consume(id)).count();

        assert_eq!(winners, 1);
        assert!(story.book.lanes[&STRANGERS].wrong.is_empty());
        assert_eq!(story.book.streak, 0);
    }

    #[test]
    fn ten_wrong_short_codes_silence_strangers_for_an_hour_but_not_the_known_device() {
        let mut story = Story::new(Profile::Classic);
        for _ in 0..2 {
            story.sent(STRANGERS);
            for _ in 0..5 {
                story.guess(STRANGERS);
            }
            story.wait(30 * SECOND);
        }

        assert!(matches!(story.send(STRANGERS), SendVerdict::Ceiling { .. }));
        story.sent(Lane::Device(DeviceId::random([1; 16])));
        story.wait(HOUR);
        story.sent(STRANGERS);
    }

    #[test]
    fn fifteen_wrong_short_codes_end_strangers_guesses_for_the_day() {
        let mut story = Story::new(Profile::Classic);
        for _ in 0..3 {
            story.sent(STRANGERS);
            for _ in 0..5 {
                assert!(matches!(story.guess(STRANGERS), TryVerdict::Compare(_)));
            }
            story.wait(HOUR + SECOND);
        }
        story.sent(STRANGERS);

        assert_eq!(story.guess(STRANGERS), TryVerdict::Ceiling(Wait { at: story.now, until: T0 + DAY }));
    }

    #[test]
    fn a_stranger_cannot_use_up_the_tries_of_a_known_device() {
        let mut story = Story::new(Profile::AsvsL1);
        story.sent(STRANGERS);
        for _ in 0..3 {
            story.guess(STRANGERS);
        }

        assert_eq!(story.guess(STRANGERS), TryVerdict::NoChallenge);
        assert!(matches!(story.guess(Lane::Device(DeviceId::random([1; 16]))), TryVerdict::Compare(_)));
    }

    #[test]
    fn a_send_given_back_was_never_booked() {
        let mut story = Story::new(Profile::Classic);
        let SendVerdict::Send { sent_at, .. } = story.send(STRANGERS) else { panic!("not sent") };

        story.book.give_back(STRANGERS, sent_at);

        story.sent(STRANGERS);
    }

    #[test]
    fn a_code_sent_after_a_password_ends_with_it_and_makes_room_for_another() {
        let mut story = Story::new(Profile::Classic);
        let guess = |story: &mut Story, credential| {
            let operation = OperationId::random(story.id());
            story.book.guess(&story.rules, operation, STRANGERS, None, Some(credential), story.now)
        };
        let SendVerdict::Send { challenge: first, .. } = story.send_after(1) else { panic!("not sent") };

        assert_eq!(guess(&mut story, 2), TryVerdict::NoChallenge);
        assert!(matches!(story.send_after(1), SendVerdict::Cooling { challenge: Some(_), .. }));
        let TryVerdict::Compare(compared) = guess(&mut story, 1) else { panic!("still its own") };
        assert_eq!(compared.tries[&STRANGERS], 1, "what could not be right was not counted");
        // At once: nobody waits with a code that is worth nothing.
        let SendVerdict::Send { challenge: second, .. } = story.send_after(2) else { panic!("not sent") };
        assert_ne!(first.id, second.id);
        assert_eq!(guess(&mut story, 1), TryVerdict::NoChallenge);
        assert!(matches!(guess(&mut story, 2), TryVerdict::Compare(_)));
    }

    #[test]
    fn a_repeated_call_gets_the_first_verdict() {
        let mut story = Story::new(Profile::Classic);
        let ask = Send {
            operation: OperationId::random([1; 16]),
            fresh: ChallengeId::random([2; 16]),
            key_id: "k".to_owned(),
            lane: STRANGERS,
            credential: None,
        };
        let first = story.book.send(&story.rules, &ask, T0);
        let id = story.book.challenge.clone().unwrap().id;

        assert_eq!(story.book.send(&story.rules, &ask, T0), first);
        assert!(story.book.consume(OperationId::random([5; 16]), STRANGERS, id, T0));
        assert!(story.book.consume(OperationId::random([5; 16]), STRANGERS, id, T0));
        assert!(!story.book.consume(OperationId::random([6; 16]), STRANGERS, id, T0));
    }
}
