//! Diagnostics: one line an event, to standard error.
//!
//! A detached agent has its standard error in a file, which is started anew when it grows too large;
//! under systemd the journal has it.

use std::fmt::Arguments;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::clock;

/// A log file is started anew when it reaches this size, in bytes; the one before is kept.
const MAX_FILE: u64 = 1 << 20;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What an operator must look at.
    Error = 0,
    /// What did not go as it should and is handled.
    Warning = 1,
    /// What happened.
    Info = 2,
    /// Each request and sample that failed.
    Debug = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static LOG_FILE: Mutex<Option<LogFile>> = Mutex::new(None);

struct LogFile {
    path: PathBuf,
    written: u64,
}

/// From now on nothing above `level` is said.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// From now on standard error goes to the file `path`, with the time before each line.
pub fn to_file(path: &Path) -> io::Result<()> {
    let written = redirect(path)?;
    *LOG_FILE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(LogFile {
        path: path.to_owned(),
        written,
    });
    Ok(())
}

/// Something an operator must look at.
pub fn error(line: Arguments<'_>) {
    write(Level::Error, line);
}

/// Something that did not go as it should and is handled.
pub fn warning(line: Arguments<'_>) {
    write(Level::Warning, line);
}

/// Something that happened.
pub fn info(line: Arguments<'_>) {
    write(Level::Info, line);
}

/// A detail.
pub fn debug(line: Arguments<'_>) {
    write(Level::Debug, line);
}

fn write(level: Level, line: Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut file = LOG_FILE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = match file.is_some() {
        true => format!("{} mote: {line}\n", timestamp(clock::unix_ms() / 1000)),
        false => format!("mote: {line}\n"),
    };
    // There is nowhere left to say that this failed.
    let _ = io::stderr().write_all(text.as_bytes());
    if let Some(file) = &mut *file {
        file.written += text.len() as u64;
        if file.written >= MAX_FILE {
            let _ = fs::rename(&file.path, file.path.with_extension("log.1"));
            file.written = redirect(&file.path).unwrap_or(0);
        }
    }
}

/// Points standard error to `path` and gives the size that the file has.
fn redirect(path: &Path) -> io::Result<u64> {
    let file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        // A pipe that nobody reads is an error, not a wait.
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    nix::unistd::dup2_stderr(&file)?;
    Ok(file.metadata()?.len())
}

/// ISO 8601 in UTC. Days to dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn timestamp(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_dates() {
        // Compared with `date -u -d @N +%FT%TZ`.
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_795_339_484), "2026-11-22T09:24:44Z");
        assert_eq!(timestamp(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(timestamp(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
