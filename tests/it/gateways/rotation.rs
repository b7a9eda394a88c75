//! Keys change while a gateway and two resource servers are busy: nobody sees a good token fail.
//!
//! ```text
//!   people ─► sign in, refresh ─► tokens ─┬─► real Envoy (`jwt_authn`) ─► app
//!                                         ├─► npm `jose`
//!   schedule, admin API ─► keys change    └─► PyPI `pyjwt`
//! ```
//!
//! A key is published a quarter of an hour before it signs, which is longer than a test. So guichet's clock
//! begins an hour behind and runs faster until it has caught up, and the verifiers keep keys for as much
//! shorter. What guichet takes in real time, its polls, is then so much longer than it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::domain::policy::Profile;
use serde_json::json;

use super::app::App;
use super::recipes::{Gateway as Recipe, Places, Running};
use super::world::{PLATFORM, SHOP};
use crate::harness::client::Door;
use crate::harness::gateway::{BackEnd, Gateway, ROOT_KEY, TestApp};
use crate::harness::node::PATIENCE;
use crate::harness::tools::{Talk, Tools};

/// How far behind guichet's clock begins, and how long it takes to catch up.
const BEHIND: Duration = Duration::from_secs(3_600);
const LASTS: Duration = Duration::from_secs(40);
const TICK: Duration = Duration::from_millis(100);

/// How long `jose` keeps keys unless it is told otherwise; what the recipe tells Envoy; `pyjwt`.
const JOSE: Duration = Duration::from_secs(600);
const ENVOY: Duration = Duration::from_secs(300);
const PYJWT: Duration = Duration::from_secs(300);

/// People who sign in, with one chain of refreshes each.
const PEOPLE: usize = 4;

/// Between two tokens, and two requests through the gateway.
const PACE: Duration = Duration::from_millis(60);

/// A time of guichet's as it passes here.
fn scaled(time: Duration) -> Duration {
    time.mul_f64(LASTS.as_secs_f64() / (BEHIND + LASTS).as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_load_and_no_verifier_refuses_a_good_token() {
    let Some(tools) = Tools::find() else { return };
    let back_end = BackEnd::embedded().with_clock(Clock::behind(BEHIND));
    back_end.run(|gateway| async move { Box::pin(tell(gateway, &tools)).await }).await;
}

async fn tell(gateway: Gateway, tools: &Tools) {
    // By the verifiers' clocks the first tokens are an hour old.
    gateway.new_tenant("acme", Profile::Classic, json!({"tokens": {"access_ttl": 2 * BEHIND.as_secs()}})).await;
    let app = gateway.new_app("acme", &format!("https://{SHOP}"), &[]).await;
    let gateway = gateway.restart(|config| config.http.public_url = Some(PLATFORM.parse().unwrap())).await;
    let shop = App::start("shop").await;
    let guichet = gateway.url("").trim_start_matches("http://").parse().unwrap();
    let places = Places { guichet, shop: shop.address, desk: shop.address };
    let Some(envoy) = Recipe::EnvoyJwt.start_with(&places, in_a_hurry).await else { return };
    let talk = |script, cache: Duration| {
        let jwks_uri = gateway.url("/t/acme/.well-known/jwks.json");
        let cache_ms = u64::try_from(scaled(cache).as_millis()).unwrap();
        let issuer = format!("{PLATFORM}/t/acme");
        let asked = json!({ "issuer": issuer, "audience": app.audience, "jwks_uri": jwks_uri, "cache_ms": cache_ms });
        tools.talk_to(script, &asked)
    };
    let (jose, pyjwt) = (talk("jose_running.mjs", JOSE), talk("pyjwt_running.py", PYJWT));
    let story = Story { gateway, app, tokens: Mutex::default(), end: Instant::now() + LASTS };
    let mut chains = story.sign_in().await;
    story.first_passes(&envoy).await;

    let (jose, pyjwt) = (story.verified_by(jose), story.verified_by(pyjwt));
    let (.., signed, envoy, jose, pyjwt) =
        tokio::join!(story.hurry(), story.refresh(&mut chains), story.rotate(), story.requests(&envoy), jose, pyjwt);

    let issued = story.tokens.lock().unwrap().len();
    assert_eq!(signed.len(), 4, "one by schedule, two by an operator, after the first");
    for (verifier, seen) in [("envoy", envoy), ("jose", jose), ("pyjwt", pyjwt)] {
        let times: usize = seen.values().sum();
        println!("{verifier}: {times} verifications over {issued} tokens, by key {:?}", seen.values());
        assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), signed, "{verifier} saw every key");
        assert!(times >= 200, "{verifier}: {seen:?}");
    }
}

