//! What a plugin prints, read from its two pipes without ever waiting.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::limits::{MAX_COMPLAINT_BYTES, MAX_ERROR_BYTES, MAX_OUTPUT_BYTES};

const CHUNK_BYTES: usize = 8 << 10;

/// The pipes, and what came out of them.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// `None` once it is closed: a closed pipe would wake the loop again and again.
    stdout: Option<File>,
    stderr: Option<File>,
    output: Vec<u8>,
    complaint: Vec<u8>,
    /// All that was read, kept or not.
    complaint_bytes: usize,
}

/// More than this many bytes came.
#[derive(Debug)]
pub(super) struct TooMuch(pub usize);

impl Printed {
    /// Sets the pipes to never block.
    pub fn new(
        stdout: Option<impl Into<OwnedFd>>,
        stderr: Option<impl Into<OwnedFd>>,
    ) -> io::Result<Printed> {
        Ok(Printed {
            stdout: non_blocking(stdout)?,
            stderr: non_blocking(stderr)?,
            ..Printed::default()
        })
    }

    /// The pipes that are still open.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .map(File::as_fd)
    }

    /// Reads one piece of standard output. Returns whether there may be more.
    pub fn read_output(&mut self) -> Result<bool, TooMuch> {
        let mut chunk = [0; CHUNK_BYTES];
        let piece = read_piece(&mut self.stdout, &mut chunk);
        self.output.extend_from_slice(piece);
        if self.output.len() > MAX_OUTPUT_BYTES {
            self.stdout = None;
            return Err(TooMuch(MAX_OUTPUT_BYTES));
        }
        Ok(!piece.is_empty())
    }

    /// Reads one piece of standard error. Returns whether there may be more. All of it is read, or the plugin would wait
    /// for room in the pipe.
    pub fn read_complaint(&mut self) -> Result<bool, TooMuch> {
        let mut chunk = [0; CHUNK_BYTES];
        let piece = read_piece(&mut self.stderr, &mut chunk);
        let room = MAX_ERROR_BYTES.saturating_sub(self.complaint.len());
        self.complaint.extend(piece.iter().take(room));
        self.complaint_bytes = self.complaint_bytes.saturating_add(piece.len());
        if self.complaint_bytes > MAX_COMPLAINT_BYTES {
            self.stderr = None;
            return Err(TooMuch(MAX_COMPLAINT_BYTES));
        }
        Ok(!piece.is_empty())
    }

    pub fn complaint_is_complete(&self) -> bool {
        self.complaint.len() >= MAX_ERROR_BYTES
    }

    /// Closes the pipes. Gives the output and the first line of the complaint.
    pub fn take(&mut self) -> (Vec<u8>, String) {
        let printed = mem::take(self);
        (printed.output, first_line(&printed.complaint))
    }
}

fn non_blocking(pipe: Option<impl Into<OwnedFd>>) -> io::Result<Option<File>> {
    let pipe = pipe.map(Into::into);
    if let Some(pipe) = &pipe {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(pipe.map(File::from))
}

/// Reads one piece, and closes the pipe at its end. Empty if there is nothing yet.
fn read_piece<'c>(pipe: &mut Option<File>, chunk: &'c mut [u8]) -> &'c [u8] {
    let Some(file) = pipe else { return &[] };
    match file.read(chunk) {
        Ok(0) => *pipe = None,
        Ok(count) => return chunk.get(..count).unwrap_or_default(),
        Err(error) if is_for_later(&error) => {}
        Err(_) => *pipe = None,
    }
    &[]
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The first line that is not empty, fit for a log.
fn first_line(text: &[u8]) -> String {
    let line = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
