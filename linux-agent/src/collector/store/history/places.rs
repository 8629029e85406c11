//! Where the reports of a stream stand in the runs of their client. Of two that follow each other it shows what lies
//! between them: nothing, other services' reports, lost ones, or another start of the agent.

use super::codec::{BlockReader, BlockWriter, Damaged};

/// A place a report, in the order of the reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPlaces {
    /// The runs, each once.
    boots: Vec<Box<str>>,
    /// Which run each report is in, from 1; 0: it says none.
    boot: Vec<u32>,
    /// Its number there.
    seq: Vec<u64>,
}

/// The `boot` and the `seq` of a report.
pub type RunPlace<'p> = Option<(&'p str, u64)>;

/// What a name of a run takes, in values of 8 bytes.
fn name_cells(boot: &str) -> usize {
    2 + boot.len().div_ceil(8)
}

impl RunPlaces {
    /// Adds that of the next report. Returns what a name takes that is new, in values of 8 bytes.
    pub fn push(&mut self, place: RunPlace<'_>) -> usize {
        let known = self.boots.len();
        let (boot, seq) = match place {
            None => (0, 0),
            Some((boot, seq)) => (self.number_of(boot), seq),
        };
        self.boot.push(boot);
        self.seq.push(seq);
        let new = self.boots.get(known..).unwrap_or_default();
        new.iter().map(|it| name_cells(it)).sum()
    }

    fn number_of(&mut self, boot: &str) -> u32 {
        // Mostly it is the last one.
        let at = self.boots.iter().rposition(|it| **it == *boot);
        let at = at.unwrap_or_else(|| {
            self.boots.push(boot.into());
            self.boots.len() - 1
        });
        u32::try_from(at + 1).unwrap_or(0)
    }

    /// That of a report.
    pub fn get(&self, row: usize) -> RunPlace<'_> {
        let boot = usize::try_from(*self.boot.get(row)?).ok()?;
        let boot = self.boots.get(boot.checked_sub(1)?)?;
        Some((boot, *self.seq.get(row)?))
    }

    /// Those of these reports.
    pub fn pick(&self, rows: impl IntoIterator<Item = usize>) -> RunPlaces {
        let mut picked = RunPlaces::default();
        for row in rows {
            picked.push(self.get(row));
        }
        picked
    }

    /// What the names of the runs take, in values of 8 bytes.
    pub fn cells(&self) -> usize {
        self.boots.iter().map(|it| name_cells(it)).sum()
    }

    /// Adds them to a block: the count of runs, their names, the run of each report, its number there.
    pub fn encode(&self, writer: &mut BlockWriter) -> Result<(), Damaged> {
        writer.count(self.boots.len());
        for boot in &self.boots {
            writer.text(boot);
        }
        writer.numbers(&self.boot)?;
        writer.numbers(&self.seq)
    }

    /// Reads what [`RunPlaces::encode`] wrote.
    pub fn decode(reader: &mut BlockReader<'_>) -> Result<RunPlaces, Damaged> {
        let rows = reader.rows();
        let count = reader.count()?;
        if count > rows {
            return Err(Damaged);
        }
        let boots = (0..count).map(|_| reader.text().map(Box::from));
        Ok(RunPlaces {
            boots: boots.collect::<Result<_, _>>()?,
            boot: reader.numbers(rows)?,
            seq: reader.numbers(rows)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_block_gives_back_where_each_report_stood(
            reports in prop::collection::vec(prop::option::of(("[ab]{0,2}", any::<u64>())), 0..300),
        ) {
            let mut places = RunPlaces::default();
            for place in &reports {
                places.push(place.as_ref().map(|(boot, seq)| (boot.as_str(), *seq)));
            }
            let mut writer = BlockWriter::new(reports.len());
            places.encode(&mut writer).unwrap();
            let block = writer.end();
            let mut reader = BlockReader::new(&block).unwrap();
            let read = RunPlaces::decode(&mut reader).unwrap();
            prop_assert!(reader.is_at_end());
            for (row, place) in reports.iter().enumerate() {
                let place = place.as_ref().map(|(boot, seq)| (boot.as_str(), *seq));
                prop_assert_eq!(read.get(row), place);
            }
            prop_assert_eq!(read.get(reports.len()), None);
        }
    }

    #[test]
    fn a_block_of_more_runs_than_reports_is_damaged() {
        let mut writer = BlockWriter::new(1);
        writer.count(2);
        assert!(RunPlaces::decode(&mut BlockReader::new(&writer.end()).unwrap()).is_err());
    }
}
