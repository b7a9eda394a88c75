//! Access tokens: signed by a tenant's key, believed only where everything fits.
//!
//! The profile is RFC 9068 (`typ: at+jwt`); the checks are those of RFC 8725. Verification reads
//! from the outside in, and stops at the first thing that is not as we would have written it:
//!
//! ```text
//!  text ─► three parts ─► header: alg, typ, kid and nothing else ─► kid among the tenant's keys
//!       ─► alg is the key's ─► signature ─► typ ─► claims, each once ─► iss, tid ─► times
//! ```
//!
//! A header of ours has three members, so `jwk`, `jku`, `x5u`, `x5c` and `crit` need no rule of
//! their own: whatever else stands there refuses the token.
//!
//! ECDSA signatures are malleable: from (r, s) anybody makes the equally valid (r, n−s), so one
//! token has two spellings. Never tell tokens apart by their text or its hash: revocation goes by
//! `sid` and `sub`, and a cache keyed by the text must judge those on every hit.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::keyset::{SigningKey, VerifyingKeys, jose};
use crate::domain::ids::{AccountId, SessionId};
use crate::domain::signing_key::LEEWAY;
use crate::domain::time::Timestamp;
use crate::secret::SecretString;

/// The `typ` of an access token (RFC 9068 §2.1). No other token of ours is a JWT.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// No token of ours comes near this; a longer text is not worth decoding.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What an access token says (RFC 9068 §2.2). No name, address or number: a payload is readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    /// Issuer: `{platform url}/t/{slug}`.
    pub iss: String,
    /// The account.
    pub sub: AccountId,
    /// Who may accept it.
    pub aud: Audience,
    /// The app it was given to.
    pub client_id: String,
    /// Given at.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// Good until.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// This token's own id.
    pub jti: String,
    /// The session it belongs to; revocation goes by it.
    pub sid: SessionId,
    /// The tenant's slug.
    pub tid: String,
    /// How the person proved who they are (RFC 8176).
    pub amr: Vec<String>,
    /// How far that goes; tokens of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// When they did.
    #[serde(with = "numeric_date")]
    pub auth_time: Timestamp,
    /// Space-separated scopes, if any were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The account was made through a test identity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
}

impl AccessTokenClaims {
    /// Whether its time is over, on any clock that differs by no more than it may.
    #[must_use]
    pub fn has_run_out(&self, now: Timestamp) -> bool {
        now >= self.exp + LEEWAY
    }
}

/// One audience or several, never none: a string when it is one, as most clients expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OneOrMany", into = "OneOrMany")]
pub struct Audience(Vec<String>);

impl Audience {
    /// The single audience `name`.
    pub fn one(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    /// Whether `name` is among them, to the letter.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|audience| audience == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<OneOrMany> for Audience {
    type Error = &'static str;

    fn try_from(names: OneOrMany) -> Result<Self, Self::Error> {
        match names {
            OneOrMany::One(name) => Ok(Self(vec![name])),
            OneOrMany::Many(names) if names.is_empty() => Err("no audience"),
            OneOrMany::Many(names) => Ok(Self(names)),
        }
    }
}

impl From<Audience> for OneOrMany {
    fn from(Audience(mut names): Audience) -> Self {
        match names.pop() {
            Some(name) if names.is_empty() => Self::One(name),
            last => {
                names.extend(last);
                Self::Many(names)
            }
        }
    }
}

/// RFC 7519 `NumericDate`, whole seconds only: fractions, strings and nulls are refused.
mod numeric_date {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::time::Timestamp;

    pub(super) fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds.saturating_mul(1_000))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives fields by reference")]
    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(moment.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(from_seconds)
    }
}

/// Who must have issued a token for it to be good here, and when it is.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The tenant's issuer.
    pub issuer: &'a str,
    /// The tenant's slug.
    pub tenant: &'a str,
    /// The current moment.
    pub now: Timestamp,
}

/// Which check refused a token. For logs and metrics only: outside, all of these are one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not three parts of canonical base64url, or too long.
    #[error("not a token in compact serialisation")]
    Malformed,
    /// Not a JSON object with `alg`, `kid` and at most `typ`, each once.
    #[error("unexpected header")]
    Header,
    /// Signed by no key of this tenant.
    #[error("unknown key")]
    UnknownKey,
    /// Another algorithm than the key's.
    #[error("algorithm is not the key's")]
    Algorithm,
    /// The signature does not fit.
    #[error("bad signature")]
    Signature,
    /// Not an access token.
    #[error("not an access token")]
    Type,
    /// A claim is missing, repeated, null or of the wrong type.
    #[error("unexpected claims")]
    Claims,
    /// Issued by somebody else.
    #[error("wrong issuer")]
    Issuer,
    /// Issued for another tenant.
    #[error("wrong tenant")]
    Tenant,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not valid yet")]
    NotYetValid,
}

