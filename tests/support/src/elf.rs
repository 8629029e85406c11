//! As much of a 32-bit ELF file (System V ABI, chapters 4 and 5) as tells what is in flash and in RAM.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// A file of the linker's.
pub struct Elf(Vec<u8>);

impl Elf {
    /// Reads it.
    pub fn read(path: &Path) -> Elf {
        let file = fs::read(path).unwrap();
        assert_eq!(&file[..6], b"\x7FELF\x01\x01", "32 bits, little-endian");
        Elf(file)
    }

    /// What is loaded: the address in flash, and the bytes.
    pub fn segments(&self) -> Vec<(u32, &[u8])> {
        let headers = (0..self.half(44)).map(|index| self.word(28) + index * self.half(42));
        headers
            .filter(|header| self.word(*header) == 1 && self.word(header + 16) > 0)
            .map(|header| {
                let start = self.word(header + 4);
                let bytes = &self.0[start..start + self.word(header + 16)];
                (self.word(header + 12) as u32, bytes)
            })
            .collect()
    }

    /// The bytes of the address space in `range` that sections take.
    pub fn allocated(&self, range: Range<usize>) -> usize {
        let headers = (0..self.half(48)).map(|index| self.word(32) + index * self.half(46));
        headers
            .filter(|header| range.contains(&self.word(header + 12)))
            .map(|header| self.word(header + 20))
            .sum()
    }

    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    fn half(&self, at: usize) -> usize {
        u16::from_le_bytes(self.0[at..at + 2].try_into().unwrap()).into()
    }
}
