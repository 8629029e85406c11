//! From counters to rates.

use std::time::Duration;

use super::error::ProbeError;

/// Rounds to two decimals, which is what reports carry.
pub fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The share of `whole` that `part` is, in percent with two decimals; 0 where there is no whole.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    round2(part as f64 * 100.0 / whole as f64)
}

/// How much a counter grew, or `None` if it went backwards: a wrap, a reset or another device.
pub fn grown(now: u64, before: u64) -> Option<u64> {
    now.checked_sub(before)
}

/// A counter's growth per second, two decimals. No rate over no time, and none for a counter that
/// went backwards.
pub fn per_second(now: u64, before: u64, elapsed: Duration) -> Option<f64> {
    per_second_of(now, before, elapsed, 1.0)
}

/// A counter's growth per second for a report that is not made without it. A counter that the kernel
/// does not have has no rate.
pub fn rate(
    now: Option<u64>,
    before: Option<u64>,
    elapsed: Duration,
) -> Result<Option<f64>, ProbeError> {
    let Some(now) = now else { return Ok(None) };
    let rate = before.and_then(|before| per_second(now, before, elapsed));
    rate.map(Some).ok_or(ProbeError::NothingKnown)
}

/// Like [`per_second`], in other units: the counter's is worth `scale` of the rate's.
pub fn per_second_of(now: u64, before: u64, elapsed: Duration, scale: f64) -> Option<f64> {
    let growth = grown(now, before)?;
    if elapsed.is_zero() {
        return None;
    }
    // Most counters stand still most of the time, and rounding is not free.
    if growth == 0 {
        return Some(0.0);
    }
    Some(round2(growth as f64 * scale / elapsed.as_secs_f64()))
}
