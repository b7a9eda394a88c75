//! Keyed digests: what makes a stolen database or Redis dump useless.
//!
//! Codes, link tokens and registration tokens are never stored. Each is a MAC over what it is for,
//! so it can be made again at comparison time by whoever holds the master key, and by nobody else.
//! Contacts, user agents and grants are kept or looked up only as keyed digests for the same
//! reason: phone numbers are few enough to be guessed through a plain hash.
//!
//! ```text
//!  MasterKey ── HKDF-SHA256, one label per purpose ──► code key, link key, contact key, …
//!                                                        └─ HMAC-SHA256 over length-prefixed fields
//! ```
//!
//! Labels keep the purposes apart: a MAC made for one can never be presented as another. Fields
//! are length-prefixed, so no two lists of fields read as the same bytes.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::contact::{Contact, PhoneNumber};
use crate::domain::ids::{AccountId, ChallengeId, TenantId};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretString};

/// Bytes of a key, of a MAC and of a SHA-256 digest.
const LEN: usize = 32;

/// The one secret a deployment must keep: every other key of ours derives from it or is sealed
/// under it. Wiped on drop.
pub struct MasterKey(Zeroizing<[u8; LEN]>);

impl MasterKey {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new key, for a first start without one.
    #[must_use]
    pub fn generate(entropy: &Entropy) -> Self {
        Self::from_bytes(entropy.bytes())
    }

    /// The sub-key for one purpose.
    pub(super) fn derive(&self, label: &'static str) -> Zeroizing<[u8; LEN]> {
        derive(b"guichet master key", self.0.as_slice(), label)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

/// HKDF-SHA256 (RFC 5869): 32 bytes for `label`, from `secret`.
#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes; these are 32")]
pub(super) fn derive(salt: &[u8], secret: &[u8], label: &'static str) -> Zeroizing<[u8; LEN]> {
    let mut key = Zeroizing::new([0; LEN]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("32 bytes are within what HKDF-SHA256 can give");
    key
}

/// What a code stands for. Change any of it and it is another code.
#[derive(Debug, Clone, Copy)]
pub struct CodeSubject<'a> {
    /// Whose customer is signing in.
    pub tenant: TenantId,
    /// What the code opens: the purpose's word in storage.
    pub purpose: &'a str,
    /// The canonical contact it is sent to.
    pub contact: &'a str,
    /// The challenge that waits for it.
    pub challenge: ChallengeId,
    /// Digits, 4 to 10.
    pub length: u8,
}

/// A keyed SHA-256 of something we will not keep in the clear. Safe to store and to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyedDigest([u8; LEN]);

impl KeyedDigest {
    /// The bare bytes, for storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

/// Base64url without padding: 43 characters, safe in a key of the ephemeral store.
impl fmt::Display for KeyedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A link token taken apart, not yet believed: ask [`Digests::verify_link`].
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedLink {
    /// The challenge the link claims to answer.
    pub link: ChallengeId,
    mac: [u8; LEN],
}

impl fmt::Debug for PresentedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedLink").field("link", &self.link).finish_non_exhaustive()
    }
}

/// The sub-keys of one master key, ready for use.
pub struct Digests {
    key_id: String,
    fingerprint: String,
    code: hmac::Key,
    link: hmac::Key,
    registration: hmac::Key,
    contact: hmac::Key,
    recipient: hmac::Key,
    shadow: hmac::Key,
    grant: hmac::Key,
    user_agent: hmac::Key,
    receipt: hmac::Key,
}

impl Digests {
    /// Derives every sub-key. The labels are part of the stored data's meaning: never change one.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let key = |label| hmac::Key::new(hmac::HMAC_SHA256, master.derive(label).as_slice());
        Self {
            key_id: short_id(master.derive("code").as_slice()),
            fingerprint: URL_SAFE_NO_PAD.encode(master.derive("fingerprint").as_slice()),
            code: key("code"),
            link: key("link"),
            registration: key("registration"),
            contact: key("contact"),
            recipient: key("recipient"),
            shadow: key("shadow"),
            grant: key("grant"),
            user_agent: key("user-agent"),
            receipt: key("receipt"),
        }
    }

