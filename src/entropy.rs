//! The only source of randomness, handed to whoever needs it.
//!
//! Outside tests it is the operating system's generator through aws-lc (ASVS 11.5.1). Tests may
//! ask for a seeded stream instead, so that ids and tokens repeat from run to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::{digest, rand};

/// A generator of unpredictable bytes. Clones of a seeded one share its stream.
#[derive(Debug, Clone)]
pub struct Entropy(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Seeded { seed: u64, drawn: Arc<AtomicU64> },
}

impl Entropy {
    /// The operating system's generator.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A repeatable stream, for tests only: whoever knows the seed knows every secret.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded { seed, drawn: Arc::default() })
    }

    /// `N` fresh bytes (at most 32 from a seeded stream's block; every caller needs no more).
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing secure can be done then.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        const { assert!(N <= 32) };
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => {
                #[expect(clippy::expect_used, reason = "aws-lc aborts by itself before this can fail")]
                rand::fill(&mut bytes).expect("the operating system gives randomness");
            }
            Source::Seeded { seed, drawn } => {
                let block = drawn.fetch_add(1, Ordering::Relaxed);
                let mut input = [0; 16];
                input[..8].copy_from_slice(&seed.to_be_bytes());
                input[8..].copy_from_slice(&block.to_be_bytes());
                let output = digest::digest(&digest::SHA256, &input);
                for (byte, fresh) in bytes.iter_mut().zip(output.as_ref()) {
                    *byte = *fresh;
                }
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_stream_repeats_and_does_not_stand_still() {
        let (one, other) = (Entropy::seeded(42), Entropy::seeded(42));
        let first: [u8; 16] = one.bytes();

        assert_eq!(first, other.bytes());
        assert_ne!(first, one.bytes());
    }
}
