//! Token and certificates for the server, kept up to date with their files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;
use ureq::http::HeaderValue;

use crate::http::reading::FileReader;
use crate::http::tls;
use crate::settings::Server;
use crate::system::attempt;
use crate::system::fault::Fault;
use crate::system::secret::{SecretError, SecretFile, Token};

/// The files are checked at most this often, unless the server refused what was in them.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A call waits this long for files that are looked at. Then it goes on with what they held, and so do all later ones
/// until the file system answers.
const PATIENCE: Duration = Duration::from_millis(250);

/// As long as nothing has been read from them.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// A command that somebody waits for gives files so much time at most.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// Token and certificates for one server.
pub struct Credentials {
    server: Server,
    token: Kept<Option<Token>>,
    tls: Kept<Option<tls::TlsConfig>>,
    looked: Option<Instant>,
}

/// Why token or certificates are not used. It displays as one sentence.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The token's file.
    #[error("{0}")]
    Token(SecretError),
    /// The certificates, or the key.
    #[error("{0}")]
    Tls(tls::TlsConfigError),
    /// What these files hold cannot be told.
    #[error(
        "{0} is on a file system that does not answer: have it answer again, or name a file elsewhere"
    )]
    Hangs(String),
}

/// What was read from files.
struct Kept<T> {
    value: Option<T>,
    /// `None`: the settings name nothing to read.
    reader: Option<FileReader<Result<T, AccessError>>>,
    /// What the files are called in a sentence.
    name: String,
    /// What is wrong with the files.
    fault: Fault,
    /// Why nothing is known of them at the moment.
    unread: Fault,
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

/// As [`check`], before a start. Files that hang hold it up no longer than a moment: the agent takes them once they
/// can be read.
pub fn check_to_start(server: &Server) -> Result<(), AccessError> {
    let is_any = server.token.is_some() || server.is_https();
    match !is_any || attempt::returns_within(FIRST_PATIENCE, || drop(check(server))) {
        true => check(server),
        false => Ok(()),
    }
}

/// As [`check`], for a command that somebody waits for. Files that hang are refused.
pub fn check_in_time(server: &Server) -> Result<(), AccessError> {
    let limit = server.request_timeout.min(LONGEST_PATIENCE);
    let hangs = |files: Vec<PathBuf>| Err(AccessError::Hangs(named(&files)));
    if server.token.is_some() {
        let its = server.clone();
        let read = attempt::within(limit, move || read_token(&its).map(drop));
        read.unwrap_or_else(|| hangs(token_files(server)))?;
    }
    if server.is_https() {
        let its = server.clone();
        let read = attempt::within(limit, move || read_tls(&its).map(drop));
        read.unwrap_or_else(|| hangs(tls_files(server)))?;
    }
    Ok(())
}

impl Credentials {
    /// Begins without reading.
    pub fn new(server: &Server) -> Credentials {
        let token = match &server.token {
            None => Kept::none(None),
            Some(_) => Kept::of(server, token_files(server), read_token),
        };
        let tls = match server.is_https() {
            false => Kept::none(None),
            true => Kept::of(server, tls_files(server), read_tls),
        };
        Credentials {
            server: server.clone(),
            token,
            tls,
            looked: None,
        }
    }

