//! Secrets at rest: signing keys, provider credentials, the successor of a refresh token.
//!
//! AES-256-GCM with a random 96-bit nonce, far below the 2³² seals at which one key's nonces may
//! collide (SP 800-38D §8.3). What a secret belongs to is authenticated with it but not
//! stored in it: a row copied to another tenant, or under another name, does not open.
//!
//! ```text
//!  blob = format (1) ‖ key name (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//!         └──── authenticated ────┘                with the context's length-prefixed fields
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use super::digest::{MasterKey, derive, key_name};
use crate::domain::ids::TenantId;
use crate::entropy::Entropy;
use crate::secret::SecretSlice;

/// First byte of every blob, so that another layout can be told apart one day.
const FORMAT: u8 = 1;
const KEY_NAME_LEN: usize = 8;
const HEADER_LEN: usize = 1 + KEY_NAME_LEN;

/// Why a secret was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed under a master key this process does not have: give it the right one.
    #[error("sealed under another master key")]
    OtherKey,
    /// Not a sealed secret, changed since, or it belongs to something else: the row is corrupt.
    #[error("the sealed secret does not open")]
    Corrupt,
    /// Larger than the cipher takes.
    #[error("too large to seal")]
    TooLarge,
}

/// What a sealed secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The tenant whose secret it is.
    pub tenant: TenantId,
    /// The kind of secret: `signing_key`, `sender_credential`, …
    pub kind: &'a str,
    /// Which of that kind: the key id, the sender's name and field.
    pub name: &'a str,
}

impl SealContext<'_> {
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let mut data = header.to_vec();
        for field in [self.tenant.uuid().as_bytes().as_slice(), self.kind.as_bytes(), self.name.as_bytes()] {
            data.extend_from_slice(&(field.len() as u64).to_be_bytes());
            data.extend_from_slice(field);
        }
        data
    }
}

/// Seals under a sub-key of the master key.
pub struct Sealer {
    key: LessSafeKey,
    header: [u8; HEADER_LEN],
}

impl Sealer {
    /// Derives the sealing key.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let key = master.derive("seal");
        let mut header = [FORMAT; HEADER_LEN];
        for (byte, named) in header.iter_mut().skip(1).zip(key_name(key.as_slice())) {
            *byte = named;
        }
        Self { key: aes_key(&key), header }
    }

    /// Seals `plain` for `context`.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] beyond the cipher's 64 GiB.
    pub fn seal(&self, plain: &[u8], context: &SealContext<'_>, entropy: &Entropy) -> Result<Vec<u8>, SealError> {
        let sealed = encrypt(&self.key, plain, &context.associated_data(&self.header), entropy)?;
        Ok([self.header.as_slice(), &sealed].concat())
    }

    /// Opens what [`Sealer::seal`] made for the same `context`.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] or [`SealError::Corrupt`].
    pub fn open(&self, blob: &[u8], context: &SealContext<'_>) -> Result<SecretSlice<u8>, SealError> {
        let (header, sealed) = blob.split_first_chunk::<HEADER_LEN>().ok_or(SealError::Corrupt)?;
        if header.first() != Some(&FORMAT) {
            return Err(SealError::Corrupt);
        }
        if *header != self.header {
            return Err(SealError::OtherKey);
        }
        decrypt(&self.key, sealed, &context.associated_data(header))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([REDACTED])")
    }
}

/// Seals a refresh token's successor under the token it replaces: storage keeps only that token's
/// SHA-256, so storage alone opens nothing.
///
/// # Errors
/// [`SealError::TooLarge`].
pub fn seal_under_token(token: &str, plain: &[u8], entropy: &Entropy) -> Result<Vec<u8>, SealError> {
    encrypt(&token_key(token), plain, &[FORMAT], entropy)
}

/// Opens what [`seal_under_token`] sealed under the same token.
///
/// # Errors
/// [`SealError::Corrupt`], also for another token.
pub fn open_under_token(token: &str, blob: &[u8]) -> Result<SecretSlice<u8>, SealError> {
    decrypt(&token_key(token), blob, &[FORMAT])
}

