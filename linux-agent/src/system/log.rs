//! The log of agent and collector: the writer behind the `log` crate's macros, one line an event, to standard error.
//!
//! A detached agent has its standard error in a file, which is started anew when it grows too large; under systemd the
//! journal has it. A disk may hang and nobody may read a pipe, so once [`to_file`] or [`to_standard_error`] was called a
//! thread of its own writes: whoever has something to say hands it over, and goes on. Lines that find no room are lost
//! and counted.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::system::{clock, sandbox};

/// A log file is started anew when it reaches this size, in bytes; the one before is kept.
pub const MAX_FILE: u64 = 1 << 20;

/// At most this many lines wait for the log's thread.
pub const MAX_WAITING: usize = 256;

/// Before there is a thread, a line waits this many milliseconds for whoever reads standard error.
const MAX_WAIT_MS: u8 = 100;

/// A line is formatted elsewhere; this writes it.
const STACK_BYTES: usize = 64 << 10;

static TO_THREAD: OnceLock<Handover> = OnceLock::new();
/// Lines that wait for the log's thread. A channel with a bound would hold the room for all of them from the start.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Lines lost since the log said so last.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The way to the log's thread.
struct Handover {
    messages: Sender<Message>,
    /// In a file each line begins with the time. Elsewhere whoever keeps standard error adds it.
    has_time: bool,
}

enum Message {
    Line(String),
    /// Answered once everything before it is written.
    Flush(Sender<()>),
}

/// What the log's thread writes to.
enum Sink {
    StandardError,
    File(LogFile),
}

struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// From now on the `log` crate's macros write here, and nothing above `level` is said: `Error` is what an operator must
/// look at, `Warn` what did not go as it should and is handled, `Info` what happened, `Debug` each request and sample
/// that failed.
pub fn init(level: LevelFilter) {
    // A process has one log: a second call changes its level only.
    let _ = log::set_logger(&Writer);
    log::set_max_level(level);
}

/// From now on a thread writes to standard error, so that nobody else waits for whoever reads it.
pub fn to_standard_error() -> io::Result<()> {
    start(Sink::StandardError)
}

/// From now on standard error goes to the file `path`, with the time before each line. What is said here never waits
/// for its disk.
pub fn to_file(path: &Path) -> io::Result<()> {
    let file = open(OpenOptions::new().read(true).append(true), path)?;
    // For a panic, which is written past this module.
    nix::unistd::dup2_stderr(&file)?;
    start(Sink::File(LogFile {
        path: path.to_owned(),
        bytes: file.metadata()?.len(),
        file,
    }))
}

/// Says why a command ends, after what was said before. Whoever does not read it has the exit code.
pub fn say(line: Arguments<'_>) {
    flush(Duration::from_millis(MAX_WAIT_MS.into()));
    write_at_once(line);
}

fn start(sink: Sink) -> io::Result<()> {
    let (messages, waiting) = mpsc::channel();
    let has_time = matches!(sink, Sink::File(_));
    thread::Builder::new()
        .name("log".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || sink.keep(&waiting))?;
    // A process has one log: a second call changes nothing.
    let _ = TO_THREAD.set(Handover { messages, has_time });
    Ok(())
}

/// Waits until what was said is written, but not for longer than `limit`.
pub fn flush(limit: Duration) {
    let Some(Handover { messages, .. }) = TO_THREAD.get() else {
        return;
    };
    let (done, written) = mpsc::channel();
    if messages.send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(limit);
    }
}

/// What the `log` crate's macros call.
struct Writer;

impl Log for Writer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Libraries below say more than an operator wants to know.
        if self.enabled(record.metadata()) && record.target().starts_with("mote") {
            write(*record.args());
        }
    }

    fn flush(&self) {}
}

fn write(line: Arguments<'_>) {
    let written = match TO_THREAD.get() {
        None => write_at_once(line),
        Some(handover) => handover.line(line),
    };
    if !written {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handover {
    /// Whether there was room.
    fn line(&self, line: Arguments<'_>) -> bool {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let line = match self.has_time {
            true => stamped(line),
            false => plain(line),
        };
        self.messages.send(Message::Line(line)).is_ok()
    }
}

fn write_at_once(line: Arguments<'_>) -> bool {
    let stderr = io::stderr();
    let mut events = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut events, PollTimeout::from(MAX_WAIT_MS)) {
        Ok(0) => false,
        // There is nowhere left to say that this failed.
        _ => stderr.lock().write_all(plain(line).as_bytes()).is_ok(),
    }
}

fn plain(line: Arguments<'_>) -> String {
    format!("mote: {line}\n")
}

fn stamped(line: Arguments<'_>) -> String {
    format!("{} mote: {line}\n", timestamp(clock::unix_ms() / 1000))
}

impl Sink {
    /// The thread's life.
    fn keep(mut self, waiting: &Receiver<Message>) {
        sandbox::give_up_files(Some(self.descriptor()));
        while let Ok(message) = waiting.recv() {
            match message {
                Message::Line(line) => {
                    WAITING.fetch_sub(1, Ordering::Relaxed);
                    self.write(&line);
                    // Lines are lost only while others wait, so another line follows and the loss is noticed.
                    match LOST.swap(0, Ordering::Relaxed) {
                        0 => {}
                        lost => self.say_lost(lost),
                    }
                }
                // Whoever asked may be gone.
                Message::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, line: &str) {
        match self {
            // There is nowhere left to say that this failed.
            Sink::StandardError => drop(io::stderr().write_all(line.as_bytes())),
            Sink::File(file) => file.write(line),
        }
    }

    fn say_lost(&mut self, lost: u64) {
        let line = match self {
            Sink::StandardError => plain(format_args!(
                "{lost} lines were lost here: whoever reads standard error was too slow for them"
            )),
            Sink::File(_) => stamped(format_args!(
                "{lost} lines were lost here: this disk was too slow for them"
            )),
        };
        self.write(&line);
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Sink::StandardError => libc::STDERR_FILENO,
            Sink::File(LogFile { file, .. }) => file.as_raw_fd(),
        }
    }
}

impl LogFile {
    fn write(&mut self, line: &str) {
        // There is nowhere left to say that this failed.
        let _ = self.file.write_all(line.as_bytes());
        self.bytes += line.len() as u64;
        if self.bytes >= MAX_FILE {
            let _ = self.keep_copy();
            // Emptied, not replaced, since it is the process's standard error. Also if the copy failed.
            let _ = self.file.set_len(0);
            self.bytes = 0;
        }
    }

    fn keep_copy(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let path = self.path.with_extension("log.1");
        let mut copy = open(options.write(true).truncate(true), &path)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy).map(drop)
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options
        .create(true)
        .mode(0o600)
        // Opening a pipe that nobody reads must fail, not wait. A link could lead elsewhere.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)
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
