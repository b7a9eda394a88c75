//! What do codes and refreshes cost beside what the stores alone take?
//!
//! Sends of a code, answers to it and rotations of a refresh token through the gateway, in turns with
//! the least that could be done: the one script that judges, and the one transaction that writes, asked
//! by this program itself over as many connections. Both share the machine with PostgreSQL and Redis. A
//! send is held against all of its store calls too: what is lost there is the gateway's own work, the rest
//! is the price of what a send promises.
//! Two ratios: what is done in a second, where the client that asks the gateway takes its share too; and
//! the processor time of the whole machine for one, without the client's, which wants an idle machine.
//!
//! `cargo bench --bench codes`; needs `GUICHET_BENCH_DATABASE_URL` and `GUICHET_BENCH_REDIS_URL`.
#![cfg(test)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::crypto::digest::token_digest;
use guichet::domain::budget::{BudgetMode, RECIPIENT_PER_DAY, Spend};
use guichet::domain::contact::{Contact, PhoneNumber};
use guichet::domain::delivery::DeliveryState;
use guichet::domain::ids::{AccountId, ChallengeId, DeliveryId, MessageId, NodeId, OperationId, TenantId};
use guichet::domain::limits::{LimitName, LimitSubject};
use guichet::domain::locale::Locale;
use guichet::domain::lockout::Lane;
use guichet::domain::message::{Channel, CodeRef, Content, Message};
use guichet::domain::otp::{self, Challenge, CodePurpose, CodeRules, SendVerdict, TryVerdict};
use guichet::domain::policy::{Policy, Profile};
use guichet::entropy::Entropy;
use guichet::ephemeral::redis::RedisStore;
use guichet::ephemeral::{CodeOwner, CodeSubject, Consume, EphemeralStore as _, Guess, LimitCheck, RecipientCount};
use guichet::storage::{Attempt, Birth, Claimed, Notes, Rotation, Settled, Storage};
use serde_json::{Value, json};
use support::figures::median;
use support::gateway::{Gateway, Stores, http};
use support::load::Line;
use support::machine::{busy_seconds, print_machine, processor_seconds};
use support::people;
use support::plot::{self, Bar};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const ROUNDS: u32 = 8;

/// Requests of one round.
const ROUND: u32 = 2_000;

/// Requests under way at once, on both sides.
const CALLERS: u32 = 16;

/// Sent long after the last round, by nobody.
const LEASE: Duration = Duration::from_secs(3_600);

/// Of the stores alone, for a code that is sent.
const GOAL: f64 = 0.60;

#[tokio::main]
async fn main() {
    print_machine();
    let Some(stores) = Stores::shared_and_ample().await else { return };
    let gateway = Arc::new(Gateway::start(&stores));
    let bare = Arc::new(Bare::open(&stores).await);
    let mut drawn = request_code(&gateway, &bare).await;
    drawn.extend(verify_code(&gateway, &bare).await);
    drawn.extend(refresh(&gateway, &bare).await);
    plot::write("codes", &plot::ratios("Share of what the stores alone do", &drawn));
    drop((gateway, bare));
    stores.remove().await;
}

/// The stores, asked by this program itself: what no gateway could do without.
struct Bare {
    redis: RedisStore,
    storage: Storage,
    tenant: TenantId,
    policy: Policy,
    rules: CodeRules,
    entropy: Entropy,
    clock: Clock,
}

impl Bare {
    async fn open(stores: &Stores) -> Self {
        let storage = stores.open_storage().await;
        let tenant = storage.tenants().find_by_slug("default").await.unwrap().unwrap().id;
        let mut policy = Policy::of(Profile::Classic);
        policy.sms.budget.mode = BudgetMode::Record;
        let rules = CodeRules::of(&policy, CodePurpose::PhoneSignIn);
        let redis = stores.open_redis().await.unwrap();
        Self { redis, storage, tenant, policy, rules, entropy: Entropy::system(), clock: Clock::system() }
    }

    fn subject(&self) -> CodeSubject {
        CodeSubject { owner: CodeOwner::Contact(self.entropy.bytes()), purpose: CodePurpose::PhoneSignIn }
    }

