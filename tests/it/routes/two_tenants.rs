//! Two tenants, every route: what one tenant gave out is worth in the other what was never given out.
//!
//! ```text
//!   row of the router's table ─► how its request is made, from the things a tenant gives out
//!        │ nobody may be missing          │ each thing it reads
//!        ▼                                ▼
//!   away: the neighbour's thing ═ the same answer ═ a made-up thing of the same shape
//!   home: the very same things, afterwards, do what they are for
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use guichet::crypto::digest::{Digests, MasterKey};
use guichet::http::handlers::{self, admin};
use http::Method;
use serde_json::{Value, json};

use crate::delivery::provider::{Provider, answer};
use crate::flows::{
    AWA, NEW_PASSWORD, NUMBER, OTHER_NUMBER, PASSWORD, a_person, a_phone_person, lock, log_in, register, request_code,
    seconds, sign_in, verify_code,
};
use crate::harness::client::{Answer, Call, Door};
use crate::harness::gateway::{Gateway, MASTER_KEY, ROOT_KEY, TestApp, on_every_back_end};

on_every_back_end!(
    what_one_tenant_gives_out_is_worth_nothing_in_the_other,
    an_admin_key_sees_nothing_of_the_other_tenant,
);

/// Digits of every code here.
const CODE: usize = 6;
const LOCKED: &str = "locked@example.com";
const UNPROVEN: &str = "unproven@example.com";
const INVITED: &str = "invited@example.com";
const FORGETFUL: &str = "forgetful@example.com";
const ABSENT: &str = "absent@example.com";
const LEAVER: &str = "leaver@example.com";
const WARY: &str = "wary@example.com";
const NEW_ADDRESS: &str = "moved@example.com";
const NEW_NUMBER: &str = "+221771234569";

/// What a tenant gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Access,
    Refresh,
    PhoneAccess,
    LeaverAccess,
    WaryAccess,
    Password,
    Device,
    DeviceId,
    SessionId,
    UserId,
    Challenge,
    MailedCode,
    TextedCode,
    ContactCode,
    RegistrationToken,
    VerificationLink,
    ResetLink,
    ResetForm,
    UnlockLink,
    InvitationLink,
    AppId,
    AppSecret,
    AppRefresh,
    AppToken,
    HookToken,
    Key,
    KeyId,
}

/// Everything that one tenant gave out, and nothing of it used.
type Wallet = BTreeMap<Thing, String>;

/// A tenant with people in it.
struct Tenant {
    slug: &'static str,
    prefix: &'static str,
    wallet: Wallet,
    /// Takes its text messages once the codes are out.
    _provider: Provider,
}

impl Tenant {
    fn door<'g>(&self, gateway: &'g Gateway) -> Door<'g> {
        gateway.door(self.prefix)
    }

    /// Made as an operator makes it; then the same people do the same in each.
    async fn found(gateway: &Gateway, prefix: &'static str, profile: &str, password: &'static str) -> Self {
        let slug = prefix.trim_start_matches("/t/");
        let admin = async |method: Method, path: &str, body: Value| {
            let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
            gateway.admin().call(method, path).body(media, body.to_string()).bearer(ROOT_KEY).await
        };
        let of = |path: &str| format!("/tenants/{slug}{path}");
        let made = admin(Method::POST, "/tenants", json!({"slug": slug, "profile": profile})).await.expect(201);
        let settings = json!({"sms": {"regions": ["SN"]}, "otp": {"sms": {"length": CODE}}});
        admin(Method::PATCH, &of("/settings"), settings).await.expect(200);
        let key = admin(Method::POST, &of("/keys"), json!({"role": "tenant-admin", "name": "own"})).await.expect(201);
        let app = json!({"name": "shop", "audience": "https://shop.example", "origins": []});
        let app = admin(Method::POST, &of("/apps"), app).await.expect(201);
        let app = TestApp { id: app.word("id"), secret: app.word("secret"), audience: String::new() };
        let door = gateway.door(prefix);
        gateway.until(|| async { app.post(door, "/oauth/introspect", &[("token", "x")]).await.status == 200 }).await;

        let mut wallet = Wallet::from([
            (Thing::Password, password.to_owned()),
            (Thing::AppId, app.id.clone()),
            (Thing::AppSecret, app.secret.clone()),
            (Thing::Key, key.word("key")),
            (Thing::KeyId, key.word("id")),
            (Thing::HookToken, Digests::new(&MasterKey::from_bytes(MASTER_KEY)).receipt_token(id(&made), "main")),
        ]);
        people(door, &mut wallet, &app.id).await;
        links(door, &mut wallet).await;
        let invited = admin(Method::POST, &of("/users"), json!({"email": INVITED})).await.expect(201);
        wallet.insert(Thing::InvitationLink, link(door, INVITED, "/invitation/").await);
        wallet.insert(Thing::UserId, invited.word("id"));

        let provider = Provider::always(answer(200, "{}")).await;
        let url = format!("{}/send?to={{to}}&code={{code}}", provider.url());
        let sender = json!({"kind": "http", "name": "main", "url": url});
        admin(Method::PATCH, &of("/settings"), json!({"sms": {"mode": "own", "senders": [sender]}})).await.expect(200);
        Self { slug, prefix, wallet, _provider: provider }
    }
}

