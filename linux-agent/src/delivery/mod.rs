//! The two threads that wait for the server and for the queue's disk, so that the agent's loop does not have to.
//!
//! Both do what the [`Dispatcher`] says. At most one call to the server and one chore of the disk are under way, so
//! a hanging server does not hold up the disk, nor a hanging disk the server. While both answer, one thread does
//! everything and the other sleeps.

pub mod dead;
pub mod dispatch;
mod failing;
pub(crate) mod health;
mod pace;
pub mod untaken;
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
use workers::{DeliveryState, KEPT_IN_MEMORY, Shared};

pub use workers::WORKERS;

/// After the last delivery, the disk has this long to take what it does not have.
const LAST_CHORE: Duration = Duration::from_secs(1);

/// How the delivery ended.
#[derive(Debug)]
pub struct Closed {
    /// All queued reports are on disk. The account.
    pub account: Account,
    /// Some were only in memory and are lost. The reason.
    pub forgot: Option<String>,
}

/// Where things are kept.
#[derive(Debug)]
pub struct Paths {
    /// The folder of the queue.
    pub queue: PathBuf,
    /// The folder for what is given up.
    pub dead: PathBuf,
    /// The file for the last services document that was followed.
    pub orders_file: PathBuf,
}

/// The agent loop's handle on the threads.
#[derive(Clone)]
pub struct Courier {
    shared: Arc<Shared>,
}

impl Courier {
    /// Starts the threads.
    pub fn start(
        mut uplink: Uplink,
        places: Paths,
        server: Option<(&Server, &str)>,
    ) -> io::Result<Courier> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        if let Some((server, _)) = server {
            uplink.set_attempts(server.report_attempts);
        }
        let dead = DeadLetters::open(&places.dead);
        let shared = Arc::new(Shared {
            state: Mutex::new(DeliveryState {
                dispatcher: Dispatcher::new(uplink, server.is_some()),
                client: server.map(|(server, id)| Arc::new(Client::new(server, id))),
                disk: Some(Disk::new(Folder::new(&places.queue))),
                spare: None,
                health: Health::default(),
                disk_fault: Fault::default(),
                read_fault: Fault::default(),
                disk_failures: 0,
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
        // What earlier runs left must be known before the first report of this run.
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

    /// Wakes a thread to look for something to send.
    pub fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Asks the server for orders.
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

    /// Asks the server for the services of a board, unless that is queued already.
    pub fn fetch_for(&self, client_id: &str) {
        self.shared.lock().dispatcher.fetch_for(client_id);
        self.wake();
    }

    /// An answer to [`Courier::fetch_for`], once.
    pub fn take_services(&self) -> Option<Services<CallError>> {
        self.shared.lock().dispatcher.take_services()
    }

    /// Changes the server, or how to talk to it.
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

    /// Calls `look` with what is known of the server.
    pub fn with_health<T>(&self, look: impl FnOnce(&Health) -> T) -> T {
        look(&self.shared.lock().health)
    }

    /// Whether everything queued is on disk, as far as possible. If not, [`Courier::readable`] says when it may be.
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

    /// Why the queue's disk does not take reports, or does not give them back. `None`: it does.
    pub fn disk_error(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.note_stall(clock::uptime());
        let reason = state.disk_fault.reason().or(state.read_fault.reason());
        reason.map(str::to_owned)
    }

    /// How often the queue's disk failed, in writing or in reading.
    pub fn disk_failures(&self) -> u64 {
        self.shared.lock().disk_failures
    }

    /// Notes that the server's orders are followed, or why they are not.
    pub fn note_orders(&self, followed: Result<(), String>) {
        let orders = &mut self.shared.lock().health.orders;
        match followed {
            Ok(()) => orders.worked("the server's services document is followed again"),
            Err(reason) => orders.failed(reason, Instant::now()),
        };
    }

    /// Keeps a services document for the next start. Only the newest that waits for the disk counts.
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

    /// Delivers what waits, within `limit`, then gives the rest to the disk. A call that is under way then is left
    /// alone, and what the disk does not take is given up.
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
                // Wake the sleeping thread, since the other may be busy.
                self.shared.changed.notify_all();
            }
        }
        state.note_stall(clock::uptime());
        let uplink = &mut state.dispatcher.uplink;
        // Unless it is done already: a hanging disk is not waited for.
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
