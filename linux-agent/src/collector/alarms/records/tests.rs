//! Rows as they are written and read.

use super::*;
use crate::collector::store::schema;

fn connection() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut connection).unwrap());
    connection
}

fn row(id: i64, client: u32) -> AlarmRow {
    AlarmRow {
        id,
        client: Some(ClientName::Number(client)),
        name: "n".to_owned(),
        item: "i".to_owned(),
        severity: Severity::Critical,
        began_ms: id,
        fired_ms: Some(id),
        ended_ms: Some(id + 1),
        value: Some(0.5),
        level: None,
        text: "t".to_owned(),
        told: Told::Flapping,
    }
}

fn event(at_ms: i64, client: Option<u32>) -> AlarmRecord {
    AlarmRecord::Event(Event {
        at_ms,
        client: client.map(ClientName::Number),
        kind: "run",
        text: String::new(),
    })
}

#[test]
fn the_history_is_read_by_pages_and_by_host() {
    let connection = connection();
    let rows: Vec<AlarmRow> = (1..=10).map(|id| row(id, id as u32 % 2)).collect();
    let records: Vec<_> = rows.iter().cloned().map(AlarmRecord::Alarm).collect();
    write(&connection, &records).unwrap();
    let ids = |client: Option<u32>, before, limit| -> Vec<i64> {
        let client = client.map(ClientName::Number);
        let rows = read_history(&connection, client.as_ref(), before, limit).unwrap();
        rows.iter().map(|it| it.id).collect()
    };
    assert_eq!(ids(None, i64::MAX, 3), [10, 9, 8]);
    assert_eq!(ids(None, 8, 3), [7, 6, 5]);
    assert_eq!(ids(Some(1), 8, 10), [7, 5, 3, 1]);
    assert_eq!(read_history(&connection, None, 2, 1).unwrap(), rows[..1]);
    write(&connection, &[AlarmRecord::Gone(10)]).unwrap();
    assert_eq!(ids(None, i64::MAX, 1), [9]);
}

#[test]
fn events_of_a_host_come_with_those_of_the_collector() {
    let connection = connection();
    let events = [
        event(10, Some(1)),
        event(20, None),
        event(30, Some(2)),
        event(40, Some(1)),
    ];
    write(&connection, &events).unwrap();
    let at = |client: Option<u32>, from_ms, to_ms, limit| -> Vec<i64> {
        let wanted = WantedEvents {
            client: client.map(ClientName::Number),
            from_ms,
            to_ms,
            before: i64::MAX,
            limit,
        };
        let events = read_events(&connection, &wanted).unwrap();
        events.iter().map(|it| it.at_ms).collect()
    };
    assert_eq!(at(None, 0, 100, 10), [40, 30, 20, 10]);
    assert_eq!(at(Some(1), 0, 100, 10), [40, 20, 10]);
    assert_eq!(at(Some(1), 10, 40, 10), [20, 10]);
    assert_eq!(at(None, 0, 100, 2), [40, 30]);
}

#[test]
fn the_oldest_rows_go() {
    let connection = connection();
    let records: Vec<_> = [1, 2, MAX_ROWS + 1, MAX_ROWS + 2]
        .map(|id| AlarmRecord::Alarm(row(id, 1)))
        .into();
    write(&connection, &records).unwrap();
    trim(&connection).unwrap();
    let left = read_history(&connection, None, i64::MAX, 9).unwrap();
    let left: Vec<i64> = left.iter().map(|it| it.id).collect();
    assert_eq!(left, [MAX_ROWS + 2, MAX_ROWS + 1]);
}
