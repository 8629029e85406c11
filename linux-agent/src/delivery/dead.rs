//! Dead letters: reports that no server will take, kept with the reason for a person to look at.
//!
//! `dead.jsonl` in the folder `dead` of the state folder has one line a report, the newest last. When it reaches
//! half of the allowed bytes it becomes `dead.1.jsonl`, replacing the one before.
//!
//! ```text
//! {"given_up":1795339484.886,"reason":"http://… answered 400 Bad Request","report":{"client_id":1,…}}
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::system::files;

/// How much all dead letters together may take, in bytes.
pub const MAX_DEAD_BYTES: u64 = 1 << 20;

const NEWEST: &str = "dead.jsonl";
const OLDER: &str = "dead.1.jsonl";

/// The dead letters of an agent.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    newest: Kept,
    older: Kept,
    /// The last write may be incomplete.
    torn: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    letters: u64,
    bytes: u64,
}

/// The part of the line before the report.
#[derive(Serialize)]
struct Letter<'a> {
    given_up: f64,
    reason: &'a str,
}

impl DeadLetters {
    /// Opens those in `folder`. The folder is made when there is one to keep.
    pub fn open(folder: &Path) -> Self {
        DeadLetters {
            torn: true,
            newest: kept(&folder.join(NEWEST)),
            older: kept(&folder.join(OLDER)),
            folder: folder.to_owned(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.newest.letters + self.older.letters
    }

    /// Keeps a report that was given up for `reason`.
    pub fn keep(&mut self, report: &[u8], reason: &str, unix_ms: u64) -> io::Result<()> {
        let letter = Letter {
            given_up: unix_ms as f64 / 1000.0,
            reason,
        };
        let mut line = serde_json::to_vec(&letter).map_err(io::Error::other)?;
        // The report is JSON already.
        line.pop();
        line.extend_from_slice(br#","report":"#);
        line.extend_from_slice(report);
        line.extend_from_slice(b"}\n");
        if self.torn && self.newest.bytes > 0 {
            // Begin with a newline, so that this is not the end of an incomplete line. An empty line does no harm.
            line.insert(0, b'\n');
        }
        let bytes = line.len() as u64;
        let newest = self.folder.join(NEWEST);
        if self.newest.bytes > 0 && self.newest.bytes + bytes > MAX_DEAD_BYTES / 2 {
            fs::rename(&newest, self.folder.join(OLDER))?;
            self.older = std::mem::take(&mut self.newest);
        }
        files::make_own_folder(&self.folder)?;
        let mut file = files::open_own(&newest, true)?;
        self.newest.bytes += bytes;
        self.torn = true;
        file.write_all(&line)?;
        self.torn = false;
        self.newest.letters += 1;
        Ok(())
    }
}

/// An incomplete letter does not count.
fn kept(path: &Path) -> Kept {
    let Ok(file) = files::open_own(path, false) else {
        return Kept::default();
    };
    let mut kept = Kept {
        bytes: file.metadata().map_or(0, |facts| facts.len()),
        letters: 0,
    };
    let mut lines = BufReader::new(file.take(MAX_DEAD_BYTES));
    let mut line = Vec::new();
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        kept.letters += u64::from(line.ends_with(b"}\n"));
        line.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_kept_with_their_reason_and_counted_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("dead");
        let mut letters = DeadLetters::open(&folder);
        assert_eq!(letters.count(), 0);
        letters
            .keep(br#"{"seq":1.50}"#, "it said \"no\"", 1_500)
            .unwrap();
        letters.keep(br#"{"seq":2}"#, "no", 2_000).unwrap();
        assert_eq!(letters.count(), 2);
        let text = fs::read_to_string(folder.join(NEWEST)).unwrap();
        let first = r#"{"given_up":1.5,"reason":"it said \"no\"","report":{"seq":1.50}}"#;
        assert_eq!(text.lines().next(), Some(first));
        fs::write(folder.join(NEWEST), text + "{\"given_up").unwrap();
        let mut letters = DeadLetters::open(&folder);
        assert_eq!(letters.count(), 2);
        letters.keep(br#"{"seq":3}"#, "no", 3_000).unwrap();
        let text = fs::read_to_string(folder.join(NEWEST)).unwrap();
        let last = r#"{"given_up":3.0,"reason":"no","report":{"seq":3}}"#;
        assert_eq!(text.lines().last(), Some(last));
        assert_eq!(DeadLetters::open(&folder).count(), 3);
    }

    #[test]
    fn letters_are_bounded_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::open(folder.path());
        let report = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
        for n in 0..1000 {
            letters.keep(report.as_bytes(), &n.to_string(), 0).unwrap();
            let files = fs::read_dir(folder.path()).unwrap();
            let bytes: u64 = files.map(|it| it.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes <= MAX_DEAD_BYTES, "{bytes}");
        }
        let again = DeadLetters::open(folder.path());
        assert_eq!(again.count(), letters.count());
        assert!((50..105).contains(&again.count()), "{}", again.count());
        let text = fs::read_to_string(folder.path().join(NEWEST)).unwrap();
        assert!(text.lines().last().unwrap().contains(r#""reason":"999""#));
    }
}
