use super::*;
use crate::collector::store::schema;

fn connection() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut connection).unwrap());
    connection
}

fn column(connection: &Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_number_is_new_once_whatever_was_written_meanwhile() {
    let connection = connection();
    let mut runs = Runs::default();
    for round in 0..3 {
        for seq in [0, 1, 5, 3, i64::MAX as u64] {
            let expected = [Novelty::New, Novelty::Duplicate][usize::from(round > 0)];
            assert_eq!(runs.note(&connection, "1", "a", seq), Ok(expected));
        }
        runs.write(&connection).unwrap();
        runs.note_written();
        assert!(runs.are_written());
        let numbers = column(&connection, "SELECT numbers FROM runs");
        assert_eq!(numbers, "0-1 3 5 9223372036854775807");
        // The second time, nobody used it meanwhile.
        runs.note_written();
        runs.note_written();
        assert!(runs.runs.is_empty());
    }
    let duplicates = column(&connection, "SELECT CAST(duplicates AS TEXT) FROM runs");
    assert_eq!(duplicates, "10");
}

#[test]
fn runs_of_an_earlier_version_are_known() {
    let connection = connection();
    connection
        .execute_batch(
            "INSERT INTO reports (client, service, data, boot, seq, received_ms)
                VALUES ('1', 'A', '{}', 'a', 7, 0), ('1', 'A', '{}', 'a', 8, 0), ('1', 'A', '{}', 'b', 0, 0);
             INSERT INTO runs (client, boot, first, last, received, duplicates)
                VALUES ('1', 'a', 7, 8, 2, 4), ('1', 'b', 0, 0, 1, 0);",
        )
        .unwrap();
    let mut runs = Runs::default();
    assert_eq!(runs.note(&connection, "1", "a", 8), Ok(Novelty::Duplicate));
    assert_eq!(runs.note(&connection, "1", "a", 9), Ok(Novelty::New));
    runs.write(&connection).unwrap();
    assert_eq!(complete_earlier(&connection, 10), Ok(1));
    let all = "SELECT group_concat(numbers || ' x ' || duplicates, ', ') FROM runs";
    assert_eq!(column(&connection, all), "7-9 x 5, 0 x 0");
}

#[test]
fn what_could_not_be_stored_is_taken_back() {
    let connection = connection();
    let mut runs = Runs::default();
    assert_eq!(runs.note(&connection, "1", "a", 3), Ok(Novelty::New));
    runs.take_back("1", "a", 3, Novelty::New);
    assert_eq!(runs.note(&connection, "1", "a", 3), Ok(Novelty::New));
}

#[test]
fn a_run_of_too_many_gaps_takes_what_fills_them() {
    let connection = connection();
    let mut runs = Runs::default();
    for number in 0..MAX_RANGES as u64 {
        runs.note(&connection, "1", "a", 3 * number).unwrap();
    }
    let mut note = |seq| runs.note(&connection, "1", "a", seq).unwrap();
    assert_eq!(note(3 * MAX_RANGES as u64 + 7), Novelty::Scattered);
    assert_eq!(note(0), Novelty::Duplicate);
    assert_eq!([note(1), note(2)], [Novelty::New; 2]);
    assert_eq!(note(3 * MAX_RANGES as u64 + 7), Novelty::New);
}

#[test]
fn numbers_are_read_as_they_are_written() {
    for numbers in ["", "0", "0-41 43", "9223372036854775807"] {
        assert_eq!(text(&parse(numbers).unwrap()), numbers);
    }
    for damaged in ["x", "1-", "-1", "1-x", "18446744073709551615"] {
        assert!(parse(damaged).is_none(), "{damaged}");
    }
}
