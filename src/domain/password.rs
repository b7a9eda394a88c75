//! What may be chosen as a password, and how one is read.
//!
//! No composition rules, no expiry, no hints (ASVS 6.2.5, 6.2.10, NIST 800-63B-4 §3.1.1.2): a
//! length in code points, a ceiling that is checked before anything is hashed, and, where the
//! policy says so, a refusal of what attackers try first. Passwords are normalised to NFKC, so
//! that two keyboards that compose `é` differently open the same account; nothing is trimmed,
//! folded or cut.

use unicode_normalization::UnicodeNormalization;

use super::policy::PasswordPolicy;

/// Most code points of a password; longer ones are refused before hashing.
pub const MAX_CODE_POINTS: usize = 256;

/// Most bytes of a password, which bounds the work of normalising it.
const MAX_BYTES: usize = 1_024;

/// A password needs at least this many guesses (zxcvbn's estimate, log10) not to be *common*:
/// a million is what a list of leaked passwords covers.
const COMMON_BELOW_LOG10: f64 = 6.0;

/// zxcvbn takes half a second over 64 crafted characters and some 40 ms over these; what is hard
/// to guess so far does not become easier by what follows.
const JUDGED_CHARS: usize = 20;

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProblem {
    /// Fewer code points than the policy asks for.
    TooShort {
        /// The fewest that would do.
        min: usize,
    },
    /// More code points or bytes than anyone types.
    TooLong {
        /// The most that will do.
        max: usize,
    },
    /// On the lists that attackers try first, or made of the person's own details.
    TooCommon,
}

/// The form that is hashed (NFKC), or a refusal of what is too long to look at.
///
/// # Errors
/// [`PasswordProblem::TooLong`].
pub fn normalise(typed: &str) -> Result<String, PasswordProblem> {
    let too_long = PasswordProblem::TooLong { max: MAX_CODE_POINTS };
    if typed.len() > MAX_BYTES || typed.chars().count() > MAX_CODE_POINTS {
        return Err(too_long);
    }
    // One code point may become eighteen under NFKC; the bound holds for the result too.
    let normal: String = typed.nfkc().collect();
    if normal.len() > 4 * MAX_BYTES { Err(too_long) } else { Ok(normal) }
}

/// Judges a normalised password someone wants to set; `context` are words an attacker would try
/// for this person (address, name, tenant; ASVS 6.2.11).
///
/// # Errors
/// The first rule it breaks.
pub fn check(policy: &PasswordPolicy, normal: &str, context: &[&str]) -> Result<(), PasswordProblem> {
    if normal.chars().count() < policy.min_length {
        return Err(PasswordProblem::TooShort { min: policy.min_length });
    }
    if policy.refuse_common {
        let judged: String = normal.chars().take(JUDGED_CHARS).collect();
        if zxcvbn::zxcvbn(&judged, context).guesses_log10() < COMMON_BELOW_LOG10 {
            return Err(PasswordProblem::TooCommon);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Policy, Profile};

    fn strict() -> PasswordPolicy {
        Policy::of(Profile::AsvsL1).password
    }

    #[test]
    fn length_counts_code_points_not_bytes() {
        let six = PasswordPolicy { min_length: 6, refuse_common: false };

        assert_eq!(check(&six, "🔒🔒🔒🔒🔒", &[]), Err(PasswordProblem::TooShort { min: 6 }));
        assert_eq!(check(&six, "🔒🔒🔒🔒🔒🔒", &[]), Ok(()));
    }

    #[test]
    fn two_ways_of_composing_a_letter_are_one_password() {
        assert_eq!(normalise("caf\u{e9}").unwrap(), normalise("cafe\u{301}").unwrap());
    }

    #[test]
    fn nothing_is_trimmed_folded_or_cut() {
        for kept in [" secret ", "Secret", "se\0cret"] {
            assert_eq!(normalise(kept).unwrap(), kept);
        }
    }

    #[test]
    fn the_257th_character_is_one_too_many() {
        assert!(normalise(&"a".repeat(256)).is_ok());
        assert_eq!(normalise(&"a".repeat(257)), Err(PasswordProblem::TooLong { max: 256 }));
        assert_eq!(normalise(&"🔒".repeat(257)), Err(PasswordProblem::TooLong { max: 256 }));
    }

    #[test]
    fn what_attackers_try_first_is_refused() {
        for common in [
            "passwordpassword",
            "123456789012345",
            "qwertyuiopasdfg",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "iloveyouiloveyou",
            "111111111111111",
            "password1234567",
        ] {
            assert_eq!(check(&strict(), common, &[]), Err(PasswordProblem::TooCommon), "{common}");
        }
        assert_eq!(check(&strict(), "awadiop@example.com", &["awadiop@example.com"]), Err(PasswordProblem::TooCommon));
        for fine in ["correct horse battery staple", "le baobab chante à minuit", "vX9#kq2L!pT7wz4"] {
            assert_eq!(check(&strict(), fine, &[]), Ok(()), "{fine}");
        }
    }
}
