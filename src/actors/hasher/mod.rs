//! Argon2id off the async threads: a few threads of its own, a bounded fair line before them.
//!
//! One hash takes some 16 ms of a core and 19 MiB, so two of them on the runtime's threads would
//! stall every request. Each thread owns its memory and reuses it. What waits longer
//! than its deadline is shed before it is begun, so an attempt that never reached the comparison
//! can be given back, and what nobody waits for any more is dropped: neither takes a turn of its tenant.
//! What was begun is finished. See [`queue`] for who goes first.
//!
//! Of several threads one is free soon. Beside one alone there is a second, for tenants that asked for less
//! than their share while the first hashes for somebody else: it is given most of the core that they
//! share, so that a log-in beside another tenant's flood need not wait for the end of a hash.

pub mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::oneshot;

use self::queue::FairQueue;
pub use self::queue::Priority;
use crate::crypto::password_hash::{Memory, PasswordHashError, PasswordHasher, Verification};
use crate::domain::ids::TenantId;
use crate::domain::password::{self, PasswordProblem};
use crate::domain::policy::PasswordPolicy;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::telemetry;

/// Why nothing was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The line is full or too slow: try again later. Nothing was compared.
    #[error("too many passwords wait to be hashed")]
    Shed,
    /// The stored hash cannot be used, or argon2 failed.
    #[error("a password could not be hashed")]
    Failed(#[from] PasswordHashError),
}

/// How many threads, how long a line, how long a wait.
#[derive(Debug, Clone, Copy)]
pub struct HasherLimits {
    /// Threads that hash; each takes a core while it does.
    pub threads: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// How long one may wait before it is shed.
    pub max_wait: Duration,
}

/// A handle to the hashing threads. They end when the last handle is dropped and the line is empty.
#[derive(Clone)]
pub struct Hasher {
    shared: Arc<Shared>,
    max_wait: Duration,
    _threads: Arc<Threads>,
}

struct Shared {
    line: Mutex<Line>,
    /// Wakes one of the threads.
    work: Condvar,
    /// Wakes the one that overtakes, where there is one.
    overtaken: Condvar,
    passwords: PasswordHasher,
    entropy: Entropy,
}

struct Line {
    queue: FairQueue<Job>,
    /// Threads that wait for work, but for the one that overtakes.
    idle: usize,
    closing: bool,
}

impl Line {
    /// Whether the thread for it should take a job past those under way.
    fn is_overtaken(&self) -> bool {
        self.idle == 0 && self.queue.is_overtaken()
    }

    /// The next job that is worth doing; those before it are dropped with their reply ports, which tells
    /// whoever still waits.
    fn pop(&mut self, lane: Lane) -> Option<(TenantId, Job)> {
        let now = Instant::now();
        let popped = match lane {
            Lane::InTurn => self.queue.pop(|job| job.is_stale(now)),
            Lane::Overtaking if self.idle == 0 => self.queue.pop_overtaking(|job| job.is_stale(now)),
            Lane::Overtaking => None,
        };
        publish_depth(self);
        popped
    }
}

/// Which jobs a thread takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Whosever turn it is.
    InTurn,
    /// What overtakes the jobs under way, while no other thread is free.
    Overtaking,
}

struct Threads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Job {
    task: Task,
    deadline: Instant,
}

impl Job {
    /// Whether it is not to be begun any more. Asked once, since it counts what came too late.
    fn is_stale(&self, now: Instant) -> bool {
        let late = now > self.deadline;
        if late {
            metrics::counter!(telemetry::SHED, "reason" => "hash_deadline").increment(1);
        }
        late || self.task.is_abandoned()
    }
}

enum Task {
    #[cfg(test)]
    Break,
    #[cfg(test)]
    Hold(std::sync::mpsc::Receiver<()>),
    Verify {
        password: SecretString,
        phc: Option<SecretString>,
        reply: oneshot::Sender<Result<Verification, HashError>>,
    },
    Hash {
        password: SecretString,
        reply: oneshot::Sender<Result<SecretString, HashError>>,
    },
    Choose {
        choice: Choice,
        reply: oneshot::Sender<Result<Result<SecretString, PasswordProblem>, HashError>>,
    },
}

impl Task {
    /// Whether nobody waits for its answer.
    fn is_abandoned(&self) -> bool {
        match self {
            #[cfg(test)]
            Self::Break | Self::Hold(_) => false,
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::Hash { reply, .. } => reply.is_closed(),
            Self::Choose { reply, .. } => reply.is_closed(),
        }
    }
}

