//! The runs of a board: which reports of it are new, which come again, which are missing, and when they
//! were sampled. No I/O, no clock.
//!
//! A board counts its reports from 0 and its uptime from its reset, and has no clock. The instant of its reset
//! is estimated as the earliest that any line allows: a line that was under way or kept for a while
//! only ever seems to tell of a later one. Since clocks drift, the estimate may move on by [`DRIFT`].

use mote_core::Uptime;

/// Reports that may come out of order: as many numbers before the highest are remembered.
pub const WINDOW: u32 = 64;

/// The estimate may move on by one part in this many of the board's time.
const DRIFT: i64 = 100;

/// Whole seconds and the way through the host's queues make up for less than this, in milliseconds.
const SLACK_MS: i64 = 2000;

const SLACK_S: u32 = 2;

/// What tells of one report of a board.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its number.
    pub seq: u32,
    /// The board's uptime when it was sampled, in seconds.
    pub uptime_s: u32,
    /// How long the board says it kept it, in seconds.
    pub age_s: u32,
    /// A hash of the board's own id of its run.
    pub run: Option<u64>,
    /// A hash of what was sampled.
    pub digest: u64,
}

/// What a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One more of the run.
    New,
    /// The first one of another run than before.
    NewRun,
    /// One that came before.
    Duplicate,
}

/// What is known of the run that a board is in, and of the reports that are missing.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    clock: Option<Clock>,
    /// The report with the highest number.
    highest: Option<Sample>,
    window: Window,
    /// This run was seen to begin, so that its reports are known to count from 0.
    from_zero: bool,
    missing: u64,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    /// When the board was reset, in milliseconds on the host's clock, which may be before that one's start.
    reset_ms: i64,
    /// Up to which uptime of the board that was seen.
    uptime_ms: i64,
}

