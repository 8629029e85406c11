//! Where a service has no reports for longer than it should, and what stands on both sides.

use std::ops::Range;

/// When a report was sampled, and where it stands in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SamplePlace {
    /// In milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: i64,
    /// Its run, as a place in [`Samples::boots`], and its number there.
    pub place: Option<(usize, u64)>,
}

/// The reports of a service in the order of time.
#[derive(Debug, Default)]
pub struct Samples {
    /// Those that a question is about, and some before and after them.
    pub all: Vec<SamplePlace>,
    /// The runs that they are of.
    pub boots: Vec<String>,
    /// Whether `all` has what comes next on both sides, if there is any.
    pub has_neighbours: bool,
}

/// A time without reports.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    /// From a report, or from where the question begins.
    pub from_ms: i64,
    /// Until the next report, or until where the question ends.
    pub to_ms: i64,
    /// The report before it, if it is known.
    pub before: Option<SamplePlace>,
    /// The report after it, if it is known.
    pub after: Option<SamplePlace>,
}

/// At most this many gaps, the first ones.
pub const MAX_GAPS: usize = 1000;

impl Samples {
    /// Adds a report.
    pub fn add(&mut self, time_ms: i64, place: Option<(&str, u64)>) {
        let place = place.map(|(boot, seq)| {
            // Mostly it is the last one.
            let at = self.boots.iter().rposition(|it| it == boot);
            let at = at.unwrap_or_else(|| {
                self.boots.push(boot.to_owned());
                self.boots.len() - 1
            });
            (at, seq)
        });
        self.all.push(SamplePlace { time_ms, place });
    }

    /// Whether there is one before this instant.
    pub fn reach_before(&self, time_ms: i64) -> bool {
        self.all.iter().any(|it| it.time_ms < time_ms)
    }

    /// Whether there is one at this instant or later.
    pub fn reach_after(&self, time_ms: i64) -> bool {
        self.all.iter().any(|it| it.time_ms >= time_ms)
    }

    /// Puts them in the order of time.
    pub fn sort(&mut self) {
        self.all.sort_unstable();
        self.all.dedup();
    }

    /// What lies between most of them, in milliseconds.
    pub fn usual_distance(&self) -> Option<i64> {
        let distances = self.all.iter().zip(self.all.iter().skip(1));
        let distances = distances.map(|(one, next)| next.time_ms - one.time_ms);
        // Several reports of one instant are those of several runs.
        let mut distances: Vec<i64> = distances.filter(|it| *it > 0).collect();
        let middle = distances.len() / 2;
        (!distances.is_empty()).then(|| *distances.select_nth_unstable(middle).1)
    }

    /// Times of more than `allowed_ms` without a report, within `range`.
    pub fn gaps(&self, range: Range<i64>, allowed_ms: i64) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let first = self.all.partition_point(|it| it.time_ms < range.start);
        let end = self.all.partition_point(|it| it.time_ms < range.end);
        let neighbour = |at: Option<usize>| {
            at.filter(|_| self.has_neighbours)
                .and_then(|at| self.all.get(at))
                .copied()
        };
        let inside = self.all.get(first..end).unwrap_or_default();
        let mut before = neighbour(first.checked_sub(1));
        let after = neighbour(Some(end));
        for next in inside.iter().copied().map(Some).chain([after.or(None)]) {
            let since_ms = before.map_or(range.start, |it| it.time_ms);
            let until_ms = next.map_or(range.end, |it| it.time_ms);
            let gap = Gap {
                from_ms: since_ms.max(range.start),
                to_ms: until_ms.min(range.end),
                before,
                after: next,
            };
            if until_ms - since_ms > allowed_ms && gap.from_ms < gap.to_ms && gaps.len() < MAX_GAPS
            {
                gaps.push(gap);
            }
            before = next;
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: &[i64], has_neighbours: bool) -> Samples {
        let mut samples = Samples {
            has_neighbours,
            ..Samples::default()
        };
        for time in times {
            samples.add(*time, Some(("a", time.unsigned_abs())));
        }
        samples.sort();
        samples
    }

    fn gaps(times: &[i64], has_neighbours: bool, range: Range<i64>) -> Vec<(i64, i64, bool, bool)> {
        let gaps = samples(times, has_neighbours).gaps(range, 10);
        let sides = |it: Gap| {
            (
                it.from_ms,
                it.to_ms,
                it.before.is_some(),
                it.after.is_some(),
            )
        };
        gaps.into_iter().map(sides).collect()
    }

    #[test]
    fn a_gap_is_longer_than_allowed_and_knows_its_sides() {
        assert_eq!(gaps(&[5, 15, 25], true, 0..30), []);
        assert_eq!(gaps(&[15, 5, 26, 5], true, 0..30), [(15, 26, true, true)]);
        assert_eq!(
            gaps(&[20, 25], true, 0..40),
            [(0, 20, false, true), (25, 40, true, false)]
        );
        assert_eq!(gaps(&[], true, 0..40), [(0, 40, false, false)]);
        assert_eq!(gaps(&[], true, 0..10), []);
    }

    #[test]
    fn what_lies_outside_decides_at_the_edges() {
        // Eleven from one to the next, of which the question is about a part.
        assert_eq!(
            gaps(&[0, 11, 22], true, 5..20),
            [(5, 11, true, true), (11, 20, true, true)]
        );
        assert_eq!(gaps(&[0, 10, 20], true, 5..18), []);
        // Nothing is known of it: then only what is inside counts.
        assert_eq!(gaps(&[0, 11, 22], false, 5..20), []);
        assert_eq!(gaps(&[100], true, 0..50), [(0, 50, false, true)]);
    }

    #[test]
    fn the_usual_distance_is_that_of_most() {
        assert_eq!(
            samples(&[0, 10, 20, 30, 500], true).usual_distance(),
            Some(10)
        );
        assert_eq!(samples(&[7], true).usual_distance(), None);
        assert_eq!(samples(&[], true).usual_distance(), None);
    }
}
