//! A certificate that came with the command line: a file for as long as it is tried.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::text;
use crate::cli::outcome::{Failed, exit, failed};
use crate::system::files::FileError;

/// A certificate may have this many characters.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// It is gone when this is dropped.
pub struct Certificate {
    /// Where it is until then.
    pub path: PathBuf,
}

impl Certificate {
    /// Writes it to a file of its own.
    pub fn laid_out(base64: &str) -> Result<Certificate, Failed> {
        let is_base64 =
            |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=');
        if base64.len() > MAX_CERTIFICATE || !base64.bytes().all(is_base64) {
            let sentence =
                "--certificate is the base64 of one certificate, as in a PEM file but in one line";
            return Err(failed(exit::USAGE, sentence));
        }
        let path = std::env::temp_dir().join(format!("mote-{}.pem", std::process::id()));
        // A link of somebody else's is not followed.
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| {
            let certificate = Certificate { path: path.clone() };
            file.write_all(text::pem(base64).as_bytes())?;
            Ok(certificate)
        });
        written.map_err(|error| failed(exit::FAILED, FileError::new(&path, error)))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
