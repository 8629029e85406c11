//! Which reports are lost, by the numbers that never came.
//!
//! After an outage what is fresh comes first, and what waited comes behind it: until then its numbers are missing
//! without being lost. So a gap counts once nothing of it was filled for ten minutes, and as far as the host's queue
//! does not say that so much still waits.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::client_name::ClientName;

/// A gap of which nothing was filled for so long is a loss, in milliseconds.
pub const SETTLED_MS: i64 = 600_000;

/// A loss is old after this time without another, in milliseconds.
pub const OLD_MS: i64 = 3_600_000;

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunGaps {
    /// Its id.
    pub boot: String,
    /// Numbers from 0 to the last one that have not come.
    pub gaps: u64,
}

/// The losses of one host.
#[derive(Debug, Default)]
pub struct Losses {
    runs: BTreeMap<String, Run>,
    has_begun: bool,
    lost: u64,
    /// When `lost` grew last.
    grew_ms: i64,
}

#[derive(Debug)]
struct Run {
    gaps: u64,
    /// So many are known already, or were there before.
    known: u64,
    /// Since when there are more than those, and nothing was filled.
    since_ms: i64,
}

impl Losses {
    /// Takes the newest runs of a host, and how many reports wait there, if it says so. Gives how many are lost that
    /// are not old.
    pub fn note(&mut self, runs: &[RunGaps], waiting: u64, now_ms: i64) -> u64 {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.runs
            .retain(|boot, _| runs.iter().any(|it| it.boot == *boot));
        for RunGaps { boot, gaps } in runs {
            let gaps = *gaps;
            let run = self.runs.entry(boot.clone()).or_insert(Run {
                gaps,
                // What was missing before anybody watched is old.
                known: if is_first { gaps } else { 0 },
                since_ms: now_ms,
            });
            if gaps < run.gaps || run.gaps <= run.known {
                run.since_ms = now_ms;
            }
            run.gaps = gaps;
            run.known = run.known.min(gaps);
        }
        let settled = self
            .runs
            .values()
            .filter(|run| now_ms - run.since_ms >= SETTLED_MS);
        let missing: u64 = settled.map(|run| run.gaps - run.known).sum();
        let lost = missing.saturating_sub(waiting);
        if lost > self.lost {
            self.grew_ms = now_ms;
        } else if now_ms - self.grew_ms >= OLD_MS {
            let settled = self.runs.values_mut();
            for run in settled.filter(|run| now_ms - run.since_ms >= SETTLED_MS) {
                run.known = run.gaps;
            }
            self.lost = 0;
            return 0;
        }
        self.lost = lost;
        lost
    }
}

/// Of each client, when the alarm about lost reports fired last, and when that ended.
pub fn read_last(
    connection: &Connection,
) -> rusqlite::Result<BTreeMap<ClientName, (i64, Option<i64>)>> {
    // Beside max(), SQLite gives the other columns of that row.
    let sql = "SELECT client, fired_ms, ended_ms, max(id) FROM alarms
        WHERE name = 'lost' AND fired_ms IS NOT NULL AND client IS NOT NULL GROUP BY client";
    let alarm = |row: &Row<'_>| {
        let client = ClientName::from_text(&row.get::<_, String>(0)?);
        Ok((client, (row.get(1)?, row.get(2)?)))
    };
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], alarm)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;

    fn runs(gaps: &[(&str, u64)]) -> Vec<RunGaps> {
        let run = |(boot, gaps): &(&str, u64)| RunGaps {
            boot: (*boot).to_owned(),
            gaps: *gaps,
        };
        gaps.iter().map(run).collect()
    }

    /// How many are lost at each minute.
    fn lost(minutes: i64, gaps: impl Fn(i64) -> u64, waiting: impl Fn(i64) -> u64) -> Vec<u64> {
        let mut losses = Losses::default();
        let note =
            |minute| losses.note(&runs(&[("a", gaps(minute))]), waiting(minute), minute * MIN);
        (0..minutes).map(note).collect()
    }

    #[test]
    fn a_gap_that_nothing_fills_is_a_loss_for_an_hour() {
        let lost = lost(100, |minute| if minute >= 5 { 3 } else { 0 }, |_| 0);
        for (minute, lost) in (0..).zip(lost) {
            let expected = if (15..75).contains(&minute) { 3 } else { 0 };
            assert_eq!(lost, expected, "{minute}");
        }
    }

    #[test]
    fn a_backlog_that_comes_in_is_no_loss_however_long_it_takes() {
        let draining = lost(
            200,
            |minute| {
                if minute >= 5 {
                    150_u64.saturating_sub(minute as u64)
                } else {
                    0
                }
            },
            |_| 0,
        );
        assert!(draining.iter().all(|it| *it == 0), "{draining:?}");
        // It stands still, but the host says that so much waits.
        let waits = lost(60, |minute| if minute >= 5 { 40 } else { 0 }, |_| 38);
        assert_eq!(waits.iter().max(), Some(&2));
    }

    #[test]
    fn what_was_missing_before_anybody_watched_is_old() {
        assert!(lost(100, |_| 7, |_| 0).iter().all(|it| *it == 0));
        // A gap that goes on growing is a loss all the same.
        let growing = lost(30, |minute| 7 + minute as u64, |_| 0);
        assert_eq!(growing[29], 29);
    }

    #[test]
    fn a_new_run_counts_from_its_beginning() {
        let mut losses = Losses::default();
        losses.note(&runs(&[("a", 7)]), 0, 0);
        losses.note(&runs(&[("a", 7), ("b", 2)]), 0, MIN);
        assert_eq!(losses.note(&runs(&[("a", 7), ("b", 2)]), 0, 11 * MIN), 2);
    }
}
