//! Several reports in one request, for a server that takes them so.
//!
//! Such a request only ever brings good news: what it does not say of a report, the report's own request has to. So all
//! rules about failures are those of single calls. A report goes along only if nothing is known against it.

use mote_core::Uptime;

use super::super::failing::FailingServices;
use super::Uplink;
use crate::http::outcome::Outcome;
use crate::queue::{Landed, Record};

/// At most this many reports go in one request.
pub const MAX_TOGETHER: usize = 64;

/// The same in bytes, one report of the largest size and more.
pub const MAX_TOGETHER_BYTES: usize = 256 << 10;

/// Of a backlog so much goes at once as its pace allows in this time.
const AHEAD_MS: u64 = 5000;

/// What became of one of the reports of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As if it had gone alone.
    Ended(Outcome),
    /// That is not known: it goes alone next.
    GoesAlone,
    /// Its request did not get there.
    Stayed,
}

impl Uplink {
    /// The reports that go in one request with `first`, which [`Uplink::next`] gave; `first` stands first. An error gives
    /// `first` back: it goes by itself. Each report comes back to [`Uplink::delivered_one`], and then the list to
    /// [`Uplink::all_delivered`].
    pub fn together(&mut self, first: Record, now: Uptime) -> Result<Vec<Record>, Record> {
        if self.is_out || !is_good(&self.failing, &first) {
            return Err(first);
        }
        let mut left_bytes = MAX_TOGETHER_BYTES.saturating_sub(first.report.len());
        let mut ahead = AHEAD_MS / u64::from(self.pace.distance_ms()).max(1);
        let Some(second) = self.take_along(left_bytes, &mut ahead, now) else {
            return Err(first);
        };
        let mut batch = std::mem::take(&mut self.batch);
        let mut next = Some(second);
        batch.push(first);
        while let Some(record) = next {
            left_bytes = left_bytes.saturating_sub(record.report.len() + 1);
            batch.push(record);
            next = match batch.len() < MAX_TOGETHER {
                true => self.take_along(left_bytes, &mut ahead, now),
                false => None,
            };
        }
        self.flying = batch.len() as u64;
        Ok(batch)
    }

    /// Takes what became of one of them. Returns whether reports are given up.
    pub fn delivered_one(&mut self, mut record: Record, fate: Fate, now: Uptime) -> bool {
        self.flying = self.flying.saturating_sub(1);
        if let Fate::Ended(outcome) = fate {
            let sent = self.in_flight.unwrap_or(now);
            return self.settle(record, outcome, sent, now);
        }
        match self.queue.landed(&mut record) {
            Landed::Here => {
                record.is_alone |= fate == Fate::GoesAlone;
                self.put_back(record, now);
            }
            Landed::Lost => self.queue.done(record),
            Landed::Forgotten => {}
        }
        false
    }

    /// All of them are back. Keeps the memory of their list.
    pub fn all_delivered(&mut self, batch: Vec<Record>) {
        self.in_flight = None;
        self.flying = 0;
        self.batch = batch;
        self.batch.clear();
    }

    /// The next that goes along, in the order of [`Uplink::take`]. `ahead`: how many of the backlog may.
    fn take_along(&mut self, left_bytes: usize, ahead: &mut u64, now: Uptime) -> Option<Record> {
        let failing = &self.failing;
        let is_catching_up = self.pace.is_catching_up;
        let goes = |it: &Record| {
            it.not_before <= now && it.report.len() < left_bytes && is_good(failing, it)
        };
        let is_first = |it: &Record| it.is_fresh && !it.is_late;
        let first = |it: &Record| goes(it) && (is_first(it) || !is_catching_up);
        let order = |it: &Record| if is_catching_up { it.since() } else { 0 };
        if let Some(record) = self.queue.take_by(now, first, order) {
            return Some(record);
        }
        if !is_catching_up || self.pace.backlog_at > now || *ahead == 0 {
            return None;
        }
        *ahead -= 1;
        let fresh = |it: &Record| goes(it) && it.is_fresh;
        match self.queue.take(now, fresh) {
            None => self.queue.take(now, goes),
            fresh => fresh,
        }
    }
}

