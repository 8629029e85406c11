//! Alarms, silences, messages and events in the database.

use std::sync::Arc;

use rusqlite::{Connection, Row as SqlRow, params};

use super::alarm::AlarmRow;
use super::losses::RunGaps;
use super::machine::Told;
use super::outbox::{Letter, MessageFate, OutboxEntry};
use super::silences::Silence;
use crate::client_name::ClientName;
use crate::collector::settings::alarms::Severity;

/// At most this many rows stay in each table, the newest.
pub const MAX_ROWS: i64 = 100_000;

/// Something that happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: i64,
    /// At which host. `None`: at the collector.
    pub client: Option<ClientName>,
    /// Of which kind.
    pub kind: &'static str,
    /// What.
    pub text: String,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmRecord {
    /// An alarm as it is now.
    Alarm(AlarmRow),
    /// One that never fired, and is good again.
    Gone(i64),
    /// A silence as it is now.
    Silence(Silence),
    /// A message as it is now.
    Message(OutboxEntry),
    /// An event.
    Event(Event),
}

/// Writes all of it, in a transaction of the caller's.
pub fn write(connection: &Connection, records: &[AlarmRecord]) -> rusqlite::Result<()> {
    for record in records {
        match record {
            AlarmRecord::Alarm(row) => write_alarm(connection, row)?,
            AlarmRecord::Gone(id) => {
                let sql = "DELETE FROM alarms WHERE id = ?1";
                connection.prepare_cached(sql)?.execute([id])?;
            }
            AlarmRecord::Silence(silence) => write_silence(connection, silence)?,
            AlarmRecord::Message(entry) => write_message(connection, entry)?,
            AlarmRecord::Event(event) => {
                let sql = "INSERT INTO events (at_ms, client, kind, text) VALUES (?1, ?2, ?3, ?4)";
                let client = event.client.as_ref().map(ClientName::to_string);
                let values = params![event.at_ms, client, event.kind, event.text];
                connection.prepare_cached(sql)?.execute(values)?;
            }
        }
    }
    Ok(())
}

/// Removes what is beyond [`MAX_ROWS`].
pub fn trim(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["alarms", "silences", "outbox", "events"] {
        let sql = format!("DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?1");
        connection.execute(&sql, [MAX_ROWS])?;
    }
    Ok(())
}

fn write_alarm(connection: &Connection, row: &AlarmRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO alarms
        (id, name, client, item, severity, began_ms, fired_ms, ended_ms, value, level, text, told)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    connection.prepare_cached(sql)?.execute(params![
        row.id,
        row.name,
        row.client.as_ref().map(ClientName::to_string),
        row.item,
        row.severity.name(),
        row.began_ms,
        row.fired_ms,
        row.ended_ms,
        row.value,
        row.level,
        row.text,
        told_name(row.told),
    ])?;
    Ok(())
}

fn write_silence(connection: &Connection, silence: &Silence) -> rusqlite::Result<()> {
    let sql =
        "INSERT OR REPLACE INTO silences (id, client, alarm, since_ms, until_ms, reason, ended_ms, made_by)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        silence.id,
        silence.client.to_string(),
        silence.alarm,
        silence.since_ms,
        silence.until_ms,
        silence.reason,
        silence.ended_ms,
        silence.by,
    ])?;
    Ok(())
}

fn write_message(connection: &Connection, entry: &OutboxEntry) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO outbox
        (id, at_ms, target, kind, severity, title, text, alarms, ids, tries, arrived_ms, given_up_ms, error)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let (arrived_ms, given_up_ms) = match entry.fate {
        MessageFate::Waiting => (None, None),
        MessageFate::Arrived(at_ms) => (Some(at_ms), None),
        MessageFate::GivenUp(at_ms) => (None, Some(at_ms)),
    };
    let letter = &entry.letter;
    connection.prepare_cached(sql)?.execute(params![
        entry.id,
        entry.at_ms,
        entry.target,
        letter.kind,
        letter.severity,
        letter.title,
        letter.text,
        letter.alarms,
        serde_json::to_string(&letter.ids).unwrap_or_default(),
        entry.tries,
        arrived_ms,
        given_up_ms,
        entry.error,
    ])?;
    Ok(())
}

