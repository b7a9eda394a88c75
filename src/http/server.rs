//! A listening socket that serves HTTP/1.1 and HTTP/2 without TLS (h2c) on one port.
//!
//! Every wait has an end. A connection that sends no request within the head's time is cut, so is
//! one that has been quiet for the idle time, and both by one watch that looks at requests and not
//! at bytes: HTTP/2 pings keep nobody, and a handler that takes its time is not cut off. hyper's
//! own head timer would be moved with every request; without it a slow second head costs what an
//! idle connection costs.
//!
//! A peer that has as many connections as one may have is hung up on at once, so that the others find a
//! place; trusted proxies, which speak for many, may have any number.
//!
//! Stopping: no new connections, requests in work are finished and answered with
//! `Connection: close` or GOAWAY, and after the drain time what is left is dropped.

mod peers;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::peers::Peers;
use crate::telemetry::{CONNECTIONS, SHED};

/// How long a quiet connection that was told to leave may take to do so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted, where the kernel allows as many. Of more, some are reset
/// though there is room for them: with the usual 128 a gateway's first second is enough.
const BACKLOG: u32 = 4_096;

/// Wait after an accept that failed for want of descriptors or memory: trying again at once would
/// spin until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A dead HTTP/2 peer is noticed after the interval and the time-out together.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// hyper refuses to buffer less for a head.
const SMALLEST_HEAD_LIMIT: usize = 8 * 1024;

/// The bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Open connections; beyond it none is accepted until one ends.
    pub max_connections: usize,
    /// Those of them that one peer may have; one more of its is closed at once.
    pub max_connections_per_peer: usize,
    /// From accepting a connection to its first complete request head.
    pub header_timeout: Duration,
    /// From one answer to the next complete request head.
    pub idle_timeout: Duration,
    /// From the wish to stop until what is still open is dropped.
    pub drain_timeout: Duration,
    /// Bytes of a request head (at least 8 KiB); larger ones are 431.
    pub head_limit: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_peer: 5_000,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(10),
            head_limit: 16 * 1024,
        }
    }
}

/// A body that can be sent.
pub trait AnswerBody: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static {}

impl<B> AnswerBody for B where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

/// An answer that is there at once, or comes later.
pub type Answering<B> = Either<Ready<Response<B>>, Pin<Box<dyn Future<Output = Response<B>> + Send>>>;

/// What answers requests: never fails, and every connection has a clone.
pub trait Serves: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: AnswerBody;

    /// Answers a request that came from `peer`.
    fn serve(&self, peer: SocketAddr, request: Request<Incoming>) -> Answering<Self::Body>;

    /// Whether this peer speaks for many, and may have any number of connections.
    fn is_trusted(&self, peer: IpAddr) -> bool;
}

/// An answer without a wait.
pub fn at_once<B>(response: Response<B>) -> Answering<B> {
    Either::Left(ready(response))
}

/// An answer to be waited for.
pub fn later<B>(answer: impl Future<Output = Response<B>> + Send + 'static) -> Answering<B> {
    Either::Right(Box::pin(answer))
}

/// A server at work.
#[derive(Debug)]
pub struct Listening {
    /// The bound address; its port is the real one where port 0 was asked for.
    pub address: SocketAddr,
    /// Ends when the server has stopped and its last connection is gone.
    pub finished: JoinHandle<()>,
}

/// Binds `address` and serves it on a task of its own until `stop` is cancelled.
///
/// # Errors
/// Whatever kept the address from being bound.
#[expect(clippy::unused_async, reason = "outside a runtime listening panics: so nobody can call it there")]
pub async fn start(
    address: SocketAddr,
    service: impl Serves,
    limits: ServerLimits,
    stop: CancellationToken,
) -> io::Result<Listening> {
    let listener = listen(address)?;
    let address = listener.local_addr()?;
    // Never on the main task: each wake-up would cross threads.
    let finished = tokio::spawn(accept(listener, service, limits, stop));
    Ok(Listening { address, finished })
}

/// As [`TcpListener::bind`] does, with room for a burst.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, service: impl Serves, limits: ServerLimits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let peers = Peers::new(limits.max_connections_per_peer);
    let builder = Arc::new(connection_builder(limits));
    let connections = TaskTracker::new();
    let drop_now = CancellationToken::new();

    while let Some(Ok(place)) = stop.run_until_cancelled(places.clone().acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, peer)) => {
                let held = peers.admit(peer.ip());
                if held.is_none() && !service.is_trusted(peer.ip()) {
                    metrics::counter!(SHED, "reason" => "connections").increment(1);
                    continue;
                }
                let (builder, service) = (builder.clone(), service.clone());
                let (stop, drop_now, open) = (stop.clone(), drop_now.clone(), Open::counted());
                connections.spawn(async move {
                    let _held = (place, held, open);
                    let leave = Leave { limits, stop, drop_now };
                    serve(&builder, stream, peer, service, leave).await;
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }

    drop(listener);
    connections.close();
    if timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests still in work were dropped at the drain deadline");
        drop_now.cancel();
        connections.wait().await;
    }
}

