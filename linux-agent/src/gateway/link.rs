//! A board and its serial port.

use std::time::Instant;

use mote_core::Uptime;
use nix::poll::PollFlags;

use super::board::{Arrival, Board};
use super::port::{Port, PortError};
use crate::delivery::Courier;
use crate::settings;
use crate::system::clock;
use crate::system::fault::Fault;

/// A port that is gone is tried again after this, in milliseconds. So it is in use within 2 s of its return.
pub const RETRY_MS: u64 = 1000;

/// A board and its port.
pub(super) struct Link {
    pub(super) settings: settings::BoardSettings,
    pub(super) board: Board,
    pub(super) port: Option<Port>,
    /// When a port that is not open is tried again.
    pub(super) retry: Uptime,
    /// Why it is not open.
    pub(super) fault: Fault,
    pub(super) services_unix_ms: Option<u64>,
    pub(super) services: Fault,
}

impl Link {
    pub(super) fn new(settings: settings::BoardSettings, now: Uptime) -> Self {
        Link {
            board: Board::new(settings.client_id.clone()),
            settings,
            port: None,
            retry: now,
            fault: Fault::default(),
            services_unix_ms: None,
            services: Fault::default(),
        }
    }

    pub(super) fn read(
        &mut self,
        event: PollFlags,
        lain_ms: u64,
        buffer: &mut [u8],
        courier: &Courier,
    ) {
        let Some(port) = &mut self.port else { return };
        let now = clock::uptime();
        let is_over =
            event.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
        if !is_over && !event.contains(PollFlags::POLLIN) {
            return;
        }
        let at = Arrival {
            now,
            unix_ms: clock::unix_ms(),
            lain_ms,
        };
        match port.read(buffer) {
            // Hung up, with nothing left to read: it would wake the loop again and again.
            Ok(0) if is_over => self.fail(&PortError::HungUp, now),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                self.board.receive(bytes, at, |report, whose| {
                    courier.with_uplink(|uplink| uplink.push(report, whose, now));
                });
                if let Some(refusal) = self.board.take_refusal() {
                    let error = format!("board {} {refusal}", self.settings.client_id);
                    self.services.failed(error, Instant::now());
                }
            }
            Err(error) => self.fail(&error, now),
        }
    }

    pub(super) fn write(&mut self, now: Uptime) {
        let Some(port) = &mut self.port else { return };
        let outgoing = self.board.outgoing();
        if outgoing.is_empty() {
            return;
        }
        match port.write(outgoing) {
            Ok(count) => self.board.written(count),
            Err(error) => self.fail(&error, now),
        }
    }

    pub(super) fn open_if_due(&mut self, now: Uptime) {
        if self.port.is_some() || now < self.retry {
            return;
        }
        match Port::open(&self.settings.device, self.settings.baud) {
            Ok(port) => {
                self.port = Some(port);
                let name = self.name();
                if !self.fault.worked(&format!("{name} is open again")) {
                    log::debug!("{name} is open");
                }
            }
            Err(error) => self.fail(&error, now),
        }
    }

    pub(super) fn fail(&mut self, error: &PortError, now: Uptime) {
        self.close(now.after_millis(RETRY_MS));
        let reason = format!("{} {error}", self.name());
        self.fault.failed(reason, Instant::now());
    }

    pub(super) fn close(&mut self, retry: Uptime) {
        self.port = None;
        self.retry = retry;
        self.board.cut();
    }

    pub(super) fn name(&self) -> String {
        let settings::BoardSettings {
            device, client_id, ..
        } = &self.settings;
        format!("board {client_id}: {}", device.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ClientName;

    #[test]
    fn a_port_that_is_away_is_tried_again_in_time_and_not_all_the_time() {
        // That leaves half of the promised 2 s for the turn and for opening it.
        const { assert!(RETRY_MS >= 500 && RETRY_MS <= 1000) };
        let now = clock::uptime();
        let settings = settings::BoardSettings {
            device: "/nonexistent/port".into(),
            client_id: ClientName::Number(7),
            baud: 115_200,
        };
        let mut link = Link::new(settings, now);
        // Each time in vain: not before the time has passed, and then again.
        let mut due = now;
        for _ in 0..3 {
            assert_eq!(link.retry, due);
            link.open_if_due(due);
            assert!(link.port.is_none());
            due = due.after_millis(RETRY_MS);
            assert_eq!(link.retry, due);
            link.open_if_due(now.after_millis(due.millis_since(now) - 1));
        }
    }
}
