//! Lengths of time as people write them: `90s`, `5m`, `2h`, `1d`.

use std::ops::RangeInclusive;
use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// The length that `text` says. The error is what it must be.
pub fn parse(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let length = number.parse::<u64>().ok().zip(unit);
    let length = length.and_then(|(number, (_, seconds))| number.checked_mul(*seconds));
    let length = length.map(Duration::from_secs);
    length.filter(|it| range.contains(it)).ok_or_else(|| {
        format!(
            "must be a length of time such as \"30s\", \"5m\", \"2h\" or \"1d\", within {} to {}",
            write(*range.start()),
            write(*range.end())
        )
    })
}

/// As [`parse`] reads it, in the largest unit that is exact.
pub fn write(length: Duration) -> String {
    let seconds = length.as_secs();
    let mut units = UNITS.iter().rev();
    let unit = units.find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(&("s", 1));
    format!("{}{name}", seconds / unit)
}

/// For people: `40 s`, `12 min`, `3 h 5 min`.
pub fn in_words(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if seconds < 600 && seconds % 60 > 0 => {
            format!("{minutes} min {} s", seconds % 60)
        }
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn a_length_has_a_number_and_a_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("5m", 300),
            ("2 h", 7200),
            ("1d", 86_400),
        ] {
            let length = Duration::from_secs(seconds);
            assert_eq!(parse(text, ANY), Ok(length), "{text}");
            assert_eq!(parse(&write(length), ANY), Ok(length), "{text}");
        }
        for text in [
            "",
            "5",
            "h",
            "-1s",
            "1.5h",
            "5 min",
            "1h30m",
            "1H",
            "9999999999999999999d",
        ] {
            assert!(parse(text, ANY).is_err(), "{text}");
        }
        let hour = Duration::from_secs(1)..=Duration::from_secs(3600);
        let rule =
            "must be a length of time such as \"30s\", \"5m\", \"2h\" or \"1d\", within 1s to 1h";
        assert_eq!(parse("2h", hour), Err(rule.to_owned()));
    }

    #[test]
    fn people_read_two_units_at_most() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (661, "11 min"),
            (3600, "1 h"),
            (3700, "1 h 1 min"),
            (86_400, "1 d"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(in_words(seconds * 1000), words);
        }
        assert_eq!(in_words(-5), "0 s");
    }
}
