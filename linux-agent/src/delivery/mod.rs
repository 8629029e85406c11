//! The two threads that wait so that the agent's loop does not have to: for the server, and for the queue's disk.
//!
//! Both do what the [`Dispatcher`] says. One call to the server is under way at a time, and one chore of the disk, so
//! neither a server nor a disk that hangs keeps the other from its work. While both answer, one thread does
//! all and the other sleeps.

pub mod dead;
pub mod dispatch;
pub mod uplink;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mote_core::Uptime;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::account::Account;
use crate::delivery::dead::DeadLetters;
use crate::delivery::dispatch::{Dispatcher, Job, Services};
use crate::delivery::uplink::Uplink;
use crate::http::outcome::Outcome;
use crate::http::{CallError, Client};
use crate::orders;
use crate::queue::{Chore, Disk, Folder, Record};
use crate::settings::Server;
use crate::system::clock;
use crate::system::daemon::DaemonError;
use crate::system::fault::{Fault, SAY_AGAIN};

/// Threads.
pub const WORKERS: usize = 2;

/// After the time for the last delivery, the disk gets this much to take what it does not have.
const LAST_CHORE: Duration = Duration::from_secs(1);

/// What becomes of reports while the disk is out of order.
const KEPT_IN_MEMORY: &str = "; reports are kept in memory";

/// How it all ended.
#[derive(Debug)]
pub struct Closed {
    /// Where all reports are; what is queued is on disk.
    pub account: Account,
    /// Some were in memory only and are lost: why.
    pub forgot: Option<String>,
}

/// What is said of the server and the disk in `status`.
#[derive(Debug, Default)]
pub struct Health {
    /// When a call succeeded last, in Unix milliseconds.
    pub answered_unix_ms: Option<u64>,
    /// How long its last answer to a report took.
    pub latency_ms: Option<u32>,
    /// Why the last report was not taken; none if it was.
    pub delivery: Fault,
    /// Why its last services document is not followed; none if it is.
    pub orders: Fault,
    /// Why a file with token or certificates is not used, though what it held before is.
    pub access: Option<String>,
    /// Which report was given up last, and why.
    pub given_up: Option<GivenUp>,
}

/// A report that was given up.
#[derive(Debug)]
pub struct GivenUp {
    /// One sentence.
    pub sentence: String,
    /// When the log was told of one last.
    said: Instant,
}

/// The handle of the agent's loop on the threads.
pub struct Courier {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something is there for a thread to do.
    changed: Condvar,
    /// A thread has ended, or done what may be the last thing.
    ended: Condvar,
    /// The threads have something for the loop.
    wake: EventFd,
    /// Where what is given up is kept.
    dead: Mutex<DeadLetters>,
    state_dir: PathBuf,
}

struct State {
    dispatcher: Dispatcher<CallError>,
    client: Option<Arc<Client>>,
    /// None while a thread has it.
    disk: Option<Disk<Folder>>,
    spare: Option<Box<Chore>>,
    health: Health,
    /// Why the disk does not take reports.
    disk_fault: Fault,
    /// Letters that are kept, and why the last one could not be.
    dead_letters: u64,
    dead_fault: Fault,
    /// Why the last services document could not be kept.
    document_fault: Fault,
    /// The loop waits for the disk.
    tell_stored: bool,
    /// A thread waits until this time. If there is nothing to do before, the other may sleep until it is needed.
    timekeeper: Option<Uptime>,
    running: usize,
}

