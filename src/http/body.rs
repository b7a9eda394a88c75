//! Request bodies: read within a size and a time, and turned into what a handler wants.
//!
//! A body that nobody asked for still lies in the socket when its request is answered, as after most
//! refusals. Closing on it would cost the client its answer, so whoever answers gets it back
//! ([`Leftover`]) and reads it away.
//!
//! JSON that is no JSON is `invalid_json`; JSON of another shape is `validation` with a pointer to
//! the member. What was sent is never repeated in an answer: it may be a password or a code.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;

use super::problem::{FieldError, Problem, ProblemCode};
use crate::domain::fault::Fault;

/// How much body is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// More bytes than this are 413.
    pub bytes: usize,
    /// A body not complete after this is 408.
    pub time: Duration,
}

/// A body that may still lie in the socket.
#[derive(Debug)]
pub enum Payload {
    /// Not asked for yet.
    Unread(Unread),
    /// Read, or never sent.
    Read(Bytes),
}

impl Payload {
    /// The payload of a request, and what becomes of it if nobody takes it.
    pub fn of(body: Incoming) -> (Self, Leftover) {
        if body.is_end_stream() {
            return (Self::Read(Bytes::new()), Leftover(None));
        }
        let (back, leftover) = oneshot::channel();
        (Self::Unread(Unread(Some((body, back)))), Leftover(Some(leftover)))
    }

    /// The whole body; the first call reads it, later ones see an empty body.
    ///
    /// # Errors
    /// `payload_too_large`, `request_timeout`, or `invalid_request` if the client broke off.
    pub async fn take(&mut self, limits: BodyLimits) -> Result<Bytes, Problem> {
        match std::mem::replace(self, Self::Read(Bytes::new())) {
            Self::Read(bytes) => Ok(bytes),
            Self::Unread(mut unread) => {
                let Some((body, back)) = unread.0.take() else { return Ok(Bytes::new()) };
                let read = read(body, limits).await?;
                let _nobody_asks = back.send(None);
                Ok(read)
            }
        }
    }
}

/// A body in the socket, and the way back of one that is dropped.
#[derive(Debug)]
pub struct Unread(Option<(Incoming, oneshot::Sender<Option<Incoming>>)>);

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some((body, back)) = self.0.take() {
            let _nobody_asks = back.send(Some(body));
        }
    }
}

/// What came back of a body once its request was dropped: nothing if it was read to its end.
pub struct Leftover(Option<oneshot::Receiver<Option<Incoming>>>);

impl Leftover {
    /// Throws the rest away. `false` if something stays in the socket, so that the connection has to
    /// end: too much, too slow, broken off, or a client that waits to be asked for it (RFC 9110 §10.1.1).
    pub async fn is_cleared(self, limits: BodyLimits, is_expected: bool) -> bool {
        let Some(mut leftover) = self.0 else { return true };
        match leftover.try_recv() {
            Ok(None) => true,
            Ok(Some(body)) => !is_expected && throw_away(body, limits).await,
            // Broken off by whoever read it, or held by somebody still.
            Err(_) => false,
        }
    }
}

/// Takes a body out of the socket and keeps nothing of it: whoever sends it was refused. `false` if some of it
/// stays there.
pub(super) async fn throw_away(mut body: Incoming, limits: BodyLimits) -> bool {
    if body.size_hint().lower() > limits.bytes as u64 {
        return false;
    }
    let rest = async {
        let mut left = limits.bytes;
        while let Some(frame) = body.frame().await {
            let fits = frame.ok().and_then(|frame| left.checked_sub(frame.data_ref().map_or(0, Bytes::len)));
            let Some(less) = fits else { return false };
            left = less;
        }
        true
    };
    within(limits.time, rest).await.unwrap_or(false)
}

