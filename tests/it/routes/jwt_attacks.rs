//! Tokens as attackers make them, shown at every door that takes one. Some are signed with the
//! tenant's own key: what they say must not be believed either.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use guichet::crypto::digest::MasterKey;
use guichet::crypto::keyset;
use guichet::crypto::seal::{SealContext, Sealer};
use guichet::domain::signing_key::{Algorithm, KeyState};
use guichet::secret::ExposeSecret as _;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use crate::flows::{AWA, a_person, sign_in};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, TestApp, on_every_back_end};
use crate::routes::tokens::claims;

on_every_back_end!(
    what_the_tenants_key_signs_is_believed,
    alg_none_in_four_spellings,
    hs256_signed_with_the_public_key,
    an_algorithm_that_is_not_the_keys_own,
    a_malleated_twin_ends_with_its_session,
    other_spellings_of_the_same_bytes,
    more_or_fewer_parts_than_three,
    an_embedded_jwk,
    a_jku_or_x5u_is_never_fetched,
    a_kid_that_is_a_path_a_query_or_ten_kilobytes,
    critical_extensions,
    duplicate_members,
    another_type_of_token,
    claims_that_are_missing_or_of_another_type,
    a_flood_of_unknown_kids_asks_storage_once_a_second,
);

/// The other spelling of an ECDSA signature: (r, s) and (r, n−s) are equally valid.
pub(crate) fn malleated(token: &str) -> String {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let n = i16::from(u8::from_str_radix(&N[at * 2..at * 2 + 2], 16).unwrap());
        let difference = n - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An attacker who has a good token and, for the worst case, the tenant's own key.
struct Attacker<'g> {
    door: Door<'g>,
    app: TestApp,
    token: String,
    kid: String,
    key: EncodingKey,
    public: Value,
}

impl<'g> Attacker<'g> {
    async fn of(gateway: &'g Gateway) -> Self {
        let door = gateway.classic();
        let app = gateway.new_app("default", "https://api.example", &[]).await;
        let token = sign_in(door, AWA, &a_person(door, AWA).await).await.access;
        let storage = gateway.storage().await;
        let tenant = storage.tenants().find_by_slug("default").await.unwrap().unwrap().id;
        let keys = storage.signing_keys().in_use(tenant).await.unwrap();
        let stored = keys.into_iter().find(|key| key.state == KeyState::Active).unwrap();
        let context = SealContext { tenant, kind: "signing_key", name: &stored.kid };
        let opened = Sealer::new(&MasterKey::from_bytes([7; 32])).open(&stored.sealed_private, &context).unwrap();
        let key = EncodingKey::from_ec_der(opened.expose_secret());
        Self { door, app, token, kid: stored.kid, key, public: stored.public_jwk }
    }

    fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid})
    }

    /// Properly signed by the tenant's key, whatever it says.
    fn signed(&self, header: &str, payload: &str) -> String {
        sign(&self.key, header, payload)
    }

    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.signed(&header.to_string(), &claims(&self.token).to_string())
    }

    fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut said = claims(&self.token);
        change(&mut said);
        self.signed(&self.header().to_string(), &said.to_string())
    }

    /// No door takes it, and none says why.
    async fn fails_with(&self, token: &str) {
        let shown = self.door.get("/forward-auth").bearer(token).await;
        shown.refused(401, "invalid_token");
        self.door.get("/api/auth/me").bearer(token).await.refused(401, "invalid_token");
        let known = self.app.post(self.door, "/oauth/introspect", &[("token", token)]).await.expect(200);
        assert_eq!(known.json, json!({"active": false}));
    }
}

fn sign(key: &EncodingKey, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, jsonwebtoken::Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

/// Or the tests below would show nothing.
async fn what_the_tenants_key_signs_is_believed(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for token in [attacker.with_claims(|_| {}), attacker.with_header(|_| {}), malleated(&attacker.token)] {
        attacker.door.get("/forward-auth").bearer(&token).await.expect(200);
        attacker.door.get("/api/auth/me").bearer(&token).await.expect(200);
        let known = attacker.app.post(attacker.door, "/oauth/introspect", &[("token", &token)]).await;
        assert_eq!(known.expect(200)["active"], true);
    }
}

async fn alg_none_in_four_spellings(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let signed = attacker.with_header(|header| header["alg"] = json!(alg));
        attacker.fails_with(&signed).await;
        let (message, _) = signed.rsplit_once('.').unwrap();
        attacker.fails_with(&format!("{message}.")).await;
        attacker.fails_with(message).await;
    }
}

