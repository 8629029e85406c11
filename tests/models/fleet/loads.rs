//! The load of a server in the model of a fleet.

use std::fmt;
use std::ops::Range;

use super::{MAX_ADDED, OUTAGE_S, STEADY_S};

/// What the server saw, second by second.
pub struct Loads(pub Vec<Load>);

/// What came in one second.
#[derive(Clone, Copy, Default)]
pub struct Load {
    pub reports: u32,
    /// That brought reports, one or more.
    pub requests: u32,
    pub fetches: u32,
}

impl Loads {
    /// From the end of the outage to the end of all.
    pub fn after(&self) -> Range<usize> {
        OUTAGE_S.end..self.0.len()
    }

    pub fn mean(&self, seconds: Range<usize>) -> f64 {
        let load = &self.0[seconds];
        let requests = load.iter().map(|it| f64::from(it.reports + it.fetches));
        requests.sum::<f64>() / load.len() as f64
    }

    /// Requests a second in the busiest of all bins of so many seconds.
    pub fn peak(&self, seconds: Range<usize>, bin: usize) -> f64 {
        let bins = seconds.step_by(bin).map(|from| self.mean(from..from + bin));
        bins.fold(0.0, f64::max)
    }

    pub fn assert_peaks(&self) {
        for bin in [1, 10] {
            let limit = self.peak(STEADY_S, bin) + MAX_ADDED * self.mean(STEADY_S);
            let peak = self.peak(self.after(), bin);
            assert!(
                peak <= limit,
                "{bin} s: {peak:.0} requests/s, at most {limit:.0}"
            );
        }
    }
}

impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.mean(STEADY_S);
        writeln!(
            f,
            "  mean {mean:.0} requests/s; times that at the peak of 1 s and of 10 s:"
        )?;
        for (when, seconds) in [
            ("power-on", 0..60),
            ("steady", STEADY_S),
            ("outage", OUTAGE_S),
            ("recovery", self.after()),
        ] {
            let [one, ten] = [1, 10].map(|bin| self.peak(seconds.clone(), bin) / mean);
            let fetches = self.0[seconds].iter().map(|it| it.fetches).max();
            let fetches = fetches.unwrap_or_default();
            writeln!(
                f,
                "  {when:9}{one:6.2}{ten:6.2}, at most {fetches} fetches in 1 s"
            )?;
        }
        Ok(())
    }
}