/// The outcome of reading a body, if it comes in time. One that was sent in one piece with its head is there
/// at the second look; only for others a timer is made.
async fn within<T>(time: Duration, reading: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut reading = pin!(reading);
    let mut has_looked = false;
    let at_once = poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending if has_looked => Poll::Ready(None),
        Poll::Pending => {
            has_looked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match at_once.await {
        Some(read) => Ok(read),
        None => tokio::time::timeout(time, reading).await,
    }
}

async fn read<B>(body: B, limits: BodyLimits) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    // A declared length is refused before anything is read.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(ProblemCode::PayloadTooLarge.into());
    }
    match within(limits.time, Limited::new(body, limits.bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ProblemCode::PayloadTooLarge.into()),
        Ok(Err(_)) => Err(Problem::from(ProblemCode::InvalidRequest).with_message("The request body broke off.")),
        Err(_elapsed) => Err(ProblemCode::RequestTimeout.into()),
    }
}

/// [`Fault::of_shape`]'s word for a member that is not there.
const MISSING: &str = "missing";

/// Reads a JSON object; members unknown to `T` are ignored unless `T` refuses them, and of a member
/// sent twice the last counts. Texts that are missing are all named, up to the first other member that is.
///
/// # Errors
/// `invalid_json` if it is no JSON, `validation` if it is no `T`.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // By way of a `Value`, so that syntax and shape are told apart and repeated members are no error.
    let value: Value = serde_json::from_slice(bytes).map_err(|_| ProblemCode::InvalidJson)?;
    if !value.is_object() {
        return Err(Problem::validation(vec![FieldError::new("", "wrong_type", "The body must be a JSON object.")]));
    }
    shaped(value).map_err(|fault| {
        let faults = if fault.code == MISSING { all_missing::<T>(bytes, fault) } else { vec![fault] };
        Problem::validation(faults.into_iter().map(FieldError::from).collect())
    })
}

fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| Fault::of_shape(error.path(), &error.inner().to_string()))
}

/// serde tells of the first missing member alone: it is given a text, as most are, for the next to be told.
fn all_missing<T: DeserializeOwned>(bytes: &[u8], first: Fault) -> Vec<Fault> {
    let mut faults = vec![first];
    // Read again: what was read before is spent, and a body that is good should not be copied.
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return faults };
    while faults.last().is_some_and(|last| fill(&mut value, &last.pointer)) {
        match shaped::<T>(value.clone()) {
            Err(next) if next.code == MISSING && !faults.contains(&next) => faults.push(next),
            // All are there, or the last one is no text.
            _ => break,
        }
    }
    faults
}

/// Puts an empty text where a member is missing; false if there is no such place.
fn fill(value: &mut Value, pointer: &str) -> bool {
    let place = pointer.rsplit_once('/');
    let members = place.and_then(|(parent, name)| Some((value.pointer_mut(parent)?.as_object_mut()?, name)));
    members.is_some_and(|(members, name)| members.insert(name.to_owned(), "".into()).is_none())
}

/// The members of an `application/x-www-form-urlencoded` body, each at most once.
#[derive(Clone)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// `invalid_request` if a member is sent twice (RFC 6749 §3.2).
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut members: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if members.iter().any(|(known, _)| *known == name) {
                return Err(Problem::from(ProblemCode::InvalidRequest).with_message("A parameter was sent twice."));
            }
            members.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(members))
    }

    /// The member of that name; an empty one counts as absent (RFC 6749 §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