fn id(made: &Answer) -> guichet::domain::ids::TenantId {
    made.word("id").parse().unwrap()
}

/// Sessions, devices, challenges and codes.
async fn people(door: Door<'_>, wallet: &mut Wallet, app: &str) {
    let gateway = door.gateway();
    let password = wallet[&Thing::Password].clone();
    let device = a_person(door, AWA).await;
    let awa = sign_in(door, AWA, &device).await;
    if password != PASSWORD {
        let change = json!({"current_password": PASSWORD, "new_password": password});
        door.post("/api/auth/password/change", &change).bearer(&awa.access).await.expect(200);
    }
    let new_device = async || {
        let challenge = log_in(door, AWA, &password).await.expect(200).word("challenge_id");
        (challenge, gateway.inbox.next_with(AWA, "is your code").await.code(CODE))
    };
    let (challenge, code) = new_device().await;
    let confirm = json!({"email": AWA, "otp": code, "challenge_id": challenge});
    door.post("/api/auth/verify-otp", &confirm).await.expect(200);
    for (thing, list) in [(Thing::SessionId, "sessions"), (Thing::DeviceId, "devices")] {
        let shown = door.get(&format!("/api/auth/{list}")).bearer(&awa.access).await.expect(200);
        let other = shown[list].as_array().unwrap().iter().find(|one| one["current"] == false).unwrap();
        wallet.insert(thing, other["id"].as_str().unwrap().to_owned());
    }
    let for_app = json!({"email": AWA, "password": password, "client_id": app});
    for thing in [Thing::AppRefresh, Thing::AppToken] {
        let signed_in = door.post("/api/auth/login", &for_app).device(&device).await.expect(200);
        wallet.insert(thing, signed_in.word("refresh_token"));
    }
    let phone = a_phone_person(door, NUMBER, CODE).await;
    let code = request_code(door, OTHER_NUMBER, CODE).await;
    let proven = verify_code(door, OTHER_NUMBER, &code).await.expect(200);
    let leaver = sign_in(door, LEAVER, &a_person(door, LEAVER).await).await;
    let wary = sign_in(door, WARY, &a_person(door, WARY).await).await;
    let moving = json!({"email": NEW_ADDRESS});
    door.post("/api/auth/contact/change", &moving).bearer(&leaver.access).await.expect(200);
    // Past the pace of codes.
    gateway.clock.advance(seconds(31));
    let (challenge, mailed) = new_device().await;
    wallet.extend([
        (Thing::Access, awa.access),
        (Thing::Refresh, awa.refresh),
        (Thing::PhoneAccess, phone.access),
        (Thing::LeaverAccess, leaver.access),
        (Thing::WaryAccess, wary.access),
        (Thing::Device, device),
        (Thing::Challenge, challenge),
        (Thing::MailedCode, mailed),
        (Thing::TextedCode, request_code(door, NUMBER, CODE).await),
        (Thing::ContactCode, gateway.inbox.next_with(NEW_ADDRESS, "is your code to use").await.code(CODE)),
        (Thing::RegistrationToken, proven.word("registration_token")),
    ]);
}

