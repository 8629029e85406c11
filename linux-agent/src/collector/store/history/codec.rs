//! How the columns of a block are written as bytes.
//!
//! A block begins with its format, 1, and the count of its rows. Then follow byte strings, each behind its length.
//! Counts and lengths are of four bytes, the lowest first. Numbers are compressed by pco.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};

const FORMAT: u8 = 1;

/// No block has more rows.
pub const MAX_ROWS: usize = 1 << 16;

/// A block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Writes a block.
pub struct BlockWriter(Vec<u8>);

impl BlockWriter {
    /// Of this many rows.
    pub fn new(rows: usize) -> BlockWriter {
        let mut writer = BlockWriter(vec![FORMAT]);
        writer.count(rows);
        writer
    }

    /// Adds a count.
    pub fn count(&mut self, count: usize) {
        // Blocks are bounded far below.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds numbers.
    pub fn numbers<T: Number>(&mut self, numbers: &[T]) -> Result<(), Damaged> {
        // Fails for settings that make no sense, and these are the usual ones.
        let bytes = simple_compress(numbers, &ChunkConfig::default()).map_err(|_| Damaged)?;
        self.count(bytes.len());
        self.0.extend_from_slice(&bytes);
        Ok(())
    }

    /// The bytes of the block.
    pub fn end(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a block, which may be damaged.
pub struct BlockReader<'b> {
    rest: &'b [u8],
    rows: usize,
}

impl<'b> BlockReader<'b> {
    /// Reads where the block begins.
    pub fn new(block: &'b [u8]) -> Result<BlockReader<'b>, Damaged> {
        let (format, rest) = block.split_first().ok_or(Damaged)?;
        let mut reader = BlockReader { rest, rows: 0 };
        reader.rows = reader.count()?;
        match *format == FORMAT && reader.rows <= MAX_ROWS {
            true => Ok(reader),
            false => Err(Damaged),
        }
    }

    /// How many rows the block has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next count.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let (count, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        usize::try_from(u32::from_le_bytes(*count)).map_err(|_| Damaged)
    }

    /// The next byte string.
    pub fn bytes(&mut self) -> Result<&'b [u8], Damaged> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next text.
    pub fn text(&mut self) -> Result<&'b str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    /// The next numbers, `count` of them.
    pub fn numbers<T: Number>(&mut self, count: usize) -> Result<Vec<T>, Damaged> {
        numbers(self.bytes()?, count)
    }
}

/// The `count` numbers in a byte string.
pub fn numbers<T: Number>(bytes: &[u8], count: usize) -> Result<Vec<T>, Damaged> {
    let mut numbers = vec![T::default(); count];
    let progress = simple_decompress_into(bytes, &mut numbers).map_err(|_| Damaged)?;
    match progress.n_processed == count && progress.finished {
        true => Ok(numbers),
        false => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let numbers = [1.25, f64::NAN, -0.0, 1e308];
        let mut writer = BlockWriter::new(4);
        writer.text("é");
        writer.numbers(&numbers).unwrap();
        writer.numbers::<i64>(&[]).unwrap();
        let block = writer.end();
        let mut reader = BlockReader::new(&block).unwrap();
        assert_eq!((reader.rows(), reader.text()), (4, Ok("é")));
        let read: Vec<f64> = reader.numbers(4).unwrap();
        assert!(
            read.iter()
                .map(|it| it.to_bits())
                .eq(numbers.map(f64::to_bits))
        );
        assert_eq!(reader.numbers::<i64>(0), Ok(vec![]));
        assert!(reader.is_at_end());
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let mut writer = BlockWriter::new(100);
        writer.text("user");
        let numbers: Vec<f64> = (0..100).map(|it| f64::from(it) * 0.01).collect();
        writer.numbers(&numbers).unwrap();
        let block = writer.end();
        let read = |block: &[u8]| {
            let mut reader = BlockReader::new(block)?;
            reader.text()?;
            reader.numbers::<f64>(reader.rows())
        };
        assert_eq!(read(&block).unwrap(), numbers);
        for end in 0..block.len() {
            assert!(read(&block[..end]).is_err(), "{end}");
        }
        for at in 0..block.len() {
            for bit in 0..8 {
                let mut damaged = block.clone();
                damaged[at] ^= 1 << bit;
                // It may also be other numbers.
                let _ = read(&damaged);
            }
        }
    }
}
