//! The settings while the collector runs: read again on SIGHUP and when a file of theirs changes, whole or not at all.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use super::settings::ServerSettings;
use super::tls;

/// How often the files are checked. A change is followed once it is this old: somebody may be writing the file.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Settings that were read and found good.
pub struct Loaded {
    pub settings: ServerSettings,
    pub tls: Option<TlsAcceptor>,
}

/// The thread that checks the files. A file system may hang, so nobody waits for it. It ends when this is dropped.
pub struct Reloader {
    hangups: Sender<()>,
}

impl Reloader {
    /// Watches the files of the settings that are in force. Passes new settings to `follow`.
    pub fn start(
        mut watched: WatchedFiles,
        follow: tokio::sync::mpsc::UnboundedSender<Loaded>,
    ) -> io::Result<Reloader> {
        let (hangups, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("settings".to_owned())
            .spawn(move || watched.keep(&inbox, &follow))?;
        Ok(Reloader { hangups })
    }

    /// Reads now, also if nothing has changed.
    pub fn hang_up(&self) {
        // The thread ends only with this.
        let _ = self.hangups.send(());
    }
}

/// The files of the settings, as they were when those were read.
pub struct WatchedFiles {
    file: PathBuf,
    /// The other files to watch, which the last settings name.
    files: Vec<PathBuf>,
    /// How the files were when they were read.
    seen: Vec<Mark>,
    /// How they are since they changed.
    changed: Option<Vec<Mark>>,
}

/// Differs once a file is written, replaced, removed or given to others.
type Mark = (PathBuf, Option<[i64; 6]>);

impl WatchedFiles {
    /// Called right after `settings` were read. `None` if they come from no file.
    pub fn new(settings: &ServerSettings) -> Option<WatchedFiles> {
        let file = settings.file.clone()?;
        let mut watched = WatchedFiles {
            files: files(&file, settings),
            file,
            seen: Vec::new(),
            changed: None,
        };
        watched.seen = watched.marks();
        Some(watched)
    }

    fn keep(&mut self, inbox: &Receiver<()>, follow: &tokio::sync::mpsc::UnboundedSender<Loaded>) {
        loop {
            let is_asked = match inbox.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let marks = self.marks();
            let is_settled = marks != self.seen && self.changed.as_ref() == Some(&marks);
            if !is_asked && !is_settled {
                self.changed = Some(marks);
                continue;
            }
            self.seen = marks;
            match self.read() {
                Ok(loaded) => {
                    // At the end nobody listens.
                    let _ = follow.send(loaded);
                }
                Err(sentence) => {
                    log::error!("{sentence}; the settings that were read before stay in force");
                }
            }
        }
    }

    fn read(&mut self) -> Result<Loaded, String> {
        let settings = ServerSettings::read(&self.file).map_err(|error| error.to_string())?;
        self.files = files(&self.file, &settings);
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose();
        let tls = tls.map_err(|error| error.to_string())?;
        Ok(Loaded { settings, tls })
    }

    fn marks(&self) -> Vec<Mark> {
        let further = super::settings::further_files(&self.file).unwrap_or_default();
        let all = self.files.iter().cloned().chain(further);
        all.map(|path| {
            let mark = mark(&path);
            (path, mark)
        })
        .collect()
    }
}

/// The settings file and what it names.
fn files(file: &Path, settings: &ServerSettings) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    if let Some(tls) = &settings.tls {
        files.extend([tls.certificates.clone(), tls.key.clone()]);
        files.extend(tls.client_authorities.clone());
    }
    files
}

fn mark(path: &Path) -> Option<[i64; 6]> {
    let metadata = fs::metadata(path).ok()?;
    Some([
        metadata.dev() as i64,
        metadata.ino() as i64,
        metadata.len() as i64,
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime_nsec() ^ metadata.ctime(),
    ])
}
