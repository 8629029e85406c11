//! Tokens and codes are kept and compared as SHA-256 digests.

use std::fmt;
use std::io;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use crate::system::secret::{SecretError, SecretFile};

/// The SHA-256 of a token or code. Only this is kept.
#[derive(Clone)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Digest(digest)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Digest(digest))
    }

    /// A digest that was kept. `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are equal, in constant time.
    pub fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Does not show the digest: with it, codes could be guessed offline.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// The digest of the token in a file.
pub fn read_token(path: &Path) -> Result<Digest, SecretError> {
    let token = SecretFile::for_this_process(path).read_token()?;
    Ok(Digest::of(token.expose().as_bytes()))
}

/// An array of random bytes.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// SHA-256 of "abc", from FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digests_are_sha_256_and_match_only_themselves() {
        let abc = Digest::of(b"abc");
        assert!(abc.matches(&Digest::from_hex(ABC).unwrap()));
        assert!(abc.matches(&Digest::from_hex(&ABC.to_uppercase()).unwrap()));
        assert!(abc.matches(&Digest::from_slice(abc.as_bytes()).unwrap()));
        for bit in 0..256 {
            let mut other = abc.0;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!abc.matches(&Digest(other)), "{bit}");
        }
        let bad = [&ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), ""];
        assert!(bad.iter().all(|text| Digest::from_hex(text).is_none()));
        let two_bytes = "é".repeat(32);
        assert!(Digest::from_hex(&two_bytes).is_none());
        assert!(!format!("{abc:?}").contains("186"));
    }

    #[test]
    fn of_a_token_in_a_file_the_digest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " \nsixteen-letters!\r\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let digest = read_token(&path).unwrap();
        assert!(digest.matches(&Digest::of(b"sixteen-letters!")));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let told = read_token(&path).unwrap_err().to_string();
        assert!(told.contains("may be read or changed by others"), "{told}");
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
