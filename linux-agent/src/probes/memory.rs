//! `get_memory_info`: memory and swap, from `/proc/meminfo` (proc_meminfo(5)); its `kB` are KiB:
//!
//! ```text
//! MemTotal:       24684084 kB
//! MemFree:        24121620 kB
//! MemAvailable:   24319796 kB
//! Buffers:            3176 kB
//! Cached:           371216 kB
//! SwapTotal:             0 kB
//! SwapFree:              0 kB
//! ```

use mote_core::Status;
use serde::Serialize;

use super::kit::rate::percent;
use super::kit::scan::Scan;
use super::kit::{FromFile, Malformed};

/// Memory and swap in KiB. The names are the kernel's; rows that it does not have (of containers, and
/// of old kernels) are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemoryData {
    /// Always [`Status::OK`].
    #[serde(rename = "status")]
    status: Status,
    /// All memory the kernel can use.
    mem_total: u64,
    /// Used for nothing.
    mem_free: u64,
    /// What programs could get without swapping, as the kernel estimates it. Kernels before 3.14
    /// do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_available: Option<u64>,
    /// Cached blocks of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    buffers: Option<u64>,
    /// Cached pages of files, shared memory included.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<u64>,
    /// All swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_total: Option<u64>,
    /// Free swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_free: Option<u64>,
    /// Total less free, buffers and cached, as far as the file has them; 0 if these are more than the
    /// total, which they can be in containers whose files are made up for them.
    mem_usage: u64,
    /// Total less free swap; left out where one of them is.
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_usage: Option<u64>,
    /// The share of the total that is `mem_usage`, in percent with two decimals.
    #[serde(rename = "MemUsage_p")]
    mem_usage_p: f64,
    /// The share of all swap that is used, in percent with two decimals; 0 without swap, left out
    /// where that is not known.
    #[serde(rename = "SwapUsage_p", skip_serializing_if = "Option::is_none")]
    swap_usage_p: Option<f64>,
}

impl FromFile for MemoryData {
    const FILE: &'static str = "meminfo";
    const PARSE: fn(&[u8]) -> Result<Self, Malformed> = parse;
}

/// Reads the seven lines that matter, in any order, and stops once it has them all. Only the first two are
/// required. A text that lacks some must end with a whole line.
pub fn parse(text: &[u8]) -> Result<MemoryData, Malformed> {
    let [mut total, mut free, mut available, mut buffers, mut cached] = [None; 5];
    let [mut swap_total, mut swap_free] = [None; 2];
    let mut wanted = 7;
    let mut scan = Scan::new(text);
    loop {
        let place = match scan.word() {
            b"MemTotal:" => &mut total,
            b"MemFree:" => &mut free,
            b"MemAvailable:" => &mut available,
            b"Buffers:" => &mut buffers,
            b"Cached:" => &mut cached,
            b"SwapTotal:" => &mut swap_total,
            b"SwapFree:" => &mut swap_free,
            _ if scan.next_line() => continue,
            _ => break,
        };
        if let Some(value) = kib(&mut scan)
            && place.replace(value).is_none()
        {
            wanted -= 1;
        }
        if wanted == 0 || !scan.next_line() {
            break;
        }
    }
    if wanted > 0 && !text.ends_with(b"\n") {
        return Err(Malformed("newline at its end"));
    }
    let mem_total = total.filter(|total| *total > 0);
    let mem_total = mem_total.ok_or(Malformed("MemTotal"))?;
    let mem_free = free.ok_or(Malformed("MemFree"))?;
    let mem_usage = [Some(mem_free), buffers, cached]
        .into_iter()
        .flatten()
        .fold(mem_total, u64::saturating_sub);
    let swap = swap_total.zip(swap_free);
    let swap = swap.map(|(total, free)| (total, total.saturating_sub(free)));
    Ok(MemoryData {
        status: Status::OK,
        mem_total,
        mem_free,
        mem_available: available,
        buffers,
        cached,
        swap_total,
        swap_free,
        mem_usage,
        swap_usage: swap.map(|(_, used)| used),
        mem_usage_p: percent(mem_usage, mem_total),
        swap_usage_p: swap.map(|(total, used)| percent(used, total)),
    })
}

