//! Which reports of each run have come: no report is stored twice.
//!
//! A run is what a client numbers from 0, under one `boot`. The numbers that have come are kept as ranges, in memory for
//! the runs of the last minutes, and in the table of runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use crate::ranges::Ranges;

/// A run with more ranges than this takes no number that would make another one: its gaps have to be filled first.
pub const MAX_RANGES: usize = 16_384;

/// The runs that reports came from lately.
#[derive(Default)]
pub struct Runs {
    /// Of each client, by the name of the boot.
    runs: BTreeMap<String, BTreeMap<String, Run>>,
    unnumbered: BTreeMap<String, i64>,
    begun: u64,
}

#[derive(Default)]
struct Run {
    numbers: Ranges,
    duplicates: i64,
    /// New runs are written in the order in which they began.
    begun: u64,
    is_written: bool,
    is_idle: bool,
}

/// Whether a report is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It has not come before.
    New,
    /// It has.
    Duplicate,
    /// The run has too many gaps.
    Scattered,
}

impl Runs {
    /// Notes a number of a run.
    pub fn note(
        &mut self,
        connection: &Connection,
        client: &str,
        boot: &str,
        seq: u64,
    ) -> rusqlite::Result<Novelty> {
        self.with_run(connection, client, boot, |run| run.note(seq))
    }

    /// Notes a number that is in the log, whether the run has it already or not.
    pub fn note_again(
        &mut self,
        connection: &Connection,
        client: &str,
        boot: &str,
        seq: u64,
    ) -> rusqlite::Result<()> {
        self.with_run(connection, client, boot, |run| {
            if run.numbers.insert(seq..seq.saturating_add(1)) > 0 {
                run.is_written = false;
            }
        })
    }

    /// Takes back a number that could not be stored.
    pub fn take_back(&mut self, client: &str, boot: &str, seq: u64, verdict: Novelty) {
        let Some(run) = self.runs.get_mut(client).and_then(|it| it.get_mut(boot)) else {
            return;
        };
        match verdict {
            Novelty::New => {
                run.numbers.remove(seq..seq.saturating_add(1));
            }
            Novelty::Duplicate => run.duplicates -= 1,
            Novelty::Scattered => {}
        }
    }

    /// Counts a report that is in no run.
    pub fn count_unnumbered(&mut self, client: &str, count: i64) {
        match self.unnumbered.get_mut(client) {
            Some(before) => *before += count,
            None => {
                self.unnumbered.insert(client.to_owned(), count);
            }
        }
    }

    /// The names are copied for a run that is not known yet, not for each report.
    fn with_run<T>(
        &mut self,
        connection: &Connection,
        client: &str,
        boot: &str,
        work: impl FnOnce(&mut Run) -> T,
    ) -> rusqlite::Result<T> {
        if let Some(run) = self.runs.get_mut(client).and_then(|it| it.get_mut(boot)) {
            run.is_idle = false;
            return Ok(work(run));
        }
        let mut run = match read(connection, client, boot)? {
            Some(run) => run,
            None => {
                self.begun += 1;
                Run {
                    begun: self.begun,
                    ..Run::default()
                }
            }
        };
        let result = work(&mut run);
        let boots = self.runs.entry(client.to_owned()).or_default();
        boots.insert(boot.to_owned(), run);
        Ok(result)
    }

    fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().flat_map(BTreeMap::values)
    }

    /// Whether the table has them as they are.
    pub fn are_written(&self) -> bool {
        self.unnumbered.is_empty() && self.all().all(|run| run.is_written)
    }

    /// Whether there are so many that they should be written.
    pub fn are_many(&self) -> bool {
        let ranges = self.all().map(|run| 1 + run.numbers.len());
        ranges.sum::<usize>() > 1 << 20
    }

    /// Writes what the table has not yet. [`Runs::note_written`] says that it was committed.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A run whose first report could not be stored has not begun.
        let has_begun = |run: &Run| !run.numbers.is_empty() || run.duplicates > 0;
        let runs = self.runs.iter();
        let mut runs: Vec<_> = runs
            .flat_map(|(client, boots)| boots.iter().map(move |(boot, run)| (client, boot, run)))
            .filter(|(.., run)| !run.is_written && has_begun(run))
            .collect();
        runs.sort_by_key(|(.., run)| run.begun);
        for (client, boot, run) in runs {
            write(connection, client, boot, run)?;
        }
        let mut unnumbered = connection.prepare_cached(
            "INSERT INTO unnumbered (client, received) VALUES (?1, ?2)
             ON CONFLICT (client) DO UPDATE SET received = received + ?2",
        )?;
        for (client, count) in &self.unnumbered {
            unnumbered.execute(params![client, count])?;
        }
        Ok(())
    }

    /// Writes one run, so that its duplicates are not forgotten: the log does not have those.
    pub fn write_one(
        &self,
        connection: &Connection,
        client: &str,
        boot: &str,
    ) -> rusqlite::Result<()> {
        match self.runs.get(client).and_then(|it| it.get(boot)) {
            Some(run) => write(connection, client, boot, run),
            None => Ok(()),
        }
    }

    /// Everything is written. Runs that were not in use since the last time are forgotten.
    pub fn note_written(&mut self) {
        self.unnumbered.clear();
        for boots in self.runs.values_mut() {
            boots.retain(|_, run| !run.is_idle);
            for run in boots.values_mut() {
                run.is_written = true;
                run.is_idle = true;
            }
        }
        self.runs.retain(|_, boots| !boots.is_empty());
    }
}