/// Mailed links, each to a person of its own.
async fn links(door: Door<'_>, wallet: &mut Wallet) {
    for email in [LOCKED, FORGETFUL, ABSENT] {
        a_person(door, email).await;
    }
    register(door, UNPROVEN).await.expect(201);
    wallet.insert(Thing::VerificationLink, link(door, UNPROVEN, "/verify/").await);
    lock(door, LOCKED).await;
    wallet.insert(Thing::UnlockLink, link(door, LOCKED, "/unlock/").await);
    for (thing, email) in [(Thing::ResetLink, FORGETFUL), (Thing::ResetForm, ABSENT)] {
        door.post("/api/auth/password/forgot", &json!({"email": email})).await.expect(200);
        wallet.insert(thing, link(door, email, "/password/reset/").await);
    }
}

async fn link(door: Door<'_>, to: &str, part: &str) -> String {
    door.gateway().inbox.next_with(to, part).await.token()
}

/// Another word of the same shape, which nobody ever gave out.
fn made_up(word: &str) -> String {
    let turned = |c: char| match c {
        '0'..='8' | 'a'..='e' | 'g'..='y' | 'A'..='Y' => char::from_u32(u32::from(c) + 1).unwrap(),
        '9' => '0',
        'f' => 'a',
        'z' => 'g',
        'Z' => 'A',
        other => other,
    };
    // Neither the beginning, which tells its kind, nor the end, whose last bits must be zero in Base64.
    let (from, to) = if word.len() < 16 { (0, word.len()) } else { (word.len() - 12, word.len() - 4) };
    let turn = |(at, c)| if (from..to).contains(&at) { turned(c) } else { c };
    let made: String = word.char_indices().map(turn).collect();
    assert_ne!(made, word);
    made
}

/// What a request is made with, and what of it was asked for.
struct Hand<'w> {
    own: &'w Wallet,
    /// Shown in place of the own one.
    other: Option<(Thing, String)>,
    /// Whether the people named in the request are the tenant's; else they are nobody, each time anew.
    is_somebody: bool,
    read: RefCell<BTreeSet<Thing>>,
}

impl<'w> Hand<'w> {
    fn of(own: &'w Wallet, is_somebody: bool) -> Self {
        Self { own, other: None, is_somebody, read: RefCell::default() }
    }

    fn with(self, thing: Thing, word: String) -> Self {
        Self { other: Some((thing, word)), ..self }
    }

    fn show(&self, thing: Thing) -> String {
        self.read.borrow_mut().insert(thing);
        let other = self.other.as_ref().filter(|(other, _)| *other == thing).map(|(_, word)| word.clone());
        other.unwrap_or_else(|| self.own[&thing].clone())
    }

    fn email(&self, email: &str) -> String {
        if self.is_somebody { email.to_owned() } else { format!("nobody{}@example.com", once()) }
    }

    fn number(&self, number: &str) -> String {
        if self.is_somebody { number.to_owned() } else { format!("+22178{:07}", once()) }
    }
}

/// A number that no other call got.
fn once() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1_000_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// How a route is asked.
struct Row {
    method: Method,
    pattern: &'static str,
    /// What its own tenant answers.
    home: u16,
    /// What its own tenant says and nobody else does.
    says: &'static str,
    make: for<'g> fn(&Hand<'_>, Door<'g>) -> Call<'g>,
}

/// `row!(METHOD pattern => what home answers and says, |hand, door| the call)`.
macro_rules! row {
    ($method:ident $pattern:literal => $home:literal $says:literal, |$hand:ident, $door:ident| $make:expr) => {
        Row { method: Method::$method, pattern: $pattern, home: $home, says: $says, make: |$hand, $door| $make }
    };
}

/// Every public route, in an order in which each still finds what it needs at home.
fn rows() -> Vec<Row> {
    looking().into_iter().chain(signing_in()).chain(ending()).collect()
}