    /// Names the key that codes and links are made under; kept in every challenge.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Recognises this master key in a database without telling anything about it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The code that `subject` waits for, leading zeros kept. None if `key_id` names another key
    /// (the master key was changed while the challenge lived) or the length is not 4 to 10.
    ///
    /// 128 bits reduced to at most ten digits leave a bias below 2⁻⁹⁴: no guess gains by it.
    #[must_use]
    pub fn code(&self, key_id: &str, subject: &CodeSubject<'_>) -> Option<SecretString> {
        if key_id != self.key_id || !(4..=10).contains(&subject.length) {
            return None;
        }
        let (tenant, challenge) = (subject.tenant.uuid(), subject.challenge.uuid());
        let parts: [&[u8]; 5] = [
            tenant.as_bytes(),
            subject.purpose.as_bytes(),
            subject.contact.as_bytes(),
            challenge.as_bytes(),
            std::slice::from_ref(&subject.length),
        ];
        let mac = mac(&self.code, &parts);
        let digits = first_128_bits(&mac) % 10_u128.pow(u32::from(subject.length));
        Some(format!("{digits:0width$}", width = usize::from(subject.length)).into())
    }

    /// The token of a mailed link: base64url of challenge id ‖ MAC, 64 characters.
    #[must_use]
    pub fn link_token(&self, tenant: TenantId, purpose: &str, subject: AccountId, link: ChallengeId) -> SecretString {
        let mac = self.link_mac(tenant, purpose, subject, link);
        URL_SAFE_NO_PAD.encode([link.uuid().as_bytes().as_slice(), &mac].concat()).into()
    }

    /// Whether `presented` was made by [`Digests::link_token`] for exactly this. Constant time.
    #[must_use]
    pub fn verify_link(&self, tenant: TenantId, purpose: &str, subject: AccountId, presented: &PresentedLink) -> bool {
        constant_time_eq(&self.link_mac(tenant, purpose, subject, presented.link), &presented.mac)
    }

    fn link_mac(&self, tenant: TenantId, purpose: &str, subject: AccountId, link: ChallengeId) -> [u8; LEN] {
        mac(
            &self.link,
            &[tenant.uuid().as_bytes(), purpose.as_bytes(), subject.uuid().as_bytes(), link.uuid().as_bytes()],
        )
    }

    /// Proof that `phone` was verified through `challenge`: base64url of challenge id ‖ expiry ‖
    /// MAC. Single use is the challenge's unique index in storage.
    #[must_use]
    pub fn registration_token(
        &self,
        tenant: TenantId,
        phone: &PhoneNumber,
        challenge: ChallengeId,
        expires: Timestamp,
    ) -> SecretString {
        let mac = self.registration_mac(tenant, phone, challenge, expires);
        let expires = expires.as_millis().to_be_bytes();
        URL_SAFE_NO_PAD.encode([challenge.uuid().as_bytes().as_slice(), &expires, &mac].concat()).into()
    }

    /// The challenge that proved `phone`, if the token is ours, for this number, and not expired.
    #[must_use]
    pub fn open_registration_token(
        &self,
        text: &str,
        tenant: TenantId,
        phone: &PhoneNumber,
        now: Timestamp,
    ) -> Option<ChallengeId> {
        let bytes = decode_exactly::<56>(text)?;
        let (challenge, rest) = bytes.split_first_chunk::<16>()?;
        let (expires, presented) = rest.split_first_chunk::<8>()?;
        let challenge = ChallengeId::from(uuid::Uuid::from_bytes(*challenge));
        let expires = Timestamp::from_millis(i64::from_be_bytes(*expires));

        let genuine = constant_time_eq(&self.registration_mac(tenant, phone, challenge, expires), presented);
        (genuine && now < expires).then_some(challenge)
    }

    fn registration_mac(
        &self,
        tenant: TenantId,
        phone: &PhoneNumber,
        challenge: ChallengeId,
        expires: Timestamp,
    ) -> [u8; LEN] {
        mac(
            &self.registration,
            &[
                tenant.uuid().as_bytes(),
                phone.as_str().as_bytes(),
                challenge.uuid().as_bytes(),
                &expires.as_millis().to_be_bytes(),
            ],
        )
    }

