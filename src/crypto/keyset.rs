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

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey};
use jsonwebtoken::jwk::{self, AlgorithmParameters, EllipticCurve, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use crate::secret::SecretSlice;

/// How a key signs (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256: small, quick, and every client library has it.
    #[serde(rename = "ES256")]
    Es256,
}

impl Algorithm {
    /// The `alg` value, exactly as it must be spelt.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
        }
    }

    pub(super) const fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
        }
    }

    const fn from_jwk(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::ES256 => Some(Self::Es256),
            _ => None,
        }
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
        key.common.key_algorithm = Some(algorithm.jose().into());
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
        let algorithm = key.common.key_algorithm.and_then(Algorithm::from_jwk).filter(|_| for_signing);
        let algorithm = algorithm.ok_or(InvalidKey::Unsupported)?;
        let fits = match (&key.algorithm, algorithm) {
            (AlgorithmParameters::EllipticCurve(ec), Algorithm::Es256) => ec.curve == EllipticCurve::P256,
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
                key_algorithm: Some(key.algorithm.jose().into()),
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

/// Makes a key from the operating system's generator: aws-lc takes no other, in tests either.
///
/// # Errors
/// [`InvalidKey::NotGenerated`].
pub fn generate(algorithm: Algorithm) -> Result<GeneratedKey, InvalidKey> {
    let document = match algorithm {
        Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map_err(|_| InvalidKey::NotGenerated)?,
    };
    let public = SigningKey::from_pkcs8(algorithm, document.as_ref())?.public;
    Ok(GeneratedKey { secret: document.as_ref().to_vec().into(), public })
}

/// A private key, ready to sign. Wiped on drop.
pub struct SigningKey {
    public: Jwk,
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
        };
        let public = jwk::Jwk::from_encoding_key(&secret, algorithm.jose()).map_err(|_| InvalidKey::Malformed)?;
        Ok(Self { public: Jwk::new(algorithm, public)?, secret })
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// How this key signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The public half, for the JWKS.
    #[must_use]
    pub const fn public(&self) -> &Jwk {
        &self.public
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
        let bytes = key.try_get_as_bytes().map_err(|_| InvalidKey::Malformed)?;
        // A point off the curve would only fail later, once per token.
        match public.algorithm {
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes),
        }
        .map_err(|_| InvalidKey::Malformed)?;
        Ok(Self { algorithm: public.algorithm, key })
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
    use crate::secret::ExposeSecret;

    fn public() -> Value {
        serde_json::to_value(generate(Algorithm::Es256).unwrap().public).unwrap()
    }

    #[test]
    fn a_generated_key_comes_back_as_itself() {
        let generated = generate(Algorithm::Es256).unwrap();

        let key = SigningKey::from_pkcs8(Algorithm::Es256, generated.secret.expose_secret()).unwrap();

        assert_eq!(*key.public(), generated.public);
        assert_ne!(key.kid(), generate(Algorithm::Es256).unwrap().public.kid());
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