/// What changes nothing.
fn looking() -> Vec<Row> {
    vec![
        row!(GET "/.well-known/jwks.json" => 200 "", |_hand, door| door.get("/.well-known/jwks.json")),
        row!(GET "/.well-known/oauth-authorization-server" => 200 "", |_hand, door| {
            door.get("/.well-known/oauth-authorization-server")
        }),
        row!(GET "/forward-auth" => 200 "", |hand, door| door.get("/forward-auth").bearer(&hand.show(Thing::Access))),
        row!(GET "/api/auth/me" => 200 "", |hand, door| door.get("/api/auth/me").bearer(&hand.show(Thing::Access))),
        row!(GET "/api/auth/sessions" => 200 "", |hand, door| {
            door.get("/api/auth/sessions").bearer(&hand.show(Thing::Access))
        }),
        row!(GET "/api/auth/devices" => 200 "", |hand, door| {
            door.get("/api/auth/devices").bearer(&hand.show(Thing::Access))
        }),
        row!(GET "/api/auth/sessions/{id}" => 200 "", |hand, door| {
            let path = format!("/api/auth/sessions/{}", hand.show(Thing::SessionId));
            door.get(&path).bearer(&hand.show(Thing::Access))
        }),
        row!(GET "/api/auth/devices/{id}" => 200 "", |hand, door| {
            let path = format!("/api/auth/devices/{}", hand.show(Thing::DeviceId));
            door.get(&path).bearer(&hand.show(Thing::Access))
        }),
        row!(POST "/oauth/introspect" => 200 "\"active\":true", |hand, door| {
            app(hand).post(door, "/oauth/introspect", &[("token", &hand.show(Thing::AppToken))])
        }),
        row!(GET "/hooks/{tenant}/{sender}" => 204 "", |hand, door| {
            door.get(&format!("{}&reference=x&status=sent", hook(hand, door)))
        }),
        row!(POST "/hooks/{tenant}/{sender}" => 204 "", |hand, door| {
            door.post(&hook(hand, door), &json!({"reference": "x", "status": "sent"}))
        }),
        row!(GET "/api/auth/password/reset/{token}" => 200 "<form", |hand, door| {
            door.get(&format!("/api/auth/password/reset/{}", hand.show(Thing::ResetForm)))
        }),
        row!(GET "/api/auth/unlock/{token}" => 200 "<form", |hand, door| {
            door.get(&format!("/api/auth/unlock/{}", hand.show(Thing::UnlockLink)))
        }),
        row!(GET "/api/auth/invitation/{token}" => 200 "<form", |hand, door| {
            door.get(&format!("/api/auth/invitation/{}", hand.show(Thing::InvitationLink)))
        }),
    ]
}

/// What lets people in.
fn signing_in() -> Vec<Row> {
    vec![
        row!(POST "/auth/request-code" => 200 "", |hand, door| {
            door.post("/auth/request-code", &json!({"phone": hand.number(&format!("+22178{:07}", once()))}))
        }),
        row!(POST "/auth/verify-code" => 200 "\"token\"", |hand, door| {
            let body = json!({"phone": hand.number(NUMBER), "code": hand.show(Thing::TextedCode)});
            door.post("/auth/verify-code", &body)
        }),
        row!(POST "/auth/register" => 201 "\"token\"", |hand, door| {
            let body = json!({"phone": hand.number(OTHER_NUMBER), "first_name": "Binta", "last_name": "Fall",
                              "registration_token": hand.show(Thing::RegistrationToken)});
            door.post("/auth/register", &body)
        }),
        row!(POST "/api/auth/register" => 201 "", |_hand, door| {
            let body = json!({"username": "new", "email": format!("new{}@example.com", once()),
                              "password": NEW_PASSWORD, "phoneNumber": "123456789"});
            door.post("/api/auth/register", &body)
        }),
        row!(POST "/api/auth/resend-verification" => 200 "", |hand, door| {
            door.post("/api/auth/resend-verification", &json!({"email": hand.email(AWA)}))
        }),
        row!(GET "/api/auth/verify/{token}" => 200 "", |hand, door| {
            door.get(&format!("/api/auth/verify/{}", hand.show(Thing::VerificationLink)))
        }),
        row!(POST "/api/auth/verify/{token}" => 200 "", |hand, door| {
            door.call(Method::POST, &format!("/api/auth/verify/{}", hand.show(Thing::VerificationLink)))
        }),
        row!(POST "/api/auth/invitation/{token}" => 200 "", |hand, door| {
            let path = format!("/api/auth/invitation/{}", hand.show(Thing::InvitationLink));
            door.post(&path, &json!({"password": NEW_PASSWORD}))
        }),
        row!(POST "/api/auth/unlock/{token}" => 200 "", |hand, door| {
            door.call(Method::POST, &format!("/api/auth/unlock/{}", hand.show(Thing::UnlockLink)))
        }),
        row!(POST "/api/auth/password/forgot" => 200 "", |hand, door| {
            door.post("/api/auth/password/forgot", &json!({"email": hand.email("nobody@example.com")}))
        }),
        row!(POST "/api/auth/password/reset" => 200 "", |hand, door| {
            let body = json!({"token": hand.show(Thing::ResetLink), "password": NEW_PASSWORD});
            door.post("/api/auth/password/reset", &body)
        }),
        row!(POST "/api/auth/password/reset/{token}" => 200 "", |hand, door| {
            let path = format!("/api/auth/password/reset/{}", hand.show(Thing::ResetForm));
            door.form(&path, &[("password", NEW_PASSWORD)])
        }),
        row!(POST "/api/auth/login" => 200 "\"token\"", |hand, door| {
            let body = json!({"email": hand.email(AWA), "password": hand.show(Thing::Password)});
            door.post("/api/auth/login", &body).device(&hand.show(Thing::Device))
        }),
        row!(POST "/api/auth/verify-otp" => 200 "\"token\"", |hand, door| {
            let body = json!({"email": hand.email(AWA), "otp": hand.show(Thing::MailedCode),
                              "challenge_id": hand.show(Thing::Challenge)});
            door.post("/api/auth/verify-otp", &body)
        }),
    ]
}

