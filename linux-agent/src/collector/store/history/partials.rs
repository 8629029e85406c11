//! Blocks of partials: what is left of points when they are gone.
//!
//! A partial tells of the points of one column in one block and in ten minutes: how many there were, the least, the
//! largest, and their sum. Partials of the same ten minutes add up, so none is ever changed.
//!
//! A block holds the beginnings of its ten minutes in milliseconds, the count of its columns, and the item and the field of
//! each. Four byte strings follow: all counts, all least, all largest, all sums, column by column.

use super::codec::{BlockReader, BlockWriter, Damaged};
use super::open::MAX_COLUMNS;
use super::points::Points;

/// The length of a partial, in milliseconds.
pub const LENGTH_MS: i64 = 600_000;

/// No block has more partials: as many as a block of points can have values.
const MAX_CELLS: usize = MAX_COLUMNS * 256;

/// Partials in the order of time.
#[derive(Debug, PartialEq)]
pub struct Partials {
    /// When each ten minutes begin, in milliseconds since 1970-01-01 00:00 UTC.
    pub times: Vec<i64>,
    /// The columns in the order of their points.
    pub columns: Vec<PartialColumn>,
}

/// The partials of one field of one item.
#[derive(Debug, PartialEq)]
pub struct PartialColumn {
    /// Empty: of none.
    pub item: String,
    /// Of which field.
    pub field: String,
    /// A partial for each ten minutes.
    pub partials: Vec<Partial>,
}

/// What some points have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    /// How many there are. If none, the rest says nothing.
    pub count: u32,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their sum.
    pub sum: f64,
}

impl Default for Partial {
    fn default() -> Self {
        Partial {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl Partial {
    /// Adds a point; no number is none.
    pub fn add(&mut self, value: f64) {
        if !value.is_nan() {
            self.merge(&Partial {
                count: 1,
                min: value,
                max: value,
                sum: value,
            });
        }
    }

    /// Adds the points of another one.
    pub fn merge(&mut self, other: &Partial) {
        if other.count > 0 {
            self.count = self.count.saturating_add(other.count);
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
            self.sum += other.sum;
        }
    }
}

impl Partials {
    /// Of these points.
    pub fn of(points: &Points) -> Partials {
        let begin = |time_ms: &i64| time_ms.div_euclid(LENGTH_MS) * LENGTH_MS;
        let mut times: Vec<i64> = points.times.iter().map(begin).collect();
        times.dedup();
        let columns = points.columns.iter().map(|column| {
            let mut partials = vec![Partial::default(); times.len()];
            let mut at = 0;
            for (time_ms, value) in points.times.iter().zip(&column.values) {
                // Points are in the order of time.
                while times.get(at).is_some_and(|it| *it < begin(time_ms)) {
                    at += 1;
                }
                if let Some(partial) = partials.get_mut(at) {
                    partial.add(*value);
                }
            }
            PartialColumn {
                item: column.item.clone(),
                field: column.field.clone(),
                partials,
            }
        });
        Partials {
            columns: columns.collect(),
            times,
        }
    }

    /// As a block.
    pub fn encode(&self) -> Result<Vec<u8>, Damaged> {
        let mut writer = BlockWriter::new(self.times.len());
        writer.numbers(&self.times)?;
        let count = u32::try_from(self.columns.len()).map_err(|_| Damaged)?;
        writer.numbers(&[count])?;
        for column in &self.columns {
            writer.text(&column.item);
            writer.text(&column.field);
        }
        let all = || self.columns.iter().flat_map(|it| &it.partials);
        writer.numbers(&all().map(|it| it.count).collect::<Vec<u32>>())?;
        writer.numbers(&all().map(|it| it.min).collect::<Vec<f64>>())?;
        writer.numbers(&all().map(|it| it.max).collect::<Vec<f64>>())?;
        writer.numbers(&all().map(|it| it.sum).collect::<Vec<f64>>())?;
        Ok(writer.end())
    }

    /// The wanted columns of a block.
    pub fn decode(
        block: &[u8],
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Partials, Damaged> {
        let mut reader = BlockReader::new(block)?;
        let rows = reader.rows();
        let times = reader.numbers(rows)?;
        let count = reader.numbers::<u32>(1)?.first().copied();
        let count = count.and_then(|it| usize::try_from(it).ok());
        let count = count.filter(|it| *it <= MAX_COLUMNS).ok_or(Damaged)?;
        let names = (0..count)
            .map(|_| Ok((reader.text()?, reader.text()?)))
            .collect::<Result<Vec<(&str, &str)>, Damaged>>()?;
        let cells = rows * count;
        if cells > MAX_CELLS {
            return Err(Damaged);
        }
        let counts = reader.numbers::<u32>(cells)?;
        let (mins, maxs) = (reader.numbers::<f64>(cells)?, reader.numbers::<f64>(cells)?);
        let sums = reader.numbers::<f64>(cells)?;
        let all = counts.iter().zip(&mins).zip(&maxs).zip(&sums);
        let all: Vec<Partial> = all
            .map(|(((count, min), max), sum)| Partial {
                count: *count,
                min: *min,
                max: *max,
                sum: *sum,
            })
            .collect();
        let of_columns = all.chunks(rows.max(1));
        let columns = names
            .into_iter()
            .zip(of_columns)
            .filter(|((item, field), _)| is_wanted(item, field))
            .map(|((item, field), partials)| PartialColumn {
                item: item.to_owned(),
                field: field.to_owned(),
                partials: partials.to_vec(),
            })
            .collect();
        Ok(Partials { times, columns })
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::RunPlaces;
    use super::super::points;
    use super::*;

    #[test]
    fn partials_of_two_blocks_add_up() {
        let points = |times: &[i64], values: &[f64]| Points {
            times: times.to_vec(),
            in_runs: RunPlaces::default(),
            columns: vec![points::Column {
                item: String::new(),
                field: "a".to_owned(),
                values: values.to_vec(),
            }],
        };
        let one = Partials::of(&points(
            &[-1, 0, 1, LENGTH_MS],
            &[7.0, 1.0, f64::NAN, f64::NAN],
        ));
        assert_eq!(one.times, [-LENGTH_MS, 0, LENGTH_MS]);
        let two = Partials::of(&points(&[2, 3], &[-2.0, 4.0]));
        let decoded = Partials::decode(&one.encode().unwrap(), |_, _| true).unwrap();
        assert_eq!(decoded, one);
        let mut sum = one.columns[0].partials[1];
        sum.merge(&two.columns[0].partials[0]);
        let all = Partial {
            count: 3,
            min: -2.0,
            max: 4.0,
            sum: 3.0,
        };
        assert_eq!(sum, all);
        assert_eq!(one.columns[0].partials[2], Partial::default());
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let points = Points {
            times: (0..50).map(|it| it * 60_000).collect(),
            in_runs: RunPlaces::default(),
            columns: ["a", "b"]
                .map(|field| points::Column {
                    item: "eth0".to_owned(),
                    field: field.to_owned(),
                    values: (0..50).map(f64::from).collect(),
                })
                .into(),
        };
        let block = Partials::of(&points).encode().unwrap();
        for end in 0..block.len() {
            assert!(Partials::decode(&block[..end], |_, _| true).is_err());
        }
        for at in 0..block.len() {
            let mut damaged = block.clone();
            damaged[at] ^= 0x40;
            let _ = Partials::decode(&damaged, |_, _| true);
        }
    }
}
