//! The buffers of a connection: what is written is kept until an answer is awaited.

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
        }
        self.output.get(..pending).unwrap_or_default()
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
