//! Reads a text of the kernel from front to back, each byte once.
//!
//! A number counts only if a byte follows it: at the end of a text that was cut, half a number is a
//! wrong number.

/// What is left to read of a text.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    /// Starts at the front.
    pub fn new(text: &'a [u8]) -> Self {
        Scan(text)
    }

    /// Everything not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Skips blanks, then takes a whole decimal number that a blank or the line's end follows.
    pub fn number(&mut self) -> Option<u64> {
        self.blanks();
        let value = self.digits()?;
        self.ends_word().then_some(value)
    }

    /// Skips blanks, then takes a number such as `12.34` that a blank or the line's end follows.
    pub fn decimal(&mut self) -> Option<f64> {
        self.blanks();
        let whole = self.digits()?;
        self.expect(b".")?;
        let before = self.0.len();
        let fraction = self.digits()?;
        let places = i32::try_from(before - self.0.len()).ok()?;
        // One rounding, so that 0.29 is the same double as the literal.
        let scale = 10u64.checked_pow(places.unsigned_abs())?;
        let all = whole.checked_mul(scale)?.checked_add(fraction)?;
        self.ends_word().then(|| all as f64 / scale as f64)
    }

    /// Takes the digits that come next; there must be one, and a byte after the last.
    pub fn digits(&mut self) -> Option<u64> {
        let [b'0'..=b'9', ..] = self.0 else {
            return None;
        };
        let mut value = 0u64;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
            self.0 = rest;
        }
        (!self.0.is_empty()).then_some(value)
    }

    /// Skips blanks, then takes what comes before the next blank or the line's end; may be empty.
    pub fn word(&mut self) -> &'a [u8] {
        self.blanks();
        let length = self.0.iter().position(|byte| is_end(*byte));
        let (word, rest) = self.0.split_at(length.unwrap_or(self.0.len()));
        self.0 = rest;
        word
    }

    /// Takes `text` if it comes next.
    pub fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// Goes to the start of the next line; `false` if this line has no newline.
    pub fn next_line(&mut self) -> bool {
        match self.0.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                self.0 = self.0.get(end + 1..).unwrap_or_default();
                true
            }
            None => false,
        }
    }

    /// Skips spaces and tabs.
    pub fn blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn ends_word(&self) -> bool {
        self.0.first().is_some_and(|byte| is_end(*byte))
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_with_their_word() {
        let mut scan = Scan::new(b"  12\t18446744073709551615\n3");
        assert_eq!(scan.number(), Some(12));
        assert_eq!(scan.number(), Some(u64::MAX));
        assert_eq!(scan.number(), None, "the line's end is no blank");
        assert!(scan.next_line());
        assert_eq!(scan.number(), None, "cut");
        for bad in ["18446744073709551616 ", "1x ", "-1 ", "x ", " ", ""] {
            assert_eq!(Scan::new(bad.as_bytes()).number(), None, "{bad:?}");
        }
    }

    #[test]
    fn decimals_are_the_literals() {
        for (text, value) in [("0.00 ", 0.0), ("0.29\n", 0.29), (" 1073.340 ", 1073.34)] {
            assert_eq!(Scan::new(text.as_bytes()).decimal(), Some(value));
        }
        for bad in [
            "1",
            "1 ",
            "1. ",
            ".5 ",
            "1.5",
            "1.5x ",
            "1.99999999999999999999 ",
        ] {
            assert_eq!(Scan::new(bad.as_bytes()).decimal(), None, "{bad:?}");
        }
    }
}
