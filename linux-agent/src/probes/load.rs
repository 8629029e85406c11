//! `get_linux_load`: how many tasks want to run, from `/proc/loadavg` (proc_loadavg(5)):
//!
//! ```text
//! 0.12 0.33 0.19 2/91 6899
//! ```
//!
//! Averages over 1, 5 and 15 minutes, running/all tasks, and the process id given out last.

use mote_core::Status;
use serde::Serialize;

use super::kit::scan::Scan;
use super::kit::{FromFile, Malformed};

/// Tasks that run, wait for a CPU or sleep uninterruptibly. A task is a thread, of the kernel too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LoadData {
    /// Always [`Status::OK`].
    status: Status,
    /// Their average number over the last minute.
    load1: f64,
    /// Over the last 5 minutes.
    load5: f64,
    /// Over the last 15 minutes.
    load15: f64,
    /// Tasks that run or wait for a CPU right now, the reading one included.
    running: u64,
    /// All tasks.
    total: u64,
}

impl FromFile for LoadData {
    const FILE: &'static str = "loadavg";
    const PARSE: fn(&[u8]) -> Result<Self, Malformed> = parse;
}

/// Reads the one line of the file.
pub fn parse(text: &[u8]) -> Result<LoadData, Malformed> {
    let mut scan = Scan::new(text);
    let mut line = || {
        Some(LoadData {
            status: Status::OK,
            load1: scan.decimal()?,
            load5: scan.decimal()?,
            load15: scan.decimal()?,
            running: {
                scan.blanks();
                scan.digits()?
            },
            total: {
                scan.expect(b"/")?;
                scan.number()?
            },
        })
    };
    line().ok_or(Malformed("line of load averages"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/loadavg");

    #[test]
    fn a_recorded_line() {
        let data = parse(RECORDED).unwrap();
        assert_eq!((data.load1, data.load5, data.load15), (0.12, 0.33, 0.19));
        assert_eq!((data.running, data.total), (2, 91));
    }

    #[test]
    fn a_cut_line_is_malformed_until_all_is_there() {
        let needed = RECORDED.len() - " 6899\n".len();
        for cut in 0..=needed {
            assert!(parse(&RECORDED[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(parse(&RECORDED[..=needed]), parse(RECORDED));
        assert!(parse(b"0.12 0.33 0.19 2 91 6899\n").is_err());
        assert!(parse(b"-0.12 0.33 0.19 2/91 6899\n").is_err());
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
            let _ = parse(&text);
            let _ = parse(&[&RECORDED[..cut], &text].concat());
        }
    }
}
