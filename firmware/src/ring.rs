//! Samples that wait until their reports are acknowledged.

use heapless::Deque;
use mote_core::SlotId;

use crate::board::Failed;

/// One sample. It is encoded only when it is sent: so it is a fifth of the size, and its age is known.
#[derive(Clone, Copy, Debug)]
pub struct Record<S> {
    pub seq: u32,
    pub uptime_s: u32,
    pub slot: SlotId,
    state: State,
    pub sample: Result<S, Failed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// The number of its last sending. An acknowledgement of a later one tells that this one was lost,
    /// since a serial line delivers in order.
    Sent(u16),
    Acknowledged,
}

/// At most `N` records, the oldest first.
#[derive(Clone, Debug)]
pub struct Ring<S, const N: usize> {
    records: Deque<Record<S>, N>,
    sendings: u16,
    dropped: u32,
}

impl<S, const N: usize> Ring<S, N> {
    pub const fn new() -> Self {
        Ring {
            records: Deque::new(),
            sendings: 0,
            dropped: 0,
        }
    }

    /// Adds a sample; if there is no room the oldest one goes, and is counted.
    pub fn push(&mut self, seq: u32, uptime_s: u32, slot: SlotId, sample: Result<S, Failed>) {
        if self.records.is_full() {
            self.records.pop_front();
            self.count_dropped();
        }
        let record = Record {
            seq,
            uptime_s,
            slot,
            state: State::Waiting,
            sample,
        };
        if self.records.push_back(record).is_err() {
            self.count_dropped();
        }
    }

    /// The oldest record that is to be sent, now marked as sent.
    pub fn send(&mut self) -> Option<&Record<S>> {
        let record = self
            .records
            .iter_mut()
            .find(|it| it.state == State::Waiting)?;
        self.sendings = self.sendings.wrapping_add(1);
        record.state = State::Sent(self.sendings);
        Some(record)
    }

    /// The report with this number has arrived: those sent before it are sent again if they have not.
    /// False if no such report waits.
    pub fn acknowledge(&mut self, seq: u32) -> bool {
        let Some(record) = self.records.iter_mut().find(|it| it.seq == seq) else {
            return false;
        };
        let arrived = record.state;
        record.state = State::Acknowledged;
        if let State::Sent(arrived) = arrived {
            for record in &mut self.records {
                if let State::Sent(sending) = record.state
                    && (sending.wrapping_sub(arrived) as i16) < 0
                {
                    record.state = State::Waiting;
                }
            }
        }
        while self.front_is_acknowledged() {
            self.records.pop_front();
        }
        true
    }

    /// Nothing was acknowledged for a while: the oldest record is sent again.
    pub fn retry(&mut self) {
        if let Some(record) = self.records.front_mut() {
            record.state = State::Waiting;
        }
    }

    /// The report with this number was not sent after all.
    pub fn send_again(&mut self, seq: u32) {
        let record = self.records.iter_mut().find(|it| it.seq == seq);
        if let Some(record) = record
            && record.state != State::Acknowledged
        {
            record.state = State::Waiting;
        }
    }

    /// Whether every record has been sent and some are not acknowledged.
    pub fn awaits(&self) -> bool {
        !self.records.is_empty() && !self.records.iter().any(|it| it.state == State::Waiting)
    }

    /// Drops and counts the records of services that left the table, since nothing names them any more.
    pub fn retain(&mut self, stays: impl Fn(SlotId) -> bool) {
        for _ in 0..self.records.len() {
            let Some(record) = self.records.pop_front() else {
                return;
            };
            if !stays(record.slot) {
                if record.state != State::Acknowledged {
                    self.count_dropped();
                }
            } else if self.records.push_back(record).is_err() {
                self.count_dropped();
            }
        }
    }

    /// The sample that waits longest.
    pub fn oldest(&self) -> Option<&Record<S>> {
        let mut records = self.records.iter();
        records.find(|it| it.state != State::Acknowledged)
    }

    /// Samples that wait.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Samples that were lost.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    fn front_is_acknowledged(&self) -> bool {
        matches!(self.records.front(), Some(it) if it.state == State::Acknowledged)
    }

    fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}
