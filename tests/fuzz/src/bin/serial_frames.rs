//! Bytes off a serial line, taken apart by the receiver and, by another road, all at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_core::frame::{self, Receiver, SEAL};

const MAX_LINE: usize = 64;

fuzz_target!(|input: &[u8]| {
    // The fuzzer cannot guess a CRC, so lines that end in `*` get theirs.
    let mut bytes = Vec::new();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"*\n") {
            Some(text) => {
                let start = bytes.len();
                bytes.extend_from_slice(text);
                bytes.extend_from_slice(&[0; SEAL]);
                let length = frame::seal(&mut bytes[start..], text.len());
                assert_eq!(length, Ok(text.len() + SEAL));
            }
            None => bytes.extend_from_slice(line),
        }
    }
    let mut receiver = Receiver::<MAX_LINE>::new();
    let mut texts = Vec::new();
    for byte in &bytes {
        texts.extend(receiver.push(*byte).map(<[u8]>::to_vec));
    }
    let lines: Vec<_> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .collect();
    let expected: Vec<_> = lines
        .iter()
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| frame::open(line.strip_suffix(b"\r").unwrap_or(line)))
        .collect();
    assert_eq!(texts, expected);
    // A board begins with a newline, so empty lines are none.
    let is_empty = |line: &&&[u8]| matches!(**line, [] | [b'\r']);
    let empty = lines.iter().filter(is_empty).count();
    assert_eq!(
        receiver.rejected() as usize,
        lines.len() - empty - expected.len()
    );
});
