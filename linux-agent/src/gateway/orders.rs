//! When the server is asked for a board's services, and what the board gets while the server does not answer.

use mote_core::Uptime;
use mote_core::backoff::Backoff;

use super::document::{self, DocumentError};

/// The server is asked for a board's services at most once in this time, in milliseconds.
const DISTANCE_MS: u32 = 1000;

/// The longest time between two tries to get them, in milliseconds.
const MAX_DELAY_MS: u32 = 60_000;

/// The services document on its way from the server to a board.
#[derive(Debug)]
pub struct BoardOrders {
    /// The last good one, as a sealed line.
    kept: Option<Vec<u8>>,
    /// The board asked, and no valid document has come since.
    wanted: bool,
    /// When it went to the board last.
    sent: Option<Uptime>,
    /// The server is being asked.
    under_way: bool,
    /// The server is not asked before.
    not_before: Uptime,
    backoff: Backoff,
}

impl BoardOrders {
    /// Begins without an ask. `seed` should differ between boards.
    pub fn new(seed: u32) -> Self {
        BoardOrders {
            kept: None,
            wanted: false,
            sent: None,
            under_way: false,
            not_before: Uptime::from_millis(0),
            backoff: Backoff::new(seed),
        }
    }

    /// The board asks. While the server is away or slow, the board gets the line that is kept.
    pub fn asked(&mut self, now: Uptime) -> Option<&[u8]> {
        self.wanted = true;
        let is_away = self.under_way || self.backoff.failures() > 0;
        is_away.then(|| self.kept_for(now))?
    }

    /// When to ask the server, if it is to be asked.
    pub fn fetch_at(&self) -> Option<Uptime> {
        (self.wanted && !self.under_way).then_some(self.not_before)
    }

    /// Whether to ask the server now. If so, it counts as being asked.
    pub fn take_fetch(&mut self, now: Uptime) -> bool {
        let is_due = self.fetch_at().is_some_and(|at| at <= now);
        if is_due {
            self.under_way = true;
            self.not_before = now.after_millis(u64::from(DISTANCE_MS));
        }
        is_due
    }

    /// Takes the server's answer. Without one, the server is asked again after a while. Returns the line for the
    /// board, which is the last good one, and what is wrong with the document.
    pub fn served(
        &mut self,
        document: Option<&[u8]>,
        now: Uptime,
    ) -> (Option<&[u8]>, Result<(), DocumentError>) {
        self.under_way = false;
        let result = match document.map(document::line).transpose() {
            Ok(Some(line)) => {
                self.wanted = false;
                self.backoff.succeeded();
                self.kept = Some(line);
                self.sent = None;
                Ok(())
            }
            other => {
                let delay_ms = self.backoff.failed(DISTANCE_MS, MAX_DELAY_MS);
                self.not_before = now.after_millis(u64::from(delay_ms));
                other.map(drop)
            }
        };
        (self.kept_for(now), result)
    }

    /// The server may be another one now: it is asked at once.
    pub fn retry_now(&mut self, now: Uptime) {
        self.not_before = now;
        self.backoff.succeeded();
    }

    /// The line that is kept, unless the board got it just now.
    fn kept_for(&mut self, now: Uptime) -> Option<&[u8]> {
        let is_recent = |sent| now.millis_since(sent) < u64::from(DISTANCE_MS);
        if self.sent.is_some_and(is_recent) {
            return None;
        }
        let kept = self.kept.as_deref()?;
        self.sent = Some(now);
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = br#"{"services":{"Load":["get_mcu_load",5]}}"#;

    fn at(ms: u64) -> Uptime {
        Uptime::from_millis(ms)
    }

    /// The text of a line.
    fn text(line: Option<&[u8]>) -> Option<&[u8]> {
        mote_core::frame::open(line?.strip_suffix(b"\n")?)
    }

    #[test]
    fn the_server_is_asked_once_a_second_at_most() {
        let mut orders = BoardOrders::new(7);
        assert!(!orders.take_fetch(at(0)));
        let mut fetches = 0;
        for ms in 10_000..20_000 {
            orders.asked(at(ms));
            if orders.take_fetch(at(ms)) {
                fetches += 1;
                assert!(!orders.take_fetch(at(ms)));
                orders.served(Some(DOCUMENT), at(ms)).1.unwrap();
            }
        }
        assert_eq!(fetches, 10);
        assert_eq!(orders.fetch_at(), Some(at(20_000)));
    }

    #[test]
    fn a_server_that_is_away_is_asked_less_and_less_often_until_it_answers() {
        let mut orders = BoardOrders::new(7);
        assert_eq!(orders.asked(at(0)), None);
        let mut now = at(0);
        for n in 0..12 {
            assert!(orders.take_fetch(now), "{n}");
            assert_eq!(orders.fetch_at(), None);
            assert_eq!(orders.served(None, now), (None, Ok(())));
            let next = orders.fetch_at().unwrap();
            let delay_ms = next.millis_since(now);
            let most = (1000u64 << n).min(60_000);
            assert!((1000..=most).contains(&delay_ms), "{n}: {delay_ms}");
            now = next;
        }
        assert!(orders.take_fetch(now));
        let (line, result) = orders.served(Some(DOCUMENT), now);
        assert_eq!((text(line), result), (Some(DOCUMENT), Ok(())));
        assert_eq!(orders.fetch_at(), None);
    }

    #[test]
    fn the_last_good_document_is_given_while_there_is_no_new_one() {
        let mut orders = BoardOrders::new(7);
        orders.asked(at(0));
        assert!(orders.take_fetch(at(0)));
        assert_eq!(text(orders.served(Some(DOCUMENT), at(0)).0), Some(DOCUMENT));

        // The server takes its time.
        assert_eq!(orders.asked(at(5000)), None);
        assert!(orders.take_fetch(at(5000)));
        let given = (6000..8000).filter(|ms| text(orders.asked(at(*ms))) == Some(DOCUMENT));
        assert_eq!(given.collect::<Vec<_>>(), [6000, 7000]);
        let (line, result) = orders.served(Some(b"<html>"), at(9000));
        assert_eq!(text(line), Some(DOCUMENT));
        result.unwrap_err();
        assert_eq!(text(orders.asked(at(10_500))), Some(DOCUMENT));

        // Another valid document goes out at once.
        assert!(orders.take_fetch(at(11_000)));
        let none: &[u8] = br#"{"services":{}}"#;
        assert_eq!(text(orders.served(Some(none), at(11_000)).0), Some(none));
    }
}
