//! The buffers of a connection: what is written is kept until an answer is awaited.

use ureq::http::StatusCode;
use ureq::unversioned::transport::Buffers;

/// Output goes out when it reaches half of this, in bytes, or when an answer is awaited.
pub(crate) const OUTPUT_SIZE: usize = 16 << 10;

/// The head of an answer has at most this many bytes.
pub const MAX_HEAD: usize = 16 << 10;

/// At most this many heads that only announce the answer (1xx) may come before it.
pub const MAX_INTERIM: u32 = 16;

/// Input between `start` and `end`, output that grows until it is flushed.
pub struct JoinedBuffers {
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The last input was consumed, so more may be there.
    progress: bool,
    output: Vec<u8>,
    pending: usize,
    /// Heads with a status of 1xx since the request went out.
    interim: u32,
    /// A request went out, and the head of its answer is not read.
    awaits_head: bool,
}

impl JoinedBuffers {
    /// Empty ones.
    pub fn new() -> Self {
        JoinedBuffers {
            input: vec![0; MAX_HEAD],
            start: 0,
            end: 0,
            progress: false,
            output: vec![0; OUTPUT_SIZE],
            pending: 0,
            interim: 0,
            awaits_head: false,
        }
    }
}

impl JoinedBuffers {
    /// Adds this much to the output. Returns whether it is time to write.
    pub(crate) fn add_output(&mut self, amount: usize) -> bool {
        self.pending += amount;
        self.pending >= OUTPUT_SIZE / 2
    }

    /// Whether a request waits to go out.
    pub(crate) fn has_output(&self) -> bool {
        self.pending > 0
    }

    /// Takes what is to go out. A new exchange begins with it.
    pub(crate) fn take_output(&mut self) -> &[u8] {
        let pending = std::mem::take(&mut self.pending);
        if pending > 0 {
            self.interim = 0;
            self.awaits_head = true;
        }
        self.output.get(..pending).unwrap_or_default()
    }

    /// The status of an answer whose head was not read to its end, if its first line is there and in order.
    pub(crate) fn unread_status(&self) -> Option<StatusCode> {
        let line = self.input().split(|byte| *byte == b'\n').next();
        let is_whole = self.input().contains(&b'\n');
        let line = line.filter(|_| self.awaits_head && is_whole)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let rest = line
            .strip_prefix(b"HTTP/1.1 ")
            .or(line.strip_prefix(b"HTTP/1.0 "))?;
        let (code, reason) = rest.split_at_checked(3)?;
        let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F);
        let is_in_order = reason.is_empty() || reason.starts_with(b" ");
        match is_in_order && reason.iter().all(is_text) {
            true => StatusCode::from_bytes(code).ok(),
            false => None,
        }
    }

    /// Whether the server announces an answer again and again without giving it.
    pub(crate) fn is_put_off(&self) -> bool {
        self.interim > MAX_INTERIM
    }
}

impl Default for JoinedBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffers for JoinedBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.get_mut(self.pending..).unwrap_or_default()
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = (self.end + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        let consumed = self.input().get(..amount).unwrap_or_default();
        if consumed.starts_with(b"HTTP/1.") && consumed.get(9) == Some(&b'1') {
            self.interim += 1;
        } else if amount > 0 {
            self.awaits_head = false;
        }
        self.start = (self.start + amount).min(self.end);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // A request begins with no input left over, so there is room.
        let tmp = self.input.get_mut(self.end..).unwrap_or_default();
        let output = self.output.get_mut(self.pending..).unwrap_or_default();
        (tmp, output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.start < self.end && !self.is_put_off()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaiting(input: &str) -> JoinedBuffers {
        let mut buffers = JoinedBuffers::new();
        buffers.add_output(1);
        buffers.take_output();
        receive(&mut buffers, input);
        buffers
    }

    fn receive(buffers: &mut JoinedBuffers, input: &str) {
        let free = &mut buffers.input_append_buf()[..input.len()];
        free.copy_from_slice(input.as_bytes());
        buffers.input_appended(input.len());
    }

    #[test]
    fn the_status_of_a_broken_head_is_that_of_its_first_line() {
        for (input, status) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Some(200)),
            ("HTTP/1.0 204\r\n\0", Some(204)),
            ("HTTP/1.1 503 no\n", Some(503)),
            ("HTTP/1.1 200 OK", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/1.1  200 OK\r\n", None),
            ("HTTP/1.1 200 O\0K\r\n", None),
            ("HTTP/2.0 200 OK\r\n", None),
            ("ICY 200 OK\r\n", None),
            ("\r\nHTTP/1.1 200 OK\r\n", None),
            ("", None),
        ] {
            let found = awaiting(input).unread_status().map(|it| it.as_u16());
            assert_eq!(found, status, "{input:?}");
        }
    }

    #[test]
    fn what_stands_behind_an_answer_is_no_answer() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut buffers = awaiting(&head.repeat(2));
        buffers.input_consume(head.len());
        assert_eq!(buffers.unread_status(), None);
        let announced = "HTTP/1.1 103 x\r\n\r\n";
        let mut buffers = awaiting(&format!("{announced}HTTP/1.1 200 OK\r\nx\r\n\r\n"));
        assert_eq!(buffers.unread_status(), Some(StatusCode::EARLY_HINTS));
        buffers.input_consume(announced.len());
        assert_eq!(buffers.unread_status(), Some(StatusCode::OK));
    }
}