/// What replaces or ends what was given out.
fn ending() -> Vec<Row> {
    vec![
        row!(POST "/api/auth/refresh" => 200 "", |hand, door| {
            door.post("/api/auth/refresh", &json!({"refresh_token": hand.show(Thing::Refresh)}))
        }),
        row!(POST "/oauth/token" => 200 "", |hand, door| {
            let form = [("grant_type", "refresh_token"), ("refresh_token", &hand.show(Thing::AppRefresh))];
            app(hand).post(door, "/oauth/token", &form)
        }),
        row!(POST "/oauth/revoke" => 200 "", |hand, door| {
            app(hand).post(door, "/oauth/revoke", &[("token", &hand.show(Thing::AppToken))])
        }),
        row!(DELETE "/api/auth/sessions/{id}" => 204 "", |hand, door| {
            let path = format!("/api/auth/sessions/{}", hand.show(Thing::SessionId));
            door.delete(&path).bearer(&hand.show(Thing::Access))
        }),
        row!(DELETE "/api/auth/devices/{id}" => 204 "", |hand, door| {
            let path = format!("/api/auth/devices/{}", hand.show(Thing::DeviceId));
            door.delete(&path).bearer(&hand.show(Thing::Access))
        }),
        row!(POST "/api/auth/contact/change" => 200 "", |hand, door| {
            let body = json!({"phone": hand.number(NEW_NUMBER)});
            door.post("/api/auth/contact/change", &body).bearer(&hand.show(Thing::PhoneAccess))
        }),
        row!(POST "/api/auth/contact/confirm" => 200 "", |hand, door| {
            let body = json!({"email": hand.email(NEW_ADDRESS), "code": hand.show(Thing::ContactCode)});
            door.post("/api/auth/contact/confirm", &body).bearer(&hand.show(Thing::LeaverAccess))
        }),
        row!(POST "/api/auth/password/change" => 200 "", |hand, door| {
            let body = json!({"current_password": hand.show(Thing::Password), "new_password": NEW_PASSWORD});
            door.post("/api/auth/password/change", &body).bearer(&hand.show(Thing::Access))
        }),
        row!(DELETE "/api/auth/sessions" => 204 "", |hand, door| {
            door.delete("/api/auth/sessions").bearer(&hand.show(Thing::PhoneAccess))
        }),
        row!(DELETE "/api/auth/devices" => 204 "", |hand, door| {
            door.delete("/api/auth/devices").bearer(&hand.show(Thing::WaryAccess))
        }),
        row!(DELETE "/api/auth/me" => 204 "", |hand, door| {
            door.delete("/api/auth/me").bearer(&hand.show(Thing::LeaverAccess))
        }),
        row!(POST "/api/auth/logout" => 200 "", |hand, door| {
            door.post("/api/auth/logout", &json!({})).bearer(&hand.show(Thing::Access))
        }),
    ]
}

