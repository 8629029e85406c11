//! What the core and the node do with given inputs, written down as one text. It must come out the same, byte
//! for byte, on every processor that mote runs on.
//!
//! ```text
//! documents.txt ────► Config::parse ─┐
//! polls, orders ────► Monitor ───────┤                      host ─┐
//! numbers, strings ─► Envelope ──────┼─► transcript ──► Cortex-M0+├─► is it transcript.txt?
//! lines, damaged ───► frame ─────────┤                  Cortex-M3 │
//! lines, time ──────► Node ──────────┘                     RISC-V ┘
//! ```
//!
//! `MOTE_BLESS=1 cargo test -p mote-golden on_this_machine`, run in `firmware/`, writes `transcript.txt` anew;
//! its diff then shows what changed.

#![no_std]

mod documents;
mod lines;
mod node;
mod reports;
mod schedules;

/// The last line of a transcript.
pub const END: &str = "end";

/// Runs everything and hands the transcript to `write`, piece by piece.
pub fn transcript(write: &mut dyn FnMut(&[u8])) {
    let mut out = Out { write };
    documents::transcribe(&mut out);
    schedules::transcribe(&mut out);
    reports::transcribe(&mut out);
    lines::transcribe(&mut out);
    node::transcribe(&mut out);
    out.text(END).end();
}

/// Writes lines without `core::fmt`, which the boards do without too.
struct Out<'w> {
    write: &'w mut dyn FnMut(&[u8]),
}

impl Out<'_> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        (self.write)(bytes);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut rest = number;
        let mut first = digits.len() - 1;
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            if rest > 0 {
                *digit += (rest % 10) as u8;
                first = place;
            }
            rest /= 10;
        }
        self.bytes(digits.get(first..).unwrap_or_default())
    }

    fn end(&mut self) {
        self.text("\n");
    }
}
