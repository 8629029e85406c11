//! The two threads that wait so that the agent's loop does not have to: for the server, and for the queue's disk.
//!
//! Both do what the [`Dispatcher`] says. One call to the server is under way at a time, and one chore of the disk, so
//! neither a server nor a disk that hangs keeps the other from its work. While both answer, one thread does
//! all and the other sleeps.

pub mod dead;
pub mod dispatch;
mod failing;
pub mod health;
mod pace;
pub mod uplink;
mod workers;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::account::Account;
use crate::http::{CallError, Client};
use crate::queue::{Disk, Folder};
use crate::settings::Server;
use crate::system::clock;
use crate::system::fault::Fault;
use dead::DeadLetters;
use dispatch::{Dispatcher, Services};
use health::Health;
use uplink::Uplink;
use workers::{KEPT_IN_MEMORY, Shared, State};

pub use workers::WORKERS;

/// After the time for the last delivery, the disk gets this much to take what it does not have.
const LAST_CHORE: Duration = Duration::from_secs(1);

/// How it all ended.
#[derive(Debug)]
pub struct Closed {
    /// Where all reports are; what is queued is on disk.
    pub account: Account,
    /// Some were in memory only and are lost: why.
    pub forgot: Option<String>,
}

/// Where things are kept.
#[derive(Debug)]
pub struct Places {
    /// The folder of the queue.
    pub queue: PathBuf,
    /// The folder for what is given up.
    pub dead: PathBuf,
    /// The file for the last services document that was followed.
    pub orders_file: PathBuf,
}

/// The handle of the agent's loop on the threads.
#[derive(Clone)]
pub struct Courier {
    shared: Arc<Shared>,
}

impl Courier {
    /// Starts the threads.
    pub fn start(
        mut uplink: Uplink,
        places: Places,
        server: Option<(&Server, &str)>,
    ) -> io::Result<Courier> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        if let Some((server, _)) = server {
            uplink.set_attempts(server.report_attempts);
        }
        let dead = DeadLetters::open(&places.dead);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                dispatcher: Dispatcher::new(uplink, server.is_some()),
                client: server.map(|(server, id)| Arc::new(Client::new(server, id))),
                disk: Some(Disk::new(Folder::new(&places.queue))),
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
            orders_file: places.orders_file,
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
        if let Some((server, _)) = server {
            let uplink = &mut state.dispatcher.uplink;
            uplink.set_attempts(server.report_attempts);
        }
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