async fn hs256_signed_with_the_public_key(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(attacker.public[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    for secret in [point, attacker.public.to_string().into_bytes(), attacker.kid.clone().into_bytes()] {
        for alg in ["HS256", "ES256"] {
            let header = json!({"alg": alg, "typ": "at+jwt", "kid": attacker.kid}).to_string();
            let payload = claims(&attacker.token).to_string();
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            let key = EncodingKey::from_secret(&secret);
            let tag = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
            attacker.fails_with(&format!("{message}.{tag}")).await;
        }
    }
}

async fn an_algorithm_that_is_not_the_keys_own(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for alg in ["ES384", "ES512", "ES256K", "EdDSA", "RS256", "PS256", "HS256", "es256", "ES256 "] {
        attacker.fails_with(&attacker.with_header(|header| header["alg"] = json!(alg))).await;
    }
    for alg in [json!(null), json!(["ES256"]), json!(256)] {
        attacker.fails_with(&attacker.with_header(|header| header["alg"] = alg)).await;
    }
    attacker.fails_with(&attacker.with_header(|header| drop(header.as_object_mut().unwrap().remove("alg")))).await;
}

/// (r, n−s) is as valid as (r, s), so a list of revoked texts would miss it.
async fn a_malleated_twin_ends_with_its_session(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let (door, twin) = (attacker.door, malleated(&attacker.token));
    assert_ne!(twin, attacker.token);
    // Remembered as good before its end, and not.
    for _ in 0..2 {
        door.get("/forward-auth").bearer(&twin).await.expect(200);
    }

    door.call(http::Method::POST, "/api/auth/logout").bearer(&attacker.token).await.expect(200);

    attacker.fails_with(&twin).await;
    attacker.fails_with(&attacker.token).await;
    attacker.fails_with(&malleated(&twin)).await;
}

async fn other_spellings_of_the_same_bytes(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let (message, signature) = attacker.token.rsplit_once('.').unwrap();
    // 64 bytes leave four bits of the last character unused: three more letters would mean the same.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    for unused in 1..16 {
        let other = &alphabet[last + unused..=last + unused];
        attacker.fails_with(&format!("{message}.{}{other}", &signature[..signature.len() - 1])).await;
    }
    for padded in [format!("{}=", attacker.token), format!("{}==", attacker.token)] {
        attacker.fails_with(&padded).await;
    }
}

async fn more_or_fewer_parts_than_three(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let parts: Vec<_> = attacker.token.split('.').collect();
    for token in [
        parts[0].to_owned(),
        parts[..2].join("."),
        format!("{}.", attacker.token),
        format!(".{}", attacker.token),
        format!("{}.{}", attacker.token, parts[2]),
        // As an encrypted one has (RFC 7516).
        format!("{}..{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        "..".to_owned(),
        format!("{}..{}", parts[0], parts[2]),
    ] {
        attacker.fails_with(&token).await;
    }
}

async fn an_embedded_jwk(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let own = keyset::generate(Algorithm::Es256).unwrap();
    let key = EncodingKey::from_ec_der(own.secret.expose_secret());
    for kid in [attacker.kid.as_str(), own.public.kid()] {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid, "jwk": own.public}).to_string();
        attacker.fails_with(&sign(&key, &header, &claims(&attacker.token).to_string())).await;
        let plain = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}).to_string();
        attacker.fails_with(&sign(&key, &plain, &claims(&attacker.token).to_string())).await;
    }
}

async fn a_jku_or_x5u_is_never_fetched(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    for name in ["jku", "x5u"] {
        attacker.fails_with(&attacker.with_header(|header| header[name] = json!(url))).await;
        let unknown = attacker.with_header(|header| {
            header[name] = json!(url);
            header["kid"] = json!("unknown");
        });
        attacker.fails_with(&unknown).await;
    }
    let visited = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(visited.is_err(), "the key's address was visited");
}

async fn a_kid_that_is_a_path_a_query_or_ten_kilobytes(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let long = "x".repeat(10_000);
    for kid in ["", "../../../../dev/null", "' OR '1'='1", "/etc/passwd", "\u{0}", "http://127.0.0.1/", &long] {
        attacker.fails_with(&attacker.with_header(|header| header["kid"] = json!(kid))).await;
    }
    for kid in [json!(7), json!(null), json!([attacker.kid])] {
        attacker.fails_with(&attacker.with_header(|header| header["kid"] = kid)).await;
    }
}

async fn critical_extensions(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for crit in [json!(["exp"]), json!([]), json!(["b64"])] {
        attacker.fails_with(&attacker.with_header(|header| header["crit"] = crit)).await;
    }
    attacker.fails_with(&attacker.with_header(|header| header["b64"] = json!(false))).await;
}

async fn duplicate_members(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let (kid, payload) = (&attacker.kid, claims(&attacker.token).to_string());
    for header in [
        format!(r#"{{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"x","kid":"{kid}"}}"#),
    ] {
        attacker.fails_with(&attacker.signed(&header, &payload)).await;
    }
    for extra in [r#""sub":"0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10""#, r#""exp":9999999999"#, r#""tid":"default""#] {
        let doubled = format!("{{{extra},{}", &payload[1..]);
        attacker.fails_with(&attacker.signed(&attacker.header().to_string(), &doubled)).await;
    }
}

async fn another_type_of_token(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for typ in ["JWT", "logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        attacker.fails_with(&attacker.with_header(|header| header["typ"] = json!(typ))).await;
    }
}

async fn claims_that_are_missing_or_of_another_type(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti", "sid", "tid"] {
        attacker.fails_with(&attacker.with_claims(|said| drop(said.as_object_mut().unwrap().remove(name)))).await;
        attacker.fails_with(&attacker.with_claims(|said| said[name] = json!(null))).await;
    }
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(1)),
        ("nbf", json!(9_999_999_999_u64)),
        ("iat", json!(9_999_999_999_u64)),
        ("iss", json!("https://evil.example/t/default")),
        ("tid", json!("other")),
        ("aud", json!([])),
    ] {
        attacker.fails_with(&attacker.with_claims(|said| said[name] = value)).await;
    }
}

async fn a_flood_of_unknown_kids_asks_storage_once_a_second(gateway: Gateway) {
    let attacker = Attacker::of(&gateway).await;
    let unknown = |n: usize| attacker.with_header(|header| header["kid"] = json!(format!("unknown-{n}")));
    attacker.door.get("/forward-auth").bearer(&unknown(0)).await.refused(401, "invalid_token");

    gateway.break_storage().await;
    // Whoever asks storage now is told 500 or 503; within that second nobody does.
    let asked = futures_util::future::join_all((1..40).map(|n| {
        let token = unknown(n);
        async move { attacker.door.get("/forward-auth").bearer(&token).await.status.as_u16() }
    }));
    let answers = asked.await;

    let failed = answers.iter().filter(|status| **status != 401).count();
    assert!(failed <= 2, "{answers:?}");
}