    /// Names a contact within one tenant, for ephemeral keys.
    #[must_use]
    pub fn contact(&self, tenant: TenantId, contact: &Contact) -> KeyedDigest {
        KeyedDigest(mac(&self.contact, &tenant_and_contact(tenant.uuid().as_bytes(), contact)))
    }

    /// Names a contact over all tenants, for ceilings that hold across them.
    #[must_use]
    pub fn recipient(&self, contact: &Contact) -> KeyedDigest {
        let fields = [contact.kind().as_str().as_bytes(), contact.as_str().as_bytes()];
        KeyedDigest(mac(&self.recipient, &fields))
    }

    /// The secret in the URL that a tenant's SMS provider reports deliveries to: 128 bits, because
    /// some providers take no long ones.
    #[must_use]
    pub fn receipt_token(&self, tenant: TenantId, sender: &str) -> String {
        let mac = mac(&self.receipt, &[tenant.uuid().as_bytes(), sender.as_bytes()]);
        URL_SAFE_NO_PAD.encode(first_128_bits(&mac).to_be_bytes())
    }

    /// Which of `buckets` shadow actors serves a contact nobody registered. Keyed, so that nobody
    /// can pick contacts that crowd one actor.
    #[must_use]
    pub fn shadow(&self, tenant: TenantId, contact: &Contact, buckets: u32) -> u32 {
        let mac = mac(&self.shadow, &tenant_and_contact(tenant.uuid().as_bytes(), contact));
        let bucket = first_128_bits(&mac) % u128::from(buckets.max(1));
        u32::try_from(bucket).unwrap_or(0)
    }

    /// Names the right to register that a verified number leaves behind for one client.
    #[must_use]
    pub fn grant(&self, tenant: TenantId, phone: &PhoneNumber, client_address: &str, user_agent: &str) -> KeyedDigest {
        KeyedDigest(mac(
            &self.grant,
            &[tenant.uuid().as_bytes(), phone.as_str().as_bytes(), client_address.as_bytes(), user_agent.as_bytes()],
        ))
    }

    /// Names a `User-Agent` as a device of one account.
    #[must_use]
    pub fn user_agent(&self, tenant: TenantId, account: AccountId, user_agent: &str) -> [u8; LEN] {
        mac(&self.user_agent, &[tenant.uuid().as_bytes(), account.uuid().as_bytes(), user_agent.as_bytes()])
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digests").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Takes a link token apart. None if it is not of the shape we make; nothing is believed yet.
#[must_use]
pub fn parse_link_token(text: &str) -> Option<PresentedLink> {
    let bytes = decode_exactly::<48>(text)?;
    let (link, mac) = bytes.split_first_chunk::<16>()?;
    Some(PresentedLink { link: ChallengeId::from(uuid::Uuid::from_bytes(*link)), mac: mac.try_into().ok()? })
}

/// SHA-256 of a token of ours. Unkeyed and unsalted is enough: 256 random bits have no dictionary.
#[must_use]
pub fn token_digest(token: impl AsRef<[u8]>) -> [u8; LEN] {
    sha256(token.as_ref())
}

/// 256 random bits as base64url: refresh tokens, device tokens, keys, app secrets.
#[must_use]
pub fn fresh_token(entropy: &Entropy) -> SecretString {
    URL_SAFE_NO_PAD.encode(entropy.bytes::<LEN>()).into()
}

/// Compares without telling by its time where the first difference lies; only lengths may show.
#[must_use]
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Is `mac` the HMAC-SHA1 of `message` under `key`? For providers that sign their calls so (Twilio);
/// constant time. Nothing of ours is signed with SHA-1.
#[must_use]
pub fn hmac_sha1_holds(key: &SecretString, message: &[u8], mac: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.expose_secret().as_bytes());
    hmac::verify(&key, message, mac).is_ok()
}

/// The first 8 bytes of a key's SHA-256: names the key, tells nothing about it.
pub(super) fn key_name(key: &[u8]) -> [u8; 8] {
    let mut name = [0; 8];
    for (byte, hashed) in name.iter_mut().zip(sha256(key)) {
        *byte = hashed;
    }
    name
}

fn short_id(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key_name(key))
}

fn tenant_and_contact<'a>(tenant: &'a [u8; 16], contact: &'a Contact) -> [&'a [u8]; 3] {
    [tenant, contact.kind().as_str().as_bytes(), contact.as_str().as_bytes()]
}

