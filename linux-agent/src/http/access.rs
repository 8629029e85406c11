//! Token and certificates for the server, kept up to date with their files.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

use crate::http::tls;
use crate::settings::Server;
use crate::system::fault::Fault;
use crate::system::secret::{SecretError, SecretFile, Token};

/// The files are checked at most this often, unless the server refused what was in them.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Token and certificates for one server.
pub struct Access {
    server: Server,
    token: Kept<Option<Token>>,
    tls: Kept<Option<tls::TlsConfig>>,
    looked: Option<Instant>,
}

/// Why token or certificates are not used. It displays as one sentence.
#[derive(Debug)]
pub enum AccessError {
    /// The token's file.
    Token(SecretError),
    /// The certificates, or the key.
    Tls(tls::TlsConfigError),
}

/// What was read from files, and the stamps of the files then.
struct Kept<T> {
    value: Option<T>,
    /// The files' stamps just before they were read.
    stamps: Vec<Option<Stamp>>,
    fault: Fault,
    /// The server refused it, so the files are read again even if their stamps are the same.
    is_doubted: bool,
}

/// Device, inode, size, and time of the last change of contents or mode, in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Reads the files that a server's settings name, and says what is wrong with them.
pub fn check(server: &Server) -> Result<(), AccessError> {
    read_token(server)?;
    read_tls(server)?;
    Ok(())
}

impl Access {
    /// Begins without reading.
    pub fn new(server: &Server) -> Access {
        Access {
            server: server.clone(),
            token: Kept::new(),
            tls: Kept::new(),
            looked: None,
        }
    }

    /// Reads the files again if they changed. What cannot be used is said once, and what was read before stays in
    /// use. Returns whether the certificates changed.
    pub fn refresh(&mut self, now: Instant) -> bool {
        let is_time = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if is_time {
            self.looked = Some(now);
        }
        let server = &self.server;
        if is_time || self.token.is_doubted {
            let file = server.token.as_ref().map(|it| it.path.as_path());
            self.token.refresh(&[file], now, || read_token(server));
        }
        if is_time || self.tls.is_doubted {
            let own = server.client_cert.as_ref();
            let files = [
                server.ca_file.as_deref(),
                own.map(|it| it.cert_file.as_path()),
                own.map(|it| it.key_file.path.as_path()),
            ];
            return self.tls.refresh(&files, now, || read_tls(server));
        }
        false
    }

    /// The value of `Authorization`, if the settings name a token.
    pub fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        Ok(self.token.get()?.as_ref().and_then(Token::header))
    }

    /// For https:// addresses.
    pub fn tls(&self) -> Result<Option<tls::TlsConfig>, String> {
        self.tls.get().cloned()
    }

    /// Why files are not used at the moment. What they held before still is.
    pub fn trouble(&self) -> Option<String> {
        let reasons = [self.token.fault.reason(), self.tls.fault.reason()];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        Some(reasons.join("; ")).filter(|it| !it.is_empty())
    }

    /// The file of the token.
    pub fn token_file(&self) -> Option<&Path> {
        self.server.token.as_ref().map(|it| it.path.as_path())
    }

    /// The server refused the token.
    pub fn doubt_token(&mut self) {
        self.token.is_doubted = true;
    }

    /// The server's certificate was refused, or the agent's by the server.
    pub fn doubt_tls(&mut self) {
        self.tls.is_doubted = true;
    }
}

impl<T> Kept<T> {
    fn new() -> Kept<T> {
        Kept {
            value: None,
            stamps: Vec::new(),
            fault: Fault::default(),
            is_doubted: false,
        }
    }

    /// Returns whether the value changed.
    fn refresh(
        &mut self,
        files: &[Option<&Path>],
        now: Instant,
        read: impl FnOnce() -> Result<T, AccessError>,
    ) -> bool {
        // The stamp is taken before reading, so a change meanwhile is noticed later.
        let stamps: Vec<_> = files.iter().flatten().map(|file| stamp(file)).collect();
        let is_first = self.value.is_none() && self.fault.reason().is_none();
        if !is_first && !self.is_doubted && stamps == self.stamps {
            return false;
        }
        self.is_doubted = false;
        self.stamps = stamps;
        match read() {
            Ok(value) => {
                self.value = Some(value);
                self.fault.worked("what was wrong with it is mended");
                true
            }
            Err(error) => {
                let reason = match self.value {
                    Some(_) => format!("{error}; what it held before stays in use"),
                    None => error.to_string(),
                };
                self.fault.failed(reason, now);
                false
            }
        }
    }

    fn get(&self) -> Result<&T, String> {
        let reason = || self.fault.reason().unwrap_or_default().to_owned();
        self.value.as_ref().ok_or_else(reason)
    }
}

fn read_token(server: &Server) -> Result<Option<Token>, AccessError> {
    let token = server.token.as_ref().map(SecretFile::read_token);
    token.transpose().map_err(AccessError::Token)
}

fn read_tls(server: &Server) -> Result<Option<tls::TlsConfig>, AccessError> {
    let is_https = server.is_https();
    let config = is_https.then(|| tls::TlsConfig::read(server));
    config.transpose().map_err(AccessError::Tls)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.size(), it.ctime(), it.ctime_nsec()))
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::Token(error) => error.fmt(f),
            AccessError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AccessError {}