/// What a start needs of it.
#[derive(Default)]
pub struct Left {
    /// Alarms that are open, that people know of, or that fired lately; oldest first.
    pub alarms: Vec<AlarmRow>,
    /// The next number of an alarm.
    pub next_alarm: i64,
    /// Silences that are in force.
    pub silences: Vec<Silence>,
    /// The next number of a silence.
    pub next_silence: i64,
    /// Messages that have not arrived.
    pub messages: Vec<OutboxEntry>,
    /// The next number of a message.
    pub next_message: i64,
}

/// Reads what a start needs. `recent_ms` is when what fired lately begins.
pub fn read_left(connection: &Connection, now_ms: i64, recent_ms: i64) -> rusqlite::Result<Left> {
    let next = |table: &str| {
        let sql = format!("SELECT coalesce(max(id), 0) + 1 FROM {table}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    let sql = format!(
        "{ALARMS} WHERE ended_ms IS NULL OR ended_ms >= ?1 OR told <> 'nothing' ORDER BY id"
    );
    let mut alarms = connection.prepare(&sql)?;
    let sql = format!("{OUTBOX} WHERE arrived_ms IS NULL AND given_up_ms IS NULL ORDER BY id");
    let mut messages = connection.prepare(&sql)?;
    Ok(Left {
        alarms: alarms
            .query_map([recent_ms], alarm)?
            .collect::<Result<_, _>>()?,
        next_alarm: next("alarms")?,
        silences: silences(connection, now_ms)?,
        next_silence: next("silences")?,
        messages: messages.query_map([], message)?.collect::<Result<_, _>>()?,
        next_message: next("outbox")?,
    })
}

fn silences(connection: &Connection, now_ms: i64) -> rusqlite::Result<Vec<Silence>> {
    let sql =
        "SELECT id, client, alarm, since_ms, until_ms, reason, ended_ms, made_by FROM silences
        WHERE ended_ms IS NULL AND until_ms > ?1 ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let silence = |row: &SqlRow<'_>| {
        Ok(Silence {
            id: row.get(0)?,
            client: ClientName::from_text(&row.get::<_, String>(1)?),
            alarm: row.get(2)?,
            since_ms: row.get(3)?,
            until_ms: row.get(4)?,
            reason: row.get(5)?,
            ended_ms: row.get(6)?,
            by: row.get(7)?,
        })
    };
    statement.query_map([now_ms], silence)?.collect()
}

/// Alarms that have ended, the newest first: at most `limit` of those before number `before`.
pub fn read_history(
    connection: &Connection,
    client: Option<&ClientName>,
    before: i64,
    limit: u32,
) -> rusqlite::Result<Vec<AlarmRow>> {
    let sql = format!(
        "{ALARMS} WHERE ended_ms IS NOT NULL AND fired_ms IS NOT NULL AND id < ?1
            AND (?2 IS NULL OR client = ?2) ORDER BY id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let client = client.map(ClientName::to_string);
    statement
        .query_map(params![before, client, limit], alarm)?
        .collect()
}

/// The messages about any of these alarms, the newest first, at most `limit`.
pub fn read_messages(
    connection: &Connection,
    alarms: &[i64],
    limit: u32,
) -> rusqlite::Result<Vec<OutboxEntry>> {
    // A list of numbers, which needs no quoting.
    let list = serde_json::to_string(alarms).unwrap_or_default();
    let sql = format!(
        "{OUTBOX} WHERE EXISTS (SELECT 1 FROM json_each(outbox.ids) one JOIN json_each(?1) other
            ON one.value = other.value) ORDER BY id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement
        .query_map(params![list, limit], message)?
        .collect()
}

/// An event as it is kept.
pub struct Kept {
    /// Its number.
    pub id: i64,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: i64,
    /// At which host. `None`: at the collector.
    pub client: Option<ClientName>,
    /// Of which kind.
    pub kind: String,
    /// What.
    pub text: String,
}

/// Which events are wanted.
#[derive(Clone, Debug)]
pub struct WantedEvents {
    /// Of this host; those of the collector come with them.
    pub client: Option<ClientName>,
    /// From then on, in milliseconds since 1970-01-01 00:00 UTC.
    pub from_ms: i64,
    /// Until then.
    pub to_ms: i64,
    /// With a number before this one.
    pub before: i64,
    /// At most so many.
    pub limit: u32,
}

/// Events, the newest first.
pub fn read_events(connection: &Connection, wanted: &WantedEvents) -> rusqlite::Result<Vec<Kept>> {
    let sql = "SELECT id, at_ms, client, kind, text FROM events
        WHERE id < ?1 AND at_ms >= ?2 AND at_ms < ?3 AND (?4 IS NULL OR client IS NULL OR client = ?4)
        ORDER BY id DESC LIMIT ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let client = wanted.client.as_ref().map(ClientName::to_string);
    let values = params![
        wanted.before,
        wanted.from_ms,
        wanted.to_ms,
        client,
        wanted.limit
    ];
    let event = |row: &SqlRow<'_>| {
        Ok(Kept {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            client: client_of(row.get(2)?),
            kind: row.get(3)?,
            text: row.get(4)?,
        })
    };
    statement.query_map(values, event)?.collect()
}