fn token_key(token: &str) -> LessSafeKey {
    aes_key(&derive(b"guichet refresh token", token.as_bytes(), "successor"))
}

#[expect(clippy::expect_used, reason = "every 32 bytes are an AES-256 key")]
fn aes_key(bytes: &Zeroizing<[u8; 32]>) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_slice()).expect("32 bytes are an AES-256 key"))
}

fn encrypt(key: &LessSafeKey, plain: &[u8], associated: &[u8], entropy: &Entropy) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE_LEN] = entropy.bytes();
    // Room for the tag, or growing would leave a copy of the secret behind.
    let mut buffer = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    buffer.extend_from_slice(plain);
    let sealed = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut buffer);
    if sealed.is_err() {
        buffer.zeroize();
        return Err(SealError::TooLarge);
    }
    Ok([nonce.as_slice(), &buffer].concat())
}

fn decrypt(key: &LessSafeKey, sealed: &[u8], associated: &[u8]) -> Result<SecretSlice<u8>, SealError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Corrupt)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(associated), &mut buffer)
        .map_err(|_| SealError::Corrupt)?;
    Ok(plain.to_vec().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::ExposeSecret;

    const PLAIN: &[u8] = b"a private key";

    fn sealer() -> Sealer {
        Sealer::new(&MasterKey::from_bytes([7; 32]))
    }

    fn context(tenant: u8) -> SealContext<'static> {
        SealContext { tenant: TenantId::random([tenant; 16]), kind: "signing_key", name: "kid-1" }
    }

    fn blob() -> Vec<u8> {
        sealer().seal(PLAIN, &context(1), &Entropy::seeded(1)).unwrap()
    }

    #[test]
    fn what_was_sealed_opens() {
        assert_eq!(sealer().open(&blob(), &context(1)).unwrap().expose_secret(), PLAIN);
    }

    #[test]
    fn a_row_copied_to_another_tenant_does_not_open() {
        assert_eq!(sealer().open(&blob(), &context(2)).unwrap_err(), SealError::Corrupt);
    }

    #[test]
    fn a_row_renamed_or_used_as_another_kind_does_not_open() {
        for other in [
            SealContext { name: "kid-2", ..context(1) },
            SealContext { kind: "sender_credential", ..context(1) },
            SealContext { kind: "signing_keyk", name: "id-1", ..context(1) },
        ] {
            assert_eq!(sealer().open(&blob(), &other).unwrap_err(), SealError::Corrupt);
        }
    }

    #[test]
    fn another_master_key_is_told_from_a_corrupt_row() {
        let other = Sealer::new(&MasterKey::from_bytes([8; 32]));

        assert_eq!(other.open(&blob(), &context(1)).unwrap_err(), SealError::OtherKey);
        assert_eq!(sealer().open(&[], &context(1)).unwrap_err(), SealError::Corrupt);
        assert_eq!(sealer().open(&blob()[..20], &context(1)).unwrap_err(), SealError::Corrupt);
    }

    #[test]
    fn one_secret_sealed_twice_never_looks_the_same() {
        let entropy = Entropy::seeded(1);
        let seal = || sealer().seal(PLAIN, &context(1), &entropy).unwrap();

        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_successor_opens_only_with_the_token_it_replaces() {
        let blob = seal_under_token("old token", b"new token", &Entropy::seeded(1)).unwrap();

        assert_eq!(open_under_token("old token", &blob).unwrap().expose_secret(), b"new token");
        assert_eq!(open_under_token("other token", &blob).unwrap_err(), SealError::Corrupt);
        assert!(!blob.windows(9).any(|window| window == b"new token"));
    }

    proptest! {
        #[test]
        fn a_blob_with_one_bit_changed_does_not_open(at in 0..blob().len(), bit in 0..8_u8) {
            let mut blob = blob();
            blob[at] ^= 1 << bit;
            prop_assert!(sealer().open(&blob, &context(1)).is_err());
        }

        #[test]
        fn arbitrary_bytes_neither_open_nor_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert!(sealer().open(&bytes, &context(1)).is_err());
            prop_assert!(open_under_token("token", &bytes).is_err());
        }
    }
}
