//! What the two threads do next: calls to the server, one at a time, and the queue's chores beside them. No I/O, no
//! clock.

use std::collections::VecDeque;

use mote_core::Uptime;

use super::uplink::together::Fate;
use super::uplink::{Next, Uplink};
use crate::http::outcome::Outcome;
use crate::queue::{Chore, Record};

/// After a fetch for a board, reports have the server for this many times as long, at most [`MAX_BOARDS_PAUSE_MS`].
/// So a server that hangs on boards does not hold up reports.
const BOARDS_PAUSE: u64 = 9;
const MAX_BOARDS_PAUSE_MS: u64 = 300_000;

/// A services document that could not be kept is tried again after this time.
const KEEP_AGAIN_MS: u64 = 5000;

/// A board's client id, and what the server answered about it.
pub type Services<E> = (String, Result<Vec<u8>, E>);

/// Decides what to do next. `E` is why a call failed.
#[derive(Debug)]
pub struct Dispatcher<E> {
    /// The reports.
    pub uplink: Uplink,
    /// Whether there is a server. Without one reports stay in the queue.
    pub has_server: bool,
    /// Whether the server takes several reports in one request.
    pub takes_many: bool,
    orders: OrdersCall<E>,
    boards: Boards<E>,
    /// The newest services document that is not on disk, and when to try.
    document: Option<(Vec<u8>, Uptime)>,
    closing: Closing,
    is_calling: bool,
}

/// What to do next.
#[derive(Debug)]
pub enum Job {
    /// What the queue's disk has to do, then [`Dispatcher::chore_done`].
    Chore(Box<Chore>),
    /// Ask the server for orders, then [`Dispatcher::fetched`].
    Fetch,
    /// Ask it for the services of a board, then [`Dispatcher::fetched_for`].
    FetchFor(String),
    /// Deliver a report, then [`Dispatcher::delivered`].
    Deliver(Record),
    /// Deliver several in one request, then [`Dispatcher::delivered_one`] for each and [`Dispatcher::all_delivered`].
    DeliverAll(Vec<Record>),
    /// Nothing to do before this instant, unless something changes.
    Wait(Uptime),
    /// Nothing to do any more.
    End,
}

/// A call for this agent's own orders.
#[derive(Debug)]
enum OrdersCall<E> {
    Idle,
    Wanted,
    Came(Result<Vec<u8>, E>),
}

/// The asks for services of boards; at most one a board.
#[derive(Debug)]
struct Boards<E> {
    /// The client ids of boards that want their services.
    wanted: VecDeque<String>,
    came: VecDeque<Services<E>>,
    /// Ask for none before this instant.
    not_before: Option<Uptime>,
    asked: Option<Uptime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// What waits is sent until this instant.
    Until(Uptime),
    /// Only the disk is left: it gets what it does not have.
    Flush,
    /// The disk was tried once more, even if it was out of order.
    Retried,
    /// What the disk did not take is given up.
    Forgot,
}

impl<E> Dispatcher<E> {
    /// Begins with nothing to do but what `uplink` has.
    pub fn new(uplink: Uplink, has_server: bool) -> Self {
        Dispatcher {
            uplink,
            has_server,
            takes_many: false,
            orders: OrdersCall::Idle,
            boards: Boards {
                wanted: VecDeque::new(),
                came: VecDeque::new(),
                not_before: None,
                asked: None,
            },
            document: None,
            closing: Closing::No,
            is_calling: false,
        }
    }

    /// Keeps a services document on disk, instead of one that still waits.
    pub fn keep(&mut self, document: Vec<u8>, now: Uptime) {
        self.document = Some((document, now));
    }

    /// The document to write with the next chore. If that fails, call [`Dispatcher::keep_later`].
    pub fn take_document(&mut self) -> Option<Vec<u8>> {
        self.document.take().map(|(document, _)| document)
    }

    /// Tries it again later, unless there is a newer one.
    pub fn keep_later(&mut self, document: Vec<u8>, now: Uptime) {
        let at = now.after_millis(KEEP_AGAIN_MS);
        self.document.get_or_insert((document, at));
    }

