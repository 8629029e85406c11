//! The one thread that talks to the server, and what it shares with the agent's loop.
//!
//! The loop queues reports and asks for orders; the thread delivers and fetches, one call at a time, and
//! wakes the loop when orders have come. What to send when is decided in [`crate::uplink`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mote_core::Uptime;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::clock;
use crate::fault::{Fault, SAY_AGAIN};
use crate::http::{CallError, Client};
use crate::log;
use crate::settings::Server;
use crate::uplink::{Account, Next, Outcome, Uplink};

/// What is said of the server in `status`.
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

/// The handle of the agent's loop on the thread.
pub struct Courier {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something is there for the thread to do.
    changed: Condvar,
    /// The thread has ended.
    ended: Condvar,
    /// The thread has something for the loop.
    wake: EventFd,
}

struct State {
    uplink: Uplink,
    /// None: there is no server, reports stay in the queue.
    client: Option<Arc<Client>>,
    orders: Orders,
    boards: Boards,
    health: Health,
    closing: Option<Instant>,
    ended: bool,
}

enum Orders {
    Idle,
    Wanted,
    Came(Result<Vec<u8>, CallError>),
}

/// The services of boards. As many are wanted at a time as there are boards at most.
#[derive(Default)]
struct Boards {
    /// The client ids of those that want theirs.
    wanted: VecDeque<String>,
    came: VecDeque<Services>,
    /// None is asked for before this instant.
    not_before: Option<Uptime>,
}

/// After a fetch for a board the thread is there for reports this many times as long, but at most
/// [`MAX_BOARDS_PAUSE_MS`]: a server that hangs on boards may not hold up reports.
const BOARDS_PAUSE: u64 = 9;
const MAX_BOARDS_PAUSE_MS: u64 = 300_000;

/// A board's client id, and what the server answered about it.
pub type Services = (String, Result<Vec<u8>, CallError>);

impl Courier {
    /// Starts the thread.
    pub fn start(uplink: Uplink, server: Option<(&Server, &str)>) -> io::Result<Courier> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                uplink,
                client: server.map(|(server, id)| Arc::new(Client::new(server, id))),
                orders: Orders::Idle,
                boards: Boards::default(),
                health: Health::default(),
                closing: None,
                ended: false,
            }),
            changed: Condvar::new(),
            ended: Condvar::new(),
            wake: EventFd::from_value_and_flags(0, flags)?,
        });
        let thread_shared = Arc::clone(&shared);
        thread::Builder::new()
            .name("uplink".to_owned())
            .stack_size(256 << 10)
            .spawn(move || thread_shared.run())?;
        Ok(Courier { shared })
    }

    /// Gives access to the uplink. Call [`Courier::wake`] once there is something to send.
    pub fn with_uplink<T>(&self, change: impl FnOnce(&mut Uplink) -> T) -> T {
        let mut state = self.shared.lock();
        change(&mut state.uplink)
    }

    /// Has the thread look for something to send.
    pub fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Has the thread ask the server for orders.
    pub fn fetch(&self) {
        self.shared.lock().orders = Orders::Wanted;
        self.wake();
    }

    /// Becomes readable when [`Courier::take_orders`] has something.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// The answer to [`Courier::fetch`], once.
    pub fn take_orders(&self) -> Option<Result<Vec<u8>, CallError>> {
        let _ = self.shared.wake.read();
        let mut state = self.shared.lock();
        match std::mem::replace(&mut state.orders, Orders::Idle) {
            Orders::Came(answer) => Some(answer),
            other => {
                state.orders = other;
                None
            }
        }
    }

    /// Has the thread ask the server for the services of a board, unless it is about to.
    pub fn fetch_for(&self, client_id: &str) {
        let wanted = &mut self.shared.lock().boards.wanted;
        if !wanted.iter().any(|it| it == client_id) {
            wanted.push_back(client_id.to_owned());
        }
        self.wake();
    }

    /// An answer to [`Courier::fetch_for`], once.
    pub fn take_services(&self) -> Option<Services> {
        self.shared.lock().boards.came.pop_front()
    }

    /// From now on talks to another server, or to the same one in another way.
    pub fn set_server(&self, server: Option<(&Server, &str)>) {
        let mut state = self.shared.lock();
        state.client = server.map(|(server, id)| Arc::new(Client::new(server, id)));
        state.health = Health::default();
        state.uplink.retry_now(clock::uptime());
        drop(state);
        self.wake();
    }

    /// Gives access to what is known of the server.
    pub fn with_health<T>(&self, look: impl FnOnce(&Health) -> T) -> T {
        look(&self.shared.lock().health)
    }

    /// Says that the server's orders are followed, or why they are not.
    pub fn note_orders(&self, followed: Result<(), String>) {
        let orders = &mut self.shared.lock().health.orders;
        match followed {
            Ok(()) => orders.worked("the server's services document is followed again"),
            Err(reason) => orders.failed(reason, Instant::now()),
        };
    }

    /// How long the last delivery took.
    pub fn latency_ms(&self) -> Option<u32> {
        self.shared.lock().health.latency_ms
    }

    /// One last attempt to deliver what waits, within `limit`; a call that is under way then is left alone. Gives
    /// the final account.
    pub fn close(self, limit: Duration) -> Account {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        state.closing = Some(end);
        self.shared.changed.notify_one();
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.uplink.account()
    }
}

