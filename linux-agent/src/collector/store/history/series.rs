//! Questions about the history of one service: its numbers in bins of equal length.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use serde::Serialize;

use super::codec::Damaged;
use super::gaps::Samples;
use super::open::OpenReports;
use super::partials::{self, Partial, Partials};
use super::points::Points;
use super::seal::MAX_REPORTS;
use super::streams::SharedStreams;
use crate::client_name::ClientName;

/// At most this many bins in an answer.
pub const MAX_BINS: u32 = 4000;

/// At most this many columns in an answer; the first ones by name.
pub const MAX_COLUMNS: usize = 256;

/// At most this many values in an answer: bins by columns.
pub const MAX_VALUES: usize = 250_000;

/// At most this many columns beyond those are counted.
const MAX_LEFT_OUT: usize = 65_536;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Of which client.
    pub client: ClientName,
    /// Of which service.
    pub service: String,
    /// Of this item only.
    pub item: Option<String>,
    /// Of this field only.
    pub field: Option<String>,
    /// From then on, in milliseconds since 1970-01-01 00:00 UTC.
    pub from_ms: i64,
    /// Until then.
    pub to_ms: i64,
    /// In at most this many bins.
    pub bins: u32,
}

/// What the bins are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Each number.
    Points,
    /// The least, the largest and the sum of ten minutes each.
    Partials,
}

/// The answer.
#[derive(Debug)]
pub struct Series {
    /// What it is made from.
    pub tier: Tier,
    /// When the first bin begins, in milliseconds since 1970-01-01 00:00 UTC.
    pub from_ms: i64,
    /// The length of a bin, in milliseconds.
    pub step_ms: i64,
    /// How many bins there are.
    pub bins: usize,
    /// By item and field.
    pub columns: BTreeMap<(String, String), Vec<Partial>>,
    /// The columns beyond [`MAX_COLUMNS`] or [`MAX_VALUES`].
    pub left_out: BTreeSet<(String, String)>,
    /// The reports in the order of time; of partials only when each begins.
    pub samples: Samples,
    /// Blocks that could not be read.
    pub damaged: usize,
}

