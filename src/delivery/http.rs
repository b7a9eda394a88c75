//! Speaks HTTP/1.1 to one provider, and says exactly how far a call came.
//!
//! ```text
//!  resolve ─► connect ─► tls ─► request sent ─► whole answer
//!     └── a failure here: certainly not taken ──┘   └ silence or a break here: nobody knows
//! ```
//!
//! One client serves one origin, whose address the [`Guard`] judges on every new connection. It
//! follows no redirect, which would lead past that judgement, keeps no cookies and reads no proxy
//! from the environment. It drives hyper's connection itself rather than through a pooled client,
//! because only so a call that was never sent is told from one that was, which decides whether
//! somebody gets two messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::outbound::{Guard, Refusal, Target, Transport};
use super::{DeliveryError, Reason, Stage, tls};
use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// How long a send may take when the settings do not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer that is read; providers say what became of a message in a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Longest head of an answer.
const MAX_HEAD: usize = 32 * 1024;

/// Connections kept open between calls.
const MAX_PARKED: usize = 4;

/// How long one is worth keeping. Short, because a request on a connection that the other side is
/// just closing may be lost without a word.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Connecting gets this fraction of what is left, so that a dead address is told from a silent
/// provider.
const PATIENCE_DIVISOR: u32 = 2;

/// A provider's whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why the client cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientError {
    Refused(Refusal),
    ExtraRoots,
}

/// Calls one origin.
pub(super) struct HttpClient {
    guard: Guard,
    target: Target,
    host: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    clock: Clock,
    parked: Mutex<Vec<Parked>>,
}

struct Parked {
    connection: SendRequest<Full<Bytes>>,
    since: Timestamp,
}

/// What came of a request on one connection.
enum Failed {
    /// Not a byte of it left: it may be sent on another connection.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Everything else.
    Told(DeliveryError),
}

impl HttpClient {
    /// A client for the origin of `url`; nothing is connected yet.
    pub(super) fn new(url: &str, guard: Guard, clock: Clock, extra_roots: Option<&[u8]>) -> Result<Self, ClientError> {
        let target = guard.origin(url).map_err(ClientError::Refused)?;
        let malformed = ClientError::Refused(Refusal::Malformed);
        let tls = if target.transport() == Transport::Https {
            let config = tls::client_config(extra_roots).ok_or(ClientError::ExtraRoots)?;
            let name = ServerName::try_from(target.certificate_name()).map_err(|_| malformed)?;
            Some((TlsConnector::from(config), name))
        } else {
            None
        };
        let host = HeaderValue::try_from(target.authority()).map_err(|_| malformed)?;
        Ok(Self { guard, target, host, tls, clock, parked: Mutex::new(Vec::new()) })
    }

