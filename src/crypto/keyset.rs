//! Signing keys of a tenant, their public faces, and the set that verifies its tokens.
//!
//! ```text
//!  generate ─► PKCS#8 (sealed by `seal`, kept in storage) ─► SigningKey  ─► jwt::sign
//!          └─► Jwk (JWKS, storage)                        ─► VerifyingKeys ─► jwt::verify
//! ```
//!
//! The key record fixes the algorithm: nothing a token says about itself chooses how it is
//! verified (RFC 8725 §3.1). A key's id is the thumbprint of its public half (RFC 7638), so two
//! keys never share one.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{self, AlgorithmParameters, EllipticCurve, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, EncodingKey};
use serde::{Deserialize, Serialize};

pub use crate::domain::signing_key::Algorithm;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretSlice};

/// The shortest RSA modulus we sign or verify with: 128 bits of strength (ASVS 11.2.3).
const RSA_MIN_BYTES: usize = 3072 / 8;

/// The name of an algorithm in the JOSE library.
pub(super) const fn jose(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
    }
}

/// The algorithm that a public key names; a symmetric one is none.
const fn of_jwk(algorithm: KeyAlgorithm) -> Option<Algorithm> {
    match algorithm {
        KeyAlgorithm::ES256 => Some(Algorithm::Es256),
        KeyAlgorithm::EdDSA => Some(Algorithm::EdDsa),
        KeyAlgorithm::RS256 => Some(Algorithm::Rs256),
        _ => None,
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a key, or its parts do not fit together: the row is corrupt.
    #[error("not a valid key")]
    Malformed,
    /// A kind, curve, use or algorithm that we do not sign with.
    #[error("not a signing key of a supported algorithm")]
    Unsupported,
    /// Two keys of one set share an id, so the id names neither.
    #[error("two keys share one key id")]
    DuplicateKeyId,
    /// The generator failed.
    #[error("no key could be generated")]
    NotGenerated,
}

/// The public half of a key, as it stands in a JWKS (RFC 7517). No private member can be in it:
/// reading drops what it does not know, and symmetric keys are refused.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "jwk::Jwk", into = "jwk::Jwk")]
pub struct Jwk {
    kid: String,
    algorithm: Algorithm,
    parameters: AlgorithmParameters,
}

impl Jwk {
    fn new(algorithm: Algorithm, mut key: jwk::Jwk) -> Result<Self, InvalidKey> {
        let kid = key.thumbprint(ThumbprintHash::SHA256).map_err(|_| InvalidKey::Malformed)?;
        key.common.key_id = Some(kid);
        key.common.key_algorithm = Some(jose(algorithm).into());
        Self::try_from(key)
    }

    /// The key's id: its RFC 7638 thumbprint, for keys of ours.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How this key signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl TryFrom<jwk::Jwk> for Jwk {
    type Error = InvalidKey;

    fn try_from(key: jwk::Jwk) -> Result<Self, Self::Error> {
        let for_signing = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let algorithm = key.common.key_algorithm.and_then(of_jwk).filter(|_| for_signing);
        let algorithm = algorithm.ok_or(InvalidKey::Unsupported)?;
        let fits = match (&key.algorithm, algorithm) {
            (AlgorithmParameters::EllipticCurve(ec), Algorithm::Es256) => ec.curve == EllipticCurve::P256,
            (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDsa) => pair.curve == EllipticCurve::Ed25519,
            (AlgorithmParameters::RSA(rsa), Algorithm::Rs256) => {
                URL_SAFE_NO_PAD.decode(&rsa.n).is_ok_and(|modulus| modulus.len() >= RSA_MIN_BYTES)
            }
            _ => false,
        };
        if !fits {
            return Err(InvalidKey::Unsupported);
        }
        let kid = key.common.key_id.ok_or(InvalidKey::Malformed)?;
        Ok(Self { kid, algorithm, parameters: key.algorithm })
    }
}

impl From<Jwk> for jwk::Jwk {
    fn from(key: Jwk) -> Self {
        Self {
            common: jwk::CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(jose(key.algorithm).into()),
                key_id: Some(key.kid),
                ..Default::default()
            },
            algorithm: key.parameters,
        }
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwk({} {})", self.algorithm.as_str(), self.kid)
    }
}

/// A new key: seal the secret, publish the rest.
#[derive(Debug)]
pub struct GeneratedKey {
    /// PKCS#8 DER, for [`SigningKey::from_pkcs8`].
    pub secret: SecretSlice<u8>,
    /// The public half.
    pub public: Jwk,
}

