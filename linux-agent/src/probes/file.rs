//! Files of the kernel that are kept open and read anew for each sample.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Malformed, ProbeError};

/// No file that a probe reads whole may be larger, in bytes.
pub const MAX_FILE: usize = 4 << 20;

const FIRST_SIZE: usize = 16 << 10;

/// The read buffer that all probes share.
#[derive(Default)]
pub struct Scratch(Vec<u8>);

/// An open file of procfs or sysfs.
pub struct SourceFile {
    file: File,
    path: PathBuf,
}

impl SourceFile {
    /// Opens `path` for reading.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ProbeError> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(SourceFile { file, path }),
            Err(cause) => Err(ProbeError::read(&path, cause)),
        }
    }

    /// Where the file was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file as it is now.
    ///
    /// The kernel may hand out a table page by page, so only an empty read means its end.
    pub fn read<'s>(&self, scratch: &'s mut Scratch) -> Result<&'s [u8], ProbeError> {
        let buffer = &mut scratch.0;
        if buffer.is_empty() {
            buffer.resize(FIRST_SIZE, 0);
        }
        let mut filled = 0;
        loop {
            if filled == buffer.len() {
                if filled >= MAX_FILE {
                    return Err(self.malformed(Malformed("end within 4 MiB")));
                }
                buffer.resize(filled * 2, 0);
            }
            let free = buffer.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(free, filled as u64) {
                Ok(0) => return Ok(buffer.get(..filled).unwrap_or_default()),
                Ok(count) => filled += count,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(ProbeError::read(&self.path, cause)),
            }
        }
    }

    /// Says that this file does not hold what it should.
    pub fn malformed(&self, Malformed(missing): Malformed) -> ProbeError {
        ProbeError::Malformed {
            path: self.path.clone(),
            missing,
        }
    }
}

/// The lines of a text, without their newlines. What has no newline is a line that was cut: it is
/// left out, since half a number is a wrong number.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
}

/// The words of a line, parted by any number of spaces or tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}

/// A whole decimal number; `None` if it is anything else or does not fit.
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
