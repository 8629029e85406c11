//! The serial line: one JSON text a line, sealed so that a damaged one is never taken for a good one.
//!
//! ```text
//! {"client_id":7,"service_name":"McuLoad","data":{"status":0},"uptime":3600,"seq":17}*1A2B3C4D\n
//! ```
//!
//! After the text come `*`, the CRC-32 of the bytes before it (IEEE 802.3, as in zlib) in eight hexadecimal digits,
//! and a newline. JSON as it is written here holds no newline, so a reader is in step again after each newline.
//! Lines without a valid seal are not messages: a board's log may share the line.

use heapless::Vec;

use crate::json::TooLarge;

/// What a seal adds to a text, in bytes.
pub const SEAL: usize = 10;

/// Seals the first `length` bytes of `buffer` and returns the length of the whole line.
pub fn seal(buffer: &mut [u8], length: usize) -> Result<usize, TooLarge> {
    let (text, rest) = buffer.split_at_mut_checked(length).ok_or(TooLarge)?;
    *rest.first_chunk_mut().ok_or(TooLarge)? = seal_of(text);
    Ok(length + SEAL)
}

/// What follows the text on its line.
pub fn seal_of(text: &[u8]) -> [u8; SEAL] {
    let mut seal = *b"*00000000\n";
    let [_, digits @ .., _] = &mut seal;
    let mut sum = crc32(text);
    for digit in digits.iter_mut().rev() {
        *digit = match (sum & 0xF) as u8 {
            nibble @ 0..=9 => b'0' + nibble,
            nibble => b'A' + nibble - 10,
        };
        sum >>= 4;
    }
    seal
}

/// The text of a line without its newline; `None` if its seal is missing or wrong.
pub fn open(line: &[u8]) -> Option<&[u8]> {
    let (text, seal) = line.split_last_chunk::<{ SEAL - 1 }>()?;
    // No checksum is computed for lines of a log that shares the port.
    if !seal.starts_with(b"*") {
        return None;
    }
    let [expected @ .., _] = seal_of(text);
    // A writer may use small letters.
    seal.eq_ignore_ascii_case(&expected).then_some(text)
}

/// Finds lines of at most `N` bytes in what comes over a serial port.
#[derive(Clone, Debug, Default)]
pub struct Receiver<const N: usize> {
    line: Vec<u8, N>,
    /// The line was returned: the next byte begins a new one. Or it is too long: it is skipped to its end.
    state: State,
    rejected: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    Done,
    TooLong,
}

impl<const N: usize> Receiver<N> {
    /// Nothing received yet.
    pub const fn new() -> Self {
        Receiver {
            line: Vec::new(),
            state: State::Reading,
            rejected: 0,
        }
    }

    /// Takes one byte. Returns the text of a line if the byte ends one with a valid seal.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if self.state == State::Done {
            self.line.clear();
            self.state = State::Reading;
        }
        if byte != b'\n' {
            if self.line.push(byte).is_err() {
                self.state = State::TooLong;
            }
            return None;
        }
        let too_long = self.state == State::TooLong;
        self.state = State::Done;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        match open(line) {
            Some(text) if !too_long => Some(text),
            // A board begins with the end of what it may have been saying before its reset.
            None if line.is_empty() && !too_long => None,
            _ => {
                self.rejected = self.rejected.saturating_add(1);
                None
            }
        }
    }

    /// Lines that were too long or had no valid seal. Empty ones are not counted.
    pub const fn rejected(&self) -> u32 {
        self.rejected
    }
}

/// CRC-32 with 16 KiB of tables, or what the processor has for it.
#[cfg(feature = "fast-crc")]
fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// CRC-32 by half bytes: a third of the time by bits, and a table of 64 bytes instead of 1 KiB.
#[cfg(not(feature = "fast-crc"))]
fn crc32(bytes: &[u8]) -> u32 {
    let by_nibble = |crc: u32| {
        // The index has four bits, so there is always an entry.
        let of_nibble = OF_NIBBLES.get((crc & 0xF) as usize);
        (crc >> 4) ^ of_nibble.copied().unwrap_or_default()
    };
    !bytes.iter().fold(!0, |crc: u32, byte| {
        by_nibble(by_nibble(crc ^ u32::from(*byte)))
    })
}