impl Courier {
    /// Starts the threads. The queue of `uplink` is kept in `state_dir`, and what is given up.
    pub fn start(
        uplink: Uplink,
        state_dir: &Path,
        server: Option<(&Server, &str)>,
    ) -> io::Result<Courier> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let dead = DeadLetters::open(&state_dir.join("dead"));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                dispatcher: Dispatcher::new(uplink, server.is_some()),
                client: server.map(|(server, id)| Arc::new(Client::new(server, id))),
                disk: Some(Disk::new(Folder::new(&state_dir.join("queue")))),
                spare: None,
                health: Health::default(),
                disk_fault: Fault::default(),
                dead_letters: dead.count(),
                dead_fault: Fault::default(),
                document_fault: Fault::default(),
                tell_stored: false,
                timekeeper: None,
                running: WORKERS,
            }),
            changed: Condvar::new(),
            ended: Condvar::new(),
            wake: EventFd::from_value_and_flags(0, flags)?,
            dead: Mutex::new(dead),
            state_dir: state_dir.to_owned(),
        });
        // What earlier runs left is known before the first report of this one is made.
        shared.lock().open_disk();
        for _ in 0..WORKERS {
            let thread_shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("uplink".to_owned())
                .stack_size(256 << 10)
                .spawn(move || thread_shared.run())?;
        }
        Ok(Courier { shared })
    }

    /// Gives access to the uplink. Call [`Courier::wake`] once there is something to send.
    pub fn with_uplink<T>(&self, change: impl FnOnce(&mut Uplink) -> T) -> T {
        let mut state = self.shared.lock();
        change(&mut state.dispatcher.uplink)
    }

    /// Has the thread look for something to send.
    pub fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Has the thread ask the server for orders.
    pub fn fetch(&self) {
        self.shared.lock().dispatcher.fetch();
        self.wake();
    }

    /// Becomes readable when [`Courier::take_orders`] has something.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// The answer to [`Courier::fetch`], once.
    pub fn take_orders(&self) -> Option<Result<Vec<u8>, CallError>> {
        let _ = self.shared.wake.read();
        self.shared.lock().dispatcher.take_orders()
    }

    /// Has the thread ask the server for the services of a board, unless it is about to.
    pub fn fetch_for(&self, client_id: &str) {
        self.shared.lock().dispatcher.fetch_for(client_id);
        self.wake();
    }

    /// An answer to [`Courier::fetch_for`], once.
    pub fn take_services(&self) -> Option<Services<CallError>> {
        self.shared.lock().dispatcher.take_services()
    }

    /// From now on talks to another server, or to the same one in another way.
    pub fn set_server(&self, server: Option<(&Server, &str)>) {
        let mut state = self.shared.lock();
        state.client = server.map(|(server, id)| Arc::new(Client::new(server, id)));
        state.health = Health::default();
        state.dispatcher.has_server = server.is_some();
        state.dispatcher.uplink.retry_now(clock::uptime());
        drop(state);
        self.wake();
    }

    /// Gives access to what is known of the server.
    pub fn with_health<T>(&self, look: impl FnOnce(&Health) -> T) -> T {
        look(&self.shared.lock().health)
    }

    /// Whether all that was queued is on disk, as far as that is possible. If not, [`Courier::readable`] says when
    /// it may be.
    pub fn is_stored(&self) -> bool {
        let mut state = self.shared.lock();
        let is_stored = state.dispatcher.uplink.queue().is_stored(clock::uptime());
        state.tell_stored = !is_stored;
        is_stored
    }

    /// How many reports that were given up are kept.
    pub fn dead_letters(&self) -> u64 {
        self.shared.lock().dead_letters
    }

    /// Why the queue's disk does not take reports; none if it does.
    pub fn disk_error(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.note_stall(clock::uptime());
        state.disk_fault.reason().map(str::to_owned)
    }

    /// Says that the server's orders are followed, or why they are not.
    pub fn note_orders(&self, followed: Result<(), String>) {
        let orders = &mut self.shared.lock().health.orders;
        match followed {
            Ok(()) => orders.worked("the server's services document is followed again"),
            Err(reason) => orders.failed(reason, Instant::now()),
        };
    }

    /// Has a services document kept for the next start. Of those that wait for the disk the newest counts.
    pub fn keep_orders(&self, document: &[u8]) {
        let now = clock::uptime();
        let mut state = self.shared.lock();
        state.dispatcher.keep(document.to_owned(), now);
        drop(state);
        self.wake();
    }

    /// How long the last delivery took.
    pub fn latency_ms(&self) -> Option<u32> {
        self.shared.lock().health.latency_ms
    }

    /// One last attempt to deliver what waits, within `limit`; a call that is under way then is left alone. What is not
    /// delivered goes to the disk, and what that does not take is given up.
    pub fn close(self, limit: Duration) -> Closed {
        let end = Instant::now() + limit;
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut state = self.shared.lock();
        state
            .dispatcher
            .close(clock::uptime().after_millis(limit_ms));
        self.shared.changed.notify_all();
        while state.running > 0 {
            let now = Instant::now();
            let is_flushed = now >= end && state.dispatcher.is_flushed(clock::uptime());
            let left = (end + LAST_CHORE).saturating_duration_since(now);
            if is_flushed || left.is_zero() {
                break;
            }
            let until_end = end.saturating_duration_since(now);
            let wait = if until_end.is_zero() { left } else { until_end };
            let waited = self.shared.ended.wait_timeout(state, wait);
            (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            if Instant::now() >= end {
                // One that sleeps does what the other has no time for.
                self.shared.changed.notify_all();
            }
        }
        state.note_stall(clock::uptime());
        let uplink = &mut state.dispatcher.uplink;
        // Unless that has been done: a disk that hangs is not waited for.
        uplink.forget();
        let (account, forgotten) = (uplink.account(), uplink.forgotten());
        let why = match state.disk_fault.reason() {
            Some(sentence) => sentence.strip_suffix(KEPT_IN_MEMORY).unwrap_or(sentence),
            None => "the queue's disk does not answer",
        };
        let forgot =
            (forgotten > 0).then(|| format!("{forgotten} were in memory only and are lost: {why}"));
        Closed { account, forgot }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = clock::uptime();
            state.note_stall(now);
            let mut spare = state.spare.take();
            let job = state.dispatcher.next(now, clock::unix_ms(), &mut spare);
            state.spare = spare;
            let client = state.client.clone();
            state = match (job, client) {
                (Job::Wait(until), _) => self.wait(state, now, until),
                (Job::End, _) => {
                    state.running -= 1;
                    self.ended.notify_all();
                    // The other one has nothing to wait for either.
                    self.changed.notify_all();
                    return;
                }
                (Job::Chore(chore), _) => self.do_chore(state, chore),
                (job, Some(client)) => {
                    if state.dispatcher.has_timed_chore(now) {
                        // The other thread keeps the time while this one waits for the server.
                        self.changed.notify_one();
                    }
                    drop(state);
                    self.call(job, &client);
                    self.lock()
                }
                // Calls are made only if there is a server.
                (_, None) => state,
            };
        }
    }

    fn wait<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        now: Uptime,
        until: Uptime,
    ) -> MutexGuard<'s, State> {
        if until == Uptime::NEVER || state.timekeeper.is_some_and(|at| at <= until) {
            let waited = self.changed.wait(state);
            return waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.timekeeper = Some(until);
        let left = Duration::from_millis(until.millis_since(now));
        let waited = self.changed.wait_timeout(state, left);
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        // Unless the other has taken over, for an earlier time.
        if state.timekeeper == Some(until) {
            state.timekeeper = None;
        }
        state
    }

    fn do_chore<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        mut chore: Box<Chore>,
    ) -> MutexGuard<'s, State> {
        // One chore is under way at a time, so the disk is there.
        let Some(mut disk) = state.disk.take() else {
            return state;
        };
        // Along with the chore, so that a disk that hangs takes one thread and is known to hang.
        let document = state.dispatcher.take_document();
        drop(state);
        let result = disk.perform(&mut chore);
        let kept = document.map(|it| (orders::store_last(&self.state_dir, &it), it));
        let mut state = self.lock();
        if let Some((result, document)) = kept {
            state.document_kept(document, result);
        }
        state.disk = Some(disk);
        state.chore_done(chore, result.err().map(|error| error.to_string()));
        self.ended.notify_all();
        if std::mem::take(&mut state.tell_stored) {
            let _ = self.wake.write(1);
        }
        state
    }

    fn call(&self, job: Job, client: &Client) {
        self.call_server(job, client);
        let trouble = client.trouble();
        self.lock().health.access = trouble;
    }

    fn call_server(&self, job: Job, client: &Client) {
        match job {
            Job::Fetch => {
                let answer = client.fetch_config();
                let mut state = self.lock();
                match &answer {
                    // Whether it can be followed is for the loop to say.
                    Ok(_) => state.health.answered_unix_ms = Some(clock::unix_ms()),
                    Err(error) => {
                        let orders = &mut state.health.orders;
                        orders.failed(error.to_string(), Instant::now());
                    }
                }
                state.dispatcher.fetched(answer);
                drop(state);
                // Full only if the loop has not looked yet, and then it will.
                let _ = self.wake.write(1);
            }
            Job::FetchFor(id) => {
                let answer = client.fetch_config_of(&id);
                let now = clock::uptime();
                self.lock().dispatcher.fetched_for((id, answer), now);
                let _ = self.wake.write(1);
            }
            Job::Deliver(record) => {
                let began = Instant::now();
                let (outcome, error) = client.post_report(&record.report);
                let took = began.elapsed();
                let mut state = self.lock();
                state.health.note_delivery(outcome, error.as_ref(), took);
                let service = error.is_some().then(|| service_of(&record.report));
                let given_up = state.dispatcher.delivered(record, outcome, clock::uptime());
                if let (true, Some(error), Some(service)) = (given_up, &error, service) {
                    state.health.note_given_up(&service, error);
                    let reason = error.to_string();
                    while let Some(record) = state.dispatcher.uplink.take_dead() {
                        drop(state);
                        state = self.bury(record, &reason);
                    }
                }
            }
            Job::Chore(_) | Job::Wait(_) | Job::End => {}
        }
    }

    /// Keeps a report that was given up, before the queue forgets it.
    fn bury(&self, record: Record, reason: &str) -> MutexGuard<'_, State> {
        let mut dead = self
            .dead
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let result = dead.keep(&record.report, reason, clock::unix_ms());
        let count = dead.count();
        drop(dead);
        let mut state = self.lock();
        state.dead_letters = count;
        match result {
            Ok(()) => state
                .dead_fault
                .worked("reports that are given up are kept again"),
            Err(error) => {
                let sentence = format!("a report that is given up cannot be kept: {error}");
                state.dead_fault.failed(sentence, Instant::now())
            }
        };
        state.dispatcher.uplink.buried(record);
        state
    }
}

