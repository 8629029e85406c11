//! Microcontrollers on serial ports: their reports go into this agent's queue, their services come from its
//! server, each under the client id that the settings give the board.
//!
//! ```text
//! port ──► Receiver (core) ──► line ──► run: new, again, missing, when ──► queue ──► uplink
//!  ▲                                                                          │
//!  └── acknowledgement, services document ◄── document ◄── courier ◄──────────┘
//! ```
//!
//! Ports are part of the agent's one loop. Each has a bounded share of a turn, and nothing here waits.

pub mod board;
pub mod document;
pub mod line;
mod link;
pub mod orders;
pub(crate) mod port;
pub mod run;
mod timing;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use mote_core::Uptime;
use nix::poll::PollFlags;

use crate::delivery::Courier;
use crate::settings::{self, MAX_BOARDS};
use crate::system::clock;
use board::Counts;
use link::Link;

/// The ports are checked at least this often, in milliseconds.
const TURN_MS: u64 = 1000;

/// One port's share of a turn, in bytes.
const MAX_READ: usize = 4096;

/// The rate of the boards' reports is measured over at least this, in milliseconds.
const RATE_MS: u64 = 10_000;

pub use link::RETRY_MS;

/// What poll(2) said of the open ports, in the order of [`Gateway::interests`].
pub type Events = heapless::Vec<PollFlags, MAX_BOARDS>;

/// The boards of this agent.
pub struct Gateway {
    courier: Courier,
    /// There is a server to ask for the boards' services.
    has_server: bool,
    /// Which ports are boards without a table of their own.
    rules: Vec<settings::BoardSettings>,
    /// When they were applied last.
    looked: Uptime,
    links: Vec<Link>,
    buffer: Vec<u8>,
    /// Reports of boards are on disk now, so acknowledge them.
    may_write: bool,
    /// When the ports were looked at last.
    attended: Uptime,
    rate: Rate,
}

/// What is known of a board, for `status`.
pub struct View<'a> {
    /// Its settings.
    pub settings: &'a settings::BoardSettings,
    /// Whether its port is open.
    pub is_open: bool,
    /// Why the port is not open.
    pub link_error: Option<&'a str>,
    /// Counts of what came so far.
    pub counts: Counts,
    /// Reports that never came.
    pub missing: u64,
    /// The id of its run.
    pub boot: &'a str,
    /// When its services came from the server last, in Unix milliseconds.
    pub services_unix_ms: Option<u64>,
    /// Why no services come.
    pub services_error: Option<&'a str>,
}

/// How many reports come, over all boards.
#[derive(Default)]
struct Rate {
    since: Option<Uptime>,
    count: u32,
}

impl Gateway {
    /// Begins without boards. Their reports go to `courier`.
    pub fn new(courier: Courier) -> Self {
        Gateway {
            courier,
            has_server: false,
            rules: Vec::new(),
            looked: clock::uptime(),
            links: Vec::new(),
            buffer: Vec::new(),
            may_write: true,
            attended: clock::uptime(),
            rate: Rate::default(),
        }
    }

    /// Replaces the boards. A board that stays keeps what is known of it, and its port unless the device changed.
    pub fn set_boards(&mut self, boards: &[settings::BoardSettings], has_server: bool) {
        let now = clock::uptime();
        self.has_server = has_server;
        let (rules, tables): (Vec<_>, Vec<_>) = boards.iter().cloned().partition(|it| it.is_rule());
        self.rules = rules;
        let mut before = std::mem::take(&mut self.links);
        for settings in self.with_found(tables) {
            let is_it = |link: &Link| link.settings.client_id == settings.client_id;
            let link = match before.iter().position(is_it) {
                Some(index) => {
                    let mut link = before.swap_remove(index);
                    link.board.orders.retry_now(now);
                    if link.settings != settings {
                        link.settings = settings;
                        link.close(now);
                    }
                    link
                }
                None => Link::new(settings, now),
            };
            self.links.push(link);
        }
        self.attended = now;
        // If two boards exchange ports, both have to be closed before they are opened.
        drop(before);
        if !self.links.is_empty() {
            self.buffer.resize(MAX_READ, 0);
        }
        for link in &mut self.links {
            link.open_if_due(now);
        }
    }

    /// These boards, and those that the rules find beside them, as many as there may be.
    fn with_found(&self, mut boards: Vec<settings::BoardSettings>) -> Vec<settings::BoardSettings> {
        for found in self.rules.iter().flat_map(settings::BoardSettings::found) {
            let is_it = |it: &settings::BoardSettings| {
                it.client_id.to_string() == found.client_id.to_string() || it.device == found.device
            };
            if boards.len() < MAX_BOARDS && !boards.iter().any(is_it) {
                boards.push(found);
            }
        }
        boards
    }

    /// Takes in the boards that were plugged in since. One that is pulled out stays known until the settings are
    /// read anew.
    fn look_for_boards(&mut self, now: Uptime) {
        let known = self.links.iter().map(|it| it.settings.clone()).collect();
        for settings in self.with_found(known).drain(self.links.len()..) {
            log::info!(
                "board {} is at {}",
                settings.client_id,
                settings.device.display()
            );
            self.links.push(Link::new(settings, now));
            self.buffer.resize(MAX_READ, 0);
        }
    }

