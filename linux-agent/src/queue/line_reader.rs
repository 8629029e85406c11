//! The lines of a file, read piece by piece.

use std::io;

use super::storage::{FileName, Storage};

/// A line of more bytes is damage.
const MAX_LINE_BYTES: usize = 512 << 10;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The lines of a file, up to a length.
pub struct Lines {
    name: FileName,
    buffer: Vec<u8>,
    /// How much of the buffer has been returned.
    taken: usize,
    /// Where in the file the buffer ends.
    read_to: u64,
    end: u64,
    /// The rest of a line that is too long.
    skips: bool,
    /// The last part, without a newline, was returned.
    is_over: bool,
}

impl Lines {
    pub fn new(name: FileName, offset: u64, end: u64) -> Self {
        Lines {
            name,
            buffer: Vec::new(),
            taken: 0,
            read_to: offset,
            end,
            skips: false,
            is_over: false,
        }
    }

    /// The next line without its end. The last one may lack it.
    pub fn next<S: Storage>(&mut self, storage: &mut S) -> io::Result<Option<&[u8]>> {
        let mut searched = self.taken;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.taken, searched + at);
                self.taken = end + 1;
                searched = self.taken;
                if !std::mem::take(&mut self.skips) {
                    return Ok(Some(self.buffer.get(start..end).unwrap_or_default()));
                }
                continue;
            }
            if self.buffer.len() - self.taken > MAX_LINE_BYTES {
                self.skips = true;
                self.taken = self.buffer.len();
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let kept = self.buffer.len();
            searched = kept;
            let wanted =
                usize::try_from(self.end.saturating_sub(self.read_to)).unwrap_or(usize::MAX);
            self.buffer.resize(kept + wanted.min(PIECE_BYTES), 0);
            let free = self.buffer.get_mut(kept..).unwrap_or_default();
            if free.is_empty() {
                return Ok(self.last());
            }
            let count = storage.read(self.name, self.read_to, free);
            self.buffer.truncate(kept + *count.as_ref().unwrap_or(&0));
            let count = count?;
            self.read_to += count as u64;
            if count == 0 {
                return Ok(self.last());
            }
        }
    }

    fn last(&mut self) -> Option<&[u8]> {
        let is_wanted = !std::mem::replace(&mut self.is_over, true) && !self.skips;
        Some(self.rest()).filter(|rest| is_wanted && !rest.is_empty())
    }

    /// Where in the file the next line begins.
    pub fn offset(&self) -> u64 {
        self.read_to - (self.buffer.len() - self.taken) as u64
    }

    /// After the last line: the rest without a newline.
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }
}
