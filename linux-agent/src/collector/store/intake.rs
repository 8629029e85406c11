//! Reports on their way into the log.
//!
//! A report counts as stored once it is committed there and synced, so that what was acknowledged survives a killed
//! process and a power failure. What the tables of runs and streams have may be older: a start reads the log from where
//! they were written last.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::params;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, Transaction, TransactionBehavior};
use serde_json::value::RawValue;

use super::begun;
use super::history::open::OpenRow;
use super::history::seal;
use super::history::streams::{Last, SharedStreams, Stream, Streams};
use super::numbers::{Novelty, Runs};
use crate::client_name::ClientName;
use crate::collector::report::Report;

/// What the writer knows beside the database.
pub struct Intake {
    streams: Arc<SharedStreams>,
    runs: Runs,
    /// The number of the next report in the log.
    next: i64,
    /// The state in the tables is that of this number or a later one.
    written_through: i64,
    /// How large the log is, more or less.
    log_bytes: i64,
    /// What the runs take, and when that was looked at.
    lasting: Option<(i64, i64)>,
}

/// A report that arrived.
pub struct Arrived {
    /// The report.
    pub report: Report,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub received_ms: i64,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// It is stored, now or earlier.
    Stored,
    /// Its run has too many gaps.
    Scattered,
}

// Names in the table `state`.
const WRITTEN: &str = "written";
const NEXT: &str = "next";
const OPEN: &str = "open";
const LOG_BYTES: &str = "log_bytes";

/// What a run takes beside its names and numbers, in bytes, more or less.
const RUN_BYTES: i64 = 96;

/// What is never removed is looked at this often.
const LASTING_PAUSE_MS: u64 = 3_600_000;

/// What a row of the log takes beside its data, in bytes, more or less.
pub const ROW_BYTES: i64 = 48;

