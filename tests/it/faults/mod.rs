//! Faults, with real servers: what is killed, frozen, slow, full or emptied under two nodes at
//! work, and clocks that disagree.
//!
//! ```text
//!   World::on ─► break it ─► is_refused ─► mend it ─► recovers ─► holds
//!      └─ Bystanders: token checks, keys and health, asked on both nodes all the while
//! ```
//!
//! Whatever broke: nobody gets a guess too many, no code works twice, no lock is lost, and every
//! request is answered within its time.

mod clocks;
mod overload;
mod postgres;
mod redis;
mod targets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::node::{Answer, Cluster, Node, Settings, answer, at_once};
use crate::nodes::{PASSWORD, Person, VERIFICATIONS, number_becomes, sms_code};

/// How long a request may take here (`http.request_timeout`), and what a busy machine and the
/// client add.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const MARGIN: Duration = Duration::from_secs(2);

/// How long after a back end's return requests may still be refused.
const RECOVERY: Duration = Duration::from_secs(2);

/// The longest a token check may take while a back end is away; alone on a machine it takes
/// milliseconds.
const UNHARMED: Duration = Duration::from_secs(1);

/// Wrong passwords that are ever compared (profile `classic`), and how many the victim had before.
const THRESHOLD: u32 = 5;
const HAD_BEFORE: u32 = 2;

/// Wrong passwords that an attack tries at once.
const GUESSES: usize = 12;

const USED_PHONE: &str = "+221771234567";
const OTHER_PHONE: &str = "+221771234568";

/// Deadlines as in production, but not so short that a busy test machine cannot start.
fn short_deadlines(_node: usize, settings: Settings) -> Settings {
    settings
        .with("GUICHET__REDIS__RESPONSE_TIMEOUT", "500ms")
        .with("GUICHET__REDIS__CONNECT_TIMEOUT", "1s")
        .with("GUICHET__DATABASE__ACQUIRE_TIMEOUT", "2s")
        .with("GUICHET__CRYPTO__HASH_MAX_WAIT", "2s")
        .with("GUICHET__ACTORS__ASK_TIMEOUT", "3s")
        .with("GUICHET__HTTP__REQUEST_TIMEOUT", "4s")
}

/// Sends a request that must be answered in time, whatever the answer.
async fn in_time(request: RequestBuilder) -> Answer {
    let asked = Instant::now();
    let answer = answer(request).await;
    assert!(asked.elapsed() < REQUEST_TIMEOUT + MARGIN, "{:?} for {answer:?}", asked.elapsed());
    assert_ne!(answer.status, 500, "{answer:?}");
    assert!(answer.status != 503 && answer.status != 429 || answer.retry_after.is_some(), "{answer:?}");
    answer
}

async fn guess(node: &Node, email: &str, password: &str) -> Answer {
    in_time(node.request(Method::POST, "/api/auth/login").json(&json!({ "email": email, "password": password }))).await
}

async fn code(node: &Node, phone: &str, code: &str) -> Answer {
    in_time(node.request(Method::POST, "/auth/verify-code").json(&json!({ "phone": phone, "code": code }))).await
}

async fn ask_for_a_code(node: &Node) -> Answer {
    in_time(node.request(Method::POST, "/auth/request-code").json(&json!({ "phone": "+221771234569" }))).await
}

/// What became of the codes that were under way.
#[derive(PartialEq, Eq)]
enum Codes {
    Kept,
    Lost,
}

/// People whose log-ins go on, are being guessed at, and are locked; two codes under way.
struct World {
    cluster: Arc<Cluster>,
    owner: Person,
    victim: Person,
    locked: Person,
    used_code: String,
    other_code: String,
    /// Passwords compared when the victim's last were.
    compared_before: f64,
    bystanders: Bystanders,
}

impl World {
    /// Two nodes at work on that Redis.
    async fn on<F>(redis: &str, story: impl FnOnce(Self) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Cluster::run_on(redis, short_deadlines, |cluster| async move { story(Self::of(cluster).await).await }).await;
    }