    /// What to poll for; the answers go to [`Gateway::attend`].
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.links.iter().filter_map(|link| {
            let flags = match self.may_write && !link.board.outgoing().is_empty() {
                true => PollFlags::POLLIN | PollFlags::POLLOUT,
                false => PollFlags::POLLIN,
            };
            Some((link.port.as_ref()?.as_fd(), flags))
        })
    }

    /// When there is something to do even if no port is ready.
    pub fn deadline(&self) -> Option<Uptime> {
        let links = self.links.iter();
        let instants = links.flat_map(|link| {
            let retry = link.port.is_none().then_some(link.retry);
            let fetch = link.board.orders.fetch_at().filter(|_| self.has_server);
            // This bounds how long bytes may have lain unread.
            let turn = self.attended.after_millis(TURN_MS);
            let turn = link.port.is_some().then_some(turn);
            retry.into_iter().chain(fetch).chain(turn)
        });
        let look = (!self.rules.is_empty()).then(|| self.attended.after_millis(TURN_MS));
        instants.chain(look).min()
    }

    /// Reads, answers and opens what is ready, and asks the server for the services of boards.
    pub fn attend(&mut self, events: &Events) {
        if self.links.is_empty() && self.rules.is_empty() {
            return;
        }
        let before: u64 = self.reports();
        let lain_ms = clock::uptime().millis_since(self.attended);
        let open = self.links.iter_mut().filter(|link| link.port.is_some());
        for (link, event) in open.zip(events) {
            link.read(*event, lain_ms, &mut self.buffer, &self.courier);
        }
        let now = clock::uptime();
        let is_turn = now.millis_since(self.looked) >= TURN_MS;
        if is_turn && !self.rules.is_empty() {
            self.looked = now;
            self.look_for_boards(now);
        }
        self.attended = now;
        for link in &mut self.links {
            link.open_if_due(now);
            if !self.has_server && link.board.orders.fetch_at().is_some() {
                let reason = format!(
                    "board {} asks for its services, and the settings name no server",
                    link.settings.client_id
                );
                link.services.failed(reason, Instant::now());
            } else if link.board.orders.take_fetch(now) {
                self.courier.fetch_for(&link.settings.client_id.to_string());
            }
        }
        self.write(now);
        let count = self.reports() - before;
        if count > 0 {
            if let Some(per_second) = self.rate.count(count, now) {
                self.courier
                    .with_uplink(|uplink| uplink.set_boards_rate(per_second));
            }
            self.courier.wake();
        }
    }

    /// Passes on what the server said to [`Courier::fetch_for`].
    pub fn take_services(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let now = clock::uptime();
        while let Some((id, answer)) = self.courier.take_services() {
            let is_it = |link: &&mut Link| link.settings.client_id.to_string() == id;
            // The board may be gone from the settings.
            let Some(link) = self.links.iter_mut().find(is_it) else {
                continue;
            };
            let document = answer.as_deref().ok();
            let error = match (link.board.served(document, now), &answer) {
                (Err(error), _) => format!("the services document of board {id} {error}"),
                (Ok(()), Err(error)) => format!("the services of board {id}: {error}"),
                (Ok(()), Ok(_)) => {
                    link.services_unix_ms = Some(clock::unix_ms());
                    let again = format!("board {id} gets its services again");
                    link.services.worked(&again);
                    continue;
                }
            };
            link.services.failed(error, Instant::now());
        }
        self.write(now);
    }

    /// A board forgets what is acknowledged, so it is told once the queue's disk has it.
    fn write(&mut self, now: Uptime) {
        if self
            .links
            .iter()
            .any(|link| !link.board.outgoing().is_empty())
        {
            self.may_write = self.courier.is_stored();
        }
        for link in self.links.iter_mut().filter(|_| self.may_write) {
            link.write(now);
        }
    }

    /// What is known of each board.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.links.iter().map(|link| View {
            settings: &link.settings,
            is_open: link.port.is_some(),
            link_error: link.fault.reason(),
            counts: link.board.counts,
            missing: link.board.missing(),
            boot: link.board.boot(),
            services_unix_ms: link.services_unix_ms,
            services_error: link.services.reason(),
        })
    }

    fn reports(&self) -> u64 {
        self.links
            .iter()
            .map(|link| link.board.counts.reports)
            .sum()
    }
}

impl Rate {
    /// Counts reports. Returns the rate, in reports a second, when a new one is known.
    fn count(&mut self, count: u64, now: Uptime) -> Option<f64> {
        let Some(since) = self.since else {
            self.since = Some(now);
            // Not known yet. Too high a rate does no harm.
            return Some(1.0);
        };
        self.count = self
            .count
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        let passed_ms = now.millis_since(since);
        (passed_ms >= RATE_MS).then(|| {
            let per_second = f64::from(self.count) * 1000.0 / passed_ms as f64;
            *self = Rate {
                since: Some(now),
                count: 0,
            };
            per_second
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_counted_over_a_while() {
        let mut rate = Rate::default();
        let at = Uptime::from_millis;
        assert_eq!(rate.count(1, at(1000)), Some(1.0));
        for second in 2..11 {
            assert_eq!(rate.count(5, at(second * 1000)), None);
        }
        assert_eq!(rate.count(5, at(11_000)), Some(5.0));
        // One in 100 s.
        assert_eq!(rate.count(1, at(111_000)), Some(0.01));
    }
}