impl Intake {
    /// Reads what the database has, and the log from where the rest of it is older.
    pub fn start(connection: &Connection, streams: Arc<SharedStreams>) -> rusqlite::Result<Intake> {
        let highest = connection.query_row(
            "SELECT max(coalesce((SELECT max(id) FROM log), 0), coalesce((SELECT seq FROM sqlite_sequence
                WHERE name = 'reports'), 0))",
            [],
            |row| row.get::<_, i64>(0),
        )?;
        let written_through = state(connection, WRITTEN)?;
        let mut intake = Intake {
            streams,
            runs: Runs::default(),
            next: state(connection, NEXT)?.max(highest + 1),
            written_through,
            log_bytes: state(connection, LOG_BYTES)?,
            lasting: None,
        };
        *intake.streams.lock() = Streams::read(connection)?;
        intake.replay(connection)?;
        Ok(intake)
    }

    fn replay(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let from = state(connection, OPEN)?.min(self.written_through);
        let mut statement = connection.prepare(
            "SELECT log.id, log.stream, streams.client, log.received_ms, log.time, log.boot, log.seq, log.data
             FROM log CROSS JOIN streams ON streams.id = log.stream WHERE log.id > ?1 ORDER BY log.id",
        )?;
        let mut rows = statement.query([from])?;
        while let Some(row) = rows.next()? {
            self.replay_row(connection, row)?;
        }
        Ok(())
    }

    fn replay_row(&mut self, connection: &Connection, row: &SqlRow<'_>) -> rusqlite::Result<()> {
        let (id, stream): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (boot, seq): (Option<String>, Option<i64>) = (row.get(5)?, row.get(6)?);
        let seq = seq.map(|it| u64::try_from(it).unwrap_or(0));
        let place = boot.as_deref().zip(seq);
        if id > self.written_through {
            let client: String = row.get(2)?;
            self.log_bytes += row.get_ref(7)?.as_str()?.len() as i64 + ROW_BYTES;
            match place {
                // A run that was written later than the rest has it already: that is no duplicate.
                Some((boot, seq)) => self.runs.note_again(connection, &client, boot, seq)?,
                None => self.runs.count_unnumbered(&client, 1),
            }
        }
        let received_ms: i64 = row.get(3)?;
        let time_ms = time_ms(row.get(4)?, received_ms);
        let mut streams = self.streams.lock();
        // Only what is in no block needs its data.
        let data = match streams.get(stream).is_some_and(|it| it.sealed < id) {
            true => row.get::<_, String>(7)?,
            false => "{}".to_owned(),
        };
        if let Ok(data) = RawValue::from_string(data) {
            streams.push(stream, OpenRow { id, time_ms }, received_ms, place, &data);
        }
        Ok(())
    }

    /// Stores reports in one transaction, all of them or none.
    pub fn store(
        &mut self,
        connection: &Connection,
        arrived: &[Arrived],
    ) -> rusqlite::Result<Vec<StoreOutcome>> {
        let mut batch = Batch {
            verdicts: Vec::with_capacity(arrived.len()),
            ids: Vec::with_capacity(arrived.len()),
            new_streams: Vec::new(),
            next: self.next,
        };
        match self.commit(connection, arrived, &mut batch) {
            Ok(()) => Ok(self.note(arrived, batch)),
            Err(cause) => {
                // In reverse, since what came first may have decided on what came after it.
                let noted = arrived.iter().zip(&batch.verdicts).rev();
                for (Arrived { report, .. }, verdict) in noted {
                    if let (Some((boot, seq)), Some(verdict)) = (numbered(report), verdict) {
                        let client = report.client_id.to_string();
                        self.runs.take_back(&client, boot, seq, *verdict);
                    }
                }
                Err(cause)
            }
        }
    }

    fn commit(
        &mut self,
        connection: &Connection,
        arrived: &[Arrived],
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO log (id, stream, received_ms, time, uptime, boot, seq, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for Arrived {
            report,
            received_ms,
        } in arrived
        {
            let client = report.client_id.to_string();
            let verdict = match numbered(report) {
                Some((boot, seq)) => Some(self.runs.note(connection, &client, boot, seq)?),
                None => None,
            };
            batch.verdicts.push(verdict);
            if !verdict.is_none_or(|it| it == Novelty::New) {
                batch.ids.push(None);
                continue;
            }
            let stream = self.stream(&transaction, report, &client, batch)?;
            let id = batch.next;
            insert.execute(params![
                id,
                stream,
                received_ms,
                report.time,
                report.uptime,
                report.boot,
                report.seq,
                report.data.get(),
            ])?;
            if let Some((boot, 0)) = numbered(report) {
                let sampled_ms = time_ms(report.time, *received_ms);
                begun::note(&transaction, &client, boot, sampled_ms)?;
            }
            batch.next += 1;
            batch.ids.push(Some((id, stream)));
        }
        drop(insert);
        let verdicts = arrived.iter().zip(&batch.verdicts);
        let again = verdicts.filter(|(_, verdict)| **verdict == Some(Novelty::Duplicate));
        let again = again.filter_map(|(Arrived { report, .. }, _)| {
            let (boot, _) = numbered(report)?;
            Some((report.client_id.to_string(), boot))
        });
        for (client, boot) in again.collect::<BTreeSet<_>>() {
            self.runs.write_one(&transaction, &client, boot)?;
        }
        transaction.commit()
    }

    /// The stream of a report, which is made if it is the first one.
    fn stream(
        &self,
        transaction: &Transaction<'_>,
        report: &Report,
        client: &str,
        batch: &mut Batch,
    ) -> rusqlite::Result<i64> {
        let service = &report.service_name;
        let streams = self.streams.lock();
        let new = || {
            let mut new = batch.new_streams.iter();
            let (id, ..) = new.find(|(_, it, name)| *it == report.client_id && name == service)?;
            Some(*id)
        };
        if let Some(id) = streams.id(&report.client_id, service).or_else(new) {
            return Ok(id);
        }
        let id = streams.next_id() + batch.new_streams.len() as i64;
        drop(streams);
        transaction
            .prepare_cached(
                "INSERT INTO streams (id, client, service, sealed) VALUES (?1, ?2, ?3, 0)",
            )?
            .execute(params![id, client, service])?;
        let new = (id, report.client_id.clone(), service.clone());
        batch.new_streams.push(new);
        Ok(id)
    }

    /// What was committed is known from now on.
    fn note(&mut self, arrived: &[Arrived], batch: Batch) -> Vec<StoreOutcome> {
        self.next = batch.next;
        for (id, client, service) in batch.new_streams {
            let stream = Stream {
                client: client.to_string(),
                service,
                ..Stream::default()
            };
            self.streams.lock().add(id, stream);
        }
        for (
            Arrived {
                report,
                received_ms,
            },
            place,
        ) in arrived.iter().zip(&batch.ids)
        {
            let Some((id, stream)) = *place else { continue };
            let time_ms = time_ms(report.time, *received_ms);
            // Readers may look in between.
            let row = OpenRow { id, time_ms };
            self.streams
                .lock()
                .push(stream, row, *received_ms, numbered(report), &report.data);
            self.log_bytes += report.data.get().len() as i64 + ROW_BYTES;
            if numbered(report).is_none() {
                self.runs.count_unnumbered(&report.client_id.to_string(), 1);
            }
        }
        let outcome = |verdict: Option<Novelty>| match verdict {
            Some(Novelty::Scattered) => StoreOutcome::Scattered,
            _ => StoreOutcome::Stored,
        };
        batch.verdicts.into_iter().map(outcome).collect()
    }

    /// Writes to the tables what a start would otherwise find in the log, and the blocks that are due, at most `limit` of
    /// them. Returns whether more blocks are due.
    pub fn write_down(
        &mut self,
        connection: &Connection,
        now_ms: i64,
        limit: usize,
    ) -> rusqlite::Result<bool> {
        let last = self.next - 1;
        let due = seal::due(&self.streams.lock(), now_ms, limit);
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for sealing in &due {
            sealing.write(&transaction, now_ms)?;
        }
        self.runs.write(&transaction)?;
        // What is sealed now counts as open once more, which costs a start no more than a look at it.
        let (open, changed) = {
            let streams = self.streams.lock();
            (
                streams.sealed_through(last),
                streams.changed_last(self.written_through),
            )
        };
        write_last(&transaction, &changed)?;
        for (name, value) in [
            (WRITTEN, last),
            (NEXT, self.next),
            (OPEN, open),
            (LOG_BYTES, self.log_bytes),
        ] {
            set_state(&transaction, name, value)?;
        }
        transaction.commit()?;
        let mut streams = self.streams.lock();
        for sealing in &due {
            sealing.note(&mut streams);
        }
        self.runs.note_written();
        self.written_through = last;
        Ok(due.len() == limit)
    }

    /// Whether a block is due, or so much else that a start should not have to find it in the log.
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.runs.are_many() || seal::is_any_due(&self.streams.lock(), now_ms)
    }

    /// Whether the tables have everything.
    pub fn is_written(&self) -> bool {
        self.written_through == self.next - 1 && self.runs.are_written()
    }

    /// How large the log is, more or less, in bytes.
    pub fn log_bytes(&self) -> i64 {
        self.log_bytes
    }

    /// What is never removed takes in the database, in bytes, more or less. It is looked at once an hour.
    pub fn lasting_bytes(&mut self, connection: &Connection, now_ms: i64) -> rusqlite::Result<i64> {
        if let Some((bytes, at_ms)) = self.lasting
            && now_ms.abs_diff(at_ms) < LASTING_PAUSE_MS
        {
            return Ok(bytes);
        }
        // The names stand in two indexes as well.
        let bytes = connection.query_row(
            "SELECT coalesce(sum(2 * length(client) + 2 * length(boot) + length(client)
                + coalesce(length(numbers), 0) + ?1), 0) FROM runs",
            [RUN_BYTES],
            |row| row.get(0),
        )?;
        self.lasting = Some((bytes, now_ms));
        Ok(bytes)
    }

    /// Writes that this much of the log is removed, with its removal.
    pub fn write_removed(transaction: &Transaction<'_>, bytes: i64) -> rusqlite::Result<()> {
        transaction
            .prepare_cached("UPDATE state SET value = value - ?2 WHERE name = ?1")?
            .execute(params![LOG_BYTES, bytes])?;
        Ok(())
    }

    /// Notes that this much of the log was removed.
    pub fn note_removed(&mut self, bytes: i64) {
        self.log_bytes -= bytes;
    }

    /// Reports up to this number of the log are needed by no start any more.
    pub fn dispensable_through(&self) -> i64 {
        let streams = self.streams.lock();
        streams
            .sealed_through(self.written_through)
            .min(self.written_through)
    }
}

