//! The reports of a stream that are in no block yet, by column.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::places::{RunPlace, RunPlaces};
use super::samples;

/// At most this many columns in a block. A report with more has no history of those beyond.
pub const MAX_COLUMNS: usize = 8192;

/// Reports in the order in which they were stored.
#[derive(Clone, Default)]
pub struct OpenReports {
    rows: Vec<OpenRow>,
    /// When each came, in milliseconds since 1970-01-01 00:00 UTC.
    received: Vec<i64>,
    /// Where each stands in its run.
    in_runs: RunPlaces,
    columns: Vec<OpenColumn>,
    /// Where a column is, by its item and field with a zero byte in between.
    places: HashMap<Box<str>, usize>,
    cells: usize,
}

/// When a report was sampled, and which one it is.
#[derive(Clone, Copy)]
pub struct OpenRow {
    /// Its number in the log.
    pub id: i64,
    /// In milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: i64,
}

/// The values of one field of one item.
#[derive(Clone)]
pub struct OpenColumn {
    /// Of which item; empty: of none.
    pub item: Box<str>,
    /// Of which field.
    pub field: Box<str>,
    /// A value a row, as far as the column goes; no number where a report has none.
    values: Vec<f64>,
}

/// What a row takes beside its values, and a column, in values.
const ROW_CELLS: usize = 5;
const COLUMN_CELLS: usize = 16;

/// An item and a field are kept twice.
fn name_cells(item: &str, field: &str) -> usize {
    COLUMN_CELLS + (item.len() + field.len()) / 4
}

fn place(item: &str, field: &str) -> Box<str> {
    format!("{item}\0{field}").into_boxed_str()
}

impl OpenColumn {
    /// The value of a row, or no number.
    pub fn value(&self, row: usize) -> f64 {
        self.values.get(row).copied().unwrap_or(f64::NAN)
    }
}

impl OpenReports {
    /// Adds a report.
    pub fn push(&mut self, row: OpenRow, received_ms: i64, in_run: RunPlace<'_>, data: &RawValue) {
        let at = self.rows.len();
        self.received.push(received_ms);
        self.cells += ROW_CELLS + self.in_runs.push(in_run);
        self.rows.push(row);
        let OpenReports {
            columns,
            places,
            cells,
            ..
        } = self;
        // Reports of a stream are alike, so the next number is mostly that of the next column.
        let mut expected = 0;
        samples::each(data, &mut |item, field, value| {
            let is_it = |it: &OpenColumn| *it.item == *item && *it.field == *field;
            if !columns.get(expected).is_some_and(is_it) {
                let place = place(item, field);
                expected = match places.get(&place) {
                    Some(place) => *place,
                    None if columns.len() >= MAX_COLUMNS => return,
                    None => {
                        places.insert(place, columns.len());
                        *cells += name_cells(item, field);
                        columns.push(OpenColumn {
                            item: item.into(),
                            field: field.into(),
                            values: Vec::new(),
                        });
                        columns.len() - 1
                    }
                };
            }
            // If a key stands there twice, the first one counts.
            if let Some(column) = columns.get_mut(expected)
                && column.values.len() <= at
            {
                let before = column.values.len();
                column.values.resize(at, f64::NAN);
                column.values.push(value);
                *cells += column.values.len() - before;
            }
            expected += 1;
        });
    }

    /// The reports.
    pub fn rows(&self) -> &[OpenRow] {
        &self.rows
    }

    /// Where they stand in their runs.
    pub fn in_runs(&self) -> &RunPlaces {
        &self.in_runs
    }

    /// Their columns.
    pub fn columns(&self) -> &[OpenColumn] {
        &self.columns
    }

    /// When the first of them came.
    pub fn since_ms(&self) -> Option<i64> {
        self.received.first().copied()
    }

    /// What is kept, in values of 8 bytes: values, those of reports without one included, rows, and names.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Forgets the reports up to this number of the log, which a block has now.
    pub fn forget_through(&mut self, id: i64) {
        let gone = self.rows.partition_point(|row| row.id <= id);
        if gone == self.rows.len() {
            *self = OpenReports::default();
            return;
        }
        self.rows.drain(..gone);
        self.received.drain(..gone);
        self.in_runs = self.in_runs.pick(gone..gone + self.rows.len());
        for column in &mut self.columns {
            let gone = gone.min(column.values.len());
            column.values.drain(..gone);
        }
        // Items that are no more would fill up all columns.
        self.columns.retain(|it| !it.values.is_empty());
        let columns = self.columns.iter().enumerate();
        self.places = columns
            .map(|(at, it)| (place(&it.item, &it.field), at))
            .collect();
        let columns = self.columns.iter();
        let cells = columns.map(|it| it.values.len() + name_cells(&it.item, &it.field));
        self.cells = cells.sum::<usize>() + self.rows.len() * ROW_CELLS + self.in_runs.cells();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(reports: &[&str]) -> OpenReports {
        let mut open = OpenReports::default();
        for (id, data) in (1..).zip(reports) {
            let data = RawValue::from_string((*data).to_owned()).unwrap();
            open.push(OpenRow { id, time_ms: id }, 0, None, &data);
        }
        open
    }

    fn values(open: &OpenReports, field: &str) -> Vec<Option<f64>> {
        let column = open.columns().iter().find(|it| &*it.field == field);
        let rows = 0..open.rows().len();
        let value = |row| column.map(|it| it.value(row)).filter(|it| !it.is_nan());
        rows.map(value).collect()
    }

    #[test]
    fn each_value_stands_in_the_row_of_its_report() {
        let mut open = open(&[
            r#"{"a": 1, "b": 2}"#,
            r#"{"b": 3, "c": 4}"#,
            r#"{"c": 5, "a": 6, "c": 7}"#,
            "{}",
        ]);
        assert_eq!(values(&open, "a"), [Some(1.0), None, Some(6.0), None]);
        assert_eq!(values(&open, "b"), [Some(2.0), Some(3.0), None, None]);
        assert_eq!(values(&open, "c"), [None, Some(4.0), Some(5.0), None]);
        assert_eq!(open.cells(), 3 + 2 + 3 + 4 * ROW_CELLS + 3 * COLUMN_CELLS);
        open.forget_through(1);
        assert_eq!(values(&open, "a"), [None, Some(6.0), None]);
        assert_eq!(open.cells(), 2 + 1 + 2 + 3 * ROW_CELLS + 3 * COLUMN_CELLS);
        open.forget_through(2);
        assert_eq!(
            (values(&open, "a"), open.columns().len()),
            (vec![Some(6.0), None], 2)
        );
        let data = RawValue::from_string(r#"{"b": 8, "a": 9}"#.to_owned()).unwrap();
        open.push(OpenRow { id: 5, time_ms: 5 }, 0, None, &data);
        assert_eq!(values(&open, "a"), [Some(6.0), None, Some(9.0)]);
        assert_eq!(values(&open, "b"), [None, None, Some(8.0)]);
        open.forget_through(5);
        assert!(open.columns().is_empty() && open.cells() == 0);
    }

    #[test]
    fn columns_are_bounded() {
        let fields: Vec<String> = (0..=MAX_COLUMNS).map(|n| format!("\"{n}\":1")).collect();
        let open = open(&[&format!("{{{}}}", fields.join(","))]);
        assert_eq!(open.columns().len(), MAX_COLUMNS);
    }
}