impl State {
    /// The disk's first chore.
    fn open_disk(&mut self) {
        let now = clock::uptime();
        let job = self.dispatcher.next(now, clock::unix_ms(), &mut None);
        if let (Job::Chore(mut chore), Some(disk)) = (job, &mut self.disk) {
            let result = disk.perform(&mut chore);
            self.chore_done(chore, result.err().map(|error| error.to_string()));
        }
    }

    /// A chore takes so long that it is not waited for.
    fn note_stall(&mut self, now: Uptime) {
        if self.dispatcher.uplink.queue().is_stalled(now) {
            let sentence = format!("the queue's disk does not answer{KEPT_IN_MEMORY}");
            self.disk_fault.failed(sentence, Instant::now());
        }
    }

    fn document_kept(&mut self, document: Vec<u8>, result: Result<(), DaemonError>) {
        match result {
            Ok(()) => self
                .document_fault
                .worked("the services document is kept again"),
            Err(error) => {
                self.dispatcher.keep_later(document, clock::uptime());
                let sentence = format!("the services document is not kept: {error}");
                self.document_fault.failed(sentence, Instant::now())
            }
        };
    }

    fn chore_done(&mut self, mut chore: Box<Chore>, error: Option<String>) {
        let now = clock::uptime();
        self.dispatcher.chore_done(&mut chore, error.is_none(), now);
        self.spare = Some(chore);
        if self.dispatcher.uplink.forgotten() > 0 {
            // This was a note of it. Why the disk did not take the reports is still true.
            return;
        }
        match error {
            None => self
                .disk_fault
                .worked("the queue's disk takes reports again"),
            Some(error) => {
                let sentence = format!("the queue's disk: {error}{KEPT_IN_MEMORY}");
                self.disk_fault.failed(sentence, Instant::now())
            }
        };
    }
}