/// Reports that are being stored.
struct Batch {
    verdicts: Vec<Option<Novelty>>,
    /// The number in the log and the stream of each that is stored now.
    ids: Vec<Option<(i64, i64)>>,
    new_streams: Vec<(i64, ClientName, String)>,
    next: i64,
}

/// Its place in a run, if it says one.
fn numbered(report: &Report) -> Option<(&str, u64)> {
    let seq = report.seq.and_then(|it| u64::try_from(it).ok())?;
    Some((report.boot.as_deref()?, seq))
}

/// When a report was sampled, in milliseconds since 1970-01-01 00:00 UTC; if it does not say, when it came.
fn time_ms(time: Option<f64>, received_ms: i64) -> i64 {
    time.map_or(received_ms, |time| (time * 1000.0).round() as i64)
}

/// Writes what a start needs to know of the last reports of streams.
fn write_last(connection: &Connection, changed: &[(i64, Last)]) -> rusqlite::Result<()> {
    let mut update =
        connection.prepare_cached("UPDATE streams SET last = ?2, last_ms = ?3 WHERE id = ?1")?;
    for (stream, last) in changed {
        update.execute(params![stream, last.id, last.received_ms])?;
    }
    Ok(())
}

/// 0 if it was never written.
fn state(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let value = connection
        .prepare_cached("SELECT value FROM state WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

fn set_state(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO state (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        )?
        .execute(params![name, value])?;
    Ok(())
}
