//! Argon2id (RFC 9106): the one slow thing on purpose.
//!
//! A hash is kept as a PHC string, which carries its own cost, so the cost may be raised any day:
//! old hashes still verify and say that they want hashing anew. Whether there is an account or
//! not, the same work is done: [`PasswordHasher::decoy`] is a verification that cannot succeed.
//!
//! Blocking by nature: callers run it on the hasher's own threads, each with a [`Memory`] of its
//! own, since fresh memory for every hash costs more than it should (page faults).

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};

use crate::entropy::Entropy;

/// 256-bit tag, 128-bit salt (RFC 9106 §4).
const TAG_LEN: usize = 32;
const SALT_LEN: usize = 16;

/// No hash of ours costs more than this, and no stored row can make us pay more: 256 MiB sixteen
/// times over is about two seconds.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_ITERATIONS: u32 = 16;
const MAX_PARALLELISM: u32 = 16;

/// Why a cost is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHashCost {
    /// Below the frontier of OWASP ASVS 5 11.4.2 (appendix C).
    #[error("weaker than 46 MiB once, 19 MiB twice or 12 MiB three times")]
    TooCheap,
    /// Beyond 256 MiB, 16 iterations or 16 lanes.
    #[error("beyond 256 MiB, 16 iterations or 16 lanes")]
    TooDear,
}

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

impl HashCost {
    /// OWASP's and our default: 19 MiB, two passes, one lane. About 16 ms on one core.
    pub const DEFAULT: Self = Self { memory_kib: 19_456, iterations: 2, parallelism: 1 };

    /// A cost for production.
    ///
    /// # Errors
    /// [`InvalidHashCost`] below the floor or beyond the ceiling.
    pub const fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, InvalidHashCost> {
        let floor_kib = match iterations {
            0 => return Err(InvalidHashCost::TooCheap),
            1 => 47_104,
            2 => 19_456,
            _ => 12_288,
        };
        if memory_kib < floor_kib || parallelism == 0 {
            return Err(InvalidHashCost::TooCheap);
        }
        if memory_kib > MAX_MEMORY_KIB || iterations > MAX_ITERATIONS || parallelism > MAX_PARALLELISM {
            return Err(InvalidHashCost::TooDear);
        }
        Ok(Self { memory_kib, iterations, parallelism })
    }

    /// The least that argon2 can do, so that a test suite does not measure it. Protects nothing.
    #[must_use]
    pub const fn cheapest_for_tests() -> Self {
        Self { memory_kib: 8, iterations: 1, parallelism: 1 }
    }

    /// Memory of one hash, in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over that memory.
    #[must_use]
    pub const fn iterations(self) -> u32 {
        self.iterations
    }

    /// Lanes (computed one after the other: they cost time, not threads).
    #[must_use]
    pub const fn parallelism(self) -> u32 {
        self.parallelism
    }

    /// Whether a hash made at this cost falls short of `wanted` in any respect.
    const fn is_below(self, wanted: Self) -> bool {
        self.memory_kib < wanted.memory_kib
            || self.iterations < wanted.iterations
            || self.parallelism < wanted.parallelism
    }

    fn params(self) -> Result<Params, PasswordHashError> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(TAG_LEN))
            .map_err(|_| PasswordHashError::Failed)
    }
}

impl Default for HashCost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why there is no answer at all. A wrong password is a [`Verification`], not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// The stored text is not an argon2id hash at a cost we would ever pay.
    #[error("the stored password hash is corrupt or of a kind not supported")]
    Corrupt,
    /// Argon2 refused: a password of 4 GiB, or memory that could not be had.
    #[error("argon2 failed")]
    Failed,
}

/// What came of comparing a password with a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It is the password; `rehash` if the stored hash is cheaper than today's cost.
    Matches {
        /// Hash it anew and store the result.
        rehash: bool,
    },
    /// It is not.
    Differs,
}

