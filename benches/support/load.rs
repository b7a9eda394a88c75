//! Load from one thread: connections that are kept alive, requests written as they are, answers read
//! to their end. A client library would cost more than the servers that are measured with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// tokio's timers tick in milliseconds: the last of them is waited for awake.
const AWAKE: Duration = Duration::from_millis(2);

/// Of all answers, so many may have another status: a limit lets one pass when its time has come.
const OTHERS: f64 = 0.01;

/// What is asked of whom.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// A whole HTTP/1.1 request.
    pub(crate) request: Arc<[u8]>,
    /// The status of nearly every answer.
    pub(crate) status: u16,
}

/// Answers in a second, from `connections` that each ask again as soon as they are answered.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) async fn closed_loop(target: &Target, connections: usize, time: Duration) -> (u64, f64) {
    let began = Instant::now();
    let lines = all_lines(target, connections, move |_, target, mut line| async move {
        let mut answers = Answers::default();
        while began.elapsed() < time {
            answers.add(line.ask(&target.request).await == target.status, 0.0);
        }
        answers
    });
    let answers = lines.await;
    (answers.count, answers.count as f64 / began.elapsed().as_secs_f64())
}

/// Microseconds to each answer at a fixed rate, counted from the moment a request was due: a server that
/// stops for a while is not asked less.
pub(crate) async fn open_loop(target: &Target, connections: u32, rate: f64, time: Duration) -> Vec<f64> {
    let began = Instant::now() + Duration::from_millis(10);
    let gap = Duration::from_secs_f64(f64::from(connections) / rate);
    let lines = all_lines(target, connections as usize, move |n, target, mut line| async move {
        let mut answers = Answers::default();
        let mut due = began + gap.mul_f64(f64::from(n) / f64::from(connections));
        while due < began + time {
            wait_until(due).await;
            let status = line.ask(&target.request).await;
            answers.add(status == target.status, due.elapsed().as_secs_f64() * 1e6);
            due += gap;
        }
        answers
    });
    lines.await.times
}

async fn all_lines<F>(target: &Target, connections: usize, work: impl Fn(u32, Target, Line) -> F) -> Answers
where
    F: Future<Output = Answers> + Send + 'static,
{
    let mut lines = JoinSet::new();
    for n in (0..).take(connections) {
        lines.spawn(work(n, target.clone(), Line::open(target.address).await));
    }
    let mut all = Answers::default();
    for one in lines.join_all().await {
        all.count += one.count;
        all.others += one.others;
        all.times.extend(one.times);
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = all.others as f64 / all.count as f64;
    assert!(share < OTHERS, "{} of {} answers had another status than {}", all.others, all.count, target.status);
    all
}

#[derive(Default)]
struct Answers {
    count: u64,
    others: u64,
    times: Vec<f64>,
}

impl Answers {
    fn add(&mut self, expected: bool, time: f64) {
        self.count += 1;
        self.others += u64::from(!expected);
        self.times.push(time);
    }
}

async fn wait_until(due: Instant) {
    tokio::time::sleep_until(due.checked_sub(AWAKE).unwrap_or(due).into()).await;
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

/// One connection.
pub(crate) struct Line {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Line {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answer: Vec::with_capacity(4_096) }
    }

    /// Sends a request and reads its answer to the end: the status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.answer.clear();
        loop {
            assert_ne!(self.stream.read_buf(&mut self.answer).await.unwrap(), 0, "the server hung up");
            if let Some((status, _)) = whole(&self.answer) {
                return status;
            }
        }
    }

    /// The same with JSON on both sides, as a client of its own address; the status must be `status`.
    pub(crate) async fn post(&mut self, path: &str, client: u32, body: &Value, status: u16) -> Value {
        let answered = self.ask(&posting(path, client, body)).await;
        assert_eq!(answered, status, "{path}: {}", String::from_utf8_lossy(self.body()));
        serde_json::from_slice(self.body()).unwrap()
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        whole(&self.answer).unwrap().1
    }
}

/// A whole request with a JSON body, as of a client with an address of its own.
pub(crate) fn posting(path: &str, client: u32, body: &Value) -> Vec<u8> {
    let [_, a, b, c] = client.to_be_bytes();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: guichet\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// Status and body of an answer that has arrived to its end.
fn whole(answer: &[u8]) -> Option<(u16, &[u8])> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = text.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    let body = answer.get(head + 4..head + 4 + length)?;
    Some((text[9..12].parse().unwrap(), body))
}
