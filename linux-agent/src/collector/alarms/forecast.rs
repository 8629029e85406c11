//! When a figure reaches a level, at the rate that it has now.
//!
//! The rate is the slope of the straight line that comes closest to the values of the last six hours, each the average
//! of five minutes (least squares). The line starts at the last value, not at its own end, so that the present is as it
//! is.

/// How far back the rate is taken from, in milliseconds.
pub const PAST_MS: i64 = 6 * 3_600_000;

/// In so many averages.
pub const BINS: u32 = 72;

/// The values must reach over this at least, in milliseconds: an hour.
const LEAST_MS: i64 = 3_600_000;

/// The time that is left until `level`, in milliseconds, given (time, value) in order. `None`: it is not known, or the
/// level is never reached.
pub fn time_left(values: &[(i64, f64)], level: f64) -> Option<i64> {
    let ((first, _), (last, value)) = (values.first()?, values.last()?);
    if last - first < LEAST_MS {
        return None;
    }
    if *value >= level {
        return Some(0);
    }
    let count = values.len() as f64;
    let hours = |at: i64| (at - first) as f64 / 3_600_000.0;
    let mean_hours = values.iter().map(|(at, _)| hours(*at)).sum::<f64>() / count;
    let mean = values.iter().map(|(_, value)| value).sum::<f64>() / count;
    let (mut over, mut under) = (0.0, 0.0);
    for (at, value) in values {
        let distance = hours(*at) - mean_hours;
        over += distance * (value - mean);
        under += distance * distance;
    }
    let rate = over / under;
    let left = (level - value) / rate;
    (left.is_finite() && left >= 0.0).then_some((left * 3_600_000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;

    /// Values five minutes apart.
    fn values(count: i64, value: impl Fn(f64) -> f64) -> Vec<(i64, f64)> {
        let at = |n: i64| (1_700_000_000_000 + n * 5 * MIN, value(n as f64 / 12.0));
        (0..count).map(at).collect()
    }

    #[test]
    fn the_rate_of_the_last_hours_goes_on() {
        // Two percent an hour, 60 % after five hours and 55 minutes: 40 % are left.
        let steady = values(72, |hour| 60.0 - 2.0 * (71.0 / 12.0 - hour));
        let left = time_left(&steady, 100.0).unwrap();
        assert!((left - 20 * 60 * MIN).abs() < MIN, "{left}");
        // Up and down around the same line: the rate is nearly the same.
        let noisy = values(72, |hour| {
            60.0 + 2.0 * hour
                + if (hour * 12.0) as i64 % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
        });
        let left = time_left(&noisy, 100.0).unwrap();
        let expected = (100.0 - (60.0 + 2.0 * 71.0 / 12.0 - 1.0)) / 2.0 * 60.0 * MIN as f64;
        assert!(
            (left as f64 - expected).abs() < expected / 50.0,
            "{left} {expected}"
        );
    }

    #[test]
    fn what_does_not_grow_or_is_not_known_for_long_has_no_end() {
        assert_eq!(time_left(&values(72, |_| 50.0), 100.0), None);
        assert_eq!(time_left(&values(72, |hour| 90.0 - hour), 100.0), None);
        assert_eq!(
            time_left(&values(12, |hour| 50.0 + 10.0 * hour), 100.0),
            None
        );
        assert_eq!(time_left(&[], 100.0), None);
        assert_eq!(time_left(&values(72, |_| 100.0), 100.0), Some(0));
        assert_eq!(time_left(&values(72, |_| f64::NAN), 100.0), None);
    }
}
