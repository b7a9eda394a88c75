//! Cryptography, all of it, over one back end: aws-lc (through `aws-lc-rs`), and RustCrypto's
//! argon2. No I/O, no async, no clock; the same key and the same random bytes give the same
//! answer, but for new signing keys and ECDSA signatures, whose randomness aws-lc draws itself.
//!
//! | purpose | primitive | where |
//! | --- | --- | --- |
//! | passwords | argon2id, 19 MiB × 2 (memory-hard: a stolen table is dear to guess) | [`password_hash`] |
//! | codes, links, registration tokens | HMAC-SHA256, remade at comparison, never stored | [`digest`] |
//! | names for contacts, grants, user agents | HMAC-SHA256 (small dictionaries need a key) | [`digest`] |
//! | refresh and device tokens | 256 random bits, stored as plain SHA-256 (no dictionary) | [`digest`] |
//! | secrets at rest | AES-256-GCM, owner as associated data | [`seal`] |
//! | sub-keys of the master key | HKDF-SHA256, one label per purpose | [`digest`] |
//! | access tokens | ES256: gateways verify with public keys alone | [`keyset`], [`jwt`] |
//! | TLS | rustls on aws-lc, installed by [`self_test`] | — |

pub mod digest;
pub mod jwt;
pub mod keyset;
pub mod password_hash;
pub mod seal;

#[cfg(test)]
mod wycheproof_tests;

use std::panic;

use aws_lc_rs::hmac;
use jsonwebtoken::crypto;

use crate::domain::ids::TenantId;
use crate::entropy::Entropy;
use crate::secret::ExposeSecret;

/// Which primitive does not work here. Nothing may be served then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// RFC 4231.
    #[error("HMAC-SHA256 gives a wrong answer")]
    Hmac,
    /// RFC 9106.
    #[error("argon2id gives a wrong answer")]
    Argon2,
    /// What was sealed does not open, or opens for somebody else.
    #[error("sealing secrets does not work")]
    Seal,
    /// A token does not verify, or a changed one does; also when the JWT library was built with
    /// no back end or with two, which it answers with a panic.
    #[error("signing tokens does not work")]
    Tokens,
}

/// Installs the TLS back end and tries every primitive once. Run at start-up, before anything is
/// served: a wrong build must fail here, not at the first log-in.
///
/// # Errors
/// [`SelfTestError`] names the first primitive that fails.
pub fn self_test() -> Result<(), SelfTestError> {
    // Refused if one is installed already: no other than aws-lc is compiled in.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    check(hmac_known_answer_holds(), SelfTestError::Hmac)?;
    check(password_hash::known_answer_holds(), SelfTestError::Argon2)?;
    check(sealing_works(), SelfTestError::Seal)?;
    check(panic::catch_unwind(signing_works).unwrap_or(false), SelfTestError::Tokens)
}

fn check(holds: bool, error: SelfTestError) -> Result<(), SelfTestError> {
    if holds { Ok(()) } else { Err(error) }
}

/// RFC 4231 §4.3, test case 2.
fn hmac_known_answer_holds() -> bool {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"Jefe"), b"what do ya want for nothing?");
    tag.as_ref()
        == [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00,
            0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43,
        ]
}

fn sealing_works() -> bool {
    let entropy = Entropy::system();
    let sealer = seal::Sealer::new(&digest::MasterKey::generate(&entropy));
    let context = |byte| seal::SealContext { tenant: TenantId::random([byte; 16]), kind: "self_test", name: "" };
    sealer.seal(b"self-test", &context(1), &entropy).is_ok_and(|blob| {
        sealer.open(&blob, &context(1)).is_ok_and(|plain| plain.expose_secret() == b"self-test")
            && sealer.open(&blob, &context(2)).is_err()
    })
}

fn signing_works() -> bool {
    let works = || {
        let algorithm = keyset::Algorithm::Es256;
        let generated = keyset::generate(algorithm).ok()?;
        let key = keyset::SigningKey::from_pkcs8(algorithm, generated.secret.expose_secret()).ok()?;
        let keys = keyset::VerifyingKeys::new([&generated.public]).ok()?;
        let signature = crypto::sign(b"self-test", key.secret(), keyset::jose(algorithm)).ok()?;
        let verifies = |message: &[u8]| {
            let key = &keys.find(key.kid())?.key;
            crypto::verify(&signature, message, key, keyset::jose(algorithm)).ok()
        };
        Some(verifies(b"self-test")? && !verifies(b"self-tess")?)
    };
    works().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_test_passes_and_may_be_repeated() {
        assert_eq!(self_test(), Ok(()));
        assert_eq!(self_test(), Ok(()));
    }
}