/// The app that the credentials in hand say they are.
fn app(hand: &Hand<'_>) -> TestApp {
    TestApp { id: hand.show(Thing::AppId), secret: hand.show(Thing::AppSecret), audience: String::new() }
}

/// The path of a receipt for the tenant's sender.
fn hook(hand: &Hand<'_>, door: Door<'_>) -> String {
    format!("/hooks/{}/main?token={}", door.slug(), hand.show(Thing::HookToken))
}

/// From one of many addresses, so that no client's limit decides.
async fn ask(call: Call<'_>) -> Answer {
    let [.., low] = once().to_be_bytes();
    call.at([127, 0, 7, 1 + low % 64]).await
}

/// An answer without what differs between any two of them.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, Value, String) {
    let (status, headers, text) = answer.same_for_everybody();
    let mut json: Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(members) = json.as_object_mut() {
        members.retain(|name, _| !["challenge_id", "expires_in", "resend_in", "device_token"].contains(&name.as_str()));
    }
    let headers = headers.into_iter().filter(|(name, _)| !["set-cookie", "content-length"].contains(&name.as_str()));
    let text = if json.is_null() { text } else { String::new() };
    (status, headers.collect(), json, text)
}

async fn what_one_tenant_gives_out_is_worth_nothing_in_the_other(gateway: Gateway) {
    let rows = rows();
    let name = |method: Option<&Method>, pattern| format!("{} {pattern}", method.unwrap_or(&Method::GET));
    let table: BTreeSet<_> =
        handlers::public().iter().map(|route| name(route.method.as_ref(), route.pattern)).collect();
    let written: BTreeSet<_> = rows.iter().map(|row| name(Some(&row.method), row.pattern)).collect();
    assert_eq!(table, written, "say in `rows` how each route is asked");
    let one = Tenant::found(&gateway, "/t/acme", "asvs-l1", PASSWORD).await;
    let other = Tenant::found(&gateway, "/t/bijou", "classic", "eleven red foxes cross the ice").await;

    for (here, neighbour) in [(&one, &other), (&other, &one)] {
        let nobody: Wallet = here.wallet.iter().map(|(thing, word)| (*thing, made_up(word))).collect();
        for row in &rows {
            every_thing_a_route_reads(&gateway, row, here, neighbour).await;
            every_header_that_may_carry_one(&gateway, row, here, (&neighbour.wallet, &nobody)).await;
        }
    }
    for tenant in [&one, &other] {
        for row in &rows {
            let answer = ask((row.make)(&Hand::of(&tenant.wallet, true), tenant.door(&gateway))).await.expect(row.home);
            assert!(answer.text.contains(row.says), "{} {}: {}", row.method, row.pattern, answer.text);
        }
    }
}

/// Each thing in its place, beside what is the tenant's own.
async fn every_thing_a_route_reads(gateway: &Gateway, row: &Row, here: &Tenant, neighbour: &Tenant) {
    let hand = Hand::of(&here.wallet, true);
    drop((row.make)(&hand, here.door(gateway)));
    for thing in hand.read.take() {
        let word = neighbour.wallet[&thing].clone();
        let answer = async |word| {
            let call = (row.make)(&Hand::of(&here.wallet, true).with(thing, word), here.door(gateway));
            ask(call).await
        };
        let (nonsense, theirs) = (answer(made_up(&word)).await, answer(word).await);
        let cell = format!("{thing:?} of {} at {} {}{}", neighbour.slug, row.method, here.prefix, row.pattern);
        assert_eq!(told(&theirs), told(&nonsense), "{cell}");
        let is_welcome = theirs.status.as_u16() == row.home && !row.says.is_empty();
        assert!(!is_welcome || !theirs.text.contains(row.says), "{cell}: {}", theirs.text);
        if row.home != theirs.status.as_u16() {
            assert!(matches!(theirs.status.as_u16(), 400 | 401 | 403 | 404), "{cell}: {}", theirs.text);
        }
    }
}