    /// Has the files read again if they changed. What cannot be used is said once, and what was read before stays in
    /// use. Returns whether the certificates changed.
    pub fn refresh(&mut self, now: Instant) -> bool {
        let is_time = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if is_time {
            self.looked = Some(now);
        }
        self.token.refresh(is_time, now);
        self.tls.refresh(is_time, now)
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
        let reasons = self.token.reasons().chain(self.tls.reasons());
        let reasons: Vec<_> = reasons.collect();
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

impl<T: Send + 'static> Kept<T> {
    fn none(value: T) -> Kept<T> {
        Kept {
            value: Some(value),
            reader: None,
            name: String::new(),
            fault: Fault::default(),
            unread: Fault::default(),
            is_doubted: false,
        }
    }

    fn of(
        server: &Server,
        files: Vec<PathBuf>,
        read: impl Fn(&Server) -> Result<T, AccessError> + Send + 'static,
    ) -> Kept<T> {
        let name = named(&files);
        let server = server.clone();
        // Of the files just before they were read.
        let mut stamps: Option<[Option<Stamp>; 3]> = None;
        let look = move |even_unchanged: bool| {
            let mut new = [None; 3];
            for (stamp, file) in new.iter_mut().zip(&files) {
                *stamp = self::stamp(file);
            }
            // The stamp is taken before reading, so a change meanwhile is noticed later.
            let is_changed = stamps.replace(new) != Some(new);
            (is_changed || even_unchanged).then(|| read(&server))
        };
        Kept {
            value: None,
            reader: Some(FileReader::new(look)),
            name,
            fault: Fault::default(),
            unread: Fault::default(),
            is_doubted: false,
        }
    }

    /// Returns whether the value changed.
    fn refresh(&mut self, is_time: bool, now: Instant) -> bool {
        let Some(reader) = &mut self.reader else {
            return false;
        };
        let is_late = self.unread.reason().is_some();
        if !(is_time || is_late || self.is_doubted) {
            return false;
        }
        let wait = match (is_late, &self.value) {
            (true, _) => Duration::ZERO,
            (false, Some(_)) => PATIENCE,
            (false, None) => FIRST_PATIENCE,
        };
        let found = match reader.begin(self.is_doubted) {
            Ok(began) => {
                self.is_doubted &= !began;
                reader.take(wait).ok_or(None)
            }
            Err(cause) => Err(Some(cause)),
        };
        match found {
            Ok(found) => {
                if is_late {
                    self.unread
                        .worked(&format!("{} can be read again", self.name));
                }
                found.is_some_and(|read| self.note(read, now))
            }
            Err(cause) => {
                let reason = match cause {
                    None => AccessError::Hangs(self.name.clone()).to_string(),
                    Some(cause) => format!("the thread that reads {}: {cause}", self.name),
                };
                let reason = self.with_rest(reason);
                self.unread.failed(reason, now);
                false
            }
        }
    }

    /// Returns whether the value changed.
    fn note(&mut self, read: Result<T, AccessError>, now: Instant) -> bool {
        match read {
            Ok(value) => {
                self.value = Some(value);
                self.fault.worked("what was wrong with it is mended");
                true
            }
            Err(error) => {
                let reason = self.with_rest(error.to_string());
                self.fault.failed(reason, now);
                false
            }
        }
    }

    fn with_rest(&self, reason: String) -> String {
        match self.value {
            Some(_) => format!("{reason}; what it held before stays in use"),
            None => reason,
        }
    }

    fn reasons(&self) -> impl Iterator<Item = &str> {
        [self.unread.reason(), self.fault.reason()]
            .into_iter()
            .flatten()
    }

    fn get(&self) -> Result<&T, String> {
        let reason = || self.reasons().next().unwrap_or_default().to_owned();
        self.value.as_ref().ok_or_else(reason)
    }
}

fn token_files(server: &Server) -> Vec<PathBuf> {
    let token = server.token.as_ref();
    token.map(|it| it.path.clone()).into_iter().collect()
}

fn tls_files(server: &Server) -> Vec<PathBuf> {
    let own = server.client_cert.as_ref();
    let files = [
        server.ca_file.clone(),
        own.map(|it| it.cert_file.clone()),
        own.map(|it| it.key_file.path.clone()),
    ];
    files.into_iter().flatten().collect()
}

/// What files are called in a sentence.
fn named(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return "what certifies the authorities that this system trusts".to_owned();
    }
    let shown = files.iter().map(|it| it.display().to_string());
    shown.collect::<Vec<_>>().join(" or ")
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