    /// Sends `request`, whose URI is the path and query alone, and reads the whole answer.
    ///
    /// # Errors
    /// [`DeliveryError`]; an answer that came in full is never one.
    pub(super) async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, DeliveryError> {
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("guichet/", env!("CARGO_PKG_VERSION"))));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if let Some(connection) = self.unpark() {
            match self.exchange(connection, request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Told(error)) => return Err(error),
                Err(Failed::Unsent(unsent)) => request = *unsent,
            }
        }
        let connection = self.connect(deadline).await?;
        self.exchange(connection, request, deadline).await.map_err(|failed| match failed {
            Failed::Told(error) => error,
            Failed::Unsent(_) => DeliveryError::temporary(Stage::Connect, "connection_lost"),
        })
    }

    async fn exchange(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        if connection.ready().await.is_err() {
            return Err(Failed::Unsent(Box::new(request)));
        }
        let response = match timeout_at(deadline, connection.try_send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                let lost = || Failed::Told(DeliveryError::unknown("connection_lost"));
                return Err(error.take_message().map_or_else(lost, |unsent| Failed::Unsent(Box::new(unsent))));
            }
            Err(_) => return Err(Failed::Told(DeliveryError::unknown("time_out"))),
        };
        let (head, body) = response.into_parts();
        let body = match timeout_at(deadline, read(body)).await {
            Ok(body) => body.map_err(Failed::Told)?,
            Err(_) => return Err(Failed::Told(DeliveryError::unknown("time_out"))),
        };
        match body {
            Some(body) => {
                self.park(connection);
                Ok(Answer { status: head.status, body })
            }
            // A page of that length is an error's decoration; said about a success it hides whether
            // it was one.
            None if head.status.is_success() => Err(Failed::Told(DeliveryError::unknown("answer_too_long"))),
            None => Ok(Answer { status: head.status, body: Bytes::new() }),
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<SendRequest<Full<Bytes>>, DeliveryError> {
        let now = Instant::now();
        let deadline = now + deadline.saturating_duration_since(now) / PATIENCE_DIVISOR;
        let stream = self.guard.connect(&self.target, deadline).await?;
        // Requests are one write each: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => begin(stream).await,
            Some((connector, name)) => match timeout_at(deadline, connector.connect(name.clone(), stream)).await {
                Ok(Ok(stream)) => begin(stream).await,
                Ok(Err(_)) => Err(DeliveryError::temporary(Stage::Tls, "tls_failed")),
                Err(_) => Err(DeliveryError::temporary(Stage::Tls, "time_out")),
            },
        }
    }

    fn unpark(&self) -> Option<SendRequest<Full<Bytes>>> {
        let now = self.clock.now();
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|one| now.since(one.since) < MAX_IDLE && !one.connection.is_closed());
        parked.pop().map(|one| one.connection)
    }

    fn park(&self, connection: SendRequest<Full<Bytes>>) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.len() < MAX_PARKED && !connection.is_closed() {
            parked.push(Parked { connection, since: self.clock.now() });
        }
    }
}

/// Starts HTTP on a stream. The task that drives it ends with its handle or its stream, and tells
/// its failures to whoever waits for an answer.
async fn begin<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, DeliveryError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| DeliveryError::temporary(Stage::Connect, "connect_failed"))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The whole body, or none if it is too long.
async fn read(body: Incoming) -> Result<Option<Bytes>, DeliveryError> {
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(whole) => Ok(Some(whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(DeliveryError::unknown("connection_lost")),
    }
}

/// May the same message be offered to the same provider again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Later,
}

/// What one of a provider's codes means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) stage: Stage,
    pub(super) again: Again,
}

impl Fault {
    pub(super) const fn never(code: &'static str, stage: Stage) -> Self {
        Self { code, stage, again: Again::Never }
    }

    pub(super) const fn later(code: &'static str, stage: Stage) -> Self {
        Self { code, stage, again: Again::Later }
    }
}

/// What an answer that is no success means: by the provider's code where we know it, else by the
/// status. Always definite, for it came in full.
pub(super) fn refusal(status: StatusCode, code: Option<&str>, known: &[Fault]) -> DeliveryError {
    let reason = Reason::code(code.unwrap_or(status.as_str()));
    let fault = code.and_then(|code| known.iter().find(|fault| fault.code == code));
    let (stage, again) = fault.map_or_else(|| by_status(status), |fault| (fault.stage, fault.again));
    match again {
        Again::Never => DeliveryError::Refused { stage, reason },
        Again::Later => DeliveryError::Temporary { stage, reason },
    }
}

fn by_status(status: StatusCode) -> (Stage, Again) {
    match status.as_u16() {
        401 | 403 => (Stage::Auth, Again::Never),
        // No such account or route here, or it is elsewhere: nothing about the message.
        300..=399 | 402 | 404..=406 | 410 | 415 => (Stage::Sender, Again::Never),
        408 | 425 | 429 | 500.. => (Stage::Recipient, Again::Later),
        _ => (Stage::Recipient, Again::Never),
    }
}