enum Job {
    Fetch(Arc<Client>),
    FetchFor(Arc<Client>, String),
    Deliver(Arc<Client>, crate::queue::Record),
    End,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run(&self) {
        loop {
            match self.next_job() {
                Job::Fetch(client) => {
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
                    state.orders = Orders::Came(answer);
                    drop(state);
                    // Full only if the loop has not looked yet, and then it will.
                    let _ = self.wake.write(1);
                }
                Job::FetchFor(client, id) => {
                    let began = clock::uptime();
                    let answer = client.fetch_config_of(&id);
                    let now = clock::uptime();
                    let pause_ms = now.millis_since(began).saturating_mul(BOARDS_PAUSE);
                    let boards = &mut self.lock().boards;
                    boards.came.push_back((id, answer));
                    boards.not_before = Some(now.after_millis(pause_ms.min(MAX_BOARDS_PAUSE_MS)));
                    let _ = self.wake.write(1);
                }
                Job::Deliver(client, record) => {
                    let began = Instant::now();
                    let (outcome, error) = client.post_report(&record.report);
                    let took = began.elapsed();
                    let mut state = self.lock();
                    state.health.note_delivery(outcome, error.as_ref(), took);
                    if outcome != Outcome::Acknowledged && state.closing.is_some() {
                        state.closing = Some(Instant::now());
                    }
                    let service = error.is_some().then(|| service_of(&record.report));
                    let given_up = state.uplink.delivered(record, outcome, clock::uptime());
                    if let (true, Some(error), Some(service)) = (given_up, &error, service) {
                        state.health.note_given_up(&service, error);
                    }
                }
                Job::End => {
                    self.lock().ended = true;
                    self.ended.notify_all();
                    return;
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn next_job(&self) -> Job {
        let mut state = self.lock();
        loop {
            let now = clock::uptime();
            if let Some(end) = state.closing {
                if Instant::now() >= end {
                    return Job::End;
                }
                state.uplink.retry_now(now);
            }
            let Some(client) = state.client.clone() else {
                if state.closing.is_some() {
                    return Job::End;
                }
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            };
            if matches!(state.orders, Orders::Wanted) && state.closing.is_none() {
                return Job::Fetch(client);
            }
            let is_closing = state.closing.is_some();
            let boards = &mut state.boards;
            let boards_at = boards.not_before.unwrap_or(now);
            if !is_closing
                && boards_at <= now
                && let Some(id) = boards.wanted.pop_front()
            {
                return Job::FetchFor(client, id);
            }
            let until = match state.uplink.next(now) {
                Next::Send(record) => return Job::Deliver(client, record),
                Next::Wait(_) if state.closing.is_some() => return Job::End,
                Next::Wait(until) if !state.boards.wanted.is_empty() => until.min(boards_at),
                Next::Wait(until) => until,
            };
            state = if until == Uptime::NEVER {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(|poisoned| poisoned.into_inner())
            } else {
                let left = Duration::from_millis(until.millis_since(now));
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
            };
        }
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
                log::debug(format_args!("{sentence}"));
                before.said
            }
            _ => {
                log::warning(format_args!("{sentence}"));
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
