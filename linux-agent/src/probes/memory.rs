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

use mote_core::{Envelope, Status};
use serde::Serialize;

use super::kit::rate::round2;
use super::kit::scan::Scan;
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, SourceFile};

/// Memory and swap in KiB. The names are the kernel's.
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
    buffers: u64,
    /// Cached pages of files, shared memory included.
    cached: u64,
    /// All swap.
    swap_total: u64,
    /// Free swap.
    swap_free: u64,
    /// Total less free, buffers and cached; 0 if these are more than the total, which they can be
    /// in containers whose files are made up for them.
    mem_usage: u64,
    /// Total less free swap.
    swap_usage: u64,
    /// The share of the total that is `mem_usage`, in percent with two decimals.
    #[serde(rename = "MemUsage_p")]
    mem_usage_p: f64,
    /// The share of all swap that is used, in percent with two decimals; 0 without swap.
    #[serde(rename = "SwapUsage_p")]
    swap_usage_p: f64,
}

/// Reads the seven lines that matter, in any order; no more than them where all are there.
pub fn parse(text: &[u8]) -> Result<MemoryData, Malformed> {
    let [mut total, mut free, mut available, mut buffers, mut cached] = [None; 5];
    let [mut swap_total, mut swap_free] = [None; 2];
    let mut wanted = 7;
    let mut scan = Scan::new(text);
    loop {
        let (place, malformed) = match scan.word() {
            b"MemTotal:" => (&mut total, "MemTotal"),
            b"MemFree:" => (&mut free, "MemFree"),
            b"MemAvailable:" => (&mut available, "MemAvailable"),
            b"Buffers:" => (&mut buffers, "Buffers"),
            b"Cached:" => (&mut cached, "Cached"),
            b"SwapTotal:" => (&mut swap_total, "SwapTotal"),
            b"SwapFree:" => (&mut swap_free, "SwapFree"),
            _ if scan.next_line() => continue,
            _ => break,
        };
        let value = kib(&mut scan).ok_or(Malformed(malformed))?;
        if place.replace(value).is_none() {
            wanted -= 1;
        }
        if wanted == 0 || !scan.next_line() {
            break;
        }
    }
    let mem_total = total.filter(|total| *total > 0);
    let mem_total = mem_total.ok_or(Malformed("MemTotal"))?;
    let mem_free = free.ok_or(Malformed("MemFree"))?;
    let buffers = buffers.ok_or(Malformed("Buffers"))?;
    let cached = cached.ok_or(Malformed("Cached"))?;
    let swap_total = swap_total.ok_or(Malformed("SwapTotal"))?;
    let swap_free = swap_free.ok_or(Malformed("SwapFree"))?;
    let mem_usage = [mem_free, buffers, cached]
        .into_iter()
        .fold(mem_total, u64::saturating_sub);
    let swap_usage = swap_total.saturating_sub(swap_free);
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
        swap_usage,
        mem_usage_p: percent(mem_usage, mem_total),
        swap_usage_p: percent(swap_usage, swap_total),
    })
}

/// A number and its unit. Without the unit it is another number than the one that is meant.
fn kib(scan: &mut Scan<'_>) -> Option<u64> {
    let value = scan.number()?;
    scan.blanks();
    scan.expect(b"kB")?;
    Some(value)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    round2(part as f64 * 100.0 / whole as f64)
}

/// The probe: `/proc/meminfo`, open.
pub(crate) struct Memory(SourceFile);

impl Sample for Memory {
    /// Opens the file.
    fn open(roots: &Roots, _context: &mut Context) -> Result<Self, ProbeError> {
        Ok(Memory(SourceFile::open(roots.procfs.join("meminfo"))?))
    }

    fn report(
        &mut self,
        context: &mut Context,
        envelope: &Envelope<'_>,
        buffer: &mut [u8],
    ) -> Result<usize, ProbeError> {
        Ok(envelope.encode(&self.sample(context)?, buffer)?)
    }
}

impl Memory {
    /// Memory and swap as they are now.
    fn sample(&mut self, context: &mut Context) -> Result<MemoryData, ProbeError> {
        let text = self.0.read_short(&mut context.scratch)?;
        parse(text).map_err(|malformed| self.0.malformed(malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/proc/meminfo");

    #[test]
    fn a_recorded_file() {
        let data = parse(RECORDED).unwrap();
        assert_eq!(data.mem_total, 24_684_084);
        assert_eq!(data.mem_available, Some(24_319_796));
        assert_eq!(data.mem_usage, 188_072);
        assert_eq!(data.mem_usage_p, 0.76);
        assert_eq!((data.swap_usage, data.swap_usage_p), (0, 0.0));
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
        let mut names: Vec<_> = names.split(' ').collect();
        names.sort_unstable();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), names);
    }

    #[test]
    fn swap_in_use_and_no_estimate() {
        let old = b"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n\
                    SwapCached: 7 kB\nSwapTotal: 300 kB\nSwapFree: 200 kB\n";
        let data = parse(old).unwrap();
        assert_eq!((data.mem_usage, data.mem_usage_p), (600, 60.0));
        assert_eq!((data.swap_usage, data.swap_usage_p), (100, 33.33));
        assert_eq!(data.mem_available, None);
    }

    #[test]
    fn more_free_than_total_is_no_usage() {
        let odd = b"MemTotal: 10 kB\nMemFree: 8 kB\nBuffers: 1 kB\nCached: 9 kB\n\
                    SwapTotal: 1 kB\nSwapFree: 2 kB\n";
        let data = parse(odd).unwrap();
        assert_eq!((data.mem_usage, data.mem_usage_p), (0, 0.0));
        assert_eq!((data.swap_usage, data.swap_usage_p), (0, 0.0));
    }

    #[test]
    fn a_cut_file_is_malformed_until_all_is_there() {
        let whole = parse(RECORDED).unwrap();
        let needed = RECORDED.windows(9).position(|part| part == b"SwapFree:");
        let needed = needed.unwrap() + "SwapFree:              0 kB".len();
        for cut in 0..RECORDED.len() {
            let data = parse(&RECORDED[..cut]);
            assert_eq!(data.ok(), (cut >= needed).then_some(whole), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse(b""), Err(Malformed("MemTotal")));
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