/// Whether nothing is known against a report.
fn is_good(failing: &FailingServices, it: &Record) -> bool {
    !it.is_alone && it.tries == 0 && it.way_tries == 0 && !failing.knows(it.service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::uplink::Next;
    use crate::queue::{Queue, Whose};

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn uplink() -> Uplink {
        let mut uplink = Uplink::new(Queue::new(8 << 20, u64::MAX), 7);
        uplink.set_rate(1.0);
        uplink
    }

    fn push(uplink: &mut Uplink, report: &[u8], key: u64, ms: u64) {
        uplink.push(report, Whose { key, name: "" }, at(ms));
    }

    fn batch(uplink: &mut Uplink, ms: u64) -> Result<Vec<Record>, Record> {
        match uplink.next(at(ms)) {
            Next::Send(record) => uplink.together(record, at(ms)),
            Next::Wait(until) => panic!("nothing to send at {ms} before {until:?}"),
        }
    }

    fn texts(batch: &[Record]) -> Vec<&str> {
        let texts = batch.iter().map(|it| str::from_utf8(&it.report).unwrap());
        texts.collect()
    }

    fn end(uplink: &mut Uplink, mut batch: Vec<Record>, fates: &[Fate], ms: u64) {
        for (record, fate) in batch.drain(..).zip(fates) {
            uplink.delivered_one(record, *fate, at(ms));
        }
        uplink.all_delivered(batch);
    }

    const TAKEN: Fate = Fate::Ended(Outcome::Acknowledged);

    #[test]
    fn a_tick_goes_together_and_a_single_report_by_itself() {
        let mut uplink = uplink();
        for (key, report) in [b"a", b"b", b"c"].into_iter().enumerate() {
            push(&mut uplink, report, key as u64, 0);
        }
        let tick = batch(&mut uplink, 0).unwrap();
        assert_eq!(texts(&tick), ["a", "b", "c"]);
        assert_eq!(uplink.account().queued, 3);
        assert!(matches!(uplink.next(at(0)), Next::Wait(Uptime::NEVER)));
        end(&mut uplink, tick, &[TAKEN; 3], 0);
        assert_eq!(
            (uplink.account().acknowledged, uplink.account().queued),
            (3, 0)
        );
        push(&mut uplink, b"d", 0, 1);
        assert_eq!(batch(&mut uplink, 1).unwrap_err().report, b"d");
    }

    #[test]
    fn what_is_not_told_of_goes_alone_next() {
        let mut uplink = uplink();
        for (key, report) in [b"a", b"b", b"c"].into_iter().enumerate() {
            push(&mut uplink, report, key as u64, 0);
        }
        let tick = batch(&mut uplink, 0).unwrap();
        end(
            &mut uplink,
            tick,
            &[Fate::GoesAlone, TAKEN, Fate::GoesAlone],
            0,
        );
        for report in [b"a", b"c"] {
            let record = batch(&mut uplink, 0).unwrap_err();
            assert_eq!((&record.report[..], record.tries), (&report[..], 0));
            uplink.delivered(record, Outcome::Acknowledged, at(0));
        }
        assert_eq!(uplink.account().acknowledged, 3);
    }

    #[test]
    fn a_service_that_fails_and_a_server_that_was_away_are_tried_alone() {
        let mut uplink = uplink();
        push(&mut uplink, b"a", 0, 0);
        let record = batch(&mut uplink, 0).unwrap_err();
        uplink.delivered(record, Outcome::Failed, at(0));
        for (key, report) in [b"b", b"c", b"d"].into_iter().enumerate() {
            push(&mut uplink, report, key as u64, 10);
        }
        let others = batch(&mut uplink, 10).unwrap();
        assert_eq!(texts(&others), ["c", "d"]);
        let mut fates = [Fate::Stayed; 2];
        fates[0] = Fate::Ended(Outcome::Unreachable);
        end(&mut uplink, others, &fates, 10);
        let Next::Wait(until) = uplink.next(at(10)) else {
            panic!("it sends")
        };
        assert!(until.as_millis() > 500, "{until:?}");
        assert!(batch(&mut uplink, until.as_millis()).is_err());
    }

    #[test]
    fn a_request_is_bounded_in_reports_and_bytes() {
        let mut uplink = uplink();
        for key in 0..100 {
            push(&mut uplink, b"r", key, 0);
        }
        let many = batch(&mut uplink, 0).unwrap();
        assert_eq!(many.len(), MAX_TOGETHER);
        end(&mut uplink, many, &[TAKEN; MAX_TOGETHER], 0);
        let rest = batch(&mut uplink, 0).unwrap();
        assert_eq!(rest.len(), 100 - MAX_TOGETHER);
        end(&mut uplink, rest, &[TAKEN; MAX_TOGETHER], 0);
        for key in 0..5 {
            push(&mut uplink, &[b'x'; 100 << 10], key, 1);
        }
        assert_eq!(batch(&mut uplink, 1).unwrap().len(), 2);
    }

    /// At 1 report a second the pace is 625 ms: eight of a backlog go ahead of it, the oldest first.
    #[test]
    fn a_backlog_goes_behind_what_is_fresh_the_oldest_first() {
        let mut uplink = uplink();
        for ms in 0..100 {
            push(&mut uplink, format!("{ms:02}").as_bytes(), 0, ms);
        }
        let record = batch(&mut uplink, 100);
        let record = record.unwrap_or_else(|record| vec![record]);
        let fates: Vec<Fate> = (0..MAX_TOGETHER)
            .map(|nth| match nth {
                0 => Fate::Ended(Outcome::Unreachable),
                _ => Fate::Stayed,
            })
            .collect();
        end(&mut uplink, record, &fates, 100);
        let Next::Wait(until) = uplink.next(at(100)) else {
            panic!("it sends")
        };
        let now = until.as_millis();
        let probe = batch(&mut uplink, now).unwrap_err();
        uplink.delivered(probe, Outcome::Acknowledged, at(now));
        push(&mut uplink, b"new", 0, now + 1);
        let fresh = batch(&mut uplink, now + 1).unwrap_err();
        assert_eq!(fresh.report, b"new");
        uplink.delivered(fresh, Outcome::Acknowledged, at(now + 1));
        let Next::Wait(until) = uplink.next(at(now + 1)) else {
            panic!("it sends")
        };
        let backlog = batch(&mut uplink, until.as_millis()).unwrap();
        let mut sorted = texts(&backlog);
        sorted.sort_unstable();
        assert_eq!((texts(&backlog), backlog.len()), (sorted, 9));
    }
}