/// The numbers up to the highest, each in the place of its remainder.
#[derive(Clone, Debug)]
struct Window([Slot; WINDOW as usize]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slot {
    /// From before this run was known; not missed.
    #[default]
    Before,
    Missing,
    Seen {
        uptime_s: u32,
        digest: u64,
    },
}

enum Place {
    Restarted,
    Ahead,
    Late,
    Duplicate,
}

impl Runs {
    /// Takes note of a report that arrived at `now`.
    pub fn report(&mut self, sample: Sample, now: Uptime) -> Verdict {
        let (uptime_ms, age_ms) = (millis(sample.uptime_s), millis(sample.age_s));
        let place = self.place(&sample, now);
        match place {
            Place::Duplicate => {}
            Place::Restarted => {
                self.restart();
                self.add(sample);
            }
            Place::Ahead => self.add(sample),
            Place::Late => {
                if self.window.is_missing(sample.seq) || self.is_outside(sample.seq) {
                    self.missing = self.missing.saturating_sub(1);
                }
                if !self.is_outside(sample.seq) {
                    self.window.see(&sample);
                }
            }
        }
        self.set_clock(uptime_ms, age_ms, now);
        match place {
            Place::Duplicate => Verdict::Duplicate,
            Place::Restarted => Verdict::NewRun,
            Place::Ahead | Place::Late => Verdict::New,
        }
    }

    /// Takes note of a line that told the board's uptime at `now`. Gives whether the board has begun a new run.
    pub fn ask(&mut self, uptime_s: u32, now: Uptime) -> bool {
        let uptime_ms = millis(uptime_s);
        let is_new = self.is_behind(uptime_ms, now);
        if is_new {
            self.restart();
        }
        self.set_clock(uptime_ms, 0, now);
        is_new
    }

    /// When the board's uptime was this, in milliseconds on the host's clock; not after `now`.
    pub fn instant(&self, uptime_s: u32, now: Uptime) -> i64 {
        let now_ms = signed(now);
        self.clock
            .map_or(now_ms, |clock| {
                clock.reset_ms.saturating_add(millis(uptime_s))
            })
            .min(now_ms)
    }

    /// Reports of all runs that never came.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    fn place(&self, sample: &Sample, now: Uptime) -> Place {
        let Some(highest) = self.highest else {
            return Place::Ahead;
        };
        if let (Some(run), Some(other)) = (sample.run, highest.run)
            && run != other
        {
            return Place::Restarted;
        }
        // Only what a board says of its age tells a report that was kept from one that is fresh.
        let is_behind = self.is_behind(millis(sample.uptime_s) + millis(sample.age_s), now);
        let is_late = if sample.seq > highest.seq {
            let goes_back = sample.uptime_s.saturating_add(SLACK_S) < highest.uptime_s;
            return match goes_back || sample.age_s > 0 && is_behind {
                true => Place::Restarted,
                false => Place::Ahead,
            };
        } else if self.is_outside(sample.seq) {
            sample.age_s > 0 && !is_behind && sample.uptime_s <= highest.uptime_s
        } else {
            match self.window.get(sample.seq) {
                Slot::Seen { uptime_s, digest } => {
                    return match (uptime_s, digest) == (sample.uptime_s, sample.digest) {
                        true => Place::Duplicate,
                        false => Place::Restarted,
                    };
                }
                Slot::Missing => self.fits(sample, highest.seq) && !(sample.age_s > 0 && is_behind),
                Slot::Before => !is_behind,
            }
        };
        match is_late {
            true => Place::Late,
            false => Place::Restarted,
        }
    }

    /// Whether a sample is not older than those before it nor younger than those after it.
    fn fits(&self, sample: &Sample, highest: u32) -> bool {
        let lowest = highest.saturating_sub(WINDOW - 1);
        let uptime_at = |seq| match self.window.get(seq) {
            Slot::Seen { uptime_s, .. } => Some(uptime_s),
            _ => None,
        };
        let before = (lowest..sample.seq).rev().find_map(uptime_at);
        let after = (sample.seq..=highest).find_map(uptime_at);
        before.is_none_or(|before| before <= sample.uptime_s.saturating_add(SLACK_S))
            && after.is_none_or(|after| sample.uptime_s <= after.saturating_add(SLACK_S))
    }

    /// Whether the number is too far behind the highest to be remembered.
    fn is_outside(&self, seq: u32) -> bool {
        self.highest
            .is_some_and(|highest| highest.seq.saturating_sub(seq) >= WINDOW)
    }

    fn add(&mut self, sample: Sample) {
        let first_new = match self.highest {
            Some(highest) => highest.seq.saturating_add(1),
            None if self.from_zero => 0,
            None => sample.seq,
        };
        self.missing += u64::from(sample.seq.saturating_sub(first_new));
        let first_kept = sample.seq.saturating_sub(WINDOW - 1).max(first_new);
        for seq in first_kept..sample.seq {
            self.window.miss(seq);
        }
        self.window.see(&sample);
        self.highest = Some(sample);
    }

    fn restart(&mut self) {
        *self = Runs {
            from_zero: true,
            missing: self.missing,
            ..Runs::default()
        };
    }

    /// Whether a board with this uptime now must have been reset since.
    fn is_behind(&self, uptime_ms: i64, now: Uptime) -> bool {
        self.clock.is_some_and(|clock| {
            let expected_ms = signed(now) - clock.reset_ms;
            let unseen_ms = (expected_ms - clock.uptime_ms).max(0);
            uptime_ms + SLACK_MS + unseen_ms / DRIFT < expected_ms
        })
    }

    fn set_clock(&mut self, uptime_ms: i64, age_ms: i64, now: Uptime) {
        let board_ms = uptime_ms + age_ms;
        let reset_ms = signed(now) - board_ms;
        let clock = self.clock.get_or_insert(Clock {
            reset_ms,
            uptime_ms: board_ms,
        });
        let passed_ms = (board_ms - clock.uptime_ms).max(0);
        clock.reset_ms = reset_ms.min(clock.reset_ms + passed_ms / DRIFT);
        clock.uptime_ms = clock.uptime_ms.max(board_ms);
    }
}

impl Default for Window {
    fn default() -> Self {
        Window([Slot::Before; WINDOW as usize])
    }
}

impl Window {
    fn get(&self, seq: u32) -> Slot {
        let Window(slots) = self;
        let slot = slots.get((seq % WINDOW) as usize);
        slot.copied().unwrap_or_default()
    }

    fn is_missing(&self, seq: u32) -> bool {
        self.get(seq) == Slot::Missing
    }

    fn miss(&mut self, seq: u32) {
        self.set(seq, Slot::Missing);
    }

    fn see(&mut self, sample: &Sample) {
        let slot = Slot::Seen {
            uptime_s: sample.uptime_s,
            digest: sample.digest,
        };
        self.set(sample.seq, slot);
    }

    fn set(&mut self, seq: u32, slot: Slot) {
        if let Some(place) = self.0.get_mut((seq % WINDOW) as usize) {
            *place = slot;
        }
    }
}

fn millis(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

fn signed(instant: Uptime) -> i64 {
    i64::try_from(instant.as_millis()).unwrap_or(i64::MAX)
}