/// The key would not sign: a broken key row, or a broken library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SignFailed;

/// Signs an access token.
///
/// # Errors
/// [`SignFailed`].
pub fn sign(key: &SigningKey, claims: &AccessTokenClaims) -> Result<SecretString, SignFailed> {
    let mut header = jsonwebtoken::Header::new(jose(key.algorithm()));
    header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
    header.kid = Some(key.kid().to_owned());
    jsonwebtoken::encode(&header, claims, key.secret()).map(Into::into).map_err(|_| SignFailed)
}

/// Believes a token, or says which check refused it. Audience, session and account state are the
/// caller's to judge.
///
/// # Errors
/// [`TokenRefused`].
pub fn verify(token: &str, keys: &VerifyingKeys, expect: &Expect<'_>) -> Result<AccessTokenClaims, TokenRefused> {
    let jws = verify_jws(token, keys)?;
    if jws.typ.as_deref() != Some(ACCESS_TOKEN_TYPE) {
        return Err(TokenRefused::Type);
    }
    let members = unique_members(&jws.payload).ok_or(TokenRefused::Claims)?;
    let not_before = match members.get("nbf") {
        None => None,
        Some(nbf) => Some(numeric_date::from_seconds(nbf.as_i64().ok_or(TokenRefused::Claims)?)),
    };
    let claims = AccessTokenClaims::deserialize(Value::Object(members)).map_err(|_| TokenRefused::Claims)?;

    if claims.iss != expect.issuer {
        return Err(TokenRefused::Issuer);
    }
    if claims.tid != expect.tenant {
        return Err(TokenRefused::Tenant);
    }
    if claims.has_run_out(expect.now) {
        return Err(TokenRefused::Expired);
    }
    if claims.iat.max(not_before.unwrap_or(claims.iat)) > expect.now + LEEWAY {
        return Err(TokenRefused::NotYetValid);
    }
    Ok(claims)
}

/// A signed text whose signature fits, whatever it says.
#[derive(Debug)]
pub(super) struct Jws {
    pub(super) typ: Option<String>,
    pub(super) payload: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
}

/// The JWS layer alone (RFC 7515, compact serialisation), so that vectors of others can prove it.
pub(super) fn verify_jws(token: &str, keys: &VerifyingKeys) -> Result<Jws, TokenRefused> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenRefused::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenRefused::Malformed)?;
    // A fourth part would leave a dot in the payload, which is no base64url.
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenRefused::Malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenRefused::Malformed)?;
    let header = unique_members(&header).ok_or(TokenRefused::Header)?;
    let header = Header::deserialize(Value::Object(header)).map_err(|_| TokenRefused::Header)?;

    let key = keys.find(&header.kid).ok_or(TokenRefused::UnknownKey)?;
    if header.alg != key.algorithm.as_str() {
        return Err(TokenRefused::Algorithm);
    }
    match crypto::verify(signature, message.as_bytes(), &key.key, jose(key.algorithm)) {
        Ok(true) => Ok(Jws { typ: header.typ, payload }),
        _ => Err(TokenRefused::Signature),
    }
}

/// The members of a JSON object in which each stands once and none is null. Parsers differ on
/// which of two namesakes counts (RFC 8259 §4), and a null must not pass for an absent member.
fn unique_members(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<UniqueMembers>(json).ok().map(|UniqueMembers(members)| members)
}

struct UniqueMembers(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMembersVisitor)
    }
}

struct UniqueMembersVisitor;

