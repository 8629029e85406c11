//! How fast reports are sent: the pace of a backlog, and growing delays while the server is away. No clock.

use mote_core::Uptime;
use mote_core::backoff::Backoff;

/// While there is a backlog, reports are sent this many times as fast as they are sampled.
pub const CATCH_UP: f64 = 1.6;

/// The longest delay after a failure, for clients that report at least that often.
pub const MAX_DELAY_MS: u32 = 60_000;

/// The longest gap between two reports of a backlog. Clients that report more rarely ask for their orders more
/// often than that.
pub const MAX_DISTANCE_MS: u32 = 300_000;

/// If the rate of a backlog is not known, it is sent as if its reports had come at this distance.
const IDLE_GAP_MS: u32 = 1600;

/// How fast reports are sent.
#[derive(Debug)]
pub struct Pace {
    backoff: Backoff,
    /// Reports a second, of this agent and of its boards.
    rates: (f64, f64),
    /// Mean time between two reports, in milliseconds.
    gap_ms: u32,
    /// The same for the time when the backlog built up; 0: unknown.
    backlog_gap_ms: u32,
    /// There is a backlog, of an outage or of an earlier run.
    pub is_catching_up: bool,
    /// No report of the backlog is sent before.
    pub backlog_at: Uptime,
}

impl Pace {
    /// Begins without a backlog. `seed` should differ between clients.
    pub fn new(seed: u32) -> Self {
        Pace {
            backoff: Backoff::new(seed),
            rates: (0.0, 0.0),
            gap_ms: 0,
            backlog_gap_ms: 0,
            is_catching_up: false,
            backlog_at: Uptime::from_millis(0),
        }
    }

    /// Sets how many reports are sampled a second. `is_idle`: none waits.
    pub fn set_rate(&mut self, reports_per_second: f64, is_idle: bool) {
        self.rates.0 = reports_per_second;
        self.rates_changed(is_idle);
    }

    /// Sets how many reports come from boards a second. `is_idle`: none waits.
    pub fn set_boards_rate(&mut self, reports_per_second: f64, is_idle: bool) {
        self.rates.1 = reports_per_second;
        self.rates_changed(is_idle);
    }

    /// The server took or refused a report that was sent at `sent`. The next one of the backlog follows after a
    /// gap, so that fresh reports and backlog together are [`CATCH_UP`] times as many as are sampled.
    pub fn answered(&mut self, sent: Uptime) {
        self.backoff.succeeded();
        if self.is_catching_up {
            let distance_ms = u64::from(self.distance_ms());
            let latest = sent.after_millis(distance_ms.max(MAX_DELAY_MS.into()));
            self.backlog_at = self
                .backlog_at
                .max(sent)
                .after_millis(distance_ms)
                .min(latest);
        }
    }

    /// The backlog is gone.
    pub fn caught_up(&mut self) {
        self.is_catching_up = false;
        self.backlog_gap_ms = self.gap_ms;
    }

    /// Ends all delays.
    pub fn retry_now(&mut self, now: Uptime) {
        self.backlog_at = now;
        self.backoff.succeeded();
    }

    /// Counts one more failure in a row. Returns the end of the delay.
    pub fn back_off(&mut self, now: Uptime) -> Uptime {
        let distance_ms = self.distance_ms();
        // One lost request must not hold up a rare report for long; after a long outage, clients must not return
        // all at once.
        let floor_ms = distance_ms.min(MAX_DELAY_MS / 2);
        let cap_ms = MAX_DELAY_MS.max(2 * distance_ms);
        let delay_ms = self.backoff.failed(floor_ms, cap_ms);
        now.after_millis(u64::from(delay_ms))
    }

    fn rates_changed(&mut self, is_idle: bool) {
        let (own, boards) = self.rates;
        self.gap_ms = match own + boards {
            rate if rate > 0.0 => (1000.0 / rate.max(1e-6)).min(1e9) as u32,
            _ => IDLE_GAP_MS,
        };
        // New orders may be fewer, but the backlog came at the old rate.
        let is_known = self.backlog_gap_ms > 0 && !is_idle;
        if !is_known || self.gap_ms < self.backlog_gap_ms {
            self.backlog_gap_ms = self.gap_ms;
        }
    }

    /// The shortest gap between two sends while there is a backlog.
    pub fn distance_ms(&self) -> u32 {
        ((f64::from(self.backlog_gap_ms) / CATCH_UP) as u32).min(MAX_DISTANCE_MS)
    }
}