/// Memory that one hashing thread uses again and again.
///
/// It is not wiped between hashes: the next one overwrites it, and wiping costs a tenth of a hash.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    /// No memory yet; the first hash takes what it needs.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn blocks(&mut self, count: usize) -> Result<&mut [Block], PasswordHashError> {
        if self.0.len() < count {
            self.0.try_reserve_exact(count - self.0.len()).map_err(|_| PasswordHashError::Failed)?;
            self.0.resize(count, Block::new());
        }
        self.0.get_mut(..count).ok_or(PasswordHashError::Failed)
    }

    /// Gives back what a dearer stored hash made it grow by.
    fn shrink_to(&mut self, count: usize) {
        if self.0.len() > count {
            self.0.truncate(count);
            self.0.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} KiB)", self.0.len())
    }
}

/// Hashes and verifies at one cost.
pub struct PasswordHasher {
    cost: HashCost,
    params: Params,
    decoy: String,
}

impl PasswordHasher {
    /// A hasher at `cost`, with a decoy of its own. Computes no hash.
    ///
    /// # Errors
    /// [`PasswordHashError::Failed`] if argon2 knows no such cost.
    pub fn new(cost: HashCost, entropy: &Entropy) -> Result<Self, PasswordHashError> {
        let params = cost.params()?;
        // A random tag instead of some password's: the same work, and no password matches it.
        let decoy = phc_string(&params, &entropy.bytes::<SALT_LEN>(), &entropy.bytes::<TAG_LEN>())?;
        Ok(Self { cost, params, decoy })
    }

    /// Today's cost.
    #[must_use]
    pub const fn cost(&self) -> HashCost {
        self.cost
    }

    /// Hashes a password (already NFKC-normalised) with a fresh salt, as a PHC string.
    ///
    /// # Errors
    /// [`PasswordHashError::Failed`].
    pub fn hash(&self, password: &str, entropy: &Entropy, memory: &mut Memory) -> Result<String, PasswordHashError> {
        let salt: [u8; SALT_LEN] = entropy.bytes();
        let mut tag = [0; TAG_LEN];
        compute(&self.params, password, &salt, &mut tag, memory)?;
        phc_string(&self.params, &salt, &tag)
    }

    /// Compares a password (already NFKC-normalised) with a stored PHC string.
    ///
    /// # Errors
    /// [`PasswordHashError::Corrupt`] before any work is done for a hash we would not have made.
    pub fn verify(&self, password: &str, phc: &str, memory: &mut Memory) -> Result<Verification, PasswordHashError> {
        let stored = Stored::parse(phc)?;
        let mut buffer = [0; Output::MAX_LENGTH];
        let tag = buffer.get_mut(..stored.tag.len()).ok_or(PasswordHashError::Corrupt)?;
        compute(&stored.params, password, &stored.salt, tag, memory)?;
        memory.shrink_to(self.params.block_count());

        let computed = Output::new(tag).map_err(|_| PasswordHashError::Corrupt)?;
        // `Output` compares in constant time.
        Ok(if computed == stored.tag {
            Verification::Matches { rehash: stored.cost.is_below(self.cost) || stored.tag.len() < TAG_LEN }
        } else {
            Verification::Differs
        })
    }

    /// The work of [`PasswordHasher::verify`] where there is nothing to verify against: the time
    /// of the answer must not tell who has an account. Always differs.
    ///
    /// # Errors
    /// [`PasswordHashError::Failed`].
    pub fn decoy(&self, password: &str, memory: &mut Memory) -> Result<Verification, PasswordHashError> {
        self.verify(password, &self.decoy, memory).map(|_| Verification::Differs)
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHasher").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// A stored hash taken apart and found affordable.
struct Stored {
    cost: HashCost,
    params: Params,
    salt: Salt,
    tag: Output,
}

impl Stored {
    fn parse(phc: &str) -> Result<Self, PasswordHashError> {
        let corrupt = PasswordHashError::Corrupt;
        let hash = PasswordHash::new(phc).map_err(|_| corrupt)?;
        if hash.algorithm != ARGON2ID_IDENT || hash.version != Some(Version::V0x13.into()) {
            return Err(corrupt);
        }
        let params = Params::try_from(&hash).map_err(|_| corrupt)?;
        let cost = HashCost { memory_kib: params.m_cost(), iterations: params.t_cost(), parallelism: params.p_cost() };
        let affordable = cost.memory_kib <= MAX_MEMORY_KIB
            && cost.iterations <= MAX_ITERATIONS
            && cost.parallelism <= MAX_PARALLELISM;
        match (hash.salt, hash.hash) {
            (Some(salt), Some(tag)) if affordable && tag.len() >= 16 => Ok(Self { cost, params, salt, tag }),
            _ => Err(corrupt),
        }
    }
}

fn compute(
    params: &Params,
    password: &str,
    salt: &[u8],
    tag: &mut [u8],
    memory: &mut Memory,
) -> Result<(), PasswordHashError> {
    let blocks = memory.blocks(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.as_bytes(), salt, tag, blocks)
        .map_err(|_| PasswordHashError::Failed)
}

fn phc_string(params: &Params, salt: &[u8], tag: &[u8]) -> Result<String, PasswordHashError> {
    let failed = PasswordHashError::Failed;
    Ok(PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| failed)?,
        salt: Some(Salt::new(salt).map_err(|_| failed)?),
        hash: Some(Output::new(tag).map_err(|_| failed)?),
    }
    .to_string())
}