    /// What to do at `now`. `spare`: a finished chore, whose memory is used again.
    pub fn next(&mut self, now: Uptime, unix_ms: u64, spare: &mut Option<Box<Chore>>) -> Job {
        let chore_at = self.chore_at(now, false);
        if chore_at <= now {
            return self.begin_chore(now, unix_ms, spare);
        }
        let call_at = match self.next_call(now) {
            Ok(job) => return job,
            Err(call_at) => call_at,
        };
        let chore_at = self.chore_at(now, true);
        if chore_at <= now {
            return self.begin_chore(now, unix_ms, spare);
        }
        if !self.is_ending(now) {
            return Job::Wait(chore_at.min(call_at));
        }
        if !self.uplink.queue().has_chore() && self.takes_leave(now) {
            return self.begin_chore(now, unix_ms, spare);
        }
        match self.is_calling {
            true => Job::Wait(Uptime::NEVER),
            false => Job::End,
        }
    }

    /// Whether everything after [`Dispatcher::close`] is done, apart from a call or a chore that hangs.
    pub fn is_flushed(&self, now: Uptime) -> bool {
        let queue = self.uplink.queue();
        let has_left = self.closing == Closing::Forgot || queue.unstored() == 0;
        let is_idle = !queue.has_chore() && self.chore_at(now, true) > now;
        queue.is_stalled(now) || (has_left && is_idle)
    }

    /// Whether the disk has something to do at a certain time, even during a call.
    pub fn has_timed_chore(&self, now: Uptime) -> bool {
        self.chore_at(now, false) != Uptime::NEVER
    }

    /// When the disk has something to do: a chore or a document. Never while a chore is under way.
    fn chore_at(&self, now: Uptime, idle: bool) -> Uptime {
        let queue = self.uplink.queue();
        let at = queue.chore_at(now, idle);
        match &self.document {
            Some((_, document_at)) if !queue.has_chore() => at.min(*document_at),
            _ => at,
        }
    }

    /// Takes the result of a chore.
    pub fn chore_done(&mut self, chore: &mut Chore, worked: bool, now: Uptime) {
        self.uplink.finish_chore(chore, worked, now);
    }

    /// Asks the server for orders.
    pub fn fetch(&mut self) {
        self.orders = OrdersCall::Wanted;
    }

    /// The answer of the server.
    pub fn fetched(&mut self, answer: Result<Vec<u8>, E>) {
        self.is_calling = false;
        self.orders = OrdersCall::Came(answer);
    }

    /// The answer to [`Dispatcher::fetch`], once.
    pub fn take_orders(&mut self) -> Option<Result<Vec<u8>, E>> {
        match std::mem::replace(&mut self.orders, OrdersCall::Idle) {
            OrdersCall::Came(answer) => Some(answer),
            other => {
                self.orders = other;
                None
            }
        }
    }

    /// Asks the server for the services of a board, unless that is queued already.
    pub fn fetch_for(&mut self, client_id: &str) {
        let wanted = &mut self.boards.wanted;
        if !wanted.iter().any(|it| it == client_id) {
            wanted.push_back(client_id.to_owned());
        }
    }

    /// The answer of the server about a board.
    pub fn fetched_for(&mut self, services: Services<E>, now: Uptime) {
        self.is_calling = false;
        let boards = &mut self.boards;
        let took_ms = boards.asked.map_or(0, |asked| now.millis_since(asked));
        let pause_ms = took_ms
            .saturating_mul(BOARDS_PAUSE)
            .min(MAX_BOARDS_PAUSE_MS);
        boards.came.push_back(services);
        boards.not_before = Some(now.after_millis(pause_ms));
    }

    /// An answer to [`Dispatcher::fetch_for`], once.
    pub fn take_services(&mut self) -> Option<Services<E>> {
        self.boards.came.pop_front()
    }

    /// Takes how a delivery ended. Returns whether reports are given up; see [`Uplink::take_dead`].
    pub fn delivered(&mut self, record: Record, outcome: Outcome, now: Uptime) -> bool {
        self.is_calling = false;
        if outcome != Outcome::Acknowledged && matches!(self.closing, Closing::Until(_)) {
            self.closing = Closing::Flush;
        }
        self.uplink.delivered(record, outcome, now)
    }