/// Makes a key from the operating system's generator: aws-lc takes no other, in tests either. An RSA
/// key takes most of a second.
///
/// # Errors
/// [`InvalidKey::NotGenerated`]; [`InvalidKey::Unsupported`] for a symmetric algorithm, which has no
/// public half: see [`generate_secret`].
pub fn generate(algorithm: Algorithm) -> Result<GeneratedKey, InvalidKey> {
    let not_generated = |_| InvalidKey::NotGenerated;
    let secret: SecretSlice<u8> = match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(not_generated)?;
            pair.to_pkcs8v1().map_err(not_generated)?.as_ref().to_vec().into()
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(not_generated)?;
            pair.to_pkcs8v1().map_err(not_generated)?.as_ref().to_vec().into()
        }
        Algorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(not_generated)?;
            pair.as_der().map_err(not_generated)?.as_ref().to_vec().into()
        }
        Algorithm::Hs256 => return Err(InvalidKey::Unsupported),
    };
    let public = SigningKey::from_pkcs8(algorithm, secret.expose_secret())?.public;
    Ok(GeneratedKey { public: public.ok_or(InvalidKey::Unsupported)?, secret })
}

/// Makes a key for HS256: as many random bytes as the digest has (RFC 7518 §3.2).
#[must_use]
pub fn generate_secret(entropy: &Entropy) -> SecretSlice<u8> {
    entropy.bytes::<32>().to_vec().into()
}

/// The `RSAPrivateKey` (RFC 8017 A.1.2) inside a PKCS#8 document, the form the JOSE library wants.
fn pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    let (whole, _) = der_value(pkcs8, SEQUENCE)?;
    let (_version, rest) = der_value(whole, INTEGER)?;
    let (_algorithm, rest) = der_value(rest, SEQUENCE)?;
    der_value(rest, OCTET_STRING).map(|(key, _)| key)
}

/// The value of a DER element of that tag, and what follows it.
fn der_value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = input.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let big_endian = |length: usize, digit: &u8| length.checked_mul(256)?.checked_add(usize::from(*digit));
        (digits.iter().try_fold(0, big_endian)?, rest)
    };
    rest.split_at_checked(length)
}

/// A private key, ready to sign. Wiped on drop.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    public: Option<Jwk>,
    secret: EncodingKey,
}

impl SigningKey {
    /// Takes a private key back from storage.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is not PKCS#8 of this algorithm.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, InvalidKey> {
        let secret = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_der(der),
            Algorithm::EdDsa => EncodingKey::from_ed_der(der),
            Algorithm::Rs256 => EncodingKey::from_rsa_der(pkcs1(der).ok_or(InvalidKey::Malformed)?),
            Algorithm::Hs256 => return Err(InvalidKey::Unsupported),
        };
        let public = jwk::Jwk::from_encoding_key(&secret, jose(algorithm)).map_err(|_| InvalidKey::Malformed)?;
        let public = Jwk::new(algorithm, public)?;
        Ok(Self { kid: public.kid().to_owned(), algorithm, public: Some(public), secret })
    }

    /// A key for HS256. Its id is of the caller's choosing: a thumbprint would be a digest of the
    /// secret.
    ///
    /// # Errors
    /// [`InvalidKey::Malformed`] if it is shorter than 32 bytes.
    pub fn symmetric(kid: &str, secret: &[u8]) -> Result<Self, InvalidKey> {
        if secret.len() < 32 {
            return Err(InvalidKey::Malformed);
        }
        let secret = EncodingKey::from_secret(secret);
        Ok(Self { kid: kid.to_owned(), algorithm: Algorithm::Hs256, public: None, secret })
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How this key signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, for the JWKS; a symmetric key has none.
    #[must_use]
    pub const fn public(&self) -> Option<&Jwk> {
        self.public.as_ref()
    }

    pub(super) const fn secret(&self) -> &EncodingKey {
        &self.secret
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm().as_str(), self.kid())
    }
}

/// A public key, checked once and ready to verify.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl VerifyingKey {
    fn from_jwk(public: &Jwk) -> Result<Self, InvalidKey> {
        let key = DecodingKey::from_jwk(&public.clone().into()).map_err(|_| InvalidKey::Malformed)?;
        // A point off the curve would only fail later, once per token.
        let usable = match (public.algorithm, key.kind()) {
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(point)) => ParsedPublicKey::new(&ED25519, point).is_ok(),
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).is_ok()
            }
            _ => false,
        };
        if usable { Ok(Self { algorithm: public.algorithm, key }) } else { Err(InvalidKey::Malformed) }
    }
}

/// The keys that may have signed a token of one tenant, by key id: next, active and retiring.
#[derive(Clone, Default)]
pub struct VerifyingKeys(HashMap<String, VerifyingKey>);

impl VerifyingKeys {
    /// Checks and collects the keys of one tenant.
    ///
    /// # Errors
    /// [`InvalidKey`] if any of them cannot verify anything, or two share an id.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a Jwk>) -> Result<Self, InvalidKey> {
        let mut by_kid = HashMap::new();
        for public in keys {
            if by_kid.insert(public.kid.clone(), VerifyingKey::from_jwk(public)?).is_some() {
                return Err(InvalidKey::DuplicateKeyId);
            }
        }
        Ok(Self(by_kid))
    }

    /// Adds the secret of an HS256 key.
    ///
    /// # Errors
    /// [`InvalidKey::DuplicateKeyId`].
    pub fn with_secret(mut self, kid: &str, secret: &[u8]) -> Result<Self, InvalidKey> {
        let key = VerifyingKey { algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) };
        match self.0.insert(kid.to_owned(), key) {
            None => Ok(self),
            Some(_) => Err(InvalidKey::DuplicateKeyId),
        }
    }

    /// Whether a token may be signed by the key of that id.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    pub(super) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.0.get(kid)
    }
}

