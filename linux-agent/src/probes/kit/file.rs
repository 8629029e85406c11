//! Files of the kernel that are kept open and read again for each sample.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{Malformed, ProbeError};
use crate::system::files;

/// The largest file that a probe reads whole, in bytes.
pub const MAX_FILE: usize = 4 << 20;

/// All probes of the process keep at most this many files open. A server may order 256 services of several files each,
/// and the usual limit of a process is 1024: what is left is for connections, serial ports, plugins and the queue.
pub const MAX_OPEN: usize = 768;

static OPEN: AtomicUsize = AtomicUsize::new(0);

const FIRST_SIZE: usize = 16 << 10;

/// The kernel makes such a file in a buffer of at least one page, and hands it out once the next
/// record does not fit (fs/seq_file.c). If that much of a page is free, a record of
/// [`MAX_SHORT_RECORD`] would have fitted, so there is none.
const SHORT_READ: usize = 4096 - MAX_SHORT_RECORD;

/// The longest record for [`SourceFile::read_short`], in bytes.
const MAX_SHORT_RECORD: usize = 512;

/// The read buffer that all probes share.
#[derive(Default)]
pub struct Scratch(Vec<u8>);

#[cfg(test)]
impl Scratch {
    /// What it holds at most without growing, in bytes.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// An open file of procfs or sysfs.
pub struct SourceFile {
    file: File,
    path: PathBuf,
    _permit: Permit,
}

impl SourceFile {
    /// Opens `path` for reading. Fails if it is not a regular file, or if [`MAX_OPEN`] are open.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ProbeError> {
        SourceFile::opened_by(path.into(), files::open)
    }

    /// One that is opened in another way.
    pub(super) fn opened_by(
        path: PathBuf,
        open: impl FnOnce(&Path) -> io::Result<File>,
    ) -> Result<Self, ProbeError> {
        let permit = Permit::take(&OPEN)?;
        match open(&path) {
            Ok(file) => Ok(SourceFile {
                file,
                path,
                _permit: permit,
            }),
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
        self.read_to_end(scratch, 0)
    }

    /// Like [`SourceFile::read`], with one system call instead of two where the file is short.
    ///
    /// Only for files that the kernel makes in one go, such as `/proc/stat`, or whose records have
    /// at most 512 bytes each, such as `/proc/net/dev`. In `/proc/diskstats` a record is a device
    /// with all its partitions.
    pub fn read_short<'s>(&self, scratch: &'s mut Scratch) -> Result<&'s [u8], ProbeError> {
        self.read_to_end(scratch, SHORT_READ)
    }

    /// A first read of at most `whole` bytes is taken for all there is.
    fn read_to_end<'s>(
        &self,
        scratch: &'s mut Scratch,
        whole: usize,
    ) -> Result<&'s [u8], ProbeError> {
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
                Ok(count) => {
                    filled += count;
                    if count == 0 || filled <= whole {
                        return Ok(buffer.get(..filled).unwrap_or_default());
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(ProbeError::read(&self.path, cause)),
            }
        }
    }

    /// Hands each line of the file as it is now to `each`, without its newline.
    ///
    /// Takes no more memory than the longest line needs, however long the file is. A last line
    /// without a newline was cut, and is an error: what was counted from the others is incomplete.
    pub fn read_lines(
        &self,
        scratch: &mut Scratch,
        each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), ProbeError> {
        let read = |free: &mut [u8], offset| self.file.read_at(free, offset);
        stream_lines(&mut scratch.0, read, each).map_err(|failure| match failure {
            LineError::Read(cause) => ProbeError::read(&self.path, cause),
            LineError::Malformed(malformed) => self.malformed(malformed),
        })
    }

    /// Says that this file does not hold what it should.
    pub fn malformed(&self, Malformed(missing): Malformed) -> ProbeError {
        ProbeError::Malformed {
            path: self.path.clone(),
            missing,
        }
    }
}

