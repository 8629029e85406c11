//! The thread that writes. It commits what waits together, and answers all of it then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::file::DatabaseFile;
use super::gathered::{Batch, FEW};
use super::history::streams::SharedStreams;
use super::intake::Intake;
use super::invitation;
use super::job::{StoreJob, TableChange};
use super::open::OpenError;
use super::outage::Outage;
use super::retention;
use super::settings::StoreSettings;
use super::wal::LogGuard;
use crate::collector::now::now_ms;

/// How long to wait before trying again to open a database that was deleted or replaced.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// And before looking again whether readers have closed it.
const READERS_PAUSE: Duration = Duration::from_millis(20);

/// How long to wait for readers at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Chores are looked at this often when nobody asks for anything.
const CHORE_PAUSE: Duration = Duration::from_secs(1);

/// And not more often than this between requests.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What a start would have to find in the log is written to the tables at least this often.
const WRITE_DOWN_PAUSE: Duration = Duration::from_secs(60);

/// Chores that failed are tried again after this time.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// At most this many blocks between two commits.
const BLOCKS: usize = 32;

/// The database, and what is known of it.
pub struct Writer {
    file: DatabaseFile,
    path: PathBuf,
    settings: StoreSettings,
    streams: Arc<SharedStreams>,
    /// How many were opened before this one.
    generation: u64,
    intake: Intake,
}

/// Why the thread stops answering.
enum End {
    /// All handles are gone.
    NobodyAsks,
    /// The open file is not the one that a restart would find.
    Displaced,
}

impl Writer {
    /// Opens or creates the database, and reads what it has.
    pub fn open(
        path: &Path,
        settings: StoreSettings,
        streams: Arc<SharedStreams>,
        generation: u64,
    ) -> Result<Writer, OpenError> {
        let file = DatabaseFile::open(path)?;
        let intake = Intake::start(file.connection(), Arc::clone(&streams)).map_err(|cause| {
            OpenError::Sqlite {
                path: path.to_owned(),
                cause,
            }
        })?;
        let mut opened = streams.lock();
        opened.file = Some((file.id(), generation));
        drop(opened);
        Ok(Writer {
            file,
            path: path.to_owned(),
            settings,
            streams,
            generation,
            intake,
        })
    }

    /// Works until all handles are gone.
    pub fn work(mut self, inbox: &Receiver<StoreJob>) {
        while let End::Displaced = self.answer(inbox) {
            log::error!(
                "{} was deleted or replaced, requests are refused until it can be opened again",
                self.path.display()
            );
            // Readers close it too: they would go on with a log that is no more.
            self.streams.lock().file = None;
            match reopen(self, inbox) {
                Some(reopened) => self = reopened,
                None => return,
            }
        }
        self.close();
    }

    /// Leaves the file as one that may be copied: nothing of it is in the write-ahead log.
    fn close(self) {
        self.streams.lock().file = None;
        let end = Instant::now() + CLOSE_TIMEOUT;
        while self.streams.readers.load(Ordering::Acquire) > 0 && Instant::now() < end {
            std::thread::sleep(READERS_PAUSE);
        }
        if self.file.is_in_place()
            && let Err(error) = self.file.empty_log()
        {
            log::warn!("{error}; the files beside it belong to it");
        }
    }

    /// Dropping a request refuses it.
    fn answer(&mut self, inbox: &Receiver<StoreJob>) -> End {
        let name = self.path.display().to_string();
        let Writer {
            file,
            settings,
            intake,
            streams,
            ..
        } = self;
        let connection = file.connection();
        let mut writing = Outage::new(&name, "written", connection);
        let mut reading = Outage::new(&name, "read", connection);
        let mut log = LogGuard::new(file, streams, settings.log_bytes);
        let mut chores = Chores::new(&name, connection, *settings);
        loop {
            let mut next = match inbox.recv_timeout(chores.pause().min(log.pause())) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    if file.is_in_place() {
                        chores.finish(intake);
                    }
                    return End::NobodyAsks;
                }
            };
            // Tokens are looked up for another request, which will notice.
            if !matches!(next, Some(StoreJob::Tokens { .. })) && !file.is_in_place() {
                return End::Displaced;
            }
            while let Some(job) = next.take() {
                // Whoever asked may be gone.
                match job {
                    StoreJob::Insert {
                        arrived,
                        room,
                        reply,
                    } => {
                        let pause = match chores.after_few {
                            true => settings.commit_pause,
                            false => Duration::ZERO,
                        };
                        let mut batch = Batch::new(arrived, room, reply);
                        let further = batch.gather(inbox, pause);
                        chores.after_few = batch.arrived.len() < FEW;
                        let result = intake.store(connection, &batch.arrived);
                        // SQLite writes to a deleted file without complaint.
                        if !file.is_in_place() {
                            return End::Displaced;
                        }
                        batch.answer(writing.note(result));
                        next = further;
                    }
                    StoreJob::WriteDown { reply } => {
                        let result = chores.write_down(intake, 0);
                        let _ = reply.send(writing.note(result));
                    }
                    StoreJob::Tokens { reply } => {
                        let _ = reply.send(reading.note(invitation::tokens(connection)));
                    }
                    StoreJob::Change { work, reply } => {
                        let result = change(connection, work);
                        if !file.is_in_place() {
                            return End::Displaced;
                        }
                        let _ = reply.send(writing.note(result));
                    }
                }
            }
            chores.step(intake);
            log.step();
        }
    }
}

