//! The two threads, and what they share with the agent's loop.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mote_core::Uptime;
use nix::sys::eventfd::EventFd;

use super::dead::DeadLetters;
use super::dispatch::{Dispatcher, Job};
use super::health::Health;
use super::uplink::together::Fate;
use crate::http::outcome::Outcome;
use crate::http::{CallError, Client, Together};
use crate::queue::{Chore, Disk, Folder, Record};
use crate::system::clock;
use crate::system::fault::Fault;
use crate::system::files::{FileError, write_whole};

/// How many threads there are.
pub const WORKERS: usize = 2;

/// What becomes of reports while the disk is out of order.
pub const KEPT_IN_MEMORY: &str = "; reports are kept in memory";

/// What the loop and the threads share.
pub struct Shared {
    pub state: Mutex<DeliveryState>,
    /// There is something for a thread to do.
    pub changed: Condvar,
    /// A thread has ended, or done what may be the last thing.
    pub ended: Condvar,
    /// The threads have something for the loop.
    pub wake: EventFd,
    /// Where what is given up is kept.
    pub dead: Mutex<DeadLetters>,
    /// Where the last services document that was followed is kept.
    pub orders_file: PathBuf,
}

/// What is behind the lock.
pub struct DeliveryState {
    pub dispatcher: Dispatcher<CallError>,
    pub client: Option<Arc<Client>>,
    /// `None` while a thread uses it.
    pub disk: Option<Disk<Folder>>,
    pub spare: Option<Box<Chore>>,
    pub health: Health,
    /// Why the disk does not take reports.
    pub disk_fault: Fault,
    /// Why some of what waits on the disk cannot be read.
    pub read_fault: Fault,
    /// How often the disk failed, in writing or in reading.
    pub disk_failures: u64,
    /// How many letters are kept, and why the last one could not be.
    pub dead_letters: u64,
    pub dead_fault: Fault,
    /// Why the last services document could not be kept.
    pub document_fault: Fault,
    /// The loop waits for the disk.
    pub tell_stored: bool,
    /// Until when a thread waits. If nothing is to be done before, the other may sleep until it is woken.
    pub timekeeper: Option<Uptime>,
    pub running: usize,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, DeliveryState> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = clock::uptime();
            state.note_stall(now);
            let mut spare = state.spare.take();
            let client = state.client.clone();
            state.dispatcher.takes_many = client.as_ref().is_some_and(|it| it.takes_many());
            let job = state.dispatcher.next(now, clock::unix_ms(), &mut spare);
            state.spare = spare;
            state = match (job, client) {
                (Job::Wait(until), _) => self.wait(state, now, until),
                (Job::End, _) => {
                    state.running -= 1;
                    self.ended.notify_all();
                    // The other thread has nothing to wait for either.
                    self.changed.notify_all();
                    return;
                }
                (Job::Chore(chore), _) => self.do_chore(state, chore),
                (job, Some(client)) => {
                    if state.dispatcher.has_timed_chore(now) {
                        // While this thread waits for the server, the other keeps the time.
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
        mut state: MutexGuard<'s, DeliveryState>,
        now: Uptime,
        until: Uptime,
    ) -> MutexGuard<'s, DeliveryState> {
        if until == Uptime::NEVER || state.timekeeper.is_some_and(|at| at <= until) {
            let waited = self.changed.wait(state);
            return waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.timekeeper = Some(until);
        let left = Duration::from_millis(until.millis_since(now));
        let waited = self.changed.wait_timeout(state, left);
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        // Unless the other thread took over, for an earlier time.
        if state.timekeeper == Some(until) {
            state.timekeeper = None;
        }
        state
    }

    fn do_chore<'s>(
        &'s self,
        mut state: MutexGuard<'s, DeliveryState>,
        mut chore: Box<Chore>,
    ) -> MutexGuard<'s, DeliveryState> {
        // One chore is under way at a time, so the disk is there.
        let Some(mut disk) = state.disk.take() else {
            return state;
        };
        // Together with the chore, so that a hanging disk holds one thread and is noticed.
        let document = state.dispatcher.take_document();
        drop(state);
        let result = disk.perform(&mut chore);
        let kept = document.map(|it| (write_whole(&self.orders_file, &it), it));
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
                state.health.orders_denied = answer.as_ref().is_err_and(CallError::is_denial);
                match &answer {
                    // The loop decides whether it can be followed.
                    Ok(_) => state.health.answered_unix_ms = Some(clock::unix_ms()),
                    Err(error) => {
                        let health = &mut state.health;
                        health.refused |= error.status().is_some();
                        health.orders.failed(error.to_string(), Instant::now());
                    }
                }
                state.dispatcher.fetched(answer);
                drop(state);
                // The pipe is full only if the loop has not read it yet, and then it will.
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
                // A report that failed before may be given up because this one is taken.
                let reason = match &error {
                    Some(error) => Some(error.to_string()),
                    None => state.health.why(),
                };
                let (key, name) = (record.service, &record.service_name);
                let health = &mut state.health;
                let is_its_own = health.note_service(key, name, outcome, error.as_ref());
                let given_up = state.dispatcher.delivered(record, outcome, clock::uptime());
                // Others' success shows that the server is well.
                let is_refused = given_up && outcome == Outcome::Doubtful;
                let shown = if is_refused {
                    Outcome::Refused
                } else {
                    outcome
                };
                if !is_its_own {
                    state.health.note_delivery(shown, error.as_ref(), took);
                }
                if let (true, Some(reason)) = (given_up, reason) {
                    self.bury_all(state, &reason);
                }
            }
            Job::DeliverAll(batch) => self.deliver_all(batch, client),
            Job::Chore(_) | Job::Wait(_) | Job::End => {}
        }
    }

    fn deliver_all(&self, mut batch: Vec<Record>, client: &Client) {
        let began = Instant::now();
        let mut said = client.post_reports(batch.iter().map(|it| it.report.as_slice()));
        let took = began.elapsed();
        for (nth, record) in batch.drain(..).enumerate() {
            let (fate, error) = fate_of(&mut said, nth);
            let mut state = self.lock();
            // A report that failed before may be given up because this one is taken.
            let reason = match &error {
                Some(error) => Some(error.to_string()),
                None => state.health.why(),
            };
            if let Fate::Ended(outcome) = fate {
                let (key, name) = (record.service, &record.service_name);
                let health = &mut state.health;
                if !health.note_service(key, name, outcome, error.as_ref()) {
                    health.note_delivery(outcome, error.as_ref(), took);
                }
            }
            let now = clock::uptime();
            let given_up = state.dispatcher.delivered_one(record, fate, now);
            if let (true, Some(reason)) = (given_up, reason) {
                self.bury_all(state, &reason);
            }
        }
        self.lock().dispatcher.all_delivered(batch);
    }

    /// Keeps what was given up for `reason`, and says so of the first.
    fn bury_all<'s>(&'s self, mut state: MutexGuard<'s, DeliveryState>, reason: &str) {
        let mut is_said = false;
        while let Some(record) = state.dispatcher.uplink.take_dead() {
            if !std::mem::replace(&mut is_said, true) {
                state.health.note_given_up(&record.service_name, reason);
            }
            drop(state);
            state = self.bury(record, reason);
        }
    }

    /// Keeps a report that was given up, before the queue forgets it.
    fn bury(&self, record: Record, reason: &str) -> MutexGuard<'_, DeliveryState> {
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

