//! Samples that wait until their reports are acknowledged.

use heapless::Deque;
use mote_core::{SlotId, Uptime};

use crate::board::{Failed, seconds};

/// One sample. It is encoded only when it is sent: until then it takes a fifth of the room, and its age is known
/// then.
#[derive(Clone, Copy, Debug)]
pub struct Record<S> {
    pub seq: u32,
    pub uptime_s: u32,
    /// Milliseconds after that second.
    pub after_ms: u16,
    pub slot: SlotId,
    state: State,
    pub sample: Result<S, Failed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// The number of its last sending. If a later one is acknowledged, this one was lost, since a serial line
    /// delivers in order.
    Sent(u16),
}

/// At most `N` records that are not acknowledged, the oldest first.
#[derive(Clone, Debug)]
pub struct Ring<S, const N: usize> {
    records: Deque<Record<S>, N>,
    sendings: u16,
    dropped: u32,
    /// The number after that of the one that was dropped last; 0 if none was.
    after_dropped: u32,
}

impl<S, const N: usize> Ring<S, N> {
    pub const fn new() -> Self {
        Ring {
            records: Deque::new(),
            sendings: 0,
            dropped: 0,
            after_dropped: 0,
        }
    }

    /// Adds a sample of `now`. If there is no room, the oldest one is dropped and counted.
    pub fn push(&mut self, seq: u32, now: Uptime, slot: SlotId, sample: Result<S, Failed>) {
        if self.records.is_full()
            && let Some(oldest) = self.records.pop_front()
        {
            self.count_dropped(oldest.seq);
        }
        let uptime_s = seconds(now);
        let record = Record {
            seq,
            uptime_s,
            // Less than 1000, however often the milliseconds have gone through their 32 bits.
            after_ms: (now.as_millis() as u32).wrapping_sub(uptime_s.wrapping_mul(1000)) as u16,
            slot,
            state: State::Waiting,
            sample,
        };
        if self.records.push_back(record).is_err() {
            self.count_dropped(seq);
        }
    }

    /// The oldest record to send. Marks it as sent.
    pub fn send(&mut self) -> Option<&Record<S>> {
        let record = self
            .records
            .iter_mut()
            .find(|it| it.state == State::Waiting)?;
        self.sendings = self.sendings.wrapping_add(1);
        record.state = State::Sent(self.sendings);
        Some(record)
    }

    /// The report with this number has arrived. Reports that were sent before it and are not acknowledged are sent
    /// again. `false`: no such report waits.
    pub fn acknowledge(&mut self, seq: u32) -> bool {
        let Some(arrived) = self.take(seq) else {
            // It was on its way when it was dropped, and has arrived after all.
            let arrived = self.after_dropped != 0 && self.after_dropped == seq.wrapping_add(1);
            if arrived {
                self.after_dropped = 0;
                self.dropped = self.dropped.saturating_sub(1);
            }
            return arrived;
        };
        if let State::Sent(arrived) = arrived.state {
            for record in &mut self.records {
                if let State::Sent(sending) = record.state
                    && (sending.wrapping_sub(arrived) as i16) < 0
                {
                    record.state = State::Waiting;
                }
            }
        }
        true
    }

    /// The report with this number can never be sent: drops and counts it.
    pub fn give_up(&mut self, seq: u32) {
        if self.take(seq).is_some() {
            self.count_dropped(seq);
        }
    }

    /// Nothing was acknowledged for a while: the oldest record is sent again.
    pub fn retry(&mut self) {
        if let Some(record) = self.records.front_mut() {
            record.state = State::Waiting;
        }
    }

    /// The report with this number was not sent after all.
    pub fn send_again(&mut self, seq: u32) {
        if let Some(record) = self.records.iter_mut().find(|it| it.seq == seq) {
            record.state = State::Waiting;
        }
    }

    /// Whether every record has been sent and some are not acknowledged.
    pub fn awaits(&self) -> bool {
        !self.records.is_empty() && !self.records.iter().any(|it| it.state == State::Waiting)
    }

    /// Drops and counts the records of services that left, since nothing names them any more.
    pub fn retain(&mut self, stays: impl Fn(SlotId) -> bool) {
        for _ in 0..self.records.len() {
            if let Some(record) = self.records.pop_front() {
                let seq = record.seq;
                if !stays(record.slot) || self.records.push_back(record).is_err() {
                    self.count_dropped(seq);
                }
            }
        }
    }

    /// The sample that waits longest.
    pub fn oldest(&self) -> Option<&Record<S>> {
        self.records.front()
    }

    /// Samples that wait.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Samples that were lost.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes a record out of its place.
    fn take(&mut self, seq: u32) -> Option<Record<S>> {
        let mut taken = None;
        for _ in 0..self.records.len() {
            match self.records.pop_front() {
                Some(record) if record.seq == seq => taken = Some(record),
                Some(record) => {
                    // There is room: one was taken off the front.
                    let _ = self.records.push_back(record);
                }
                None => {}
            }
        }
        taken
    }

    fn count_dropped(&mut self, seq: u32) {
        self.dropped = self.dropped.saturating_add(1);
        self.after_dropped = seq.wrapping_add(1);
    }
}