fn change(connection: &Connection, work: TableChange) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    work(&transaction)?;
    transaction.commit()
}

/// What there is to do beside requests.
struct Chores<'a> {
    name: &'a str,
    connection: &'a Connection,
    settings: StoreSettings,
    /// When the tables were written last.
    written: Instant,
    /// When they may be tried again.
    not_before: Option<Instant>,
    /// Whether the last commit had few reports.
    after_few: bool,
    is_behind: bool,
    has_failed: bool,
    looked: Instant,
}

impl<'a> Chores<'a> {
    fn new(name: &'a str, connection: &'a Connection, settings: StoreSettings) -> Chores<'a> {
        Chores {
            name,
            connection,
            settings,
            written: Instant::now(),
            not_before: None,
            after_few: false,
            is_behind: true,
            has_failed: false,
            looked: Instant::now(),
        }
    }

    fn pause(&self) -> Duration {
        match self.is_behind && self.not_before.is_none() {
            true => Duration::ZERO,
            false => CHORE_PAUSE,
        }
    }

    fn write_down(&mut self, intake: &mut Intake, blocks: usize) -> rusqlite::Result<()> {
        if intake.is_written() && blocks == 0 {
            return Ok(());
        }
        self.is_behind = intake.write_down(self.connection, now_ms(), blocks)?;
        self.written = Instant::now();
        Ok(())
    }

    /// A little of what is due.
    fn step(&mut self, intake: &mut Intake) {
        if self.not_before.is_some_and(|it| Instant::now() < it) {
            return;
        }
        self.not_before = None;
        if !self.is_behind && self.looked.elapsed() < LOOK_PAUSE {
            return;
        }
        self.looked = Instant::now();
        let result = self.try_step(intake);
        self.note(result);
    }

    fn try_step(&mut self, intake: &mut Intake) -> rusqlite::Result<()> {
        let now_ms = now_ms();
        let is_late = self.written.elapsed() >= WRITE_DOWN_PAUSE && !intake.is_written();
        self.is_behind = false;
        if is_late || intake.is_due(now_ms) {
            self.write_down(intake, BLOCKS)?;
        }
        let keep = &self.settings.retention;
        self.is_behind |= retention::step(keep, self.connection, intake, now_ms)?;
        Ok(())
    }

    /// Before the end, so that a start has nothing to find in the log.
    fn finish(&mut self, intake: &mut Intake) {
        let result = self.write_down(intake, 0);
        self.note(result);
    }

    /// Reports go on meanwhile: the log has what is not written elsewhere.
    fn note(&mut self, result: rusqlite::Result<()>) {
        match result {
            Ok(()) if self.has_failed => {
                log::info!("{}: its history is written again", self.name);
                self.has_failed = false;
            }
            Ok(()) => {}
            Err(cause) => {
                self.not_before = Some(Instant::now() + RETRY_PAUSE);
                if !self.has_failed {
                    log::error!(
                        "{}: its history cannot be written, which is tried again: {cause}",
                        self.name
                    );
                }
                self.has_failed = true;
            }
        }
    }
}

fn close(file: &mut Option<DatabaseFile>) -> Result<(), OpenError> {
    if let Some(open) = file {
        open.empty_log()?;
    }
    *file = None;
    Ok(())
}

/// Opens the file that is there now, or a new one. Refuses requests until that succeeds. `None`: all handles are
/// gone.
fn reopen(displaced: Writer, inbox: &Receiver<StoreJob>) -> Option<Writer> {
    let Writer {
        file,
        path,
        settings,
        streams,
        generation,
        ..
    } = displaced;
    let (mut old, next) = (Some(file), generation + 1);
    let mut told = String::new();
    while streams.readers.load(Ordering::Acquire) > 0 {
        refuse(inbox, READERS_PAUSE).ok()?;
    }
    loop {
        let existed = path.exists();
        let writer = close(&mut old)
            .and_then(|()| Writer::open(&path, settings, Arc::clone(&streams), next));
        match writer {
            Ok(writer) => {
                let what = if existed {
                    "the file that is there now is in use"
                } else {
                    "a new file was created; it has none of the earlier reports"
                };
                log::warn!("{}: {what}", path.display());
                return Some(writer);
            }
            Err(cause) => {
                let sentence = cause.to_string();
                if sentence != told {
                    log::error!("{sentence}");
                    told = sentence;
                }
            }
        }
        refuse(inbox, REOPEN_PAUSE).ok()?;
    }
}

/// Refuses what is asked for in this time. An error: all handles are gone.
fn refuse(inbox: &Receiver<StoreJob>, pause: Duration) -> Result<(), Disconnected> {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        match inbox.recv_timeout(left) {
            Ok(job) => drop(job),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(Disconnected),
        }
    }
}

struct Disconnected;
