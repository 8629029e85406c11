//! A packed body of reports. The input is 0 for gzip or 1 for zstd, and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_agent::collector::{Coding, Refusal, unpack};

/// Far more than what is unpacked at once.
const ENOUGH: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((coding, packed)) = input.split_first() else {
        return;
    };
    let coding = match coding {
        0 => Coding::Gzip,
        1 => Coding::Zstd,
        _ => return,
    };
    let mut length = 0;
    let mut has_refused = false;
    let done = unpack(coding, packed, |piece| {
        assert!(!has_refused && !piece.is_empty());
        length += piece.len();
        has_refused = length > ENOUGH;
        match has_refused {
            true => Err(Refusal::bad("enough")),
            false => Ok(()),
        }
    });
    assert!(done.is_err() || !has_refused);
});
