//! The line on its way out.

use mote_core::Uptime;

/// A report with its seal is at most this long, in bytes; a larger one is replaced by a failure that says so.
pub const MAX_LINE: usize = 256;

/// The line that is being sent.
pub struct Line {
    pub buffer: [u8; MAX_LINE],
    pub length: usize,
    pub sent: usize,
    /// When it was made, or some of it went.
    pub moved_at: Uptime,
    /// The report on this line.
    pub seq: Option<u32>,
}

impl Line {
    pub const NONE: Line = Line {
        buffer: [0; MAX_LINE],
        length: 0,
        sent: 0,
        moved_at: Uptime::from_millis(0),
        seq: None,
    };

    /// Leaves only the end of what was being sent. Returns the report that was under way.
    pub fn newline(&mut self, now: Uptime) -> Option<u32> {
        let under_way = self.sent < self.length;
        self.sent = 0;
        self.end();
        self.moved_at = now;
        self.seq.take().filter(|_| under_way)
    }

    /// Ends the line here: what was sent of it has no seal, and is ignored.
    pub fn cut(&mut self) {
        if self.sent > 0 {
            self.end();
        } else if self.length > 1 {
            self.length = 0;
        }
    }

    fn end(&mut self) {
        if let Some(byte) = self.buffer.get_mut(self.sent) {
            *byte = b'\n';
            self.length = self.sent + 1;
        }
    }
}