fn mac(key: &hmac::Key, fields: &[&[u8]]) -> [u8; LEN] {
    let mut context = hmac::Context::with_key(key);
    for field in fields {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    exactly_32(context.sign().as_ref())
}

fn sha256(bytes: &[u8]) -> [u8; LEN] {
    exactly_32(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 and its HMAC are 32 bytes, which the library's types do not say.
fn exactly_32(bytes: &[u8]) -> [u8; LEN] {
    let mut array = [0; LEN];
    array.copy_from_slice(bytes);
    array
}

fn first_128_bits(mac: &[u8; LEN]) -> u128 {
    mac.first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// Base64url of exactly `N` bytes, canonical: no padding, no stray bits, one spelling per token.
fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.checked_mul(4)?.div_ceil(3) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::domain::contact::EmailAddress;
    use crate::secret::ExposeSecret;

    fn digests() -> Digests {
        Digests::new(&MasterKey::from_bytes([7; 32]))
    }

    fn tenant(n: u8) -> TenantId {
        TenantId::random([n; 16])
    }

    fn subject() -> CodeSubject<'static> {
        CodeSubject {
            tenant: tenant(1),
            purpose: "phone_sign_in",
            contact: "+221771234567",
            challenge: ChallengeId::random([2; 16]),
            length: 6,
        }
    }

    fn code(digests: &Digests, subject: &CodeSubject<'_>) -> String {
        digests.code(digests.key_id(), subject).unwrap().expose_secret().to_owned()
    }

    fn phone() -> PhoneNumber {
        PhoneNumber::parse("+221771234567", None).unwrap()
    }

    fn email() -> Contact {
        Contact::Email(EmailAddress::parse("awa@example.com").unwrap())
    }

    #[test]
    fn a_master_key_never_prints_itself() {
        let key = MasterKey::generate(&Entropy::seeded(1));

        assert_eq!(format!("{key:?}"), "MasterKey([REDACTED])");
        assert!(!format!("{:?}", Digests::new(&key)).contains(Digests::new(&key).fingerprint()));
    }

    #[test]
    fn another_master_key_has_another_key_id_and_fingerprint() {
        let other = Digests::new(&MasterKey::from_bytes([8; 32]));

        assert_ne!(digests().key_id(), other.key_id());
        assert_ne!(digests().fingerprint(), other.fingerprint());
        assert!(!digests().fingerprint().starts_with(digests().key_id()));
    }

    /// The derivation is part of the stored data's meaning: live codes and rows must outlast a
    /// release. A change here is a migration. The values were computed apart, by RFC 5869 and 2104.
    #[test]
    fn the_derivation_never_changes() {
        let digests = digests();

        assert_eq!(digests.key_id(), "h5FDfzIlgXQ");
        assert_eq!(digests.fingerprint(), "bS9k-RgHBAKKscLHS9B74BUgzc8t0tu0W2oWBBYz4ts");
        assert_eq!(code(&digests, &subject()), "901927");
        assert_eq!(digests.contact(tenant(1), &email()).to_string(), "ny4TRQX-cQ6qIXhVNR0gh3GE3bgwqbn2eVHpO2yzvt4");
    }

    #[test]
    fn every_part_of_its_subject_changes_a_code() {
        let digests = digests();
        let base = CodeSubject { length: 10, ..subject() };
        let changed = [
            CodeSubject { tenant: tenant(2), ..base },
            CodeSubject { purpose: "email_sign_in", ..base },
            CodeSubject { contact: "+221771234568", ..base },
            CodeSubject { challenge: ChallengeId::random([3; 16]), ..base },
            // Unambiguous fields: the same bytes split elsewhere are another subject.
            CodeSubject { purpose: "phone_sign_in+", contact: "221771234567", ..base },
        ];

        let mut seen = HashSet::from([code(&digests, &base)]);
        for subject in &changed {
            assert!(seen.insert(code(&digests, subject)), "{subject:?} has a code seen before");
        }
        assert_eq!(code(&digests, &base), code(&digests, &base));
    }

    #[test]
    fn codes_have_their_length_and_keep_leading_zeros() {
        let digests = digests();
        let mut leading_zero = false;
        for length in 4..=10 {
            for n in 0..100 {
                let challenge = ChallengeId::random([n; 16]);
                let code = code(&digests, &CodeSubject { challenge, length, ..subject() });
                assert_eq!(code.len(), usize::from(length));
                assert!(code.bytes().all(|b| b.is_ascii_digit()));
                leading_zero |= code.starts_with('0');
            }
        }
        assert!(leading_zero);
    }

    #[test]
    fn codes_are_spread_evenly_over_the_digits() {
        let digests = digests();
        let mut counts = [0_u32; 10];
        for n in 0..2_000_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let challenge = ChallengeId::random(id);
            for digit in code(&digests, &CodeSubject { challenge, ..subject() }).bytes() {
                counts[usize::from(digit - b'0')] += 1;
            }
        }
        // 12,000 digits, 1,200 expected of each, standard deviation 33.
        assert!(counts.iter().all(|&n| (1_000..1_400).contains(&n)), "{counts:?}");
    }

    #[test]
    fn no_code_is_made_under_an_unknown_key_or_of_an_illegal_length() {
        let digests = digests();

        assert!(digests.code("other", &subject()).is_none());
        assert!(digests.code(digests.key_id(), &CodeSubject { length: 3, ..subject() }).is_none());
        assert!(digests.code(digests.key_id(), &CodeSubject { length: 11, ..subject() }).is_none());
    }

    #[test]
    fn a_link_opens_only_what_it_was_made_for() {
        let digests = digests();
        let (account, link) = (AccountId::random([4; 16]), ChallengeId::random([5; 16]));
        let token = digests.link_token(tenant(1), "verify_email", account, link);
        let presented = parse_link_token(token.expose_secret()).unwrap();

        assert_eq!(token.expose_secret().len(), 64);
        assert_eq!(presented.link, link);
        assert!(digests.verify_link(tenant(1), "verify_email", account, &presented));
        assert!(!digests.verify_link(tenant(2), "verify_email", account, &presented));
        assert!(!digests.verify_link(tenant(1), "reset_password", account, &presented));
        assert!(!digests.verify_link(tenant(1), "verify_email", AccountId::random([6; 16]), &presented));
        let other = PresentedLink { link: ChallengeId::random([7; 16]), ..presented };
        assert!(!digests.verify_link(tenant(1), "verify_email", account, &other));
    }

    #[test]
    fn a_forged_or_misspelt_link_is_refused() {
        let digests = digests();
        let (account, link) = (AccountId::random([4; 16]), ChallengeId::random([5; 16]));
        let token = digests.link_token(tenant(1), "verify_email", account, link);
        let token = token.expose_secret();

        for at in 0..token.len() {
            let mut forged = token.as_bytes().to_vec();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            let opened = parse_link_token(&forged)
                .is_some_and(|presented| digests.verify_link(tenant(1), "verify_email", account, &presented));
            assert!(!opened, "opened with character {at} changed");
        }
        for wrong in
            ["", "abc", &token[1..], &format!("{token}A"), &format!("{token}="), &token.replace('-', "+")[..63]]
        {
            assert!(parse_link_token(wrong).is_none(), "{wrong:?} is taken");
        }
    }

    #[test]
    fn a_registration_token_proves_one_number_at_one_tenant_until_it_expires() {
        let digests = digests();
        let now = Timestamp::from_millis(1_000_000);
        let expires = now + Duration::from_mins(5);
        let challenge = ChallengeId::random([5; 16]);
        let token = digests.registration_token(tenant(1), &phone(), challenge, expires);
        let open = |tenant, phone: &PhoneNumber, now| {
            digests.open_registration_token(token.expose_secret(), tenant, phone, now)
        };
        let other = PhoneNumber::parse("+221771234568", None).unwrap();

        assert_eq!(open(tenant(1), &phone(), now), Some(challenge));
        assert_eq!(open(tenant(2), &phone(), now), None);
        assert_eq!(open(tenant(1), &other, now), None);
        assert_eq!(open(tenant(1), &phone(), expires), None);
        assert_eq!(open(tenant(1), &phone(), expires - Duration::from_millis(1)), Some(challenge));
    }

    #[test]
    fn a_registration_token_whose_expiry_was_moved_is_refused() {
        let digests = digests();
        let now = Timestamp::from_millis(1_000_000);
        let token = digests.registration_token(tenant(1), &phone(), ChallengeId::random([5; 16]), now);
        let mut bytes = URL_SAFE_NO_PAD.decode(token.expose_secret()).unwrap();
        bytes[16] = 0x7f;

        let moved = URL_SAFE_NO_PAD.encode(bytes);

        assert_eq!(digests.open_registration_token(&moved, tenant(1), &phone(), now), None);
    }

    /// RFC 2202 §3, test case 2.
    #[test]
    fn an_hmac_sha1_holds_for_its_key_message_and_bytes_alone() {
        let mac = [
            0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74, 0x16, 0xd5, 0xf1, 0x84, 0xdf, 0x9c, 0x25, 0x9a,
            0x7c, 0x79,
        ];
        let message = b"what do ya want for nothing?";

        assert!(hmac_sha1_holds(&"Jefe".into(), message, &mac));
        assert!(!hmac_sha1_holds(&"jefe".into(), message, &mac));
        assert!(!hmac_sha1_holds(&"Jefe".into(), &message[1..], &mac));
        assert!(!hmac_sha1_holds(&"Jefe".into(), message, &mac[..19]));
    }

    #[test]
    fn a_contact_has_another_name_at_every_tenant_and_for_every_purpose() {
        let digests = digests();
        let phone = Contact::Phone(phone());

        assert_ne!(digests.contact(tenant(1), &phone), digests.contact(tenant(2), &phone));
        assert_ne!(digests.contact(tenant(1), &phone), digests.contact(tenant(1), &email()));
        assert_ne!(digests.contact(tenant(1), &phone), digests.recipient(&phone));
        assert_eq!(digests.recipient(&phone), digests.recipient(&phone));
        assert_eq!(digests.recipient(&phone).to_string().len(), 43);
    }

    #[test]
    fn receipts_have_a_secret_for_each_tenant_and_sender() {
        let digests = digests();
        let token = digests.receipt_token(tenant(1), "main");

        assert_eq!(token.len(), 22);
        assert_eq!(token, digests.receipt_token(tenant(1), "main"));
        assert_ne!(token, digests.receipt_token(tenant(2), "main"));
        assert_ne!(token, digests.receipt_token(tenant(1), "spare"));
    }

    #[test]
    fn shadows_are_within_their_number_and_spread() {
        let digests = digests();
        let mut seen = HashSet::new();
        for n in 0..200 {
            let contact = Contact::Email(EmailAddress::parse(&format!("u{n}@example.com")).unwrap());
            let shadow = digests.shadow(tenant(1), &contact, 1_024);
            assert!(shadow < 1_024);
            seen.insert(shadow);
        }
        assert!(seen.len() > 150, "only {} of 200 differ", seen.len());
        assert_eq!(digests.shadow(tenant(1), &email(), 0), 0);
    }

    #[test]
    fn a_grant_is_bound_to_number_address_and_user_agent() {
        let digests = digests();
        let grant = |address, agent| digests.grant(tenant(1), &phone(), address, agent);

        assert_eq!(grant("192.0.2.1", "a"), grant("192.0.2.1", "a"));
        assert_ne!(grant("192.0.2.1", "a"), grant("192.0.2.2", "a"));
        assert_ne!(grant("192.0.2.1", "a"), grant("192.0.2.1", "b"));
        assert_ne!(grant("192.0.2.1", "a"), grant("192.0.2.", "1a"));
    }

    #[test]
    fn a_user_agent_is_a_device_of_one_account_only() {
        let digests = digests();
        let account = AccountId::random([1; 16]);

        assert_ne!(
            digests.user_agent(tenant(1), account, "curl"),
            digests.user_agent(tenant(1), AccountId::random([2; 16]), "curl")
        );
        assert_ne!(digests.user_agent(tenant(1), account, "curl"), digests.user_agent(tenant(2), account, "curl"));
    }

    #[test]
    fn a_fresh_token_has_256_bits_and_a_plain_digest() {
        let entropy = Entropy::seeded(3);
        let (one, other) = (fresh_token(&entropy), fresh_token(&entropy));

        assert_eq!(one.expose_secret().len(), 43);
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(token_digest("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn equality_in_constant_time_is_still_equality() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd"));
        assert!(!constant_time_eq(b"abc", b"ab"));
    }
}
