//! The runs of a board: which reports of it are new, which come again, which are missing. A board counts
//! its reports from 0 at each reset. No I/O, no clock.

use mote_core::Uptime;

use super::timing::{SLACK_S, Timing, millis};

/// Reports may come out of order: this many numbers before the highest are remembered.
pub const WINDOW: u32 = 64;

/// What is known of one report of a board.
#[derive(Clone, Copy, Debug)]
pub struct BoardSample {
    /// Its number.
    pub seq: u32,
    /// The board's uptime when it was sampled, in seconds.
    pub uptime_s: u32,
    /// How much later than that second it was, in milliseconds, where the board says so.
    pub after_ms: u16,
    /// How long the board kept it, in seconds.
    pub age_s: u32,
    /// A hash of the board's own id of its run.
    pub run: Option<u64>,
    /// A hash of what was sampled.
    pub digest: u64,
}

/// What a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A new report of this run.
    New,
    /// The first report of another run.
    NewRun,
    /// A report that came before.
    Duplicate,
}

/// What is known of the run that a board is in, and of the reports that are missing.
#[derive(Clone, Debug, Default)]
pub struct BoardRuns {
    timing: Timing,
    /// The report with the highest number.
    highest: Option<BoardSample>,
    window: Window,
    /// This run's beginning was seen, so its reports count from 0.
    from_zero: bool,
    missing: u64,
    /// How long what is read now may have lain unread.
    lain_ms: i64,
}

/// The numbers up to the highest, each in the place of its remainder.
#[derive(Clone, Debug)]
struct Window([SeqMark; WINDOW as usize]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SeqMark {
    /// From before this run was known. Not counted as a gap.
    #[default]
    Before,
    Missing,
    Seen {
        uptime_s: u32,
        digest: u64,
    },
}

enum SeqPlace {
    Restarted,
    Ahead,
    Late,
    Duplicate,
}

impl BoardRuns {
    /// From now on, what is noted may have lain unread for this many milliseconds, so its arrival says less about
    /// when it was sent.
    pub fn may_have_lain(&mut self, lain_ms: u64) {
        self.lain_ms = i64::try_from(lain_ms).unwrap_or(i64::MAX);
    }

    /// Notes a report that arrived at `now`.
    pub fn report(&mut self, sample: BoardSample, now: Uptime) -> Verdict {
        let (uptime_ms, age_ms) = (millis(sample.uptime_s), millis(sample.age_s));
        let place = self.place(&sample, now);
        match place {
            SeqPlace::Duplicate => {}
            SeqPlace::Restarted => {
                self.restart();
                self.add(sample);
            }
            SeqPlace::Ahead => self.add(sample),
            SeqPlace::Late => {
                if self.window.is_missing(sample.seq) || self.is_outside(sample.seq) {
                    self.missing = self.missing.saturating_sub(1);
                }
                if !self.is_outside(sample.seq) {
                    self.window.see(&sample);
                }
            }
        }
        // An age is that of the second.
        let after_ms = if age_ms == 0 { sample.after_ms } else { 0 };
        let uptime_ms = uptime_ms + i64::from(after_ms);
        self.timing.set(uptime_ms, age_ms, self.lain_ms, now);
        match place {
            SeqPlace::Duplicate => Verdict::Duplicate,
            SeqPlace::Restarted => Verdict::NewRun,
            SeqPlace::Ahead | SeqPlace::Late => Verdict::New,
        }
    }

    /// Notes a line with the board's uptime at `now`. Returns whether the board has begun a new run.
    pub fn ask(&mut self, uptime_s: u32, now: Uptime) -> bool {
        let uptime_ms = millis(uptime_s);
        let is_new = self.timing.is_behind(uptime_ms, self.lain_ms, now);
        if is_new {
            self.restart();
        }
        self.timing.set(uptime_ms, 0, self.lain_ms, now);
        is_new
    }

    /// When the board had this uptime, in milliseconds of the host's clock. Not after `now`.
    pub fn instant(&self, uptime_s: u32, after_ms: u16, now: Uptime) -> i64 {
        let uptime_ms = millis(uptime_s) + i64::from(after_ms);
        self.timing.instant(uptime_ms, now)
    }

    /// Reports of all runs that never came.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    fn place(&self, sample: &BoardSample, now: Uptime) -> SeqPlace {
        let Some(highest) = self.highest else {
            return SeqPlace::Ahead;
        };
        if let (Some(run), Some(other)) = (sample.run, highest.run)
            && run != other
        {
            return SeqPlace::Restarted;
        }
        // Only the age that a board gives tells a kept report from a fresh one.
        let said_ms = millis(sample.uptime_s) + millis(sample.age_s);
        let is_behind = self.timing.is_behind(said_ms, self.lain_ms, now);
        let is_late = if sample.seq > highest.seq {
            let goes_back = sample.uptime_s.saturating_add(SLACK_S) < highest.uptime_s;
            return match goes_back || sample.age_s > 0 && is_behind {
                true => SeqPlace::Restarted,
                false => SeqPlace::Ahead,
            };
        } else if self.is_outside(sample.seq) {
            sample.age_s > 0 && !is_behind && sample.uptime_s <= highest.uptime_s
        } else {
            match self.window.get(sample.seq) {
                SeqMark::Seen { uptime_s, digest } => {
                    return match (uptime_s, digest) == (sample.uptime_s, sample.digest) {
                        true => SeqPlace::Duplicate,
                        false => SeqPlace::Restarted,
                    };
                }
                SeqMark::Missing => {
                    self.fits(sample, highest.seq) && !(sample.age_s > 0 && is_behind)
                }
                SeqMark::Before => !is_behind,
            }
        };
        match is_late {
            true => SeqPlace::Late,
            false => SeqPlace::Restarted,
        }
    }

    /// Whether a sample is not older than those before it nor younger than those after it.
    fn fits(&self, sample: &BoardSample, highest: u32) -> bool {
        let lowest = highest.saturating_sub(WINDOW - 1);
        let uptime_at = |seq| match self.window.get(seq) {
            SeqMark::Seen { uptime_s, .. } => Some(uptime_s),
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

    fn add(&mut self, sample: BoardSample) {
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
        *self = BoardRuns {
            from_zero: true,
            missing: self.missing,
            lain_ms: self.lain_ms,
            ..BoardRuns::default()
        };
    }
}

impl Default for Window {
    fn default() -> Self {
        Window([SeqMark::Before; WINDOW as usize])
    }
}

impl Window {
    fn get(&self, seq: u32) -> SeqMark {
        let Window(slots) = self;
        let slot = slots.get((seq % WINDOW) as usize);
        slot.copied().unwrap_or_default()
    }

    fn is_missing(&self, seq: u32) -> bool {
        self.get(seq) == SeqMark::Missing
    }

    fn miss(&mut self, seq: u32) {
        self.set(seq, SeqMark::Missing);
    }

    fn see(&mut self, sample: &BoardSample) {
        let slot = SeqMark::Seen {
            uptime_s: sample.uptime_s,
            digest: sample.digest,
        };
        self.set(sample.seq, slot);
    }

    fn set(&mut self, seq: u32, slot: SeqMark) {
        if let Some(place) = self.0.get_mut((seq % WINDOW) as usize) {
            *place = slot;
        }
    }
}

#[cfg(test)]
mod tests;