/// A number and its unit. Without the unit the number was cut.
fn kib(scan: &mut Scan<'_>) -> Option<u64> {
    let value = scan.number()?;
    scan.blanks();
    scan.expect(b"kB")?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/meminfo");

    #[test]
    fn a_recorded_file() {
        let data = parse(RECORDED).unwrap();
        assert_eq!(data.mem_total, 24_684_084);
        assert_eq!(data.mem_available, Some(24_319_796));
        assert_eq!(data.mem_usage, 188_072);
        assert_eq!(data.mem_usage_p, 0.76);
        assert_eq!((data.swap_usage, data.swap_usage_p), (Some(0), Some(0.0)));
    }

    #[test]
    fn the_names_are_the_kernels() {
        let json = serde_json::to_value(parse(RECORDED).unwrap()).unwrap();
        for line in RECORDED.split(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap();
            let Some((name, value)) = text.split_once(':') else {
                continue;
            };
            if let Some(field) = json.get(name) {
                assert_eq!(format!("{field} kB"), value.trim());
            }
        }
        let names = "status MemTotal MemFree MemAvailable Buffers Cached SwapTotal SwapFree \
                     MemUsage SwapUsage MemUsage_p SwapUsage_p";
        let names: BTreeSet<_> = names.split(' ').collect();
        let found = json.as_object().unwrap().keys().map(String::as_str);
        assert_eq!(found.collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn swap_in_use_and_no_estimate() {
        let old = b"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n\
                    SwapCached: 7 kB\nSwapTotal: 300 kB\nSwapFree: 200 kB\n";
        let data = parse(old).unwrap();
        assert_eq!((data.mem_usage, data.mem_usage_p), (600, 60.0));
        assert_eq!(
            (data.swap_usage, data.swap_usage_p),
            (Some(100), Some(33.33))
        );
        assert_eq!(data.mem_available, None);
    }

    #[test]
    fn more_free_than_total_is_no_usage() {
        let odd = b"MemTotal: 10 kB\nMemFree: 8 kB\nBuffers: 1 kB\nCached: 9 kB\n\
                    SwapTotal: 1 kB\nSwapFree: 2 kB\n";
        let data = parse(odd).unwrap();
        assert_eq!((data.mem_usage, data.mem_usage_p), (0, 0.0));
        assert_eq!((data.swap_usage, data.swap_usage_p), (Some(0), Some(0.0)));
    }

    #[test]
    fn a_cut_file_is_malformed_but_between_two_lines() {
        let whole = parse(RECORDED).unwrap();
        let needed = RECORDED.windows(9).position(|part| part == b"SwapFree:");
        let needed = needed.unwrap() + "SwapFree:              0 kB".len();
        for cut in 0..RECORDED.len() {
            let data = parse(&RECORDED[..cut]);
            if cut >= needed {
                assert_eq!(data, Ok(whole), "cut at {cut}");
            } else if cut == 0 || RECORDED[cut - 1] != b'\n' {
                assert!(data.is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn rows_that_a_kernel_lacks_are_left_out() {
        let rows = [
            "MemTotal: 1000 kB\n",
            "MemFree: 100 kB\n",
            "MemAvailable: 300 kB\n",
            "Buffers: 50 kB\n",
            "Cached: 250 kB\n",
            "SwapTotal: 300 kB\n",
            "SwapFree: 200 kB\n",
        ];
        let json = |text: &str| serde_json::to_value(parse(text.as_bytes()).unwrap()).unwrap();
        let whole = json(&rows.concat());
        for (row, usage, gone) in [
            (2, 600, &["MemAvailable"][..]),
            (3, 650, &["Buffers"]),
            (4, 850, &["Cached"]),
            (5, 600, &["SwapTotal", "SwapUsage", "SwapUsage_p"]),
            (6, 600, &["SwapFree", "SwapUsage", "SwapUsage_p"]),
        ] {
            let mut expected = whole.clone();
            expected["MemUsage"] = usage.into();
            expected["MemUsage_p"] = (f64::from(usage) / 10.0).into();
            for name in gone {
                expected.as_object_mut().unwrap().remove(*name);
            }
            let mut fewer = rows.to_vec();
            fewer.remove(row);
            assert_eq!(json(&fewer.concat()), expected, "without row {row}");
        }
        let odd = json(&rows.concat().replace("50 kB", "many kB"));
        assert_eq!(
            (&odd["Buffers"], &odd["Cached"]),
            (&Value::Null, &Value::Null)
        );
        let least = json(&rows[..2].concat());
        let expected = serde_json::json!({
            "status": 0, "MemTotal": 1000, "MemFree": 100, "MemUsage": 900, "MemUsage_p": 90.0
        });
        assert_eq!(least, expected);
        for row in 0..2 {
            let mut fewer = rows.to_vec();
            fewer.remove(row);
            assert!(
                parse(fewer.concat().as_bytes()).is_err(),
                "without row {row}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse(b"\n"), Err(Malformed("MemTotal")));
        assert_eq!(parse(b""), Err(Malformed("newline at its end")));
        assert_eq!(parse(b"MemTotal: 0 kB\n"), Err(Malformed("MemTotal")));
        assert_eq!(
            parse(b"MemTotal: 1 kB\nMemFree: x kB\n"),
            Err(Malformed("MemFree"))
        );
        assert_eq!(
            parse(b"MemTotal: 1 kB\nMemFree: 1 MB\n"),
            Err(Malformed("MemFree"))
        );
    }

    proptest! {
        #[test]
        fn junk_never_panics(text: Vec<u8>, cut in 0..RECORDED.len()) {
            let _ = parse(&text);
            let _ = parse(&[&RECORDED[..cut], &text].concat());
        }
    }
}