/// What became of one of several reports, and why.
fn fate_of(said: &mut Together, nth: usize) -> (Fate, Option<CallError>) {
    match said {
        Together::Answered(fates) => match fates.get_mut(nth).and_then(Option::take) {
            Some((outcome, error)) => (Fate::Ended(outcome), error),
            None => (Fate::GoesAlone, None),
        },
        // One of them is enough to know that.
        Together::Unreachable(error) => match error.take() {
            Some(error) => (Fate::Ended(Outcome::Unreachable), Some(error)),
            None => (Fate::Stayed, None),
        },
        Together::Nothing => (Fate::GoesAlone, None),
    }
}

impl DeliveryState {
    /// The disk's first chore.
    pub fn open_disk(&mut self) {
        let now = clock::uptime();
        let job = self.dispatcher.next(now, clock::unix_ms(), &mut None);
        if let (Job::Chore(mut chore), Some(disk)) = (job, &mut self.disk) {
            let result = disk.perform(&mut chore);
            self.chore_done(chore, result.err().map(|error| error.to_string()));
        }
    }

    /// A part of the queue that cannot be read stays where it is.
    fn note_reading(&mut self, chore: &Chore) {
        let (Some(wanted), unread) = (&chore.wanted, &chore.unread) else {
            return;
        };
        match unread {
            Some(error) => {
                self.disk_failures += 1;
                let sentence =
                    format!("the queue's disk: {error}; what waits there is tried again");
                self.read_fault.failed(sentence, Instant::now());
            }
            // Or it was not tried.
            None if self.dispatcher.uplink.queue().is_left(wanted.from) => {}
            None => {
                self.read_fault.worked("the queue's disk can be read again");
            }
        }
    }

    /// A chore takes too long to wait for it.
    pub fn note_stall(&mut self, now: Uptime) {
        if self.dispatcher.uplink.queue().is_stalled(now) {
            let sentence = format!("the queue's disk does not answer{KEPT_IN_MEMORY}");
            self.disk_fault.failed(sentence, Instant::now());
        }
    }

    fn document_kept(&mut self, document: Vec<u8>, result: Result<(), FileError>) {
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
        self.note_reading(&chore);
        self.disk_failures += u64::from(error.is_some());
        self.dispatcher.chore_done(&mut chore, error.is_none(), now);
        self.spare = Some(chore);
        if self.dispatcher.uplink.forgotten() > 0 {
            // This chore only noted the loss. The reason why the disk did not take the reports still holds.
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
