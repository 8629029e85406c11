//! Blocks of points: what was reported, value by value.
//!
//! A block holds the times of its rows in milliseconds, in their order, where each stands in its run, then for each column
//! its item, its field and its values. Where a report has no value there stands no number (NaN).

use std::ops::Range;

use super::codec::{self, BlockReader, BlockWriter, Damaged};
use super::open::OpenReports;
use super::places::RunPlaces;

/// Points in the order of their time.
#[derive(Debug, PartialEq)]
pub struct Points {
    /// In milliseconds since 1970-01-01 00:00 UTC.
    pub times: Vec<i64>,
    /// Where each stands in its run.
    pub in_runs: RunPlaces,
    /// The columns in the order in which they came.
    pub columns: Vec<Column>,
}

/// The values of one field of one item.
#[derive(Debug, PartialEq)]
pub struct Column {
    /// Empty: of none.
    pub item: String,
    /// Of which field.
    pub field: String,
    /// A value a point, or no number.
    pub values: Vec<f64>,
}

impl Points {
    /// The reports in these rows, in the order of time.
    pub fn of(
        open: &OpenReports,
        range: Range<usize>,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Points {
        let rows = open.rows();
        let mut order: Vec<usize> = (range.start..range.end.min(rows.len())).collect();
        let time = |row: &usize| rows.get(*row).map_or(0, |it| it.time_ms);
        order.sort_by_key(time);
        let columns = open.columns().iter();
        Points {
            times: order.iter().map(time).collect(),
            in_runs: open.in_runs().pick(order.iter().copied()),
            columns: columns
                .filter(|column| is_wanted(&column.item, &column.field))
                .map(|column| Column {
                    item: column.item.as_ref().to_owned(),
                    field: column.field.as_ref().to_owned(),
                    values: order.iter().map(|row| column.value(*row)).collect(),
                })
                .collect(),
        }
    }

    /// As a block.
    pub fn encode(&self) -> Result<Vec<u8>, Damaged> {
        let mut writer = BlockWriter::new(self.times.len());
        writer.numbers(&self.times)?;
        self.in_runs.encode(&mut writer)?;
        for column in &self.columns {
            writer.text(&column.item);
            writer.text(&column.field);
            writer.numbers(&column.values)?;
        }
        Ok(writer.end())
    }

    /// The wanted columns of a block.
    pub fn decode(block: &[u8], is_wanted: impl Fn(&str, &str) -> bool) -> Result<Points, Damaged> {
        let mut reader = BlockReader::new(block)?;
        let rows = reader.rows();
        let times = reader.numbers(rows)?;
        let in_runs = RunPlaces::decode(&mut reader)?;
        let mut columns = Vec::new();
        while !reader.is_at_end() {
            let (item, field) = (reader.text()?, reader.text()?);
            let values = reader.bytes()?;
            if is_wanted(item, field) {
                columns.push(Column {
                    item: item.to_owned(),
                    field: field.to_owned(),
                    values: codec::numbers(values, rows)?,
                });
            }
        }
        Ok(Points {
            times,
            in_runs,
            columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::super::open::OpenRow;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_block_gives_back_what_was_reported(
            reports in prop::collection::vec(
                (0..1000i64, prop::collection::btree_map("[a-c]", any::<i32>().prop_map(|it| f64::from(it) / 100.0), 0..4)),
                0..300,
            ),
        ) {
            let mut open = OpenReports::default();
            for (id, (time_ms, data)) in (1..).zip(&reports) {
                let data = RawValue::from_string(serde_json::to_string(data).unwrap()).unwrap();
                open.push(OpenRow { id, time_ms: *time_ms }, 0, None, &data);
            }
            let points = Points::decode(&Points::of(&open, 0..usize::MAX, |_, _| true).encode().unwrap(), |_, _| true).unwrap();
            let mut sorted = reports.clone();
            sorted.sort_by_key(|(time_ms, _)| *time_ms);
            prop_assert!(points.times.iter().eq(sorted.iter().map(|(time_ms, _)| time_ms)));
            for field in ["a", "b", "c"] {
                let column = points.columns.iter().find(|it| it.field == field);
                for (row, (_, data)) in sorted.iter().enumerate() {
                    let value = column.map(|it| it.values[row]).filter(|it| !it.is_nan());
                    prop_assert_eq!(value, data.get(field).copied());
                }
            }
        }
    }
}
