//! Tokens and codes are kept and compared as SHA-256 digests.

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use crate::system::files;

/// How long a token may be, in bytes: visible ASCII characters, without white space.
pub const TOKEN_BYTES: RangeInclusive<usize> = 16..=256;

/// Largest file that holds a secret, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The SHA-256 of a token or of a code: what is kept of it.
#[derive(Clone)]
pub struct Digest([u8; 32]);

/// Why a file is not taken for a secret. Never says what is in it.
#[derive(Debug)]
pub enum SecretError {
    /// It cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Others than its owner may do something with it.
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's.
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose, as a user id.
        owner: u32,
    },
    /// It does not hold a token.
    NoToken {
        /// Which.
        path: PathBuf,
    },
}

impl Digest {
    /// That of these bytes.
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

    /// Takes it from where it was kept; none if it has not 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same, in a time that does not say how much of them is.
    pub fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Without the digest: who has it can try words at home.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Whether this can be a token.
pub fn is_token(text: &[u8]) -> bool {
    TOKEN_BYTES.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// The digest of the token in a file, without the white space around it.
pub fn read_token(path: &Path) -> Result<Digest, SecretError> {
    let bytes = read(path)?;
    let token = bytes.trim_ascii();
    match is_token(token) {
        true => Ok(Digest::of(token)),
        false => Err(SecretError::NoToken {
            path: path.to_owned(),
        }),
    }
}

/// Reads a file that only its owner may read or write, the owner being root or this user.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let unread = |cause| SecretError::Read {
        path: path.to_owned(),
        cause,
    };
    let file = files::open(path).map_err(unread)?;
    // Of the file that is open: what the path leads to may change.
    let metadata = file.metadata().map_err(unread)?;
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let path = path.to_owned();
        return Err(SecretError::Owner { path, owner });
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden(path) != 0 {
        let path = path.to_owned();
        return Err(SecretError::Open { path, mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let refusal = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(unread(io::Error::new(io::ErrorKind::FileTooLarge, refusal)));
    }
    Ok(bytes)
}

/// As many random bytes as the array has.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

/// The permissions that a secret must not have.
fn forbidden(path: &Path) -> u32 {
    // systemd lets the service's user read a credential by an access list, whose mask shows as the
    // permissions of the group. Nobody else comes into its folder.
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) if !folder.is_empty() && path.parent() == Some(Path::new(&folder)) => 0o037,
        _ => 0o077,
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Read { path, cause } => {
                write!(f, "{} cannot be read: {cause}", path.display())
            }
            SecretError::Open { path, mode } => write!(
                f,
                "{} holds a secret and has the permissions {mode:04o}; take them from others with \
                 chmod 0600",
                path.display()
            ),
            SecretError::Owner { path, owner } => write!(
                f,
                "{} holds a secret and belongs to user {owner}; give it to root or to the user of \
                 this program",
                path.display()
            ),
            SecretError::NoToken { path } => write!(
                f,
                "{} does not hold a token of {} to {} visible ASCII characters",
                path.display(),
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ),
        }
    }
}

impl std::error::Error for SecretError {}

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
    fn a_secret_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "sixteen-letters!\n").unwrap();
        for mode in 0..=0o777 {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = read_token(&path);
            match mode & 0o077 {
                // Root reads what has no permissions at all; others do not.
                0 if mode & 0o400 != 0 => {
                    assert!(read.unwrap().matches(&Digest::of(b"sixteen-letters!")));
                }
                0 => {}
                _ => {
                    let told = read.unwrap_err().to_string();
                    assert!(
                        told.contains("cannot be read") || told.contains(&format!("{mode:04o}"))
                    );
                }
            }
        }
        assert!(read_token(&folder.path().join("none")).is_err());
        if nix::unistd::geteuid().is_root() {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            let told = read_token(&path).unwrap_err().to_string();
            assert!(told.contains("belongs to user 12345"), "{told}");
        } else {
            eprintln!("SKIPPED: a secret of another user, since only root can make one");
        }
    }

    #[test]
    fn what_is_no_token_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, good) in [
            ("x".repeat(15), false),
            ("x".repeat(16), true),
            (format!(" \n{}\r\n\n", "x".repeat(256)), true),
            ("x".repeat(257), false),
            (String::new(), false),
            ("secret of words!".to_owned(), false),
            (format!("secret\u{7f}{}", "x".repeat(20)), false),
            (format!("sécret{}", "x".repeat(20)), false),
            ("secret".repeat(20_000), false),
        ] {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            match read_token(&path) {
                Ok(digest) => assert!(good && digest.matches(&Digest::of(text.trim().as_bytes()))),
                Err(error) => {
                    assert!(!good, "{error}");
                    assert!(!error.to_string().contains("cret"), "{error}");
                }
            }
        }
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