    async fn send(&self, subject: &CodeSubject) -> Challenge {
        let ask = otp::Send {
            operation: self.operation(),
            fresh: ChallengeId::random(self.entropy.bytes()),
            key_id: "bench".to_owned(),
            lane: Lane::Strangers,
            credential: None,
        };
        match self.redis.send_code(self.tenant, subject, &self.rules, &ask).await.unwrap() {
            SendVerdict::Send { challenge, .. } => challenge,
            other => panic!("{other:?}"),
        }
    }

    /// One send: the script and the outbox row.
    async fn send_and_write(&self) {
        let challenge = self.send(&self.subject()).await;
        self.write(&challenge, PhoneNumber::parse("+221770000000", None).unwrap()).await;
    }

    async fn write(&self, challenge: &Challenge, to: PhoneNumber) -> Message {
        let now = self.clock.now();
        let message = Message {
            id: MessageId::at(now, self.entropy.bytes()),
            tenant: self.tenant,
            to: Contact::Phone(to),
            locale: Locale::En,
            content: Content::SignInCode(CodeRef::from(challenge)),
            not_after: challenge.expires,
        };
        let birth = Birth { node: NodeId::random(self.entropy.bytes()), lease: LEASE };
        let notes = Notes { now, birth, messages: std::slice::from_ref(&message), events: &[] };
        self.storage.outbox().enqueue(&notes).await.unwrap();
        message
    }

    /// One send with all the calls that the gateway makes of it: the limits, who has the number, the code,
    /// the budget, the day over all tenants, the outbox row, its hand-over, its settlement with the log.
    async fn send_as_promised(&self, n: u32) {
        let number = PhoneNumber::parse(&people::phone(n), None).unwrap();
        let (contact, policy) = (Contact::Phone(number.clone()), &self.policy);
        let client = LimitSubject::client(Ipv4Addr::from_bits(n).into());
        let check = |name: LimitName, subject| {
            let rate = policy.limits.get(name).rate;
            LimitCheck { name: name.as_str(), subject, rate, enforced: true }
        };
        let checks = [check(LimitName::CodeClient, client), check(LimitName::TenantTotal, LimitSubject::Tenant)];
        self.redis.check_limits(self.tenant, &checks).await.unwrap();
        assert_eq!(self.storage.accounts().find_id(self.tenant, &contact).await.unwrap(), None);
        let nobody = AccountId::random(self.entropy.bytes());
        assert_eq!(self.storage.accounts().find(self.tenant, nobody).await.unwrap(), None);
        let challenge = self.send(&self.subject()).await;
        let spend = Spend::on(&policy.sms.budget, self.operation(), &number);
        assert!(self.redis.take_budget(self.tenant, &policy.sms.budget, &spend).await.unwrap().taken);
        let recipient = self.entropy.bytes();
        let count = RecipientCount { operation: self.operation(), recipient, per_day: RECIPIENT_PER_DAY };
        self.redis.count_recipient(&count).await.unwrap();
        let message = self.write(&challenge, number).await;

        let (tenant, id, now) = (self.tenant, message.id, self.clock.now());
        let template = message.content.template();
        let claimed = Claimed { message, created_at: now, claim: 1, attempts: 0, handed: None };
        assert!(self.storage.outbox().hand_over(&claimed, "console", LEASE, &[], now).await.unwrap());
        let attempt = Attempt {
            id: DeliveryId::at(now, self.entropy.bytes()),
            tenant,
            message: id,
            sender: "console".to_owned(),
            channel: Channel::Sms,
            template,
            number: 1,
            at: now,
            latency: Duration::ZERO,
            state: DeliveryState::Accepted,
            stage: None,
            code: None,
            reference: None,
            recipient,
        };
        assert!(self.storage.outbox().settle(tenant, id, 1, Settled::Sent, &[attempt], now).await.unwrap());
    }

    fn operation(&self) -> OperationId {
        OperationId::random(self.entropy.bytes())
    }

    /// One answer to a code that was sent before: counted, consumed, and its grant left.
    async fn answer(&self, subject: &CodeSubject) {
        let guess = Guess { operation: self.operation(), lane: Lane::Strangers, wanted: None, credential: None };
        let verdict = self.redis.guess_code(self.tenant, subject, &self.rules, &guess).await.unwrap();
        let TryVerdict::Compare(challenge) = verdict else { panic!("{verdict:?}") };
        let consume = Consume { operation: self.operation(), lane: Lane::Strangers, answered: challenge.id };
        assert!(self.redis.consume_code(self.tenant, subject, &consume).await.unwrap());
        let grant = self.entropy.bytes();
        self.redis.put_grant(self.tenant, grant, challenge.id, Duration::from_secs(300)).await.unwrap();
    }