/// The RFC 9106 §5.3 known answer. For the start-up self-test.
pub(super) fn known_answer_holds() -> bool {
    let data = argon2::AssociatedData::new(&[4; 12]);
    let params = data.and_then(|data| {
        argon2::ParamsBuilder::new().m_cost(32).t_cost(3).p_cost(4).data(data).output_len(TAG_LEN).build()
    });
    let mut tag = [0; TAG_LEN];
    let computed = params.and_then(|params| {
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)?
            .hash_password_into(&[1; 32], &[2; 16], &mut tag)
    });
    computed.is_ok()
        && tag
            == [
                0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37, 0xa3, 0x4a, 0x8b, 0x53, 0xc9, 0xd0,
                0x1e, 0xf0, 0x45, 0x2d, 0x75, 0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01, 0xe6, 0x59,
            ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cheap() -> PasswordHasher {
        PasswordHasher::new(HashCost::cheapest_for_tests(), &Entropy::seeded(1)).unwrap()
    }

    fn hash(hasher: &PasswordHasher, password: &str) -> String {
        hasher.hash(password, &Entropy::seeded(2), &mut Memory::new()).unwrap()
    }

    fn verify(hasher: &PasswordHasher, password: &str, phc: &str) -> Result<Verification, PasswordHashError> {
        hasher.verify(password, phc, &mut Memory::new())
    }

    #[test]
    fn only_the_password_itself_matches() {
        let hasher = cheap();
        let long = "x".repeat(72);
        for password in ["correct horse battery staple", "", "a\0b", "été", &format!("{long}A")] {
            let phc = hash(&hasher, password);
            assert_eq!(verify(&hasher, password, &phc), Ok(Verification::Matches { rehash: false }));
            assert_eq!(verify(&hasher, &format!("{password} "), &phc), Ok(Verification::Differs));
        }
        assert_eq!(
            verify(&hasher, &format!("{long}B"), &hash(&hasher, &format!("{long}A"))),
            Ok(Verification::Differs)
        );
        assert_eq!(verify(&hasher, "a\0c", &hash(&hasher, "a\0b")), Ok(Verification::Differs));
        assert_eq!(verify(&hasher, "SECRET", &hash(&hasher, "secret")), Ok(Verification::Differs));
    }

    #[test]
    fn the_default_cost_is_what_the_standards_ask() {
        let hasher = PasswordHasher::new(HashCost::default(), &Entropy::seeded(1)).unwrap();

        let phc = hash(&hasher, "secret");

        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_eq!(verify(&hasher, "secret", &phc), Ok(Verification::Matches { rehash: false }));
    }

    #[test]
    fn a_cost_under_the_frontier_is_refused() {
        for (memory, iterations) in [(47_104, 1), (19_456, 2), (12_288, 3), (12_288, 4)] {
            assert!(HashCost::new(memory, iterations, 1).is_ok());
            assert_eq!(HashCost::new(memory - 1, iterations, 1), Err(InvalidHashCost::TooCheap));
        }
        assert_eq!(HashCost::new(47_104, 0, 1), Err(InvalidHashCost::TooCheap));
        assert_eq!(HashCost::new(47_104, 1, 0), Err(InvalidHashCost::TooCheap));
        assert_eq!(HashCost::new(262_145, 1, 1), Err(InvalidHashCost::TooDear));
        assert_eq!(HashCost::new(19_456, 17, 1), Err(InvalidHashCost::TooDear));
        assert_eq!(HashCost::new(19_456, 2, 17), Err(InvalidHashCost::TooDear));
    }

    #[test]
    fn a_hash_cheaper_than_today_asks_to_be_made_anew() {
        let phc = hash(&cheap(), "secret");
        for dearer in [
            HashCost { memory_kib: 16, iterations: 1, parallelism: 1 },
            HashCost { memory_kib: 8, iterations: 2, parallelism: 1 },
        ] {
            let hasher = PasswordHasher::new(dearer, &Entropy::seeded(1)).unwrap();
            assert_eq!(verify(&hasher, "secret", &phc), Ok(Verification::Matches { rehash: true }));
            let anew = hash(&hasher, "secret");
            assert_eq!(verify(&cheap(), "secret", &anew), Ok(Verification::Matches { rehash: false }));
        }
    }

    #[test]
    fn the_decoy_never_matches_and_costs_what_a_hash_costs() {
        let hasher = cheap();
        let mut memory = Memory::new();

        assert_eq!(hasher.decoy("secret", &mut memory), Ok(Verification::Differs));

        let decoy = Stored::parse(&hasher.decoy).unwrap();
        assert_eq!(decoy.cost, hasher.cost());
        assert_eq!((decoy.salt.len(), decoy.tag.len()), (SALT_LEN, TAG_LEN));
        assert_eq!(memory.0.len(), 8);
    }

    #[test]
    fn a_hash_made_by_the_reference_implementation_verifies() {
        // phc-winner-argon2, test.c, argon2id v=19: "password", "somesalt".
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

        assert_eq!(verify(&cheap(), "password", phc), Ok(Verification::Matches { rehash: false }));
        assert_eq!(verify(&cheap(), "passwore", phc), Ok(Verification::Differs));
    }

    #[test]
    fn a_hostile_row_costs_nothing() {
        let (salt, tag) = ("c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
        for phc in [
            String::new(),
            "secret".to_owned(),
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned(),
            format!("$argon2id$v=19$m=4194304,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=65536,t=4294967295,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=65536,t=1,p=16777215${salt}${tag}"),
            format!("$argon2id$v=19$m=0,t=1,p=1${salt}${tag}"),
            format!("$argon2id$v=16$m=65536,t=2,p=1${salt}${tag}"),
            format!("$argon2id$m=65536,t=2,p=1${salt}${tag}"),
            format!("$argon2i$v=19$m=65536,t=2,p=1${salt}${tag}"),
            format!("$argon2id$v=19$m=65536,t=2,p=1${salt}"),
            format!("$argon2id$v=19$m=65536,t=2,p=1${salt}$CTFhFdXPJO1aFaM"),
        ] {
            let mut memory = Memory::new();
            assert_eq!(cheap().verify("password", &phc, &mut memory), Err(PasswordHashError::Corrupt), "{phc}");
            assert!(memory.0.is_empty(), "{phc}");
        }
    }

    #[test]
    fn memory_is_used_again_and_never_changes_the_answer() {
        let (cheap, mut memory) = (cheap(), Memory::new());
        let dear = HashCost { memory_kib: 64, iterations: 1, parallelism: 2 };
        let dear = PasswordHasher::new(dear, &Entropy::seeded(1)).unwrap();
        let (small, large) = (hash(&cheap, "secret"), hash(&dear, "secret"));

        for _ in 0..2 {
            assert!(matches!(dear.verify("secret", &large, &mut memory), Ok(Verification::Matches { .. })));
            assert!(matches!(dear.verify("secret", &small, &mut memory), Ok(Verification::Matches { .. })));
            assert_eq!(memory.0.len(), 64);
        }
        assert!(matches!(cheap.verify("secret", &large, &mut memory), Ok(Verification::Matches { .. })));
        assert_eq!(memory.0.len(), 8);
    }

    #[test]
    fn the_rfc_9106_known_answer_holds() {
        assert!(known_answer_holds());
    }

    proptest! {
        #[test]
        fn an_arbitrary_row_never_panics(phc in "\\PC{0,80}", tail in "\\PC{0,20}") {
            prop_assert!(verify(&cheap(), "secret", &phc).is_err());
            let _ = verify(&cheap(), "secret", &format!("$argon2id$v=19$m=8,t=1,p=1${tail}"));
        }
    }
}
