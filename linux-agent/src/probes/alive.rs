//! `host_alive_check`: the host is up, and for how long, from `/proc/uptime` (proc_uptime(5)):
//!
//! ```text
//! 1073.34 1876.79
//! ```
//!
//! Seconds since boot, sleep included, and seconds that CPUs were idle, summed over all of them.

use mote_core::Status;
use serde::Serialize;

use super::kit::scan::Scan;
use super::kit::{FromFile, Malformed};

/// The host is up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AliveData {
    /// Always [`Status::OK`].
    status: Status,
    /// Seconds since boot.
    uptime: f64,
}

impl FromFile for AliveData {
    const FILE: &'static str = "uptime";
    const PARSE: fn(&[u8]) -> Result<Self, Malformed> = parse;
}

/// Reads the one line of the file.
pub fn parse(text: &[u8]) -> Result<AliveData, Malformed> {
    let uptime = Scan::new(text).decimal().ok_or(Malformed("uptime"))?;
    Ok(AliveData {
        status: Status::OK,
        uptime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/uptime");

    #[test]
    fn a_recorded_line() {
        assert_eq!(parse(RECORDED).unwrap().uptime, 1073.34);
    }

    #[test]
    fn a_cut_number_is_malformed() {
        for cut in 0..="1073.34".len() {
            assert!(parse(&RECORDED[..cut]).is_err(), "cut at {cut}");
        }
        assert!(parse(b"1073 1876\n").is_err());
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
            let _ = parse(&text);
            let _ = parse(&[&RECORDED[..cut], &text].concat());
        }
    }
}