    /// One rotation of a refresh token, which the new one takes the place of.
    async fn rotate(&self, old_digest: [u8; 32]) -> [u8; 32] {
        let new_digest = self.entropy.bytes();
        let rotation = Rotation { old_digest, new_digest, sealed_successor: &[0; 80] };
        assert!(self.storage.sessions().rotate(self.tenant, &rotation, self.clock.now()).await.unwrap());
        new_digest
    }
}

async fn request_code(gateway: &Arc<Gateway>, bare: &Arc<Bare>) -> Vec<Bar> {
    let (mut least, mut all) = (Vec::new(), Vec::new());
    for numbers in all_rounds() {
        let alone = turn(As::Worker, &numbers, |numbers| {
            let bare = bare.clone();
            async move {
                while numbers.take().is_some() {
                    bare.send_and_write().await;
                }
            }
        });
        let alone = alone.await;
        let served = turn(As::Client, &numbers, |numbers| send_codes(gateway.clone(), numbers)).await;
        let all_calls = turn(As::Worker, &numbers, |numbers| {
            let bare = bare.clone();
            async move {
                while let Some(n) = numbers.take() {
                    bare.send_as_promised(n).await;
                }
            }
        });
        all.push((all_calls.await, served));
        least.push((alone, served));
    }
    let mut drawn = Vec::from(bars("request-code", &least));
    drawn.extend(bars("request-code, beside all of its store calls", &all));
    drawn
}

async fn verify_code(gateway: &Arc<Gateway>, bare: &Arc<Bare>) -> [Bar; 2] {
    let mut rounds = Vec::new();
    for numbers in all_rounds() {
        // Numbers of their own: those above have been sent a code a moment ago.
        let numbers = numbers.after(ROUNDS * ROUND);
        let sent: Arc<Vec<_>> = Arc::new(numbers.all().map(|_| bare.subject()).collect());
        for subject in sent.iter() {
            bare.send(subject).await;
        }
        let alone = turn(As::Worker, &numbers, |numbers| {
            let (bare, sent) = (bare.clone(), sent.clone());
            async move {
                while let Some(n) = numbers.take() {
                    bare.answer(&sent[(n - numbers.first) as usize]).await;
                }
            }
        });
        let alone = alone.await;
        turn(As::Client, &numbers, |numbers| send_codes(gateway.clone(), numbers)).await;
        let first = numbers.first;
        let codes: Arc<Vec<_>> = Arc::new(numbers.all().map(|n| gateway.mailbox.code(&people::phone(n))).collect());
        let served = turn(As::Client, &numbers, |numbers| {
            let (gateway, codes) = (gateway.clone(), codes.clone());
            async move {
                let mut line = Line::open(gateway.address()).await;
                while let Some(n) = numbers.take() {
                    let body = json!({ "phone": people::phone(n), "code": codes[(n - first) as usize] });
                    line.post("/auth/verify-code", n, &body, 200).await;
                }
            }
        });
        rounds.push((alone, served.await));
    }
    bars("verify-code", &rounds)
}