impl Health {
    fn note_delivery(&mut self, outcome: Outcome, error: Option<&CallError>, took: Duration) {
        match (outcome, error) {
            (Outcome::Busy { .. } | Outcome::Unreachable | Outcome::Unanswered, Some(error)) => {
                self.delivery.failed(error.to_string(), Instant::now());
            }
            // A refusal is an answer to one report; it says nothing of the others.
            (Outcome::Refused, _) => {}
            _ => {
                self.delivery.worked("the server takes reports again");
                self.answered_unix_ms = Some(clock::unix_ms());
                self.latency_ms = u32::try_from(took.as_millis()).ok();
            }
        }
    }

    /// The log hears of one report a minute; all of them are counted.
    fn note_given_up(&mut self, service: &str, error: &CallError) {
        let now = Instant::now();
        let sentence = format!("a report of {service:?} is given up: {error}");
        let said = match &self.given_up {
            Some(before) if now.saturating_duration_since(before.said) < SAY_AGAIN => {
                log::debug!("{sentence}");
                before.said
            }
            _ => {
                log::warn!("{sentence}");
                now
            }
        };
        self.given_up = Some(GivenUp { sentence, said });
    }
}

/// The service of an encoded report.
fn service_of(report: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        service_name: String,
    }
    let named = serde_json::from_slice(report);
    named.map_or_else(|_| "?".to_owned(), |Named { service_name }| service_name)
}