/// The gaps of the newest runs of each client.
pub fn read_gaps(
    connection: &Connection,
    clients: &[ClientName],
) -> rusqlite::Result<Vec<Vec<RunGaps>>> {
    const RUNS: u32 = 4;
    let sql = "SELECT boot, last, received FROM runs WHERE client = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let run = |row: &SqlRow<'_>| {
        let (last, received): (i64, i64) = (row.get(1)?, row.get(2)?);
        let gaps = last.saturating_add(1).saturating_sub(received);
        Ok(RunGaps {
            boot: row.get(0)?,
            gaps: u64::try_from(gaps).unwrap_or(0),
        })
    };
    let of_client = |client: &ClientName| {
        let values = params![client.to_string(), RUNS];
        statement.query_map(values, run)?.collect()
    };
    clients.iter().map(of_client).collect()
}

const ALARMS: &str = "SELECT id, name, client, item, severity, began_ms, fired_ms, ended_ms, value, level, text, told
    FROM alarms";

const OUTBOX: &str = "SELECT id, at_ms, target, kind, severity, title, text, alarms, ids, tries, arrived_ms, given_up_ms,
    error FROM outbox";

/// What somebody put there by hand is read as far as it makes sense.
fn alarm(row: &SqlRow<'_>) -> rusqlite::Result<AlarmRow> {
    Ok(AlarmRow {
        id: row.get(0)?,
        name: row.get(1)?,
        client: client_of(row.get(2)?),
        item: row.get(3)?,
        severity: Severity::of(&row.get::<_, String>(4)?).unwrap_or(Severity::Warning),
        began_ms: row.get(5)?,
        fired_ms: row.get(6)?,
        ended_ms: row.get(7)?,
        value: row.get(8)?,
        level: row.get(9)?,
        text: row.get(10)?,
        told: told_of(&row.get::<_, String>(11)?),
    })
}

fn message(row: &SqlRow<'_>) -> rusqlite::Result<OutboxEntry> {
    let fate = match (
        row.get::<_, Option<i64>>(10)?,
        row.get::<_, Option<i64>>(11)?,
    ) {
        (Some(at_ms), _) => MessageFate::Arrived(at_ms),
        (None, Some(at_ms)) => MessageFate::GivenUp(at_ms),
        (None, None) => MessageFate::Waiting,
    };
    Ok(OutboxEntry {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        target: row.get(2)?,
        letter: Arc::new(Letter {
            kind: row.get(3)?,
            severity: row.get(4)?,
            title: row.get(5)?,
            text: row.get(6)?,
            alarms: row.get(7)?,
            ids: serde_json::from_str(&row.get::<_, String>(8)?).unwrap_or_default(),
        }),
        tries: row.get(9)?,
        fate,
        error: row.get(12)?,
    })
}

fn client_of(client: Option<String>) -> Option<ClientName> {
    client.map(|it| ClientName::from_text(&it))
}

fn told_name(told: Told) -> &'static str {
    match told {
        Told::Nothing => "nothing",
        Told::Firing => "firing",
        Told::Flapping => "flapping",
    }
}

fn told_of(name: &str) -> Told {
    match name {
        "firing" => Told::Firing,
        "flapping" => Told::Flapping,
        _ => Told::Nothing,
    }
}

#[cfg(test)]
mod tests;
