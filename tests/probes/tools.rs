//! This machine's own tools, and how their answers are compared with a probe's: never at two instants that are taken
//! for one. A counter is asked before and after both ends of the probe's window, so that what it grew by lies between
//! two numbers; a level is asked before and after, and again until it stood still.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mote_test_support::{DEADLINE, need};
use serde_json::Value;

use crate::bench::Bench;

/// Counters by name, for instance `lo rx bytes`.
pub type Counters = BTreeMap<String, f64>;

/// What a tool prints; `None` if it is missing and the test is skipped.
pub fn output(package: &str, tool: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool);
    command.args(arguments).env("LC_ALL", "C");
    let found = match command.stdin(Stdio::null()).output() {
        // df fails if it may not ask one of many file systems, and says the rest.
        Ok(output) if output.status.success() || tool == "df" => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => panic!("{tool}: {output:?}"),
        Err(cause) => Err(format!("{tool}: {cause}; apt-get install {package}")),
    };
    need(tool, found)
}

/// A sample of a probe, and what a tool's counters grew by in its window.
pub struct Watched {
    /// The data of the report.
    pub data: Value,
    /// What the probe's rates are over.
    pub window: Duration,
    /// The tool's answers before and after the probe took its baseline, and before and after the sample.
    answers: [Counters; 4],
}

impl Watched {
    /// Watches `work`; `None` if `tool` is missing and the test is skipped.
    pub fn new(
        probe: &str,
        tool: impl Fn() -> Option<Counters>,
        work: impl FnOnce(),
    ) -> Option<Watched> {
        let first = tool()?;
        let mut bench = Bench::open(probe);
        let second = tool()?;
        work();
        let third = tool()?;
        let (data, window) = bench.sample_over();
        let fourth = tool()?;
        Some(Watched {
            data,
            window,
            answers: [first, second, third, fourth],
        })
    }

    /// What a counter grew by, at least and at most; `None` if it was not there all the time.
    pub fn growth(&self, counter: &str) -> Option<RangeInclusive<f64>> {
        let [first, second, third, fourth] = self.answers.each_ref().map(|it| it.get(counter));
        Some(third? - second?..=fourth? - first?)
    }

    /// Whether the tool knew a counter at any time.
    pub fn knows(&self, counter: &str) -> bool {
        self.answers.iter().any(|it| it.contains_key(counter))
    }

    /// Fails the test if a rate, which has two decimals, is not that of the counter, which is cut to whole numbers.
    pub fn assert_rate(&self, what: &str, per_second: f64, counter: &str) {
        let Some(growth) = self.growth(counter) else {
            return;
        };
        let grown = per_second * self.window.as_secs_f64();
        let rounding = 0.005 * self.window.as_secs_f64() + 1.0;
        let range = growth.start() - rounding..=growth.end() + rounding;
        assert!(
            range.contains(&grown),
            "{what}: {grown}, {counter}: {range:?}"
        );
    }
}

/// Compares levels until they agree, which they do once nothing moves while they are asked for.
pub fn agree(what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
    let started = Instant::now();
    while let Err(difference) = attempt() {
        assert!(started.elapsed() < DEADLINE, "{what}: {difference}");
    }
}

/// `Ok` if a value lies between two answers of a tool, give or take `tolerance`.
pub fn between(name: &str, value: f64, answers: [f64; 2], tolerance: f64) -> Result<(), String> {
    let [before, after] = answers;
    let range = before.min(after) - tolerance..=before.max(after) + tolerance;
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{name}: {value}, the tool: {before}, then {after}")),
    }
}

/// A line past the test harness, which keeps what a passing test prints to itself.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
