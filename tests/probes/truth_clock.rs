//! What the kernel says of the wall clock, against another program that asks it. A clock that is set is tested on the
//! whole agent (`lifecycle/clock.rs`), since this machine's is left alone.

use std::collections::HashMap;

use crate::bench::Bench;
use crate::tools::{agree, between, output};

#[test]
fn clock_against_busybox() {
    if adjtimex().is_none() {
        return;
    }
    let mut bench = Bench::open("get_clock");
    agree("clock", || {
        let before = adjtimex().unwrap();
        let ours = bench.sample();
        let after = adjtimex().unwrap();
        for (field, name) in [
            ("synchronised", "synchronised"),
            ("offset_us", "offset"),
            ("max_error_us", "maxerror"),
            ("estimated_error_us", "esterror"),
            ("frequency_ppm", "freq.adjust"),
        ] {
            let value = ours[field].as_f64().unwrap();
            // Two decimals of a millionth, and whole numbers of busybox.
            between(field, value, [before[name], after[name]], 0.005)?;
        }
        Ok(())
    });
}

/// What busybox prints, in the units of the probe. It asks, and sets nothing.
fn adjtimex() -> Option<HashMap<&'static str, f64>> {
    let text = output("busybox", "busybox", &["adjtimex"])?;
    let row = |name: &str| {
        let found = text.split_once(&format!("{name}:"));
        let (_, rest) = found.unwrap_or_else(|| panic!("{name} in {text}"));
        rest.lines().next().unwrap_or_default()
    };
    let number = |name: &str| -> f64 {
        let word = row(name).split_whitespace().next().unwrap();
        word.parse().unwrap()
    };
    let per_us = if row("status").contains("NANO") {
        1000.0
    } else {
        1.0
    };
    Some(HashMap::from([
        ("synchronised", f64::from(!row("status").contains("UNSYNC"))),
        ("offset", number("offset") / per_us),
        ("maxerror", number("maxerror")),
        ("esterror", number("esterror")),
        ("freq.adjust", number("freq.adjust") / 65536.0),
    ]))
}
