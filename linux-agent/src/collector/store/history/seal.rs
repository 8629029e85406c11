//! Open reports become blocks.

use std::cmp::Reverse;

use rusqlite::{Connection, params};

use super::codec::Damaged;
use super::partials::Partials;
use super::points::Points;
use super::streams::{Stream, Streams};

/// A stream becomes a block after this many reports.
pub const MAX_REPORTS: usize = 240;

/// Or after this time, in milliseconds, so that a start has no more than that to read again.
pub const MAX_AGE_MS: i64 = 3_600_000;

/// All streams together keep at most this many values in no block, of 8 bytes.
pub const MAX_CELLS: usize = 8 << 20;

/// A stream that is to become a block.
pub struct Sealing {
    stream: i64,
    through: i64,
    points: Points,
}

/// The streams that are due, at most `limit` of them.
pub fn due(streams: &Streams, now_ms: i64, limit: usize) -> Vec<Sealing> {
    due_with(streams, now_ms, limit, MAX_CELLS)
}

fn due_with(streams: &Streams, now_ms: i64, limit: usize, max_cells: usize) -> Vec<Sealing> {
    let is_crowded = streams.cells() > max_cells;
    let due = streams.iter();
    let mut due: Vec<_> = due
        .filter(|(_, stream)| is_due(stream, now_ms, is_crowded))
        .collect();
    // Half of them the longest, half the oldest, so that none waits for ever.
    due.sort_by_key(|(_, stream)| Reverse(stream.open.rows().len()));
    let rest = due.split_off((limit / 2).max(1).min(due.len()));
    let mut rest = rest;
    rest.sort_by_key(|(_, stream)| stream.open.since_ms());
    let due = due.into_iter().chain(rest).take(limit);
    due.filter_map(|(id, stream)| Sealing::of(id, stream))
        .collect()
}

/// Whether any stream is due.
pub fn is_any_due(streams: &Streams, now_ms: i64) -> bool {
    let is_crowded = streams.cells() > MAX_CELLS;
    let mut all = streams.iter();
    all.any(|(_, stream)| is_due(stream, now_ms, is_crowded))
}

fn is_due(stream: &Stream, now_ms: i64, is_crowded: bool) -> bool {
    let Some(since_ms) = stream.open.since_ms() else {
        return false;
    };
    // A clock that was set back makes none wait for longer.
    let is_old = now_ms.abs_diff(since_ms) >= MAX_AGE_MS.unsigned_abs();
    stream.open.rows().len() >= MAX_REPORTS || is_old || is_crowded
}

impl Sealing {
    /// The oldest open reports of a stream, as many as a block has.
    fn of(id: i64, stream: &Stream) -> Option<Sealing> {
        let rows = stream.open.rows();
        let last = rows.get(..rows.len().min(MAX_REPORTS))?.last()?;
        Some(Sealing {
            stream: id,
            through: last.id,
            points: Points::of(&stream.open, 0..MAX_REPORTS, |_, _| true),
        })
    }

    /// Writes the blocks.
    pub fn write(&self, connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
        let Some((first_ms, last_ms)) = self.points.times.first().zip(self.points.times.last())
        else {
            return Ok(());
        };
        let failed = |Damaged| rusqlite::Error::ToSqlConversionFailure("pco".into());
        let points = self.points.encode().map_err(failed)?;
        let partials = Partials::of(&self.points).encode().map_err(failed)?;
        connection
            .prepare_cached(
                "INSERT INTO points (stream, first_ms, last_ms, sealed_ms, reports, block)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.stream,
                first_ms,
                last_ms,
                now_ms,
                self.points.times.len() as i64,
                points
            ])?;
        connection
            .prepare_cached(
                "INSERT INTO partials (stream, first_ms, last_ms, sealed_ms, block)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.stream, first_ms, last_ms, now_ms, partials])?;
        connection
            .prepare_cached("UPDATE streams SET sealed = ?2 WHERE id = ?1")?
            .execute(params![self.stream, self.through])?;
        Ok(())
    }

    /// Notes that the blocks are there.
    pub fn note(&self, streams: &mut Streams) {
        streams.sealed(self.stream, self.through);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::open::OpenRow;
    use super::*;

    #[test]
    fn a_stream_is_due_when_it_is_long_or_old_or_there_is_too_much() {
        let mut streams = Streams::default();
        for (stream, reports) in [(1, MAX_REPORTS), (2, MAX_REPORTS - 1), (3, 0)] {
            streams.add(stream, Stream::default());
            for id in 0..reports as i64 {
                let data = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
                streams.push(
                    stream,
                    OpenRow {
                        id: id + 1,
                        time_ms: 0,
                    },
                    1000,
                    None,
                    &data,
                );
            }
        }
        let cells = streams.cells();
        let due = |now_ms, max_cells| -> Vec<i64> {
            let due = due_with(&streams, now_ms, 9, max_cells);
            due.iter().map(|it| it.stream).collect()
        };
        assert_eq!(due(1000, cells), [1]);
        assert_eq!(due(1000, cells - 1), [1, 2]);
        assert_eq!(due(1000 + MAX_AGE_MS - 1, cells), [1]);
        assert_eq!(due(1000 + MAX_AGE_MS, cells), [1, 2]);
        // The clock was set back.
        assert_eq!(due(1000 - MAX_AGE_MS, cells), [1, 2]);
    }
}
