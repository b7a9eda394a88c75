//! `[crypto]`: the master key, and what a password hash may cost.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys;
use super::problems::Findings;
use super::values::{duration, secret};
use crate::secret::SecretString;

/// What the hasher takes at most: beyond it one log-in would hold a thread for seconds.
const MOST_ITERATIONS: u32 = 16;

/// Likewise, in KiB.
const MOST_MEMORY_KIB: u32 = 256 * 1_024;

/// Keys and password hashing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crypto {
    /// Base64 of 32 bytes; seals every secret at rest. Without it, and with SQLite, one is made at
    /// the first start and kept in the data directory (see [`keys`]); nodes on PostgreSQL share it
    /// and must be given it. Another key than the database's is refused.
    #[serde(with = "secret")]
    pub master_key: Option<SecretString>,
    /// File that holds the master key instead.
    pub master_key_file: Option<PathBuf>,
    /// What one hash costs. Raised, passwords are re-hashed as people log in.
    pub argon2: Argon2,
    /// Threads that hash. Unset: one per core. Each holds `argon2.memory_kib` while it works. Beside one
    /// alone there is a second, for a tenant that asks for less than its share while the first hashes for
    /// another.
    pub hash_threads: Option<NonZeroUsize>,
    /// Hashes that may wait, over all tenants; further ones are refused with 503.
    pub hash_queue: NonZeroUsize,
    /// How long a hash may wait for its thread; then 503.
    #[serde(with = "duration")]
    pub hash_max_wait: Duration,
}

/// Parameters of argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Argon2 {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes. More than 1 only makes sense with idle cores.
    pub parallelism: u32,
}

impl Default for Crypto {
    fn default() -> Self {
        Self {
            master_key: None,
            master_key_file: None,
            argon2: Argon2::default(),
            hash_threads: None,
            hash_queue: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
            hash_max_wait: Duration::from_secs(2),
        }
    }
}

impl Default for Argon2 {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

impl Argon2 {
    /// Least memory for that many passes (ASVS 5.0 appendix C).
    const fn least_memory_kib(self) -> u32 {
        match self.iterations {
            0 | 1 => 46 * 1_024,
            2 => 19 * 1_024,
            _ => 12 * 1_024,
        }
    }
}

impl Crypto {
    pub(super) fn check(&self, findings: &mut Findings) {
        if self.master_key.as_ref().is_some_and(|key| keys::master_key_bytes(key).is_none()) {
            findings.add("crypto.master_key", "must be base64 of 32 bytes, as `openssl rand -base64 32` prints");
        }
        let Argon2 { memory_kib, iterations, parallelism } = self.argon2;
        if !(1..=MOST_ITERATIONS).contains(&iterations) {
            findings.add("crypto.argon2.iterations", format!("must be from 1 to {MOST_ITERATIONS}"));
        }
        if !(1..=16).contains(&parallelism) {
            findings.add("crypto.argon2.parallelism", "must be from 1 to 16");
        }
        if memory_kib > MOST_MEMORY_KIB {
            findings.add("crypto.argon2.memory_kib", format!("must be at most {MOST_MEMORY_KIB}"));
        }
        let least = self.argon2.least_memory_kib();
        if memory_kib < least {
            let message = format!("must be at least {least} with iterations = {iterations} (ASVS 5.0, appendix C)");
            findings.add("crypto.argon2.memory_kib", message);
        }
    }
}