/// The recipe with keys kept for as much shorter as this test's time is.
fn in_a_hurry(recipe: &str) -> String {
    let kept = format!("cache_duration: {}s", ENVOY.as_secs());
    assert!(recipe.contains(&kept), "another cache than this test says");
    recipe.replace(&kept, &format!("cache_duration: {:.3}s", scaled(ENVOY).as_secs_f64()))
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

struct Story {
    gateway: Gateway,
    app: TestApp,
    /// Every token so far; none runs out before the end.
    tokens: Mutex<Vec<String>>,
    end: Instant,
}

impl Story {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    fn door(&self) -> Door<'_> {
        self.gateway.door("/t/acme")
    }

    /// The newest token, or (every other time) some earlier one.
    fn a_token(&self, n: usize) -> String {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let at = if n.is_multiple_of(2) { tokens.len() - 1 } else { n * 7_919 % tokens.len() };
        tokens[at].clone()
    }

    /// Everybody signs in; their refresh tokens.
    async fn sign_in(&self) -> Vec<String> {
        let mut chains = Vec::new();
        for n in 0..PEOPLE {
            let phone = format!("+22177123000{n}");
            self.door().post("/auth/request-code", &json!({ "phone": phone })).await.expect(200);
            let code = self.gateway.inbox.next(&phone).await.code(4);
            let answer = json!({ "phone": phone, "code": code, "client_id": self.app.id });
            let proof = self.door().post("/auth/verify-code", &answer).await.expect(200).word("registration_token");
            let registration = json!({
                "phone": phone, "first_name": "Awa", "last_name": "Diop", "client_id": self.app.id,
                "registration_token": proof,
            });
            let registered = self.door().post("/auth/register", &registration).await.expect(201);
            self.tokens.lock().unwrap().push(registered.word("token"));
            chains.push(registered.word("refresh_token"));
        }
        chains
    }

    /// Waits until Envoy has its first keys.
    async fn first_passes(&self, envoy: &Running) {
        let client = client(envoy);
        let passes = async {
            while ask(&client, envoy, &self.a_token(0)).await != 200 {
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(PATIENCE, passes).await.expect("a good token passes");
    }

    /// Time flies.
    async fn hurry(&self) {
        let mut ticks = tokio::time::interval(TICK);
        let mut shown = Instant::now();
        while self.goes_on() {
            ticks.tick().await;
            // By what has passed, not by ticks: the last of them must not lead beyond the true time.
            let passed = shown.elapsed();
            shown += passed;
            self.gateway.clock.advance(passed.mul_f64(BEHIND.as_secs_f64() / LASTS.as_secs_f64()));
        }
        assert!(self.gateway.clock.shift_millis() <= 1_000, "verifiers do not take tokens of the future");
    }

    /// Fresh tokens, all the time.
    async fn refresh(&self, chains: &mut [String]) {
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let chain = &mut chains[n % PEOPLE];
            let body = json!({ "refresh_token": *chain, "client_id": self.app.id });
            let pair = self.door().post("/api/auth/refresh", &body).await.expect(200);
            *chain = pair.word("refresh_token");
            self.tokens.lock().unwrap().push(pair.word("token"));
            tokio::time::sleep(PACE).await;
        }
    }

    /// Three other keys come to sign; which ones did, the first included.
    async fn rotate(&self) -> BTreeSet<String> {
        let mut signed = BTreeSet::from([self.active().await]);
        // By the schedule: the first is long past its time.
        self.gateway.execute("UPDATE signing_keys SET active_from = 0".to_owned()).await;
        signed.insert(self.next_signs(&signed).await);
        for _ in 0..2 {
            let wanted = json!({ "rotation": "announced" });
            let admin = self.gateway.admin();
            let answer = admin.post("/tenants/acme/signing-keys/rotate", &wanted).bearer(ROOT_KEY).await.expect(200);
            let signs = self.next_signs(&signed).await;
            assert_eq!(signs, answer.word("kid"));
            signed.insert(signs);
        }
        signed
    }

    async fn next_signs(&self, signed: &BTreeSet<String>) -> String {
        loop {
            assert!(self.goes_on(), "only {} keys signed", signed.len());
            self.gateway.rotate_due_keys().await;
            let active = self.active().await;
            if !signed.contains(&active) {
                return active;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn active(&self) -> String {
        let keys = self.gateway.admin().get("/tenants/acme/signing-keys").bearer(ROOT_KEY).await.expect(200);
        let items = keys["items"].as_array().unwrap();
        let active = items.iter().find(|key| key["state"] == "active").expect("one key signs");
        active["kid"].as_str().unwrap().to_owned()
    }

    /// Requests with good tokens through Envoy; how many passed, by key.
    async fn requests(&self, envoy: &Running) -> BTreeMap<String, usize> {
        let (client, mut seen) = (client(envoy), BTreeMap::new());
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let token = self.a_token(n);
            let status = ask(&client, envoy, &token).await;
            assert_eq!(status, 200, "Envoy refuses a good token of {} after {seen:?}", kid(&token));
            *seen.entry(kid(&token)).or_default() += 1;
            tokio::time::sleep(PACE / 2).await;
        }
        seen
    }

    /// The same by a program that verifies with the tenant's published keys.
    async fn verified_by(&self, mut verifier: Talk) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let token = self.a_token(n);
            let kid = kid(&token);
            let (verdict, listening) = tokio::task::spawn_blocking(move || {
                let verdict = verifier.ask(&token);
                (verdict, verifier)
            })
            .await
            .unwrap();
            verifier = listening;
            assert_eq!(verdict, "accepted", "of {kid} after {seen:?}");
            *seen.entry(kid).or_default() += 1;
            tokio::time::sleep(PACE / 2).await;
        }
        seen
    }
}

fn client(envoy: &Running) -> reqwest::Client {
    reqwest::Client::builder().resolve(SHOP, envoy.address).build().unwrap()
}

/// What comes back through the gateway.
async fn ask(client: &reqwest::Client, envoy: &Running, token: &str) -> u16 {
    let url = format!("http://{SHOP}:{}/things/1", envoy.address.port());
    client.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
}