    async fn of(cluster: Arc<Cluster>) -> Self {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "owner@example.com").await;
        let token = owner.log_in(one, PASSWORD).await.must_be(200).text("token");
        other.get("/api/auth/me", &token).await.must_be(200);
        let locked = Person::register(other, "locked@example.com").await;
        locked.wrong_passwords(one, THRESHOLD as usize).await.must_be(403);
        let victim = Person::register(one, "victim@example.com").await;
        victim.wrong_passwords(other, HAD_BEFORE as usize).await.must_be(400);
        // An ordinary failure is written down after its answer has left.
        let mirrored = "SELECT count(*) FROM attempts WHERE CAST(counter AS jsonb) ->> 'failures' = '2'";
        number_becomes(&cluster.database, mirrored, 1).await;
        let (used_code, other_code) = (sms_code(one, USED_PHONE).await, sms_code(other, OTHER_PHONE).await);
        let compared_before = cluster.metrics(VERIFICATIONS).await;
        let bystanders = Bystanders::watch(Arc::clone(&cluster), token);
        Self { cluster, owner, victim, locked, used_code, other_code, compared_before, bystanders }
    }

    /// A dozen wrong passwords at once for the victim, on both nodes, and the right one for who is
    /// locked.
    async fn attack(&self) -> Vec<Answer> {
        let answers = at_once(GUESSES + 2, |n| {
            let (cluster, victim, locked) =
                (Arc::clone(&self.cluster), self.victim.email.clone(), self.locked.email.clone());
            async move {
                let (email, password) = if n < GUESSES { (victim, "wrong horse") } else { (locked, PASSWORD) };
                guess(cluster.node(n), &email, password).await
            }
        })
        .await;
        for answer in &answers {
            assert!([400, 403, 429, 503].contains(&answer.status), "{answer:?}");
        }
        answers
    }

    /// While Redis is away: log-ins and codes are refused, and all are told when to come back.
    async fn is_refused(&self) {
        let answers = self.attack().await;
        // One that can still be read may still say of a lock that it is one.
        let kept_away = |answer: &&Answer| answer.status == 503 || answer.code() == "account_locked";
        assert_eq!(answers.iter().filter(kept_away).count(), answers.len(), "{answers:?}");
        assert!(answers.iter().filter(|answer| answer.status == 503).count() >= GUESSES, "{answers:?}");
        let [one, other] = &self.cluster.nodes;
        let (asked, asked_other) = tokio::join!(ask_for_a_code(one), ask_for_a_code(other));
        let code_on = |node| code(node, USED_PHONE, &self.used_code);
        let (answered, answered_other) = tokio::join!(code_on(one), code_on(other));
        for answer in [asked, asked_other, answered, answered_other] {
            answer.must_be(503);
        }
    }

    /// While storage is away: nobody gets a session or a code, and all are told when to come back. One after
    /// the other: who asks while another's code is being written is told to wait for that one.
    async fn cannot_log_in(&self) {
        for node in &self.cluster.nodes {
            guess(node, &self.owner.email, PASSWORD).await.must_be(503);
            ask_for_a_code(node).await.must_be(503);
        }
    }

    /// From now on, within the time for it, both nodes judge again, and the lock is still one.
    async fn recovers(&self) {
        let back = Instant::now();
        for node in &self.cluster.nodes {
            loop {
                match guess(node, &self.locked.email, PASSWORD).await.status {
                    403 => break,
                    503 => assert!(back.elapsed() < RECOVERY, "{:?}: {}", back.elapsed(), node.log()),
                    other => panic!("{other} for a locked account"),
                }
            }
        }
        println!("recovered within {:?}", back.elapsed());
    }

    /// What is true whatever happened.
    async fn holds(self, codes: Codes) {
        let Self { cluster, owner, victim, used_code, other_code, compared_before, bystanders, .. } = self;
        let patience = Instant::now();
        while guess(&cluster.nodes[0], &victim.email, "wrong horse").await.status != 403 {
            assert!(patience.elapsed() < Duration::from_secs(20), "the victim is never locked");
        }
        guess(&cluster.nodes[1], &victim.email, PASSWORD).await.must_be(403);
        let compared = cluster.metrics(VERIFICATIONS).await - compared_before;
        println!("{compared} of {} guesses were compared", THRESHOLD - HAD_BEFORE);
        assert!(compared <= f64::from(THRESHOLD - HAD_BEFORE), "{compared} guesses were compared");

        for node in &cluster.nodes {
            owner.log_in(node, PASSWORD).await.must_be(200);
        }
        // Its answers were refused while the store was away; one may have counted nevertheless.
        assert!(times_accepted(&cluster, USED_PHONE, &used_code).await <= 1);
        let expected = usize::from(codes == Codes::Kept);
        assert_eq!(times_accepted(&cluster, OTHER_PHONE, &other_code).await, expected);
        bystanders.were_unharmed().await;
    }
}

/// How often a code works, presented twenty times at once.
async fn times_accepted(cluster: &Arc<Cluster>, phone: &'static str, right: &str) -> usize {
    let answers = at_once(20, |n| {
        let (cluster, right) = (Arc::clone(cluster), right.to_owned());
        async move { code(cluster.node(n), phone, &right).await }
    })
    .await;
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// Token checks, keys and health on every node, asked for until told to stop.
struct Bystanders {
    stop: CancellationToken,
    asking: JoinHandle<Vec<Duration>>,
}

impl Bystanders {
    fn watch(cluster: Arc<Cluster>, token: String) -> Self {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let asking = tokio::spawn(async move {
            let mut times = Vec::new();
            while !told.is_cancelled() {
                for node in &cluster.nodes {
                    times.extend(bystander(node, &token).await);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            times
        });
        Self { stop, asking }
    }

    async fn were_unharmed(self) {
        self.stop.cancel();
        let mut times = self.asking.await.unwrap();
        times.sort_unstable();
        let slowest = times[times.len() - 1];
        println!("{} token checks meanwhile: p99 {:?}, slowest {slowest:?}", times.len(), p99(&times));
        assert!(slowest < UNHARMED, "{slowest:?}");
    }
}

/// One round of what must answer whatever is broken.
async fn bystander(node: &Node, token: &str) -> [Duration; 3] {
    let mut times = [Duration::ZERO; 3];
    let requests = [
        node.request(Method::GET, "/forward-auth").bearer_auth(token),
        node.request(Method::GET, "/.well-known/jwks.json"),
        node.admin(Method::GET, "/healthz"),
    ];
    for (time, request) in times.iter_mut().zip(requests) {
        let asked = Instant::now();
        answer(request).await.must_be(200);
        *time = asked.elapsed();
    }
    times
}

/// Of sorted times.
fn p99(times: &[Duration]) -> Duration {
    times[(times.len() * 99).div_ceil(100) - 1]
}