    /// Takes what became of one report of several. Returns as [`Dispatcher::delivered`].
    pub fn delivered_one(&mut self, record: Record, fate: Fate, now: Uptime) -> bool {
        // There is no time to send it anew; what its own request has to say may still come.
        if fate == Fate::Stayed && matches!(self.closing, Closing::Until(_)) {
            self.closing = Closing::Flush;
        }
        self.uplink.delivered_one(record, fate, now)
    }

    /// Takes the list of the reports of a request that is over.
    pub fn all_delivered(&mut self, batch: Vec<Record>) {
        self.is_calling = false;
        self.uplink.all_delivered(batch);
    }

    /// Begins the end: delivers what waits until `end`, then leaves the rest to the disk.
    pub fn close(&mut self, end: Uptime) {
        self.closing = Closing::Until(end);
    }

    /// Whether nothing more is to be sent.
    fn is_ending(&self, now: Uptime) -> bool {
        match self.closing {
            Closing::No => false,
            Closing::Until(end) => !self.is_calling || now >= end,
            Closing::Flush | Closing::Retried | Closing::Forgot => true,
        }
    }

    /// The last steps, each once: try a disk that was out of order again, then give up what it does not take and
    /// note that. Returns whether there is a chore.
    fn takes_leave(&mut self, now: Uptime) -> bool {
        if !matches!(self.closing, Closing::Retried | Closing::Forgot) {
            self.closing = Closing::Retried;
            self.uplink.queue_mut().retry_disk(now);
            if self.uplink.queue().chore_at(now, true) <= now {
                return true;
            }
        }
        if self.closing == Closing::Retried {
            self.closing = Closing::Forgot;
            if self.uplink.queue().unstored() > 0 {
                self.uplink.forget();
                self.uplink.queue_mut().retry_disk(now);
            }
        }
        self.uplink.queue().chore_at(now, true) <= now
    }

    fn begin_chore(&mut self, now: Uptime, unix_ms: u64, spare: &mut Option<Box<Chore>>) -> Job {
        let mut chore = spare.take().unwrap_or_default();
        self.uplink.begin_chore(&mut chore, now, unix_ms);
        Job::Chore(chore)
    }

    /// The next call to the server, or when there will be one.
    fn next_call(&mut self, now: Uptime) -> Result<Job, Uptime> {
        if self.is_calling || !self.has_server {
            return Err(Uptime::NEVER);
        }
        let is_closing = match self.closing {
            Closing::No => false,
            Closing::Until(end) if now < end => {
                self.uplink.retry_now(now);
                true
            }
            Closing::Until(_) => {
                self.closing = Closing::Flush;
                return Err(Uptime::NEVER);
            }
            Closing::Flush | Closing::Retried | Closing::Forgot => return Err(Uptime::NEVER),
        };
        if matches!(self.orders, OrdersCall::Wanted) && !is_closing {
            self.orders = OrdersCall::Idle;
            self.is_calling = true;
            return Ok(Job::Fetch);
        }
        let boards = &mut self.boards;
        let boards_at = boards.not_before.unwrap_or(now);
        if !is_closing
            && boards_at <= now
            && let Some(id) = boards.wanted.pop_front()
        {
            boards.asked = Some(now);
            self.is_calling = true;
            return Ok(Job::FetchFor(id));
        }
        match self.uplink.next(now) {
            Next::Send(record) => {
                self.is_calling = true;
                if !self.takes_many {
                    return Ok(Job::Deliver(record));
                }
                Ok(match self.uplink.together(record, now) {
                    Ok(batch) => Job::DeliverAll(batch),
                    Err(record) => Job::Deliver(record),
                })
            }
            Next::Wait(_) if is_closing => Err(Uptime::NEVER),
            Next::Wait(until) if !self.boards.wanted.is_empty() => Err(until.min(boards_at)),
            Next::Wait(until) => Err(until),
        }
    }
}

#[cfg(test)]
mod tests;
