//! The files that hold tokens, read again and again. A file system may hang: each folder is read by itself, and nobody
//! waits for one that does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::client_name::ClientName;
use crate::collector::digest::{self, Digest};
use crate::system::secret::SecretError;

/// A request waits this long for files that are read again. Then the tokens that they held stay in force.
const PATIENCE: Duration = Duration::from_millis(250);

/// A start waits this long.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Whose token it is. `None`: the readers'.
pub type TokenHolder = Option<ClientName>;

/// All files with tokens that the settings name.
pub struct TokenFiles(Vec<Folder>);

/// Files that a dead file server would hold up together.
struct Folder {
    path: PathBuf,
    files: Vec<TokenFile>,
    reading: Option<JoinHandle<Vec<TokenFile>>>,
    /// It took too long to wait for, and that was said.
    hangs: bool,
}

#[derive(Clone)]
struct TokenFile {
    holder: TokenHolder,
    path: PathBuf,
    /// None until it could be read once.
    digest: Option<Digest>,
    /// The last attempt to read it again failed, and that was logged.
    fails: bool,
}

impl TokenFiles {
    /// Reads all for the first time. The token of a file that hangs is not known until the file can be read.
    pub async fn read(named: Vec<(TokenHolder, PathBuf)>) -> Result<TokenFiles, SecretError> {
        let mut folders: BTreeMap<PathBuf, Vec<TokenFile>> = BTreeMap::new();
        for (holder, path) in named {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            folders.entry(folder).or_default().push(TokenFile {
                holder,
                path,
                digest: None,
                fails: false,
            });
        }
        let reads: Vec<_> = folders
            .into_iter()
            .map(|(path, files)| {
                let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
                let read = tokio::task::spawn_blocking(move || {
                    let digests = paths.iter().map(|path| digest::read_token(path));
                    digests.collect::<Result<Vec<Digest>, SecretError>>()
                });
                (path, files, read)
            })
            .collect();
        let deadline = Instant::now() + FIRST_PATIENCE;
        let mut all = Vec::new();
        for (path, mut files, mut read) in reads {
            // If the blocking call does not return, it is tried again with the next request.
            if let Ok(Ok(digests)) = timeout_at(deadline, &mut read).await {
                for (file, digest) in files.iter_mut().zip(digests?) {
                    file.digest = Some(digest);
                }
            }
            all.push(Folder {
                path,
                files,
                reading: None,
                hangs: false,
            });
        }
        Ok(TokenFiles(all))
    }

    /// Reads all again, as far as they can be read in a moment. One that cannot keeps the token that it had: whoever
    /// writes it anew may be in the middle of that.
    pub async fn renew(&mut self) {
        for folder in &mut self.0 {
            let files = &folder.files;
            folder.reading.get_or_insert_with(|| {
                let files = files.clone();
                tokio::task::spawn_blocking(move || files.into_iter().map(read_anew).collect())
            });
        }
        let deadline = Instant::now() + PATIENCE;
        for folder in &mut self.0 {
            folder.await_until(deadline).await;
        }
    }

    /// What is known of each.
    pub fn digests(&self) -> impl Iterator<Item = (&TokenHolder, Option<&Digest>)> {
        let files = self.0.iter().flat_map(|folder| &folder.files);
        files.map(|file| (&file.holder, file.digest.as_ref()))
    }
}

impl Folder {
    // A client that goes away ends this at the await; then the next one goes on with it.
    async fn await_until(&mut self, deadline: Instant) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let deadline = if self.hangs { Instant::now() } else { deadline };
        match timeout_at(deadline, reading).await {
            Ok(read) => {
                self.reading = None;
                if let Ok(files) = read {
                    self.files = files;
                }
                if self.hangs {
                    log::info!("{} can be read again", self.path.display());
                }
                self.hangs = false;
            }
            Err(_) => {
                if !self.hangs {
                    log::warn!(
                        "{} hangs: its tokens stay as they were until it can be read again",
                        self.path.display()
                    );
                }
                self.hangs = true;
            }
        }
    }
}

fn read_anew(mut file: TokenFile) -> TokenFile {
    match digest::read_token(&file.path) {
        Ok(digest) => {
            file.digest = Some(digest);
            file.fails = false;
        }
        Err(error) => {
            if !file.fails {
                log::warn!("{error}; the token that it held stays in force");
            }
            file.fails = true;
        }
    }
    file
}