async fn refresh(gateway: &Arc<Gateway>, bare: &Arc<Bare>) -> [Bar; 2] {
    let http = http("bench");
    let mut tokens = Vec::new();
    for n in (0..2 * CALLERS).map(|n| 3 * ROUNDS * ROUND + n) {
        let token = people::prove_phone(gateway, &http, &people::phone(n)).await;
        let body =
            json!({ "phone": people::phone(n), "first_name": "A", "last_name": "D", "registration_token": token });
        let person = gateway.post(&http, "/auth/register", &body).send().await.unwrap();
        let mut person: Value = person.json().await.unwrap();
        let Value::String(token) = person["refresh_token"].take() else { panic!("{person}") };
        tokens.push(token);
    }
    // Each caller has a session to itself, on either side, and passes its token on.
    let digests: Vec<_> = tokens.split_off(CALLERS as usize).iter().map(token_digest).collect();
    let digests = Arc::new(digests.into_iter().map(Mutex::new).collect::<Vec<_>>());
    let tokens = Arc::new(tokens.into_iter().map(Mutex::new).collect::<Vec<_>>());
    let mut rounds = Vec::new();
    for numbers in all_rounds() {
        let alone = turn(As::Worker, &numbers, |numbers| {
            let (bare, digests) = (bare.clone(), digests.clone());
            async move {
                let mut digest = digests[numbers.caller].lock().await;
                while numbers.take().is_some() {
                    *digest = bare.rotate(*digest).await;
                }
            }
        });
        let alone = alone.await;
        let served = turn(As::Client, &numbers, |numbers| {
            let (gateway, tokens) = (gateway.clone(), tokens.clone());
            async move {
                let mut token = tokens[numbers.caller].lock().await;
                let mut line = Line::open(gateway.address()).await;
                while let Some(n) = numbers.take() {
                    let mut answer = line.post("/api/auth/refresh", n, &json!({ "refresh_token": *token }), 200).await;
                    let Value::String(next) = answer["refresh_token"].take() else { panic!("{answer}") };
                    *token = next;
                }
            }
        });
        rounds.push((alone, served.await));
    }
    bars("refresh", &rounds)
}

async fn send_codes(gateway: Arc<Gateway>, numbers: Numbers) {
    let mut line = Line::open(gateway.address()).await;
    while let Some(n) = numbers.take() {
        line.post("/auth/request-code", n, &json!({ "phone": people::phone(n) }), 200).await;
    }
}

/// The numbers of a round's requests, taken one by one by its callers.
#[derive(Clone)]
struct Numbers {
    first: u32,
    taken: Arc<AtomicU32>,
    /// Which of the callers has this clone.
    caller: usize,
}

fn all_rounds() -> impl Iterator<Item = Numbers> {
    (0..ROUNDS).map(|round| Numbers { first: round * ROUND, taken: Arc::default(), caller: 0 })
}

impl Numbers {
    fn after(self, offset: u32) -> Self {
        Self { first: self.first + offset, ..self }
    }

    fn all(&self) -> std::ops::Range<u32> {
        self.first..self.first + ROUND
    }

    fn take(&self) -> Option<u32> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        (taken < ROUND).then(|| self.first + taken)
    }
}

/// What one round came to.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    /// Of the whole machine, without the client's.
    processor_ms_each: f64,
}

/// Whose work this program does in a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    /// What is measured.
    Worker,
    /// The client's, which is not.
    Client,
}

/// One round of `CALLERS` callers.
async fn turn<F>(side: As, numbers: &Numbers, work: impl Fn(Numbers) -> F) -> Round
where
    F: Future<Output = ()> + Send + 'static,
{
    let own = || if side == As::Client { processor_seconds(std::process::id()) } else { 0.0 };
    let (began, busy) = (Instant::now(), busy_seconds() - own());
    let taken = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS as usize {
        callers.spawn(work(Numbers { first: numbers.first, taken: taken.clone(), caller }));
    }
    callers.join_all().await;
    let (of, busy) = (f64::from(ROUND), busy_seconds() - own() - busy);
    Round { per_second: of / began.elapsed().as_secs_f64(), processor_ms_each: busy * 1e3 / of }
}

/// Both ratios of a route, from its rounds with the stores alone and with the gateway.
fn bars(route: &str, rounds: &[(Round, Round)]) -> [Bar; 2] {
    let middle = |figure: fn(&(Round, Round)) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    println!(
        "\n{route}: {:.0}/s at {:.2} ms | the stores alone: {:.0}/s at {:.2} ms",
        middle(|(_, served)| served.per_second),
        middle(|(_, served)| served.processor_ms_each),
        middle(|(alone, _)| alone.per_second),
        middle(|(alone, _)| alone.processor_ms_each),
    );
    let ratios = |ratio: fn(&(Round, Round)) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let by_rate = ratios(|(alone, served)| served.per_second / alone.per_second);
    let by_time = ratios(|(alone, served)| alone.processor_ms_each / served.processor_ms_each);
    [("a second", by_rate), ("processor time", by_time)].map(|(by, ratios)| {
        let bar = Bar::of(format!("{route}, {by}"), &ratios, GOAL);
        println!("  {bar}");
        bar
    })
}