#[cfg(not(feature = "fast-crc"))]
static OF_NIBBLES: [u32; 16] = [
    0x0000_0000,
    0x1DB7_1064,
    0x3B6E_20C8,
    0x26D9_30AC,
    0x76DC_4190,
    0x6B6B_51F4,
    0x4DB2_6158,
    0x5005_713C,
    0xEDB8_8320,
    0xF00F_9344,
    0xD6D6_A3E8,
    0xCB61_B38C,
    0x9B64_C2B0,
    0x86D3_D2D4,
    0xA00A_E278,
    0xBDBD_F21C,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec as StdVec;

    const TEXT: &[u8] = br#"{"client_id":7,"get":"services"}"#;

    fn sealed(text: &[u8]) -> StdVec<u8> {
        let mut buffer = [text, &[0; SEAL]].concat();
        assert_eq!(seal(&mut buffer, text.len()), Ok(buffer.len()));
        buffer
    }

    fn received<const N: usize>(receiver: &mut Receiver<N>, bytes: &[u8]) -> StdVec<StdVec<u8>> {
        let mut texts = StdVec::new();
        for byte in bytes {
            texts.extend(receiver.push(*byte).map(<[u8]>::to_vec));
        }
        texts
    }

    #[test]
    fn the_seal_is_crc32() {
        // The check value of CRC-32/ISO-HDLC, and `python3 -c 'import zlib; …'` of the other.
        assert_eq!(sealed(b"123456789"), b"123456789*CBF43926\n");
        assert_eq!(crc32(TEXT), 0x8F3E_4FCA);
        // Each byte, and so each half byte.
        let bytes: StdVec<u8> = (0..=255).collect();
        assert_eq!(crc32(&bytes), 0x2905_8C73);
        assert_eq!(open(b"123456789*cbf43926"), Some(&b"123456789"[..]));
    }

    #[test]
    fn a_seal_needs_its_room() {
        let mut buffer = [0; 20];
        assert_eq!(seal(&mut buffer, 10), Ok(20));
        assert_eq!(seal(&mut buffer, 11), Err(TooLarge));
        assert_eq!(seal(&mut buffer, 21), Err(TooLarge));
    }

    #[test]
    #[cfg_attr(miri, ignore = "54,000 checksums take Miri many minutes")]
    fn no_flipped_bits_get_through() {
        let line = sealed(TEXT);
        let line = line.strip_suffix(b"\n").unwrap();
        let bits = line.len() * 8;
        for first in 0..bits {
            for second in first..bits {
                let mut damaged = line.to_vec();
                damaged[first / 8] ^= 1 << (first % 8);
                if second > first {
                    damaged[second / 8] ^= 1 << (second % 8);
                }
                // A letter of the seal may change its case: the same digit.
                let same = damaged.eq_ignore_ascii_case(line) && damaged.starts_with(TEXT);
                assert_eq!(open(&damaged).is_some(), same, "bits {first} and {second}");
            }
        }
    }

    #[test]
    fn a_reader_is_in_step_again_at_each_newline() {
        let mut receiver = Receiver::<64>::new();
        let mut bytes = b"half a fra".to_vec();
        bytes.extend_from_slice(b"me\nboot: ok\r\n\n");
        bytes.extend_from_slice(&sealed(TEXT));
        bytes.extend_from_slice(&[b'x'; 1000]);
        bytes.push(b'\n');
        bytes.extend_from_slice(&sealed(TEXT)[..20]);
        bytes.extend_from_slice(&sealed(b"{}"));
        bytes.extend_from_slice(b"{}*A3A6BF43\r\n");
        assert_eq!(received(&mut receiver, &bytes), [TEXT, b"{}"]);
        assert_eq!(receiver.rejected(), 4);
    }

    #[test]
    fn a_line_that_just_fits_is_taken() {
        let text = [b'a'; 30];
        let line = sealed(&text);
        assert_eq!(received(&mut Receiver::<39>::new(), &line), [text]);
        assert!(received(&mut Receiver::<38>::new(), &line).is_empty());
    }
}
