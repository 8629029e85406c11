//! Instants and lengths of time, as people write and read them, in this system's zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ZonedDateTime};

/// What an instant may look like.
pub const FORMS: &str = "8h (ago; s, min, h, d, w), 22:00 (the last one), 2026-11-25, \"2026-11-25 22:00\", with an \
                         offset or Z behind it, or @SECONDS since 1970-01-01 00:00 UTC";

/// The length of each unit, in seconds.
const UNITS: [(&str, f64); 7] = [
    ("s", 1.0),
    ("min", 60.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
    ("y", 31_557_600.0),
];

/// Seconds since 1970-01-01 00:00 UTC that `text` means now.
pub fn parse(text: &str) -> Result<f64, String> {
    parse_at(text, &ZonedDateTime::now())
}

fn parse_at(text: &str, now: &ZonedDateTime) -> Result<f64, String> {
    let text = text.trim();
    let seconds = |it: Timestamp| it.as_millisecond() as f64 / 1000.0;
    let zone = now.time_zone();
    let zoned = |it: DateTime| {
        it.to_zoned_datetime(zone.clone())
            .map(|it| it.timestamp())
            .ok()
    };
    // The second one of an hour that comes twice.
    let second = |it: DateTime| {
        let it = zone.to_ambiguous_timestamp(it);
        matches!(it.offset(), AmbiguousOffset::Fold { .. }).then(|| it.later().ok())?
    };
    if let Some(number) = text.strip_prefix('@') {
        return number
            .parse()
            .ok()
            .filter(|it: &f64| it.is_finite())
            .ok_or_else(unknown);
    }
    if let Some(length) = length(text.strip_prefix('-').unwrap_or(text)) {
        return Ok(seconds(now.timestamp()) - length);
    }
    let found = if text == "now" {
        Some(now.timestamp())
    } else if let Ok(instant) = text.parse::<Timestamp>() {
        Some(instant)
    } else if text.contains('-') {
        let date_time = text.parse::<DateTime>().ok();
        let day = || {
            text.parse::<Date>()
                .map(|it| it.to_datetime(Time::midnight()))
                .ok()
        };
        date_time.or_else(day).and_then(zoned)
    } else {
        let time = text.parse::<Time>().ok();
        let days = [Some(now.date()), now.date().yesterday().ok()];
        let times = days.into_iter().flatten().zip([time, time]);
        let times = times.filter_map(|(day, time)| Some(day.to_datetime(time?)));
        let mut instants = times.flat_map(|it| [second(it), zoned(it)]).flatten();
        instants.find(|it| *it <= now.timestamp())
    };
    found.map(seconds).ok_or_else(unknown)
}

fn unknown() -> String {
    format!("an instant is one of: {FORMS}")
}

/// The seconds of a length such as `90s`, `15min`, `2h`, `7d`.
pub fn length(text: &str) -> Option<f64> {
    let digits = text.find(|it: char| !it.is_ascii_digit() && it != '.')?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let number: f64 = number.parse().ok()?;
    Some(number * seconds).filter(|it| it.is_finite())
}

/// Day and time in this system's zone, with the offset where an hour comes twice.
pub fn written(seconds: f64) -> String {
    written_in(seconds, TimeZone::system())
}

fn written_in(seconds: f64, zone: TimeZone) -> String {
    match Timestamp::from_millisecond((seconds * 1000.0) as i64) {
        Ok(instant) => {
            let zoned = instant.to_zoned_datetime(zone);
            let ambiguous = zoned.time_zone().to_ambiguous_timestamp(zoned.datetime());
            let form = match ambiguous.offset() {
                AmbiguousOffset::Fold { .. } => "%Y-%m-%d %H:%M:%S%:z",
                _ => "%Y-%m-%d %H:%M:%S",
            };
            zoned.strftime(form).to_string()
        }
        Err(_) => format!("@{seconds}"),
    }
}

/// The name of this system's zone; of one without a name, the offset that it has now.
pub fn zone() -> String {
    let now = ZonedDateTime::now();
    let name = now.time_zone().iana_name().map(str::to_owned);
    name.unwrap_or_else(|| now.strftime("this system's zone, now %:z").to_string())
}

/// In the form of RFC 3339, for programs.
pub fn utc(seconds: f64) -> String {
    match Timestamp::from_millisecond((seconds * 1000.0) as i64) {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("@{seconds}"),
    }
}

/// A length of time in two units at most: `40 s`, `3 h 5 min`, `12 d`.
pub fn lasting(seconds: f64) -> String {
    const NAMES: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let whole = seconds.max(0.0).round() as u64;
    let Some(index) = NAMES.iter().position(|(_, length)| whole >= *length) else {
        return "0 s".to_owned();
    };
    let mut text = String::new();
    let mut rest = whole;
    for (name, length) in NAMES.iter().skip(index).take(2) {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            let space = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}{count} {name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(text: &str) -> ZonedDateTime {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        text.parse::<DateTime>()
            .unwrap()
            .to_zoned_datetime(zone)
            .unwrap()
    }

    fn means(text: &str, now: &str) -> String {
        let seconds = parse_at(text, &berlin(now)).unwrap();
        utc(seconds)
    }

    #[test]
    fn an_instant_is_written_in_several_ways() {
        let now = "2026-11-26 15:00";
        for (text, instant) in [
            ("now", "2026-11-26T14:00:00Z"),
            ("8h", "2026-11-26T06:00:00Z"),
            ("-90 min", "2026-11-26T12:30:00Z"),
            ("1.5d", "2026-11-25T02:00:00Z"),
            ("2w", "2026-11-12T14:00:00Z"),
            ("14:59", "2026-11-26T13:59:00Z"),
            ("22:00", "2026-11-25T21:00:00Z"),
            ("2026-11-25", "2026-11-24T23:00:00Z"),
            ("2026-07-01 22:00", "2026-07-01T20:00:00Z"),
            ("2026-11-25T22:00:01+00:00", "2026-11-25T22:00:01Z"),
            ("@0", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(means(text, now), instant, "{text}");
        }
        for wrong in [
            "",
            "8",
            "8 x",
            "25:00",
            "2026-13-01",
            "@",
            "@nan",
            "yesterday",
        ] {
            let error = parse_at(wrong, &berlin(now)).unwrap_err();
            assert!(error.contains("22:00"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_hour_that_a_night_lacks_or_has_twice_is_an_instant_too() {
        // On 2026-03-29 the clock goes from 02:00 to 03:00, on 2026-10-25 from 03:00 back to 02:00.
        assert_eq!(
            means("2026-03-29 02:30", "2026-11-26 15:00"),
            "2026-03-29T01:30:00Z"
        );
        let zone = berlin("2026-11-26 15:00").time_zone().clone();
        for (seconds, text) in [
            (1_792_886_399.0, "2026-10-25 01:59:59"),
            (1_792_888_200.0, "2026-10-25 02:30:00+02:00"),
            (1_792_891_800.0, "2026-10-25 02:30:00+01:00"),
            (1_792_893_600.0, "2026-10-25 03:00:00"),
            (1_774_746_000.0, "2026-03-29 03:00:00"),
        ] {
            assert_eq!(written_in(seconds, zone.clone()), text);
            // What is written means the same when it is read.
            assert_eq!(parse_at(text, &berlin("2026-11-26 15:00")), Ok(seconds));
        }
        // The last one of both, and of those that have been.
        assert_eq!(means("02:30", "2026-10-25 12:00"), "2026-10-25T01:30:00Z");
        let first = |minute: i64| {
            let now = Timestamp::from_second(1_792_886_400 + 60 * minute).unwrap();
            utc(parse_at("02:30", &now.to_zoned_datetime(zone.clone())).unwrap())
        };
        assert_eq!(first(29), "2026-10-24T00:30:00Z");
        assert_eq!(first(31), "2026-10-25T00:30:00Z");
        assert_eq!(first(89), "2026-10-25T00:30:00Z");
        assert_eq!(first(90), "2026-10-25T01:30:00Z");
        // In spring there is none that day; it is what the clock shows half an hour after 02:00.
        assert_eq!(means("02:30", "2026-03-29 03:10"), "2026-03-28T01:30:00Z");
        assert_eq!(means("02:30", "2026-03-29 12:00"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (40.0, "40 s"),
            (125.0, "2 min 5 s"),
            (11_100.0, "3 h 5 min"),
            (12.0 * 86_400.0 + 5.0, "12 d"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
    }
}