impl Run {
    fn note(&mut self, seq: u64) -> Novelty {
        if self.numbers.contains(seq) {
            self.duplicates += 1;
            self.is_written = false;
            return Novelty::Duplicate;
        }
        let touches = |it: u64| self.numbers.contains(it);
        let is_beside = touches(seq.saturating_add(1)) || seq.checked_sub(1).is_some_and(touches);
        if self.numbers.len() >= MAX_RANGES && !is_beside {
            return Novelty::Scattered;
        }
        self.numbers.insert(seq..seq.saturating_add(1));
        self.is_written = false;
        Novelty::New
    }
}

fn read(connection: &Connection, client: &str, boot: &str) -> rusqlite::Result<Option<Run>> {
    let row = connection
        .prepare_cached("SELECT numbers, duplicates FROM runs WHERE client = ?1 AND boot = ?2")?
        .query_row([client, boot], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((numbers, duplicates)) = row else {
        return Ok(None);
    };
    let numbers = match numbers.as_deref().and_then(parse) {
        Some(numbers) => numbers,
        None => of_earlier_version(connection, client, boot)?,
    };
    Ok(Some(Run {
        numbers,
        duplicates,
        is_written: true,
        ..Run::default()
    }))
}

/// How many of these numbers of a run the tables do not have. `None`: they do not know the run.
pub fn missing(
    connection: &Connection,
    client: &str,
    boot: &str,
    range: Range<u64>,
) -> rusqlite::Result<Option<u64>> {
    let run = read(connection, client, boot)?;
    let length = range.end.saturating_sub(range.start);
    Ok(run.map(|it| length - it.numbers.count_within(range)))
}

fn write(connection: &Connection, client: &str, boot: &str, run: &Run) -> rusqlite::Result<()> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let numbers = &run.numbers;
    connection
        .prepare_cached(
            "INSERT INTO runs (client, boot, first, last, received, duplicates, numbers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (client, boot) DO UPDATE SET
                first = ?3, last = ?4, received = ?5, duplicates = ?6, numbers = ?7",
        )?
        .execute(params![
            client,
            boot,
            signed(numbers.first().unwrap_or(0)),
            signed(numbers.end().saturating_sub(1)),
            signed(numbers.count()),
            run.duplicates,
            text(numbers),
        ])?;
    Ok(())
}

/// The numbers of a run that the table of reports of an earlier version has.
fn of_earlier_version(
    connection: &Connection,
    client: &str,
    boot: &str,
) -> rusqlite::Result<Ranges> {
    let mut numbers = Ranges::default();
    let mut statement = connection.prepare_cached(
        "SELECT seq FROM reports WHERE client = ?1 AND boot = ?2 AND seq IS NOT NULL ORDER BY seq",
    )?;
    let mut rows = statement.query([client, boot])?;
    while let Some(row) = rows.next()? {
        let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
        numbers.insert(seq..seq.saturating_add(1));
    }
    Ok(numbers)
}

/// Gives runs of an earlier version their numbers, at most `limit` of them. Returns how many there were.
pub fn complete_earlier(connection: &Connection, limit: u32) -> rusqlite::Result<usize> {
    let names = connection
        .prepare_cached("SELECT client, boot FROM runs WHERE numbers IS NULL LIMIT ?1")?
        .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    for (client, boot) in &names {
        let numbers = of_earlier_version(connection, client, boot)?;
        connection
            .prepare_cached("UPDATE runs SET numbers = ?3 WHERE client = ?1 AND boot = ?2")?
            .execute(params![client, boot, text(&numbers)])?;
    }
    Ok(names.len())
}

fn text(numbers: &Ranges) -> String {
    let mut text = String::new();
    for range in numbers.iter() {
        let last = range.end.saturating_sub(1);
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match last == range.start {
            true => write!(text, "{space}{last}"),
            false => write!(text, "{space}{}-{last}", range.start),
        };
    }
    text
}

fn parse(text: &str) -> Option<Ranges> {
    let mut numbers = Ranges::default();
    for range in text.split_ascii_whitespace() {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        numbers.insert(first..last.checked_add(1)?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests;
