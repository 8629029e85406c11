//! Passwords of people, kept as Argon2id hashes in the form `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` (PHC string format).

use std::fmt;
use std::io;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier};

use super::digest::{self, Digest};

/// The shortest and the longest password, in bytes. The first is that of NIST SP 800-63B.
pub const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// A hash may take this much memory, in KiB, …
pub const MAX_MEMORY_KIB: u32 = 64 << 10;

/// … so many passes over it, …
pub const MAX_PASSES: u32 = 10;

/// … and so many lanes.
pub const MAX_LANES: u32 = 4;

const SALT_BYTES: usize = 16;

/// The hash of a password.
#[derive(Clone)]
pub struct PasswordHash(phc::PasswordHash);

impl PasswordHash {
    /// Of a new password.
    pub fn of(password: &str) -> io::Result<PasswordHash> {
        let salt = digest::random::<SALT_BYTES>()?;
        Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map(PasswordHash)
            .map_err(|cause| io::Error::other(cause.to_string()))
    }

    /// Reads one. Says what it must be otherwise.
    pub fn parse(text: &str) -> Result<PasswordHash, String> {
        let is_ours = |hash: &phc::PasswordHash| {
            let params = Params::try_from(hash).ok()?;
            let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
            let is_within = algorithm == Algorithm::Argon2id
                && params.m_cost() <= MAX_MEMORY_KIB
                && params.t_cost() <= MAX_PASSES
                && params.p_cost() <= MAX_LANES;
            (is_within && hash.salt.is_some() && hash.hash.is_some()).then_some(())
        };
        let hash = phc::PasswordHash::new(text).ok();
        let hash = hash.filter(|hash| is_ours(hash).is_some());
        hash.map(PasswordHash).ok_or_else(|| {
            format!(
                "must be a hash of Argon2id as `mote passwd` prints it, of at most {MAX_MEMORY_KIB} KiB, {MAX_PASSES} \
                 passes and {MAX_LANES} lanes"
            )
        })
    }

    /// Whether it is the hash of this password. Takes tens of milliseconds.
    pub fn matches(&self, password: &str) -> bool {
        LENGTH.contains(&password.len())
            && Argon2::default()
                .verify_password(password.as_bytes(), &self.0)
                .is_ok()
    }

    /// Names the hash: a new password has another one.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Without the hash, from which passwords could be guessed.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From argon2-cffi, which has the reference implementation below:
    /// `hash_secret(b"correct horse", b"saltsaltsalt", 2, 64, 1, 32, Type.ID)`
    const BY_ANOTHER: &str =
        "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$aLaJqQFb5f1CILsf1cTEp4693N1unODGCdcToVVKvPA";

    #[test]
    fn a_hash_is_that_of_its_password_alone() {
        let hash = PasswordHash::of("correct horse").unwrap();
        let again = PasswordHash::parse(&hash.to_string()).unwrap();
        assert!(again.matches("correct horse"));
        for other in ["correct hors", "correct horse ", "", &"x".repeat(257)] {
            assert!(!again.matches(other), "{other}");
        }
        let other = PasswordHash::of("correct horse").unwrap();
        assert_ne!(other.to_string(), hash.to_string());
        assert!(again.digest().matches(&hash.digest()));
        assert!(!again.digest().matches(&other.digest()));
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
        let by_another = PasswordHash::parse(BY_ANOTHER).unwrap();
        assert!(by_another.matches("correct horse"));
        assert!(!by_another.matches("correct house"));
    }

    #[test]
    fn a_hash_that_costs_too_much_or_protects_too_little_is_none() {
        for (from, to) in [
            ("m=64", "m=65537"),
            ("t=2", "t=11"),
            ("p=1", "p=5"),
            ("argon2id", "argon2d"),
            ("argon2id", "argon2i"),
            ("argon2id", "scrypt"),
            ("$c2FsdHNhbHRzYWx0", ""),
            ("$argon2id", "argon2id"),
        ] {
            let text = BY_ANOTHER.replacen(from, to, 1);
            assert_ne!(text, BY_ANOTHER);
            assert!(PasswordHash::parse(&text).is_err(), "{text}");
        }
        assert!(PasswordHash::parse("correct horse").is_err());
        assert!(PasswordHash::parse("").is_err());
    }
}
