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
mod tests {
    use super::*;

    const HOUR_S: u32 = 3600;

    /// A host that has run for long.
    fn at(seconds: u32) -> Uptime {
        Uptime::from_millis(1_000_000_000 + u64::from(seconds) * 1000)
    }

    fn sample(seq: u32, uptime_s: u32, age_s: u32) -> BoardSample {
        BoardSample {
            seq,
            uptime_s,
            after_ms: 0,
            age_s,
            run: None,
            digest: u64::from(seq) << 32 | u64::from(uptime_s),
        }
    }

    /// A board that was reset at 0 s and has reported up to number 19 at 100 s.
    fn runs() -> BoardRuns {
        let mut runs = BoardRuns::default();
        for seq in 0..20 {
            let uptime_s = 5 + 5 * seq;
            let verdict = runs.report(sample(seq, uptime_s, 0), at(uptime_s));
            assert_eq!(verdict, Verdict::New);
        }
        runs
    }

    /// In seconds after the reset.
    fn instant(runs: &BoardRuns, uptime_s: u32, now: Uptime) -> f64 {
        (runs.instant(uptime_s, 0, now) - 1_000_000_000) as f64 / 1000.0
    }

    #[test]
    fn what_was_kept_has_the_time_of_its_sample_with_or_without_its_age() {
        for tells_age in [true, false] {
            let mut runs = runs();
            // The line was cut for an hour; then the first ones come again and the others for the first time.
            let now_s = 100 + HOUR_S;
            for seq in 15..52 {
                let uptime_s = 5 + 5 * seq;
                let age_s = if tells_age { now_s - uptime_s } else { 0 };
                let verdict = runs.report(sample(seq, uptime_s, age_s), at(now_s));
                let is_known = seq < 20;
                assert_eq!(verdict == Verdict::Duplicate, is_known, "{seq}");
                let error = instant(&runs, uptime_s, at(now_s)) - f64::from(uptime_s);
                // What passed of the board's time since it was heard last.
                let drift = f64::from(uptime_s.saturating_sub(100)) / 30.0;
                let allowed = if tells_age { 0.0 } else { drift + 0.001 };
                assert!((0.0..=allowed).contains(&error), "{seq}: {error}");
            }
            assert_eq!(runs.missing(), 0);
        }
    }

    #[test]
    fn an_ask_tells_of_a_reset() {
        // It was heard 100 s ago, so it has been reset since if it has run for as long at most; a thirtieth of them,
        // and 2 s, are granted. A board that stood still meanwhile has run for longer.
        for (uptime_s, is_new) in [(200, false), (106, false), (105, true), (0, true)] {
            assert_eq!(runs().ask(uptime_s, at(200)), is_new, "{uptime_s}");
        }
        assert!(!BoardRuns::default().ask(0, at(0)));
        // Unless it lay unread; but less than was seen before is a reset.
        for (uptime_s, is_new) in [(104, true), (110, false), (96, true)] {
            let mut runs = runs();
            runs.may_have_lain(90_000);
            assert_eq!(runs.ask(uptime_s, at(200)), is_new, "{uptime_s}");
        }
        let mut runs = runs();
        assert!(runs.ask(1, at(200)));
        // It counts from 0.
        assert_eq!(runs.report(sample(3, 5, 0), at(204)), Verdict::New);
        assert_eq!(runs.missing(), 3);
        assert_eq!(runs.report(sample(0, 2, 3), at(204)), Verdict::New);
        assert_eq!(runs.missing(), 2);
        let error = instant(&runs, 5, at(204)) - 204.0;
        assert!((-1.0..=0.0).contains(&error), "{error}");
    }

    #[test]
    fn what_comes_again_is_told_from_what_is_late_and_from_a_new_run() {
        use Verdict::{Duplicate, New, NewRun};
        let now = at(130);
        for (it, verdict) in [
            (sample(19, 100, 0), Duplicate),
            (sample(19, 100, 30), Duplicate),
            (sample(0, 5, 125), Duplicate),
            // Another sample of that number.
            (
                BoardSample {
                    digest: 1,
                    ..sample(0, 5, 0)
                },
                NewRun,
            ),
            (sample(0, 0, 0), NewRun),
            (sample(19, 105, 0), NewRun),
            (sample(20, 105, 0), New),
            (sample(25, 105, 25), New),
            // Later numbers are not earlier samples.
            (sample(20, 97, 0), NewRun),
            (sample(20, 98, 0), New),
            (sample(300, 20, 10), NewRun),
            (sample(300, 105, 5), New),
            (sample(300, 105, 25), New),
        ] {
            assert_eq!(runs().report(it, now), verdict, "{it:?}");
        }
        let run = |id| BoardSample {
            run: Some(id),
            ..sample(20, 105, 0)
        };
        let mut runs = runs();
        assert_eq!(runs.report(run(1), now), New);
        assert_eq!(runs.report(run(1), now), Duplicate);
        assert_eq!(runs.report(run(2), now), NewRun);
    }

    #[test]
    fn gaps_are_filled_by_what_comes_late() {
        let mut runs = runs();
        assert_eq!(runs.report(sample(30, 155, 0), at(155)), Verdict::New);
        assert_eq!(runs.missing(), 10);
        assert_eq!(runs.report(sample(22, 115, 41), at(156)), Verdict::New);
        assert_eq!(
            runs.report(sample(22, 115, 42), at(157)),
            Verdict::Duplicate
        );
        // Without its age, by its place between the others.
        assert_eq!(runs.report(sample(25, 130, 0), at(157)), Verdict::New);
        assert_eq!(runs.missing(), 8);
        assert_eq!(
            runs.clone().report(sample(26, 3, 0), at(157)),
            Verdict::NewRun
        );
        // Farther back than is remembered, its age shows that it is of this run.
        assert_eq!(runs.report(sample(200, 1005, 0), at(1005)), Verdict::New);
        assert_eq!(runs.missing(), 8 + 169);
        assert_eq!(runs.report(sample(40, 205, 800), at(1005)), Verdict::New);
        assert_eq!(runs.missing(), 8 + 168);
        assert_eq!(runs.report(sample(41, 210, 0), at(1005)), Verdict::NewRun);
    }

    #[test]
    fn what_was_sampled_before_the_agent_came_is_no_gap() {
        let mut runs = BoardRuns::default();
        assert_eq!(runs.report(sample(1000, 5000, 0), at(5000)), Verdict::New);
        assert_eq!(runs.report(sample(990, 4950, 50), at(5000)), Verdict::New);
        assert_eq!(
            runs.report(sample(990, 4950, 50), at(5000)),
            Verdict::Duplicate
        );
        assert_eq!(runs.missing(), 0);
        assert_eq!(runs.report(sample(1002, 5010, 0), at(5010)), Verdict::New);
        assert_eq!(runs.missing(), 1);
    }

    #[test]
    fn the_ends_of_all_ranges_are_safe() {
        let ends = [0, 1, 63, 64, u32::MAX - 1, u32::MAX];
        let instants = [0, 1, 1_000_000_000, u64::MAX - 1, u64::MAX];
        for now in instants {
            let mut runs = BoardRuns::default();
            for seq in ends {
                for uptime_s in ends {
                    for age_s in ends {
                        runs.report(sample(seq, uptime_s, age_s), Uptime::from_millis(now));
                        runs.ask(uptime_s, Uptime::from_millis(now));
                        runs.instant(uptime_s, 0, Uptime::from_millis(now));
                    }
                }
            }
        }
    }
}