impl<'de> Visitor<'de> for UniqueMembersVisitor {
    type Value = UniqueMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with no member twice and none null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if value.is_null() || members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member is repeated or null"));
            }
        }
        Ok(UniqueMembers(members))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use aws_lc_rs::hmac;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::crypto::keyset::{Algorithm, generate};
    use crate::secret::ExposeSecret;

    const ISSUER: &str = "https://auth.example.com/t/acme";
    const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);

    static KEY: LazyLock<SigningKey> = LazyLock::new(new_key);

    fn new_key() -> SigningKey {
        let generated = generate(Algorithm::Es256).unwrap();
        SigningKey::from_pkcs8(Algorithm::Es256, generated.secret.expose_secret()).unwrap()
    }

    fn keys() -> VerifyingKeys {
        VerifyingKeys::new(KEY.public()).unwrap()
    }

    fn claims() -> AccessTokenClaims {
        AccessTokenClaims {
            iss: ISSUER.to_owned(),
            sub: AccountId::random([1; 16]),
            aud: Audience::one("https://api.acme.example"),
            client_id: "acme-mobile".to_owned(),
            iat: NOW,
            exp: NOW + Duration::from_mins(10),
            jti: "01JD".to_owned(),
            sid: SessionId::random([2; 16]),
            tid: "acme".to_owned(),
            amr: vec!["pwd".to_owned()],
            acr: Some("urn:guichet:aal1".to_owned()),
            auth_time: NOW,
            scope: None,
            test: false,
        }
    }

    fn token() -> String {
        sign(&KEY, &claims()).unwrap().expose_secret().to_owned()
    }

    fn verify_at(token: &str, now: Timestamp) -> Result<AccessTokenClaims, TokenRefused> {
        verify(token, &keys(), &Expect { issuer: ISSUER, tenant: "acme", now })
    }

    fn refusal(token: &str) -> TokenRefused {
        verify_at(token, NOW).expect_err("the token is taken")
    }

    fn header() -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid()})
    }

    /// Properly signed, whatever it says.
    fn signed(header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = crypto::sign(message.as_bytes(), KEY.secret(), jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    fn with_header(change: impl FnOnce(&mut Value)) -> String {
        let mut header = header();
        change(&mut header);
        signed(&header.to_string(), &serde_json::to_string(&claims()).unwrap())
    }

    fn with_payload(change: impl FnOnce(&mut Value)) -> String {
        let mut payload = serde_json::to_value(claims()).unwrap();
        change(&mut payload);
        signed(&header().to_string(), &payload.to_string())
    }

    fn part(token: &str, n: usize) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_token_of_ours_is_believed() {
        assert_eq!(verify_at(&token(), NOW), Ok(claims()));
        let marked = AccessTokenClaims { test: true, scope: Some("profile".to_owned()), ..claims() };
        let token = sign(&KEY, &marked).unwrap();
        assert_eq!(verify_at(token.expose_secret(), NOW), Ok(marked));
    }

    #[test]
    fn every_algorithm_signs_what_it_verifies_and_nothing_of_another() {
        let secret = crate::crypto::keyset::generate_secret(&crate::entropy::Entropy::system());
        let symmetric = SigningKey::symmetric("h", secret.expose_secret()).unwrap();
        let keys = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256].map(|algorithm| {
            SigningKey::from_pkcs8(algorithm, generate(algorithm).unwrap().secret.expose_secret()).unwrap()
        });
        let verifying = VerifyingKeys::new(keys.iter().filter_map(SigningKey::public)).unwrap();
        let verifying = verifying.with_secret("h", secret.expose_secret()).unwrap();
        let expect = Expect { issuer: ISSUER, tenant: "acme", now: NOW };
        let tokens: Vec<_> = keys.iter().chain([&symmetric]).map(|key| sign(key, &claims()).unwrap()).collect();

        for token in &tokens {
            assert_eq!(verify(token.expose_secret(), &verifying, &expect), Ok(claims()));
        }
        for (one, other) in tokens.iter().flat_map(|one| tokens.iter().map(move |other| (one, other))) {
            let (message, _) = one.expose_secret().rsplit_once('.').unwrap();
            let (_, signature) = other.expose_secret().rsplit_once('.').unwrap();
            let mixed = verify(&format!("{message}.{signature}"), &verifying, &expect);
            let same = one.expose_secret() == other.expose_secret();
            assert_eq!(mixed.is_ok(), same);
        }
    }

    #[test]
    fn the_token_on_the_wire_is_that_of_rfc_9068() {
        let token = token();

        assert_eq!(part(&token, 0), header());
        assert_eq!(
            part(&token, 1),
            json!({
                "iss": ISSUER, "sub": claims().sub.to_string(), "aud": "https://api.acme.example",
                "client_id": "acme-mobile", "iat": 1_795_341_600, "exp": 1_795_342_200, "jti": "01JD",
                "sid": claims().sid.to_string(), "tid": "acme", "amr": ["pwd"], "acr": "urn:guichet:aal1",
                "auth_time": 1_795_341_600,
            })
        );
    }

    #[test]
    fn alg_none_in_every_spelling_is_refused() {
        for alg in ["none", "None", "NONE", "nOnE", "", " none", "none\u{0}"] {
            let unsigned = with_header(|header| header["alg"] = json!(alg));
            assert_eq!(refusal(&unsigned), TokenRefused::Algorithm, "{alg:?}");
            let (message, _) = unsigned.rsplit_once('.').unwrap();
            assert_eq!(refusal(&format!("{message}.")), TokenRefused::Algorithm, "{alg:?}");
            assert_eq!(refusal(message), TokenRefused::Malformed, "{alg:?}");
        }
        let (message, _) = token().rsplit_once('.').map(|(m, s)| (m.to_owned(), s.to_owned())).unwrap();
        assert_eq!(refusal(&format!("{message}.")), TokenRefused::Signature);
    }

    #[test]
    fn hs256_signed_with_the_public_key_is_refused() {
        let public = serde_json::to_value(KEY.public()).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(public[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        for alg in ["HS256", "ES256"] {
            for secret in [point.clone(), public.to_string().into_bytes(), KEY.kid().as_bytes().to_vec()] {
                let header = json!({"alg": alg, "typ": "at+jwt", "kid": KEY.kid()}).to_string();
                let payload = serde_json::to_string(&claims()).unwrap();
                let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
                let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
                assert!(matches!(refusal(&forged), TokenRefused::Algorithm | TokenRefused::Signature));
            }
        }
    }

    #[test]
    fn every_other_algorithm_is_refused_for_the_key() {
        for alg in ["ES384", "ES512", "RS256", "PS256", "EdDSA", "HS512", "es256", "ES256 "] {
            assert_eq!(refusal(&with_header(|header| header["alg"] = json!(alg))), TokenRefused::Algorithm, "{alg}");
        }
        for alg in [json!(null), json!(1), json!(["ES256"])] {
            assert_eq!(refusal(&with_header(|header| header["alg"] = alg)), TokenRefused::Header);
        }
    }

    #[test]
    fn an_embedded_jwk_is_ignored() {
        // Signed by the attacker's key, which the header brings along.
        let attacker = new_key();
        let message = |kid: &str| {
            let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid, "jwk": attacker.public()}).to_string();
            let payload = serde_json::to_string(&claims()).unwrap();
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
        };
        for kid in [KEY.kid(), attacker.kid()] {
            let message = message(kid);
            let signature = crypto::sign(message.as_bytes(), attacker.secret(), jsonwebtoken::Algorithm::ES256);
            assert_eq!(refusal(&format!("{message}.{}", signature.unwrap())), TokenRefused::Header);
        }
    }

    #[test]
    fn key_locations_critical_and_unknown_header_members_are_refused() {
        for (name, value) in [
            ("jku", json!("http://127.0.0.1/jwks")),
            ("x5u", json!("http://127.0.0.1/x5u")),
            ("x5c", json!(["MIIB"])),
            ("x5t", json!("AAAA")),
            ("crit", json!([])),
            ("crit", json!(["exp"])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("cty", json!("JWT")),
        ] {
            assert_eq!(refusal(&with_header(|header| header[name] = value)), TokenRefused::Header, "{name}");
        }
    }

    #[test]
    fn an_unknown_kid_is_refused_whatever_it_holds() {
        let long = "x".repeat(10_000);
        for kid in ["", "../../etc/passwd", "' OR 1=1 --", "/dev/null", "\u{0}"] {
            assert_eq!(refusal(&with_header(|header| header["kid"] = json!(kid))), TokenRefused::UnknownKey);
        }
        assert_eq!(refusal(&with_header(|header| header["kid"] = json!(long))), TokenRefused::Malformed);
        assert_eq!(refusal(&with_header(|header| header["kid"] = json!(7))), TokenRefused::Header);
        let missing = with_header(|header| drop(header.as_object_mut().unwrap().remove("kid")));
        assert_eq!(refusal(&missing), TokenRefused::Header);
        assert_eq!(
            verify(&token(), &VerifyingKeys::default(), &Expect { issuer: ISSUER, tenant: "acme", now: NOW }),
            Err(TokenRefused::UnknownKey)
        );
    }

    #[test]
    fn another_tenants_key_signs_nothing_here() {
        let other = new_key();
        let forged = sign(&other, &claims()).unwrap();

        assert_eq!(refusal(forged.expose_secret()), TokenRefused::UnknownKey);
    }

    #[test]
    fn another_type_of_token_is_refused() {
        for typ in ["JWT", "jwt", "at+JWT", "application/at+jwt", "logout+jwt", "dpop+jwt", ""] {
            assert_eq!(refusal(&with_header(|header| header["typ"] = json!(typ))), TokenRefused::Type, "{typ}");
        }
        let missing = with_header(|header| drop(header.as_object_mut().unwrap().remove("typ")));
        assert_eq!(refusal(&missing), TokenRefused::Type);
        assert_eq!(refusal(&with_header(|header| header["typ"] = json!(null))), TokenRefused::Header);
    }

    #[test]
    fn duplicate_members_are_refused() {
        let payload = serde_json::to_string(&claims()).unwrap();
        let kid = KEY.kid();
        for header in [
            format!(r#"{{"alg":"ES256","alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}","alg":"ES256"}}"#),
            format!(r#"{{"alg":"ES256","\u0061lg":"none","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}","kid":"{kid}"}}"#),
        ] {
            assert_eq!(refusal(&signed(&header, &payload)), TokenRefused::Header, "{header}");
        }
        for extra in [r#""sub":"x""#, r#""exp":9999999999"#, r#""tid":"acme""#, r#""other":1,"other":2"#] {
            let doubled = format!("{{{extra},{}", &payload[1..]);
            assert_eq!(refusal(&signed(&header().to_string(), &doubled)), TokenRefused::Claims, "{extra}");
        }
    }

    #[test]
    fn header_and_payload_are_objects_and_nothing_follows_them() {
        let (good_header, good) = (header().to_string(), serde_json::to_string(&claims()).unwrap());
        let array = format!(r#"["ES256","{}","at+jwt"]"#, KEY.kid());
        for header in [array, String::new(), "null".to_owned(), "{}".to_owned(), format!("{good_header}x")] {
            assert_eq!(refusal(&signed(&header, &good)), TokenRefused::Header, "{header}");
        }
        for payload in ["", "null", "[]", "{}", "7", &format!("{good}{{}}"), "{\"iss\":\"\u{0}"] {
            assert_eq!(refusal(&signed(&good_header, payload)), TokenRefused::Claims, "{payload}");
        }
    }

    #[test]
    fn every_required_claim_is_required_and_never_null() {
        for name in ["iss", "sub", "aud", "client_id", "iat", "exp", "jti", "sid", "tid", "amr", "auth_time"] {
            let missing = with_payload(|payload| drop(payload.as_object_mut().unwrap().remove(name)));
            assert_eq!(refusal(&missing), TokenRefused::Claims, "{name} missing");
            assert_eq!(refusal(&with_payload(|p| p[name] = json!(null))), TokenRefused::Claims, "{name} null");
            assert_eq!(refusal(&with_payload(|p| p[name] = json!({}))), TokenRefused::Claims, "{name} object");
        }
        for name in ["nbf", "acr", "scope", "test"] {
            assert_eq!(refusal(&with_payload(|p| p[name] = json!(null))), TokenRefused::Claims, "{name} null");
        }
    }

    #[test]
    fn a_time_is_a_whole_number() {
        for name in ["exp", "iat", "nbf", "auth_time"] {
            for value in [
                json!("1795342200"),
                json!(1_795_341_600.5),
                json!(1_795_341_600.0),
                json!([1]),
                json!(true),
                json!(u64::MAX),
            ] {
                let token = with_payload(|payload| payload[name] = value.clone());
                assert_eq!(refusal(&token), TokenRefused::Claims, "{name}: {value}");
            }
        }
        let huge = format!("{},\"nbf\":1e9}}", serde_json::to_string(&claims()).unwrap().trim_end_matches('}'));
        assert_eq!(refusal(&signed(&header().to_string(), &huge)), TokenRefused::Claims);
        assert_eq!(refusal(&with_payload(|payload| payload["exp"] = json!(-1))), TokenRefused::Expired);
        assert_eq!(refusal(&with_payload(|payload| payload["exp"] = json!(i64::MIN))), TokenRefused::Expired);
        assert!(verify_at(&with_payload(|payload| payload["exp"] = json!(i64::MAX)), NOW).is_ok());
    }

    #[test]
    fn a_token_lives_from_iat_to_exp_with_thirty_seconds_grace() {
        let (iat, exp, millisecond) = (claims().iat, claims().exp, Duration::from_millis(1));

        assert!(verify_at(&token(), exp + LEEWAY - millisecond).is_ok());
        assert_eq!(verify_at(&token(), exp + LEEWAY), Err(TokenRefused::Expired));
        assert!(verify_at(&token(), iat - LEEWAY).is_ok());
        assert_eq!(verify_at(&token(), iat - LEEWAY - millisecond), Err(TokenRefused::NotYetValid));
        let later = with_payload(|payload| payload["nbf"] = json!(NOW.as_secs() + 31));
        assert_eq!(refusal(&later), TokenRefused::NotYetValid);
        assert!(verify_at(&with_payload(|payload| payload["nbf"] = json!(NOW.as_secs() + 30)), NOW).is_ok());
    }

    #[test]
    fn a_token_is_good_only_at_its_issuer_and_tenant() {
        let verify = |issuer, tenant| verify(&token(), &keys(), &Expect { issuer, tenant, now: NOW });

        assert_eq!(verify("https://auth.example.com/t/other", "acme"), Err(TokenRefused::Issuer));
        assert_eq!(verify("https://auth.example.com/t/acme/", "acme"), Err(TokenRefused::Issuer));
        assert_eq!(verify(ISSUER, "other"), Err(TokenRefused::Tenant));
        assert_eq!(verify(ISSUER, "Acme"), Err(TokenRefused::Tenant));
    }

    #[test]
    fn an_audience_is_read_as_string_or_list_and_never_empty() {
        let listed = with_payload(|payload| payload["aud"] = json!(["a", "b"]));
        let audience = verify_at(&listed, NOW).unwrap().aud;

        assert!(audience.contains("a") && audience.contains("b") && !audience.contains("A"));
        assert_eq!(serde_json::to_value(&audience).unwrap(), json!(["a", "b"]));
        assert_eq!(serde_json::to_value(Audience::one("a")).unwrap(), json!("a"));
        assert_eq!(refusal(&with_payload(|payload| payload["aud"] = json!([]))), TokenRefused::Claims);
        assert_eq!(refusal(&with_payload(|payload| payload["aud"] = json!(["a", 1]))), TokenRefused::Claims);
    }

    #[test]
    fn json_serialisation_and_stray_parts_are_refused() {
        let token = token();
        let parts: Vec<_> = token.split('.').collect();
        let flattened = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
        for text in [
            flattened,
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{}", parts[2]),
            format!(" {token}"),
            format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
            format!("Bearer {token}"),
        ] {
            assert!(verify_at(&text, NOW).is_err(), "{text} is taken");
        }
        for text in [format!("{token} "), format!("{token}="), format!("{token}\n")] {
            assert_eq!(refusal(&text), TokenRefused::Signature);
        }
    }

    #[test]
    fn a_malleated_signature_verifies_and_names_the_same_session() {
        // (r, n−s): valid ECDSA, another text. This is why revocation never goes by the text.
        const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let token = token();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut borrow = 0;
        for at in (0..32).rev() {
            let n = i16::from(u8::from_str_radix(&N[at * 2..at * 2 + 2], 16).unwrap());
            let difference = n - i16::from(signature[32 + at]) - borrow;
            borrow = i16::from(difference < 0);
            signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));

        assert_ne!(twin, token);
        assert_eq!(verify_at(&twin, NOW).map(|claims| claims.sid), Ok(claims().sid));
    }

    #[test]
    fn unknown_claims_of_a_newer_node_are_no_obstacle() {
        assert_eq!(
            verify_at(&with_payload(|payload| payload["claim_of_tomorrow"] = json!("urn:x")), NOW),
            Ok(claims())
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
            prop_assert!(verify_at(&text, NOW).is_err());
        }

        #[test]
        fn arbitrary_parts_are_refused_without_a_panic(
            header in proptest::collection::vec(any::<u8>(), 0..60),
            payload in proptest::collection::vec(any::<u8>(), 0..60),
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let encode = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
            let text = format!("{}.{}.{}", encode(header), encode(payload), encode(signature));
            prop_assert!(verify_at(&text, NOW).is_err());
        }

        #[test]
        fn a_signed_arbitrary_payload_is_refused_without_a_panic(payload in "\\PC{0,200}") {
            prop_assert!(verify_at(&signed(&header().to_string(), &payload), NOW).is_err());
        }

        #[test]
        fn a_token_with_one_bit_changed_is_refused(at in any::<prop::sample::Index>(), bit in 0..7_u8) {
            let mut bytes = token().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(verify_at(&changed, NOW).is_err());
        }
    }
}
