//! One board: what it says, what it is told, and what is counted. It deals with bytes, not with a port.

use std::hash::{DefaultHasher, Hasher};

use mote_core::Uptime;
use mote_core::frame::{self, Receiver};

use super::document::DocumentError;
use super::line::{self, BoardMessage, BoardReport, MAX_LINE, Rejected};
use super::orders::BoardOrders;
use super::run::{BoardRuns, BoardSample, Verdict};
use crate::queue::Whose;
use crate::settings::ClientName;
use crate::system::ids::new_boot_id;

/// At most this many bytes wait to be written to a board: a document and some acknowledgements.
pub const MAX_OUTGOING: usize = 2 * MAX_LINE;

/// When bytes came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// By the monotonic clock.
    pub now: Uptime,
    /// The time of day, in Unix milliseconds.
    pub unix_ms: u64,
    /// How long they may have lain unread before: the agent was stopped, or the machine suspended.
    pub lain_ms: u64,
}

/// A board behind a serial line.
#[derive(Debug)]
pub struct Board {
    client_id: ClientName,
    receiver: Receiver<MAX_LINE>,
    runs: BoardRuns,
    boot: String,
    stamped: Vec<u8>,
    outgoing: Vec<u8>,
    /// Its services document.
    pub orders: BoardOrders,
    refusal: Option<String>,
    /// Counts of what came so far.
    pub counts: Counts,
}

/// What came from a board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reports that were queued.
    pub reports: u64,
    /// Reports that had been queued before.
    pub duplicates: u64,
    /// Lines without a valid seal.
    pub bad: u64,
    /// Sealed lines that are no known message.
    pub unknown: u64,
    /// Lines that claim to come from another client.
    pub refused: u64,
    /// When the last valid line came, in Unix milliseconds.
    pub last_unix_ms: Option<u64>,
}

impl Board {
    /// A board that has not said anything yet.
    pub fn new(client_id: ClientName) -> Self {
        let seed = mote_core::client_hash(client_id.id());
        Board {
            client_id,
            receiver: Receiver::new(),
            runs: BoardRuns::default(),
            boot: new_boot_id(),
            stamped: Vec::new(),
            outgoing: Vec::new(),
            orders: BoardOrders::new(seed),
            refusal: None,
            counts: Counts::default(),
        }
    }