/// One connection in the gauge, until dropped.
struct Open(metrics::Gauge);

impl Open {
    fn counted() -> Self {
        let gauge = metrics::gauge!(CONNECTIONS);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A client that hung up before it was accepted is its own affair; anything else needs a breath.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::warn!(%error, "a connection could not be accepted");
        sleep(ACCEPT_PAUSE).await;
    }
}

fn connection_builder(limits: ServerLimits) -> auto::Builder<TokioExecutor> {
    let head_limit = limits.head_limit.max(SMALLEST_HEAD_LIMIT);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Answers are small and whole: copying one into its head is cheaper than a vectored write.
    builder.http1().max_buf_size(head_limit).writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head_limit).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// When a connection has to end.
struct Leave {
    limits: ServerLimits,
    stop: CancellationToken,
    drop_now: CancellationToken,
}

async fn serve(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    service: impl Serves,
    leave: Leave,
) {
    // Answers are one small write: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let watched = Watched { service, peer, activity: activity.clone() };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), watched));
    // A set of one: it is looked at when it has something to say, and not with every request.
    let mut end = FuturesUnordered::from_iter([async {
        tokio::select! {
            () = activity.patience_ends(leave.limits) => {}
            () = leave.stop.cancelled() => {}
        }
    }]);

    // A connection that fails has nobody left to be told.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = end.next() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = activity.quiet_after_farewell() => {}
        () = leave.drop_now.cancelled() => {}
    }
}

/// What a connection has been doing, shared between its requests and its watch.
struct Activity {
    since: Instant,
    in_work: AtomicU32,
    has_served: AtomicBool,
    /// Milliseconds after `since` at which the last request was answered.
    quiet_since: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        let since = Instant::now();
        Self { since, in_work: AtomicU32::new(0), has_served: AtomicBool::new(false), quiet_since: AtomicU64::new(0) }
    }

    fn begin(self: &Arc<Self>) -> InWork {
        self.in_work.fetch_add(1, Ordering::AcqRel);
        self.has_served.store(true, Ordering::Release);
        InWork(self.clone())
    }

    fn is_quiet(&self) -> bool {
        self.in_work.load(Ordering::Acquire) == 0
    }

    /// What is left of the time this connection may still be quiet; `None` once it is used up.
    fn patience(&self, limits: ServerLimits) -> Option<Duration> {
        if !self.is_quiet() {
            return Some(limits.idle_timeout);
        }
        let allowed = if self.has_served.load(Ordering::Acquire) { limits.idle_timeout } else { limits.header_timeout };
        let quiet_since = Duration::from_millis(self.quiet_since.load(Ordering::Acquire));
        allowed.checked_sub(self.since.elapsed().saturating_sub(quiet_since)).filter(|left| !left.is_zero())
    }

    /// Wakes once per idle time and not once per request: the timer is never moved, only asked.
    async fn patience_ends(&self, limits: ServerLimits) {
        while let Some(left) = self.patience(limits) {
            sleep(left).await;
        }
    }

    async fn quiet_after_farewell(&self) {
        loop {
            sleep(FAREWELL).await;
            if self.is_quiet() {
                return;
            }
        }
    }
}

/// Counts one request as in work until dropped, answered or not.
struct InWork(Arc<Activity>);

impl Drop for InWork {
    fn drop(&mut self) {
        let millis = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.store(millis, Ordering::Release);
        self.0.in_work.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The service of one connection: says who the peer is and keeps the books of [`Activity`].
struct Watched<S> {
    service: S,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl<S: Serves> Service<Request<Incoming>> for Watched<S> {
    type Response = Response<S::Body>;
    type Error = Infallible;
    type Future = WatchedAnswer<S::Body>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        WatchedAnswer { _in_work: self.activity.begin(), answer: self.service.serve(self.peer, request) }
    }
}

struct WatchedAnswer<B> {
    answer: Answering<B>,
    _in_work: InWork,
}

impl<B> Future for WatchedAnswer<B> {
    type Output = Result<Response<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(Ok)
    }
}
