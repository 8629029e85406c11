//! The reports of a stream that are in no block yet, by column.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::samples;

/// At most this many columns in a block. A report with more has no history of those beyond.
pub const MAX_COLUMNS: usize = 8192;

/// Reports in the order in which they were stored.
#[derive(Clone, Default)]
pub struct Open {
    rows: Vec<Row>,
    columns: Vec<Column>,
    /// Where a column is, by its item and field with a zero byte in between.
    places: HashMap<Box<str>, usize>,
    cells: usize,
}

/// When a report was sampled, and which one it is.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its number in the log.
    pub id: i64,
    /// In milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: i64,
}

/// The values of one field of one item.
#[derive(Clone)]
pub struct Column {
    /// Of which item; empty: of none.
    pub item: Box<str>,
    /// Of which field.
    pub field: Box<str>,
    /// A value a row, as far as the column goes; no number where a report has none.
    values: Vec<f64>,
}

impl Column {
    /// The value of a row, or no number.
    pub fn value(&self, row: usize) -> f64 {
        self.values.get(row).copied().unwrap_or(f64::NAN)
    }
}

impl Open {
    /// Adds a report.
    pub fn push(&mut self, row: Row, data: &RawValue) {
        let at = self.rows.len();
        self.rows.push(row);
        let Open {
            columns,
            places,
            cells,
            ..
        } = self;
        // Reports of a stream are alike, so the next number is mostly that of the next column.
        let mut expected = 0;
        samples::each(data, &mut |item, field, value| {
            let is_it = |it: &Column| *it.item == *item && *it.field == *field;
            if !columns.get(expected).is_some_and(is_it) {
                let place = format!("{item}\0{field}").into_boxed_str();
                expected = match places.get(&place) {
                    Some(place) => *place,
                    None if columns.len() >= MAX_COLUMNS => return,
                    None => {
                        places.insert(place, columns.len());
                        columns.push(Column {
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
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Their columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many values are kept, those of reports without one included.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Forgets the reports up to this number of the log, which a block has now.
    pub fn forget_through(&mut self, id: i64) {
        let gone = self.rows.partition_point(|row| row.id <= id);
        if gone == self.rows.len() {
            *self = Open::default();
            return;
        }
        self.rows.drain(..gone);
        for column in &mut self.columns {
            let gone = gone.min(column.values.len());
            column.values.drain(..gone);
        }
        self.cells = self.columns.iter().map(|it| it.values.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(reports: &[&str]) -> Open {
        let mut open = Open::default();
        for (id, data) in (1..).zip(reports) {
            let data = RawValue::from_string((*data).to_owned()).unwrap();
            open.push(Row { id, time_ms: id }, &data);
        }
        open
    }

    fn values(open: &Open, field: &str) -> Vec<Option<f64>> {
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
        assert_eq!(open.cells(), 3 + 2 + 3);
        open.forget_through(1);
        assert_eq!(values(&open, "a"), [None, Some(6.0), None]);
        assert_eq!(open.cells(), 2 + 1 + 2);
        open.forget_through(4);
        assert!(open.columns().is_empty() && open.cells() == 0);
    }

    #[test]
    fn columns_are_bounded() {
        let fields: Vec<String> = (0..=MAX_COLUMNS).map(|n| format!("\"{n}\":1")).collect();
        let open = open(&[&format!("{{{}}}", fields.join(","))]);
        assert_eq!(open.columns().len(), MAX_COLUMNS);
    }
}