    /// Takes what came over the line. Passes each new report with the key of its service to `queue`, then
    /// acknowledges it.
    pub fn receive(&mut self, bytes: &[u8], at: Arrival, mut queue: impl FnMut(&[u8], Whose<'_>)) {
        self.runs.may_have_lain(at.lain_ms);
        let mut rejected = self.receiver.rejected();
        for byte in bytes {
            let text = self.receiver.push(*byte);
            let Some(text) = text else { continue };
            match line::read(text, &self.client_id) {
                Err(Rejected::Foreign) => self.counts.refused += 1,
                Err(Rejected::Unknown) => self.counts.unknown += 1,
                Ok(message) => {
                    self.counts.last_unix_ms = Some(at.unix_ms);
                    match message {
                        BoardMessage::Ask { uptime_s } => {
                            let is_new = uptime_s.is_some_and(|it| self.runs.ask(it, at.now));
                            if is_new {
                                self.boot = new_boot_id();
                            }
                            let line = self.orders.asked(at.now);
                            send(line.unwrap_or_default(), &mut self.outgoing);
                        }
                        BoardMessage::Refusal { fault, service } => {
                            let service = service.map(|it| format!(" of service {it:?}"));
                            let service = service.unwrap_or_default();
                            let refusal = format!("refuses its services: {fault}{service}");
                            self.refusal = Some(refusal);
                        }
                        BoardMessage::Report(report) => {
                            let verdict = self.runs.report(sample_of(&report), at.now);
                            if verdict == Verdict::NewRun {
                                self.boot = new_boot_id();
                            }
                            if verdict == Verdict::Duplicate {
                                self.counts.duplicates += 1;
                            } else {
                                self.counts.reports += 1;
                                let sampled_ms =
                                    self.runs.instant(report.uptime_s, report.after_ms, at.now);
                                let unix_ms = unix_ms_of(sampled_ms, at);
                                let boot = report.boot.is_none().then_some(&*self.boot);
                                line::stamp(text, unix_ms, boot, &mut self.stamped);
                                let whose = Whose::of(&self.client_id.id(), &report.service);
                                queue(&self.stamped, whose);
                            }
                            acknowledge(report.seq, &mut self.outgoing);
                        }
                    }
                }
            }
        }
        rejected = self.receiver.rejected().wrapping_sub(rejected);
        self.counts.bad += u64::from(rejected);
    }

    /// Why the board refuses its services document. Returned once.
    pub fn take_refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    /// The connection was lost: drops half lines in both directions.
    pub fn cut(&mut self) {
        self.receiver = Receiver::new();
        self.outgoing.clear();
    }

    /// What waits to be written.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Notes that this many bytes of [`Board::outgoing`] were written.
    pub fn written(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }

    /// Takes the server's answer to the board's ask, or that there was none, as [`BoardOrders::served`].
    pub fn served(&mut self, document: Option<&[u8]>, now: Uptime) -> Result<(), DocumentError> {
        let (line, result) = self.orders.served(document, now);
        send(line.unwrap_or_default(), &mut self.outgoing);
        result
    }

    /// The id that reports of this run get unless they have one.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Reports that never came.
    pub fn missing(&self) -> u64 {
        self.runs.missing()
    }
}

fn sample_of(report: &BoardReport<'_>) -> BoardSample {
    BoardSample {
        seq: report.seq,
        uptime_s: report.uptime_s,
        after_ms: report.after_ms,
        age_s: report.age_s,
        run: report.boot.as_ref().map(|boot| {
            let mut hasher = DefaultHasher::new();
            hasher.write(boot.as_bytes());
            hasher.finish()
        }),
        digest: report.digest(),
    }
}

/// The time of day at an instant of the monotonic clock, which is not after the arrival.
fn unix_ms_of(instant_ms: i64, at: Arrival) -> u64 {
    let now_ms = i64::try_from(at.now.as_millis()).unwrap_or(i64::MAX);
    let ago_ms = u64::try_from(now_ms.saturating_sub(instant_ms)).unwrap_or(0);
    at.unix_ms.saturating_sub(ago_ms)
}

fn acknowledge(seq: u32, outgoing: &mut Vec<u8>) {
    let text = format!("{{\"ack\":{seq}}}");
    send(
        &[text.as_bytes(), &frame::seal_of(text.as_bytes())].concat(),
        outgoing,
    );
}

/// What does not fit is dropped: the board asks or sends again.
fn send(line: &[u8], outgoing: &mut Vec<u8>) {
    if outgoing.len() + line.len() <= MAX_OUTGOING {
        outgoing.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    fn sealed(text: &str) -> Vec<u8> {
        [text.as_bytes(), &frame::seal_of(text.as_bytes())].concat()
    }

    /// Returns the service keys of the reports that were queued.
    fn hear(board: &mut Board, text: &str, now: Uptime) -> Vec<u64> {
        let mut keys = vec![];
        let arrival = Arrival {
            now,
            unix_ms: 1_000_000_000_000 + now.as_millis(),
            lain_ms: 0,
        };
        board.receive(&sealed(text), arrival, |_, whose| keys.push(whose.key));
        keys
    }

    fn report(service: &str, seq: u32) -> String {
        format!(
            r#"{{"client_id":7,"service_name":"{service}","data":{{"status":0}},"uptime":1,"seq":{seq}}}"#
        )
    }

    fn board() -> Board {
        Board::new(ClientName::Number(7))
    }

    /// Takes the lines that wait to be written.
    fn told(board: &mut Board) -> Vec<String> {
        let text = String::from_utf8(board.outgoing().to_vec()).unwrap();
        board.written(text.len());
        text.lines()
            .map(|line| line[..line.len() + 1 - frame::SEAL].to_owned())
            .collect()
    }

    #[test]
    fn services_are_told_apart_by_client_and_name() {
        let mut board = board();
        for (seq, name) in ["A", "B", "A"].into_iter().enumerate() {
            let key = Whose::of(&mote_core::ClientId::Number(7), name).key;
            let seq = u32::try_from(seq).unwrap();
            assert_eq!(hear(&mut board, &report(name, seq), at(5000)), [key]);
        }
        let others = [
            Whose::of(&mote_core::ClientId::Number(8), "A").key,
            Whose::of(&mote_core::ClientId::Name("7"), "A").key,
            Whose::of(&mote_core::ClientId::Number(7), "B").key,
        ];
        assert!(!others.contains(&Whose::of(&mote_core::ClientId::Number(7), "A").key));
    }

    #[test]
    fn what_does_not_fit_is_not_written_in_part() {
        let mut board = board();
        for seq in 0..1000 {
            hear(&mut board, &report("A", seq), at(5000));
        }
        let told = told(&mut board);
        let expected: Vec<_> = (0..told.len())
            .map(|seq| format!("{{\"ack\":{seq}}}"))
            .collect();
        assert_eq!(told, expected);
        assert!((80..1000).contains(&told.len()), "{}", told.len());
        // Each is acknowledged again when it comes again.
        hear(&mut board, &report("A", 999), at(5000));
        assert_eq!(super::tests::told(&mut board), ["{\"ack\":999}"]);
    }

    #[test]
    fn a_cut_ends_lines_in_both_directions() {
        let mut board = board();
        hear(&mut board, &report("A", 0), at(5000));
        let line = sealed(&report("A", 1));
        let (head, tail) = line.split_at(30);
        let arrival = Arrival {
            now: at(5000),
            unix_ms: 0,
            lain_ms: 0,
        };
        board.receive(head, arrival, |_, _| panic!("half a line"));
        board.written(3);
        board.cut();
        assert_eq!(board.outgoing(), b"");
        board.receive(tail, arrival, |_, _| panic!("half a line"));
        assert_eq!(board.counts.bad, 1);
    }

    #[test]
    fn samples_of_one_second_have_times_of_their_own() {
        let mut board = board();
        let mut times = vec![];
        let mut receive = |text: &str, now_ms: u64| {
            let arrival = Arrival {
                now: at(now_ms),
                unix_ms: 1_795_000_000_000 + now_ms,
                lain_ms: 0,
            };
            board.receive(text.as_bytes(), arrival, |report, _| {
                let report: serde_json::Value = serde_json::from_slice(report).unwrap();
                times.push((report["time"].as_f64().unwrap() * 1000.0).round() as u64);
            });
        };
        let line = |seq: u32, uptime_ms: u32, age_s: &str| {
            let uptime_s = uptime_ms / 1000;
            sealed(&format!(
                r#"{{"client_id":7,"service_name":"Fast","data":{{"status":0}},"uptime":{uptime_s},"uptime_ms":{uptime_ms}{age_s},"seq":{seq}}}"#
            ))
        };
        // The board was reset 100 s after the host's clock began, and a line takes 5 ms.
        for seq in 0..8 {
            let uptime_ms = 2000 + 250 * seq;
            let now_ms = 100_005 + u64::from(uptime_ms);
            receive(
                &String::from_utf8(line(seq, uptime_ms, "")).unwrap(),
                now_ms,
            );
        }
        // These were kept by the board, and come in one piece.
        let kept = (8..12).flat_map(|seq| line(seq, 2000 + 250 * seq, r#","age":3"#));
        receive(&String::from_utf8(kept.collect()).unwrap(), 107_505);
        let fresh: Vec<u64> = (0..8).map(|seq| 1_795_000_102_005 + 250 * seq).collect();
        assert_eq!(times[..8], fresh);
        // An age is of whole seconds, and clocks may drift.
        assert!(times[8].abs_diff(fresh[7] + 250) < 1000, "{times:?}");
        assert!(times[8..].windows(2).all(|pair| pair[1] - pair[0] == 250));
    }

    #[test]
    fn the_time_of_day_is_that_of_the_sample() {
        let arrival = Arrival {
            now: at(10_000),
            unix_ms: 1_795_339_484_886,
            lain_ms: 0,
        };
        assert_eq!(unix_ms_of(10_000, arrival), 1_795_339_484_886);
        assert_eq!(unix_ms_of(7500, arrival), 1_795_339_482_386);
        assert_eq!(unix_ms_of(-90_000, arrival), 1_795_339_384_886);
        assert_eq!(unix_ms_of(i64::MIN, arrival), 0);
    }
}