impl fmt::Debug for VerifyingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn public() -> Value {
        serde_json::to_value(generate(Algorithm::Es256).unwrap().public).unwrap()
    }

    #[test]
    fn a_generated_key_comes_back_as_itself() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            let generated = generate(algorithm).unwrap();

            let key = SigningKey::from_pkcs8(algorithm, generated.secret.expose_secret()).unwrap();

            assert_eq!(key.public(), Some(&generated.public), "{algorithm:?}");
            assert!(VerifyingKeys::new([&generated.public]).unwrap().knows(key.kid()));
            let cut = generated.secret.expose_secret().len() - 1;
            assert!(SigningKey::from_pkcs8(algorithm, &generated.secret.expose_secret()[..cut]).is_err());
        }
        let two = [(); 2].map(|()| generate(Algorithm::Es256).unwrap());
        assert_ne!(two[0].public.kid(), two[1].public.kid());
    }

    #[test]
    fn a_symmetric_key_has_32_bytes_and_no_public_half() {
        let secret = generate_secret(&Entropy::system());

        let key = SigningKey::symmetric("k", secret.expose_secret()).unwrap();

        assert!(key.public().is_none());
        assert_eq!(generate(Algorithm::Hs256).unwrap_err(), InvalidKey::Unsupported);
        assert!(SigningKey::symmetric("k", &[7; 31]).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::Hs256, secret.expose_secret()).is_err());
    }

    #[test]
    fn an_rsa_key_has_3072_bits_or_is_none_of_ours() {
        let public = serde_json::to_value(generate(Algorithm::Rs256).unwrap().public).unwrap();
        let mut members: Vec<_> = public.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!(URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap().len(), RSA_MIN_BYTES);

        let mut short = public;
        short["n"] = json!(URL_SAFE_NO_PAD.encode([0xc1; 256]));
        assert!(serde_json::from_value::<Jwk>(short).is_err());
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        // RFC 7638 §3.1 and RFC 8037 A.3.
        let rsa = json!({"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});

        for (key, thumbprint) in [
            (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            let key: jwk::Jwk = serde_json::from_value(key).unwrap();
            assert_eq!(key.thumbprint(ThumbprintHash::SHA256).unwrap(), thumbprint);
        }
    }

    #[test]
    fn a_published_key_has_exactly_the_members_of_a_public_key() {
        let key = public();

        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(
            (&key["kty"], &key["crv"], &key["use"], &key["alg"]),
            (&json!("EC"), &json!("P-256"), &json!("sig"), &json!("ES256"))
        );
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        assert_eq!(key["kid"], base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest));
    }

    #[test]
    fn private_members_of_a_key_that_is_read_are_dropped() {
        let mut key = public();
        key["d"] = json!("yy49oPcINGK2ps0LmtxpB6UTEOiITghHBif6wDqmJ3c");

        let read: Jwk = serde_json::from_value(key).unwrap();

        assert!(serde_json::to_value(read).unwrap().get("d").is_none());
    }

    #[test]
    fn keys_of_another_kind_use_or_algorithm_are_refused() {
        for (member, value) in [
            ("alg", json!("HS256")),
            ("alg", json!("ES384")),
            ("alg", json!(null)),
            ("use", json!("enc")),
            ("crv", json!("P-384")),
            ("kty", json!("RSA")),
            ("kid", json!(null)),
        ] {
            let mut key = public();
            key[member] = value.clone();
            assert!(serde_json::from_value::<Jwk>(key).is_err(), "{member}: {value} is taken");
        }
        let symmetric = json!({"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "1", "use": "sig"});
        assert!(serde_json::from_value::<Jwk>(symmetric).is_err());
    }

    #[test]
    fn a_point_off_the_curve_and_a_shared_key_id_are_refused() {
        let mut off = public();
        off["y"] = off["x"].clone();
        let off: Jwk = serde_json::from_value(off).unwrap();
        let mut namesake = public();
        let key: Jwk = serde_json::from_value(public()).unwrap();
        namesake["kid"] = json!(key.kid());
        let namesake: Jwk = serde_json::from_value(namesake).unwrap();

        assert_eq!(VerifyingKeys::new([&off]).unwrap_err(), InvalidKey::Malformed);
        assert_eq!(VerifyingKeys::new([&key, &namesake]).unwrap_err(), InvalidKey::DuplicateKeyId);
        assert!(VerifyingKeys::new([&key]).is_ok());
    }

    #[test]
    fn garbage_is_no_private_key_and_no_key_prints_itself() {
        let generated = generate(Algorithm::Es256).unwrap();
        let secret = generated.secret.expose_secret();

        assert!(SigningKey::from_pkcs8(Algorithm::Es256, &[]).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, &secret[..secret.len() - 1]).is_err());
        let key = SigningKey::from_pkcs8(Algorithm::Es256, secret).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey(ES256 {})", key.kid()));
        assert!(format!("{generated:?}").contains("REDACTED"));
    }
}