/// Nothing in place of a file that cannot be opened, on which nothing else depends.
pub fn optional(opened: Result<SourceFile, ProbeError>) -> Result<Option<SourceFile>, ProbeError> {
    match opened {
        Err(error) if !error.is_exhaustion() => Ok(None),
        opened => opened.map(Some),
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One of the files that may be open.
struct Permit(&'static AtomicUsize);

impl Permit {
    fn take(open: &'static AtomicUsize) -> Result<Permit, ProbeError> {
        let one_more = |count| (count < MAX_OPEN).then_some(count + 1);
        match open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Permit(open)),
            Err(_) => Err(ProbeError::TooManyOpen { max: MAX_OPEN }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum LineError {
    Read(io::Error),
    Malformed(Malformed),
}

fn stream_lines(
    buffer: &mut Vec<u8>,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<(), LineError> {
    if buffer.is_empty() {
        buffer.resize(FIRST_SIZE, 0);
    }
    let mut offset = 0;
    // Of the buffer: the start of a line whose end is yet to be read.
    let mut kept = 0;
    loop {
        if kept == buffer.len() {
            if kept >= MAX_FILE {
                let malformed = Malformed("end of a line within 4 MiB");
                return Err(LineError::Malformed(malformed));
            }
            buffer.resize(kept * 2, 0);
        }
        let free = buffer.get_mut(kept..).unwrap_or_default();
        let filled = match read_at(free, offset) {
            Ok(0) if kept == 0 => return Ok(()),
            Ok(0) => return Err(LineError::Malformed(Malformed("newline at its end"))),
            Ok(count) => {
                offset += count as u64;
                kept + count
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(LineError::Read(cause)),
        };
        let text = buffer.get(..filled).unwrap_or_default();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        for line in lines(text.get(..whole).unwrap_or_default()) {
            each(line).map_err(LineError::Malformed)?;
        }
        buffer.copy_within(whole..filled, 0);
        kept = filled - whole;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(text: &[u8], chunk: usize, buffer_size: usize) -> Option<Vec<Vec<u8>>> {
        let read_at = |free: &mut [u8], offset: u64| {
            let rest = &text[offset as usize..];
            let count = rest.len().min(chunk).min(free.len());
            free[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        let mut found = Vec::new();
        let each = |line: &[u8]| {
            found.push(line.to_vec());
            Ok(())
        };
        let mut buffer = vec![0; buffer_size];
        stream_lines(&mut buffer, read_at, each)
            .ok()
            .map(|()| found)
    }

    #[test]
    fn lines_may_straddle_any_chunk_and_outgrow_the_buffer() {
        let text = b"one\n\nthree is longer than the buffer\nfour\n";
        let expected: Vec<_> = text.split(|byte| *byte == b'\n').take(4).collect();
        for chunk in 1..=text.len() {
            for buffer_size in [1, 2, 7, 64] {
                assert_eq!(collect(text, chunk, buffer_size).unwrap(), expected);
            }
        }
        assert_eq!(collect(b"", 9, 9).unwrap().len(), 0);
    }

    #[test]
    fn a_cut_line_is_an_error() {
        assert!(collect(b"one\ntwo", 2, 64).is_none());
        assert!(collect(&vec![b'x'; MAX_FILE + 1], MAX_FILE, 64).is_none());
    }

    #[test]
    fn so_many_files_are_open_and_no_more() {
        static OPEN: AtomicUsize = AtomicUsize::new(0);
        let mut permits: Vec<_> = (0..MAX_OPEN)
            .map(|_| Permit::take(&OPEN).unwrap())
            .collect();
        let error = Permit::take(&OPEN).err().unwrap().to_string();
        assert!(
            error.contains("768 files open already; order fewer"),
            "{error}"
        );
        // One that is closed makes room for one.
        permits.pop();
        permits.push(Permit::take(&OPEN).unwrap());
        assert!(Permit::take(&OPEN).is_err());
        drop(permits);
        assert_eq!(OPEN.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_is_closed_makes_room() {
        // One more than may be open at a time, also beside those of other tests.
        for _ in 0..=MAX_OPEN {
            SourceFile::open("/proc/stat").unwrap();
        }
    }

    #[test]
    fn a_short_read_of_the_kernels_files_is_all_there_is() {
        let files = [
            "stat",
            "meminfo",
            "net/dev",
            "loadavg",
            "uptime",
            "pressure/cpu",
            "pressure/memory",
            "pressure/io",
        ];
        let mut checked = 0;
        for path in files.map(|file| Path::new("/proc").join(file)) {
            // Pressure is not in every kernel.
            let Ok(file) = SourceFile::open(&path) else {
                continue;
            };
            let length = file.read_short(&mut Scratch::default()).unwrap().len();
            assert!(length > 0, "{path:?}");
            let more = file.file.read_at(&mut [0; 64], length as u64).unwrap();
            assert_eq!(more, 0, "{path:?} goes on after {length} bytes");
            checked += 1;
        }
        assert!(checked >= 5, "only {checked} files");
    }

    #[test]
    fn long_files_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        for length in [
            0,
            1,
            SHORT_READ,
            SHORT_READ + 1,
            FIRST_SIZE,
            5 * FIRST_SIZE + 1,
        ] {
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            let file = SourceFile::open(&path).unwrap();
            let mut scratch = Scratch::default();
            assert_eq!(file.read_short(&mut scratch).unwrap().len(), length);
            assert_eq!(file.read(&mut scratch).unwrap().len(), length);
        }
        std::fs::write(&path, vec![b'x'; MAX_FILE + 1]).unwrap();
        let file = SourceFile::open(&path).unwrap();
        let error = file.read(&mut Scratch::default()).err().unwrap();
        assert!(matches!(error, ProbeError::Malformed { .. }));
    }
}