/// Answers a question. `None`: the client never reported that service.
pub fn read(
    connection: &Connection,
    streams: &SharedStreams,
    question: &Question,
) -> rusqlite::Result<Option<Series>> {
    let is_wanted = |item: &str, field: &str| {
        question.item.as_deref().is_none_or(|it| it == item)
            && question.field.as_deref().is_none_or(|it| it == field)
    };
    // First the reports that are in no block yet, then the blocks. What is sealed into a block in between is read twice;
    // `sealed` tells which of the two to leave out.
    let (id, open) = {
        let streams = streams.lock();
        let Some(id) = streams.id(&question.client, &question.service) else {
            return Ok(None);
        };
        let open = streams.get(id).map(|it| it.open.clone());
        (id, open.unwrap_or_default())
    };
    let snapshot = connection.unchecked_transaction()?;
    let sealed = snapshot
        .prepare_cached("SELECT sealed FROM streams WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let mut open = open;
    open.forget_through(sealed);

    let mut series = Series::new(question, tier(&snapshot, id, question)?);
    match series.tier {
        Tier::Points => {
            for points in in_parts(&open, is_wanted) {
                series.add_points(&points);
            }
            let sql =
                "SELECT block FROM points WHERE stream = ?1 AND last_ms >= ?2 AND first_ms < ?3";
            series.read_blocks(&snapshot, sql, id, |series, block| {
                let points = Points::decode(block, is_wanted)?;
                series.add_points(&points);
                Ok(())
            })?;
        }
        Tier::Partials => {
            for points in in_parts(&open, is_wanted) {
                series.add_partials(&Partials::of(&points));
            }
            let sql =
                "SELECT block FROM partials WHERE stream = ?1 AND last_ms >= ?2 AND first_ms < ?3";
            series.read_blocks(&snapshot, sql, id, |series, block| {
                let partials = Partials::decode(block, is_wanted)?;
                series.add_partials(&partials);
                Ok(())
            })?;
        }
    }
    if series.tier == Tier::Points {
        series.add_neighbours(&snapshot, id, question)?;
    }
    series.samples.sort();
    Ok(Some(series))
}

/// In parts as large as blocks.
fn in_parts(
    open: &OpenReports,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> impl Iterator<Item = Points> {
    let starts = (0..open.rows().len()).step_by(MAX_REPORTS);
    starts.map(move |start| Points::of(open, start..start + MAX_REPORTS, &is_wanted))
}

/// Points, if bins are shorter than partials, and there are points.
fn tier(connection: &Connection, stream: i64, question: &Question) -> rusqlite::Result<Tier> {
    let step_ms = (question.to_ms - question.from_ms) / i64::from(question.bins.max(1));
    if step_ms >= partials::LENGTH_MS {
        return Ok(Tier::Partials);
    }
    let first = |table: &str| {
        let sql = format!(
            "SELECT min(first_ms) FROM {table} WHERE stream = ?1 AND last_ms >= ?2 AND first_ms < ?3"
        );
        connection
            .prepare_cached(&sql)?
            .query_row(params![stream, question.from_ms, question.to_ms], |row| {
                row.get::<_, Option<i64>>(0)
            })
    };
    Ok(match (first("points")?, first("partials")?) {
        (None, Some(_)) => Tier::Partials,
        // Points that became too old have left their partials.
        (Some(points), Some(partials)) if points - partials > partials::LENGTH_MS => Tier::Partials,
        _ => Tier::Points,
    })
}

/// Of positive numbers.
fn ceil(number: i64, divisor: i64) -> i64 {
    (number - 1) / divisor + 1
}

impl Series {
    fn new(question: &Question, tier: Tier) -> Series {
        let bins = i64::from(question.bins.clamp(1, MAX_BINS));
        let unit_ms = match tier {
            Tier::Points => 1,
            Tier::Partials => partials::LENGTH_MS,
        };
        // Bins of partials begin with one.
        let from_ms = question.from_ms.div_euclid(unit_ms) * unit_ms;
        let length_ms = (question.to_ms - from_ms).max(1);
        let step_ms = ceil(ceil(length_ms, bins), unit_ms) * unit_ms;
        Series {
            tier,
            from_ms,
            step_ms,
            bins: usize::try_from(ceil((question.to_ms - from_ms).max(1), step_ms)).unwrap_or(1),
            columns: BTreeMap::new(),
            left_out: BTreeSet::new(),
            samples: Samples::default(),
            damaged: 0,
        }
    }

    fn read_blocks(
        &mut self,
        connection: &Connection,
        sql: &str,
        stream: i64,
        add: impl Fn(&mut Series, &[u8]) -> Result<(), Damaged>,
    ) -> rusqlite::Result<()> {
        let end_ms = self.from_ms + self.step_ms * self.bins as i64;
        // A partial begins up to its length before its points.
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![stream, self.from_ms, end_ms])?;
        while let Some(row) = rows.next()? {
            if add(self, row.get_ref(0)?.as_blob()?).is_err() {
                self.damaged += 1;
            }
        }
        Ok(())
    }

    fn bin(&self, time_ms: i64) -> Option<usize> {
        let bin = usize::try_from((time_ms - self.from_ms).div_euclid(self.step_ms)).ok()?;
        (bin < self.bins).then_some(bin)
    }

    fn column(&mut self, item: &str, field: &str) -> Option<&mut Vec<Partial>> {
        let name = (item.to_owned(), field.to_owned());
        let is_full = self.columns.len() >= MAX_COLUMNS
            || (self.columns.len() + 1).saturating_mul(self.bins) > MAX_VALUES;
        if is_full && !self.columns.contains_key(&name) {
            if self.left_out.len() < MAX_LEFT_OUT {
                self.left_out.insert(name);
            }
            return None;
        }
        let bins = self.bins;
        let column = self.columns.entry(name);
        Some(column.or_insert_with(|| vec![Partial::default(); bins]))
    }

    /// The reports next to those in the bins, if there are any: what lies between shows why there is nothing.
    fn add_neighbours(
        &mut self,
        connection: &Connection,
        stream: i64,
        question: &Question,
    ) -> rusqlite::Result<()> {
        for (is_there, time_ms, sql) in [
            (
                self.samples.reach_before(question.from_ms),
                question.from_ms,
                "SELECT block FROM points WHERE stream = ?1 AND last_ms < ?2 ORDER BY last_ms DESC LIMIT 1",
            ),
            (
                self.samples.reach_after(question.to_ms),
                question.to_ms,
                "SELECT block FROM points WHERE stream = ?1 AND last_ms >= ?2 ORDER BY last_ms LIMIT 1",
            ),
        ] {
            if is_there {
                continue;
            }
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![stream, time_ms])?;
            if let Some(row) = rows.next()? {
                match Points::decode(row.get_ref(0)?.as_blob()?, |_, _| false) {
                    Ok(points) => self.add_samples(&points),
                    Err(Damaged) => self.damaged += 1,
                }
            }
        }
        self.samples.has_neighbours = true;
        Ok(())
    }

    fn add_samples(&mut self, points: &Points) {
        for (row, time_ms) in points.times.iter().enumerate() {
            self.samples.add(*time_ms, points.in_runs.get(row));
        }
    }

    fn add_points(&mut self, points: &Points) {
        self.add_samples(points);
        let bins: Vec<Option<usize>> = points.times.iter().map(|it| self.bin(*it)).collect();
        for column in &points.columns {
            let Some(partials) = self.column(&column.item, &column.field) else {
                continue;
            };
            for (bin, value) in bins.iter().zip(&column.values) {
                if let Some(partial) = bin.and_then(|bin| partials.get_mut(bin)) {
                    partial.add(*value);
                }
            }
        }
    }

    fn add_partials(&mut self, block: &Partials) {
        for time_ms in &block.times {
            self.samples.add(*time_ms, None);
        }
        let bins: Vec<Option<usize>> = block.times.iter().map(|it| self.bin(*it)).collect();
        for column in &block.columns {
            let Some(partials) = self.column(&column.item, &column.field) else {
                continue;
            };
            for (bin, other) in bins.iter().zip(&column.partials) {
                if let Some(partial) = bin.and_then(|bin| partials.get_mut(bin)) {
                    partial.merge(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::RunPlaces;
    use super::super::points;
    use super::*;

    #[test]
    fn columns_are_bounded_and_counted_beyond() {
        let question = |bins| Question {
            client: ClientName::Number(1),
            service: String::new(),
            item: None,
            field: None,
            from_ms: 0,
            to_ms: 4000,
            bins,
        };
        let points = Points {
            times: vec![0],
            in_runs: RunPlaces::default(),
            columns: (0..300)
                .map(|number| points::Column {
                    item: String::new(),
                    field: format!("{number:03}"),
                    values: vec![1.0],
                })
                .collect(),
        };
        for (bins, columns) in [(1, MAX_COLUMNS), (4000, MAX_VALUES / 4000)] {
            let mut series = Series::new(&question(bins), Tier::Points);
            for _ in 0..2 {
                series.add_points(&points);
            }
            assert_eq!(series.columns.len(), columns);
            assert_eq!(series.left_out.len(), 300 - columns);
        }
    }

    #[test]
    fn bins_cover_what_was_asked_for() {
        for (from_ms, to_ms, bins) in [(0, 10, 3), (5, 6, 4000), (-7, 8, 2), (0, 4000, 4000)] {
            let question = Question {
                client: ClientName::Number(1),
                service: String::new(),
                item: None,
                field: None,
                from_ms,
                to_ms,
                bins,
            };
            for tier in [Tier::Points, Tier::Partials] {
                let series = Series::new(&question, tier);
                assert!(series.bins <= bins as usize && series.step_ms > 0);
                assert_eq!(series.bin(from_ms), Some(0));
                assert_eq!(series.bin(to_ms - 1), Some(series.bins - 1));
                assert_eq!(series.bin(series.from_ms - 1), None);
            }
        }
    }
}
