//! What an arrival does: one function for each scenario, request by request.
//!
//! The first request's time counts from when the arrival was due, each further one from the end of
//! the answer before it, since it could not have been sent earlier.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{self, Answer, Call, Door};
use crate::limited::{Limited, PASSED, REFUSED};
use crate::options::Scenario;
use crate::people::{Identity, People, Session, registration};
use crate::plan::REST;
use crate::recorder::{Outcome, Recorder};

/// Why an arrival did not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Nobody was free to arrive: nothing was sent.
    Nobody,
    /// This status, where it is none of the expected.
    Answer(u16),
    /// No answer.
    Silence(String),
}

/// What arrivals meet.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) door: Door,
    pub(crate) people: People,
    pub(crate) recorder: Recorder,
    /// In `limits` only.
    pub(crate) limited: Option<Limited>,
}

/// One arrival on its way.
pub(crate) struct Journey<'w> {
    world: &'w World,
    since: Instant,
    bytes: u64,
}

/// An arrival's last answer, and all it read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
}

impl<'w> Journey<'w> {
    /// One that was due then.
    pub(crate) fn due(world: &'w World, due: Instant) -> Self {
        Self { world, since: due, bytes: 0 }
    }

    /// Goes all the way.
    pub(crate) async fn go(mut self, kind: Scenario) -> Result<Arrived, Stopped> {
        let answer = match kind {
            Scenario::SignUp => self.sign_up().await,
            Scenario::Code => self.code().await,
            Scenario::LogIn => self.log_in().await,
            Scenario::Refresh => self.refresh().await,
            Scenario::Limits => self.limits().await,
            // A mix has no arrivals of its own.
            Scenario::Mixed | Scenario::TokenCheck => self.token_check().await,
        }?;
        Ok(Arrived { status: answer.status, bytes: self.bytes })
    }

    async fn sign_up(&mut self) -> Result<Answer, Stopped> {
        let one = self.world.people.newcomers.rested().ok_or(Stopped::Nobody)?;
        self.post("sign-up 1 request-code", &one, "/auth/request-code", &json!({"phone": one.phone}), &[200]).await?;
        let body = json!({"phone": one.phone, "code": one.code});
        let proven = self.post("sign-up 2 verify-code", &one, "/auth/verify-code", &body, &[200]).await?;
        self.post("sign-up 3 register", &one, "/auth/register", &registration(&one, &proven), &[201]).await
    }

    async fn code(&mut self) -> Result<Answer, Stopped> {
        let mut one = self.world.people.phones.rested().ok_or(Stopped::Nobody)?;
        let answer = self.answer_a_code(&one.identity, &one.device).await;
        one.codes = one.codes.saturating_sub(1);
        if one.codes > 0 {
            self.world.people.phones.put(one, REST);
        }
        answer
    }

    async fn answer_a_code(&mut self, one: &Identity, device: &str) -> Result<Answer, Stopped> {
        let from_device = |call: Call| call.header("x-device-id", device);
        let path = |path: &str| format!("{}{path}", one.tenant);
        let asked = self.world.door.post(&path("/auth/request-code"), &json!({"phone": one.phone}));
        self.ask("code 1 request-code", from_device(asked), &[200]).await?;
        let body = json!({"phone": one.phone, "code": one.code});
        let answered = self.world.door.post(&path("/auth/verify-code"), &body);
        self.ask("code 2 verify-code", from_device(answered), &[200]).await
    }

    async fn log_in(&mut self) -> Result<Answer, Stopped> {
        let one = self.world.people.mailbox().ok_or(Stopped::Nobody)?;
        let path = format!("{}/api/auth/login", one.identity.tenant);
        let body = json!({"email": one.identity.email, "password": one.identity.password});
        let call = self.world.door.post(&path, &body).header("x-device-id", &one.device);
        self.ask("log-in", call, &[200]).await
    }

    /// A session is one device's: it refreshes once at a time, and waits for itself.
    async fn refresh(&mut self) -> Result<Answer, Stopped> {
        let session = self.world.people.sessions.next().await.ok_or(Stopped::Nobody)?;
        let Session { tenant, mut refresh_token } = session;
        let body = json!({"refresh_token": refresh_token});
        let call = self.world.door.post(&format!("{tenant}/api/auth/refresh"), &body);
        let answer = self.ask("refresh", call, &[200]).await;
        // After an answer that was lost the same token is good for the same successor, for a while.
        if let Ok(pair) = &answer {
            refresh_token = pair.text("refresh_token");
        }
        self.world.people.sessions.put(Session { tenant, refresh_token }, Duration::ZERO);
        answer
    }

    async fn token_check(&mut self) -> Result<Answer, Stopped> {
        let pass = self.world.people.pass().ok_or(Stopped::Nobody)?;
        let call = self.world.door.call(Method::GET, &format!("{}/forward-auth", pass.tenant));
        self.ask("token-check", call.bearer_auth(&pass.token), &[200]).await
    }

    /// Refused for its body where the limit lets it pass, so that nothing is hashed for it.
    async fn limits(&mut self) -> Result<Answer, Stopped> {
        let limited = self.world.limited.as_ref().ok_or(Stopped::Nobody)?;
        let sent = Instant::now();
        let answer = self.ask("limits", limited.call(&self.world.door), &[PASSED, REFUSED]).await?;
        limited.note(sent, answer.status);
        Ok(answer)
    }

    async fn post(
        &mut self,
        name: &'static str,
        one: &Identity,
        path: &str,
        body: &Value,
        expected: &[u16],
    ) -> Result<Answer, Stopped> {
        let call = self.world.door.post(&format!("{}{path}", one.tenant), body);
        self.ask(name, call, expected).await
    }

    async fn ask(&mut self, name: &'static str, call: Call, expected: &[u16]) -> Result<Answer, Stopped> {
        let told = client::ask(call).await;
        let now = Instant::now();
        let time = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
        let noted = told.as_ref().map(|answer| (Outcome::of(answer, expected), answer.shown()));
        self.world.recorder.request(name, time, &noted.map_err(Clone::clone));
        let answer = told.map_err(Stopped::Silence)?;
        self.bytes += answer.bytes;
        if expected.contains(&answer.status) { Ok(answer) } else { Err(Stopped::Answer(answer.status)) }
    }
}