impl std::fmt::Debug for Form {
    /// Values may be passwords or tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use serde::Deserialize;
    use std::convert::Infallible;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters")]
        length: u8,
    }

    #[derive(Debug, Deserialize)]
    struct VerifyBody {
        phone: String,
        #[expect(dead_code, reason = "only its type matters")]
        code: String,
        #[expect(dead_code, reason = "only its type matters")]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Strict {
        name: Option<String>,
    }

    fn refusal<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> (String, Value) {
        let response = parse_json::<T>(body.as_bytes()).unwrap_err().into_reply("", "").into_response();
        let document: Value = serde_json::from_slice(&response.into_body().into_inner().unwrap()).unwrap();
        (document["code"].as_str().unwrap().to_owned(), document["errors"][0].clone())
    }

    #[test]
    fn the_member_that_is_wrong_is_named() {
        for (body, pointer, code) in [
            (r#"{"phone":"+1","code":1234}"#, "/code", "wrong_type"),
            (r#"{"phone":"+1","code":null}"#, "/code", "wrong_type"),
            (r#"{"phone":["+1"],"code":"1"}"#, "/phone", "wrong_type"),
            (r#"{"phone":"+1"}"#, "/code", "missing"),
            (r#"{"phone":"+1","code":"1","inner":{}}"#, "/inner/length", "missing"),
            (r#"{"phone":"+1","code":"1","inner":{"length":"x"}}"#, "/inner/length", "wrong_type"),
            (r#"{"phone":"+1","code":"1","inner":{"length":1000}}"#, "/inner/length", "invalid"),
            (r#"["+1","1234"]"#, "", "wrong_type"),
            ("42", "", "wrong_type"),
        ] {
            let (problem, error) = refusal::<VerifyBody>(body);
            assert_eq!(
                (problem.as_str(), &error["pointer"], &error["code"]),
                ("validation", &pointer.into(), &code.into())
            );
        }
        let (_, error) = refusal::<Strict>(r#"{"na/me":"x"}"#);
        assert_eq!((&error["pointer"], &error["code"]), (&"/na~1me".into(), &"unknown_member".into()));
    }

    #[test]
    fn of_missing_members_every_one_is_named() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct Person {
            name: String,
            age: Option<u8>,
            address: String,
            height: u8,
            city: String,
        }
        let missing = |body: &str| {
            let response = parse_json::<Person>(body.as_bytes()).unwrap_err().into_reply("", "").into_response();
            let document: Value = serde_json::from_slice(&response.into_body().into_inner().unwrap()).unwrap();
            let errors = document["errors"].as_array().unwrap().clone();
            assert!(errors.iter().all(|error| error["code"] == "missing"), "{document}");
            errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };

        assert_eq!(missing(r#"{"height":1}"#), ["/name", "/address", "/city"]);
        assert_eq!(missing(r#"{"name":"a","height":1}"#), ["/address", "/city"]);
        assert_eq!(missing(r#"{"name":"a","address":"b","height":1}"#), ["/city"]);
        // What is no text cannot be stood in for; those before it are told all the same.
        assert_eq!(missing("{}"), ["/name", "/address", "/height"]);
        let (_, error) = refusal::<Person>(r#"{"height":"x"}"#);
        assert_eq!((&error["pointer"], &error["code"]), (&"/height".into(), &"wrong_type".into()));
    }

    #[test]
    fn what_was_sent_is_never_repeated() {
        let (_, error) = refusal::<VerifyBody>(r#"{"phone":"+1","code":918273}"#);

        assert!(!error.to_string().contains("918273"));
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        let deep = "[".repeat(10_000);
        for body in ["", "{", "{'a':1}", "phone=+1", "{\"phone\":\"\\ud800\"}", "\u{feff}{}", &deep] {
            assert_eq!(refusal::<VerifyBody>(body).0, "invalid_json", "{body:.20}");
        }
        assert!(parse_json::<VerifyBody>(b"{\"phone\":\"\xff\"}").is_err());
    }

    #[test]
    fn unknown_and_repeated_members_are_ignored() {
        let body: VerifyBody = parse_json(br#"{"phone":"+1","phone":"+2","code":"1","extra":{"a":[]}}"#).unwrap();

        assert_eq!(body.phone, "+2");
    }

    #[test]
    fn a_form_takes_each_member_once() {
        let form = Form::parse(b"grant_type=refresh_token&refresh_token=a%2Bb+c&empty=").unwrap();

        assert_eq!(form.get("refresh_token"), Some("a+b c"));
        assert_eq!(form.get("empty"), None);
        assert!(Form::parse(b"a=1&a=2").is_err());
        assert!(!format!("{form:?}").contains("a+b"));
    }

    #[tokio::test]
    async fn the_limit_is_the_last_size_that_passes() {
        let limits = BodyLimits { bytes: 8, time: Duration::from_secs(1) };
        let body = |length| Full::new(Bytes::from(vec![b'x'; length])).map_err(|never: Infallible| match never {});

        assert_eq!(read(body(8), limits).await.unwrap().len(), 8);
        assert_eq!(read(body(9), limits).await.unwrap_err().code(), ProblemCode::PayloadTooLarge);
    }
}