/// A password someone wants to set: judged, then hashed.
pub struct Choice {
    /// The rules it must meet.
    pub policy: PasswordPolicy,
    /// The password, normalised.
    pub password: SecretString,
    /// Words an attacker would try for this person.
    pub context: Vec<String>,
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(passwords: PasswordHasher, limits: HasherLimits, entropy: Entropy) -> std::io::Result<Self> {
        let line = Mutex::new(Line { queue: FairQueue::new(limits.queue), idle: 0, closing: false });
        let (work, overtaken) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { line, work, overtaken, passwords, entropy });
        let in_turn = std::iter::repeat_n(Lane::InTurn, limits.threads.max(1));
        let overtaking = (limits.threads <= 1).then_some(Lane::Overtaking);
        let handles = in_turn.chain(overtaking).zip(0..).map(|(lane, n)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("hasher-{n}")).spawn(move || shared.serve(lane))
        });
        let handles = handles.collect::<std::io::Result<_>>()?;
        let threads = Arc::new(Threads { shared: Arc::clone(&shared), handles: Mutex::new(handles) });
        Ok(Self { shared, max_wait: limits.max_wait, _threads: threads })
    }

    /// Compares a normalised password with a stored hash, or, without one, does the same work
    /// against a decoy and finds that it differs.
    ///
    /// # Errors
    /// [`HashError::Shed`] if nothing was compared; [`HashError::Failed`] for a corrupt hash.
    pub async fn verify(
        &self,
        tenant: TenantId,
        priority: Priority,
        password: SecretString,
        phc: Option<SecretString>,
    ) -> Result<Verification, HashError> {
        let (reply, answer) = oneshot::channel();
        self.queue(tenant, priority, Task::Verify { password, phc, reply });
        answer.await.unwrap_or(Err(HashError::Shed))
    }

    /// Hashes a normalised password with a fresh salt, as a PHC string.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, tenant: TenantId, password: SecretString) -> Result<SecretString, HashError> {
        let (reply, answer) = oneshot::channel();
        self.queue(tenant, Priority::Stranger, Task::Hash { password, reply });
        answer.await.unwrap_or(Err(HashError::Shed))
    }

    /// Judges a new password and hashes it if it meets the rules. Judging belongs here too: telling
    /// how common a crafted text is takes as long as several hashes.
    ///
    /// # Errors
    /// [`HashError`]; a broken rule is an outcome.
    pub async fn choose(
        &self,
        tenant: TenantId,
        choice: Choice,
    ) -> Result<Result<SecretString, PasswordProblem>, HashError> {
        let (reply, answer) = oneshot::channel();
        self.queue(tenant, Priority::Stranger, Task::Choose { choice, reply });
        answer.await.unwrap_or(Err(HashError::Shed))
    }

    /// Queues a task. A job that is shed drops its reply port, which its caller reads as such.
    fn queue(&self, tenant: TenantId, priority: Priority, task: Task) {
        let job = Job { task, deadline: Instant::now() + self.max_wait };
        let (shed, idle, overtaken) = {
            let mut line = self.shared.lock();
            let shed = line.queue.push(tenant, priority, job);
            publish_depth(&line);
            (shed, line.idle > 0, line.is_overtaken())
        };
        if idle {
            self.shared.work.notify_one();
        } else if overtaken {
            self.shared.overtaken.notify_one();
        }
        if shed.is_some() {
            metrics::counter!(telemetry::SHED, "reason" => "hash_queue").increment(1);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a queue length is far below 2^52")]
fn publish_depth(line: &Line) {
    gauge!(telemetry::HASH_QUEUE_DEPTH).set(line.queue.len() as f64);
}

impl Lane {
    /// How far a thread stands back on a core that others want too: by 10 it gets a tenth of what they
    /// do, by 5 a third, and three times what those get that it overtakes.
    #[cfg(target_os = "linux")]
    const fn niceness(self) -> i32 {
        match self {
            Self::InTurn => 10,
            Self::Overtaking => 5,
        }
    }
}

/// Lets every other thread go first on a busy core: a hash takes milliseconds and may take a few more,
/// while a token check behind it would take a hundred times as long as it needs. Linux keeps a priority
/// for each thread; where it cannot be lowered, all are equal.
fn give_way(lane: Lane) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(lane.niceness()) {
        tracing::debug!(%error, "hashing threads run at the priority of all others");
    }
}

impl Shared {
    /// Nothing under this lock can panic half-way, so a poisoned one is still good.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a hashing thread does all its life.
    fn serve(&self, lane: Lane) {
        give_way(lane);
        let mut memory = Memory::new();
        while let Some((tenant, job)) = self.next(lane) {
            // One job's panic costs that job: its caller reads the dropped reply port as shed.
            let worked = catch_unwind(AssertUnwindSafe(|| self.work_on(job.task, &mut memory)));
            if worked.is_err() {
                memory = Memory::new();
            }
            self.lock().queue.done(tenant);
        }
    }

    /// The next job of this lane, once there is one; none when the line closes.
    fn next(&self, lane: Lane) -> Option<(TenantId, Job)> {
        let mut line = self.lock();
        loop {
            let job = line.pop(lane);
            if job.is_some() {
                if line.is_overtaken() {
                    self.overtaken.notify_one();
                }
                return job;
            }
            if line.closing {
                return None;
            }
            line = self.wait(line, lane);
        }
    }

    fn wait<'line>(&self, mut line: MutexGuard<'line, Line>, lane: Lane) -> MutexGuard<'line, Line> {
        if lane == Lane::Overtaking {
            return self.overtaken.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.idle += 1;
        let mut line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner);
        line.idle -= 1;
        line
    }

    fn work_on(&self, task: Task, memory: &mut Memory) {
        match task {
            #[cfg(test)]
            Task::Break => unreachable!("as a fault of ours would"),
            #[cfg(test)]
            Task::Hold(release) => release.recv().unwrap(),
            Task::Verify { password, phc, reply } => {
                let password = password.expose_secret();
                let compared = match phc {
                    Some(phc) => self.passwords.verify(password, phc.expose_secret(), memory),
                    None => self.passwords.decoy(password, memory),
                };
                let _nobody_waits = reply.send(compared.map_err(HashError::from));
            }
            Task::Hash { password, reply } => {
                let _nobody_waits = reply.send(self.hash(&password, memory));
            }
            Task::Choose { choice, reply } => {
                let context: Vec<_> = choice.context.iter().map(String::as_str).collect();
                let chosen = match password::check(&choice.policy, choice.password.expose_secret(), &context) {
                    Ok(()) => self.hash(&choice.password, memory).map(Ok),
                    Err(problem) => Ok(Err(problem)),
                };
                let _nobody_waits = reply.send(chosen);
            }
        }
    }

    fn hash(&self, password: &SecretString, memory: &mut Memory) -> Result<SecretString, HashError> {
        Ok(self.passwords.hash(password.expose_secret(), &self.entropy, memory)?.into())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.overtaken.notify_all();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in handles.drain(..) {
            let _panicked = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::password_hash::HashCost;

    fn hasher(queue: usize, max_wait: Duration) -> Hasher {
        let entropy = Entropy::seeded(1);
        let passwords = PasswordHasher::new(HashCost::cheapest_for_tests(), &entropy).unwrap();
        Hasher::start(passwords, HasherLimits { threads: 1, queue, max_wait }, entropy).unwrap()
    }

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_a_decoy_matches_nothing() {
        let (hasher, tenant) = (hasher(16, Duration::from_secs(10)), TenantId::random([1; 16]));
        let phc = hasher.hash(tenant, secret("open sesame")).await.unwrap();

        let right = hasher.verify(tenant, Priority::Stranger, secret("open sesame"), Some(phc.clone())).await.unwrap();
        let wrong = hasher.verify(tenant, Priority::Stranger, secret("open barley"), Some(phc)).await.unwrap();
        let decoy = hasher.verify(tenant, Priority::Stranger, secret("open sesame"), None).await.unwrap();

        assert_eq!(right, Verification::Matches { rehash: false });
        assert_eq!((wrong, decoy), (Verification::Differs, Verification::Differs));
    }

    #[tokio::test]
    async fn what_waits_past_its_deadline_is_shed_before_it_is_begun() {
        let (hasher, tenant) = (hasher(16, Duration::ZERO), TenantId::random([1; 16]));

        assert_eq!(hasher.hash(tenant, secret("late")).await.unwrap_err(), HashError::Shed);
    }

    #[tokio::test]
    async fn a_job_that_panics_costs_no_thread() {
        let (hasher, tenant) = (hasher(16, Duration::from_secs(10)), TenantId::random([1; 16]));

        hasher.queue(tenant, Priority::Stranger, Task::Break);

        assert!(hasher.hash(tenant, secret("next")).await.is_ok());
    }

    #[tokio::test]
    async fn a_neighbour_does_not_wait_for_the_end_of_a_floods_hash() {
        let hasher = hasher(16, Duration::from_secs(10));
        let (flooding, quiet) = (TenantId::random([1; 16]), TenantId::random([2; 16]));
        for _ in 0..2 {
            hasher.hash(flooding, secret("again")).await.unwrap();
        }
        let (release, held) = std::sync::mpsc::channel();
        hasher.queue(flooding, Priority::Stranger, Task::Hold(held));
        let further = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(flooding, secret("and again")).await }
        });

        let quiets = tokio::time::timeout(Duration::from_secs(10), hasher.hash(quiet, secret("once"))).await;
        assert!(quiets.is_ok_and(|hash| hash.is_ok()));
        assert!(!further.is_finished(), "the flood overtakes itself");
        release.send(()).unwrap();
        assert!(further.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_corrupt_hash_is_an_error_and_not_a_mismatch() {
        let (hasher, tenant) = (hasher(16, Duration::from_secs(10)), TenantId::random([1; 16]));

        let answer = hasher.verify(tenant, Priority::Stranger, secret("x"), Some(secret("$argon2id$nonsense"))).await;

        assert_eq!(answer, Err(HashError::Failed(PasswordHashError::Corrupt)));
    }
}