/// Where any route may find a credential, whatever it is for.
async fn every_header_that_may_carry_one(
    gateway: &Gateway,
    row: &Row,
    here: &Tenant,
    (theirs, nobody): (&Wallet, &Wallet),
) {
    use Thing as T;
    for thing in [T::Access, T::PhoneAccess, T::Refresh, T::AppSecret, T::RegistrationToken, T::Key, T::Device] {
        let answer = async |word: &str| {
            let call = (row.make)(&Hand::of(nobody, false), here.door(gateway));
            ask(if thing == T::Device { call.device(word) } else { call.bearer(word) }).await
        };
        let (nonsense, known) = (answer(&made_up(&theirs[&thing])).await, answer(&theirs[&thing]).await);
        let cell = format!("{thing:?} in a header of {} {}{}", row.method, here.prefix, row.pattern);
        assert_eq!(told(&known), told(&nonsense), "{cell}");
    }
}

async fn an_admin_key_sees_nothing_of_the_other_tenant(gateway: Gateway) {
    let one = Tenant::found(&gateway, "/t/acme", "asvs-l1", PASSWORD).await;
    let other = Tenant::found(&gateway, "/t/bijou", "classic", "eleven red foxes cross the ice").await;
    let before = (shown(&gateway, &one).await, shown(&gateway, &other).await);
    let routes = admin::routes();
    let rows: Vec<_> = routes.iter().filter(|route| route.role.is_some() && route.pattern.contains("{slug}")).collect();
    assert!(rows.len() >= 30, "the table has only {} rows of tenants", rows.len());

    for (here, neighbour) in [(&one, &other), (&other, &one)] {
        for route in &rows {
            let method = route.method.clone().unwrap();
            let answer = async |slug: &str, id: &str| {
                let path = route.pattern.trim_start_matches("/admin/v1").replace("{slug}", slug).replace("{id}", id);
                let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
                let call = gateway.admin().call(method.clone(), &path).body(media, "{}");
                call.bearer(&here.wallet[&Thing::Key]).await
            };
            let thing = thing_of(route.pattern);
            let id = thing.map_or(String::new(), |thing| neighbour.wallet[&thing].clone());
            let cell = format!("{method} {} by {}", route.pattern, here.slug);
            let away = answer(neighbour.slug, &id).await;
            assert_eq!(told(&away), told(&answer("no-such-tenant", &id).await), "{cell}");
            away.refused(404, "tenant_not_found");
            if thing.is_some() {
                let stranger = answer(here.slug, &id).await;
                assert_eq!(told(&stranger), told(&answer(here.slug, &made_up(&id)).await), "{cell}");
                stranger.refused(404, "not_found");
            } else if method == Method::GET {
                let list = answer(here.slug, "").await.expect(200);
                for told in [Thing::UserId, Thing::AppId, Thing::KeyId, Thing::SessionId] {
                    assert!(!list.text.contains(&neighbour.wallet[&told]), "{cell}: {told:?}");
                }
                assert!(!list.text.contains(neighbour.slug), "{cell}: {}", list.text);
            }
        }
    }

    assert_eq!((shown(&gateway, &one).await, shown(&gateway, &other).await), before);
}

/// Whose id stands in a path.
fn thing_of(pattern: &str) -> Option<Thing> {
    let (kind, _) = pattern.split_once("/{id}")?;
    Some(match kind.rsplit('/').next() {
        Some("users") => Thing::UserId,
        Some("apps") => Thing::AppId,
        Some("keys") => Thing::KeyId,
        other => panic!("{pattern}: say what an id of {other:?} is"),
    })
}

/// What a tenant has, as its own key sees it.
async fn shown(gateway: &Gateway, tenant: &Tenant) -> Vec<Value> {
    let mut shown = Vec::new();
    for path in ["", "/settings", "/users", "/apps", "/keys"] {
        let path = format!("/tenants/{}{path}", tenant.slug);
        shown.push(gateway.admin().get(&path).bearer(&tenant.wallet[&Thing::Key]).await.expect(200).json);
    }
    shown
}
