//! A whole node on its line: what it says, and when.

use mote_core::frame::{self, SEAL};
use mote_core::{ClientId, Interval, Status, Uptime};
use mote_firmware::{Board, Context, Failed, Node, Settings};
use serde::Serialize;

use crate::Out;

enum Step {
    /// Time passes to this many milliseconds after reset; the node is woken when it asks for it.
    Until(u64),
    /// A text comes over the line.
    Text(&'static str),
    /// Bytes that are no line.
    Noise(&'static [u8]),
    /// Nothing the node says gets away.
    Down,
    /// The line is there.
    Up,
}
use Step::{Down, Noise, Text, Until, Up};

const SCRIPT: [Step; 29] = [
    // Its own services until there are others; requests that nobody answers.
    Until(9_000),
    Text(r#"{"ack":0}"#),
    Noise(b"{\"ack\":1}*00000000\n\n"),
    Until(9_500),
    // Orders, and some that are refused.
    Text(r#"{"services":{"Count":["get_count",2],"Torn":["get_torn",4],"None":["get_none",1]}}"#),
    Until(13_000),
    Text(r#"{"services":{"Count":["get_count",0]}}"#),
    Text(r#"{"services":{}"#),
    Text(r#"{"services":{"Count":["get_count",2],"Large":["get_large",3]}}"#),
    Until(20_000),
    // An acknowledgement of a later report tells that the earlier ones were lost.
    Text(r#"{"ack":9}"#),
    Until(20_000),
    // More samples than the ring holds.
    Down,
    Text(r#"{"services":{"Fast":["get_count",0.1]}}"#),
    Until(22_000),
    Up,
    Until(22_100),
    Text(r#"{"ack":4294967295}"#),
    Text(r#"{"ack":22}"#),
    Until(23_000),
    // Orders for nothing; what waits goes, since no service names it.
    Text(r#"{"services":{}}"#),
    Until(120_000),
    Text(r#"{"services":{"Slow":["get_count",604800]}}"#),
    Until(132_000),
    Text(r#"{"ack":46}"#),
    // Where 32 bits of milliseconds end.
    Down,
    Until(4_900_000_000),
    Up,
    Until(4_900_000_100),
];

pub fn transcribe(out: &mut Out<'_>) {
    out.text("# node: milliseconds, and the line that it sends then")
        .end();
    let settings = Settings {
        refresh: Interval::MAX,
        ..Settings::of(ClientId::Number(7))
    };
    let services = [("Own", "get_count", 1)];
    let now = Uptime::from_millis(0);
    let mut run = Run {
        node: Node::new(),
        board: Counter { samples: 0 },
        now,
        up: true,
    };
    run.node.start(settings, &services, now);
    for step in &SCRIPT {
        run.step(step, out);
    }
    let statistics = run.node.statistics();
    out.text("dropped ").number(statistics.dropped.into());
    out.text(" missed ").number(statistics.missed.into());
    out.text(" bad lines ").number(statistics.bad_lines.into());
    out.text(" waiting ")
        .number(run.node.waiting() as u64)
        .end();
}

struct Run {
    node: Node<Counter, 4, 23, 8, 128>,
    board: Counter,
    now: Uptime,
    up: bool,
}

impl Run {
    fn step(&mut self, step: &Step, out: &mut Out<'_>) {
        match step {
            Until(ms) => {
                let end = Uptime::from_millis(*ms);
                while self.now < end {
                    self.poll(out);
                    self.now = self.node.poll_at().max(self.now.after_millis(1)).min(end);
                }
                self.poll(out);
            }
            Text(text) => {
                let mut line = [0; 128 + SEAL];
                if let Some(room) = line.get_mut(..text.len()) {
                    room.copy_from_slice(text.as_bytes());
                }
                let length = frame::seal(&mut line, text.len()).unwrap_or(0);
                self.receive(line.get(..length).unwrap_or_default(), out);
            }
            Noise(bytes) => self.receive(bytes, out),
            Down => self.up = false,
            Up => self.up = true,
        }
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        out.text("< ").bytes(bytes.trim_ascii_end()).end();
        self.node.receive(bytes, self.now);
    }

    fn poll(&mut self, out: &mut Out<'_>) {
        self.node.poll(self.now, &mut self.board);
        while self.up
            && let line @ [_, ..] = self.node.outgoing(self.now)
        {
            let length = line.len();
            out.number(self.now.as_millis()).text(" > ").bytes(line);
            self.node.sent(length, self.now);
        }
    }
}

/// A board whose samples are known beforehand.
struct Counter {
    samples: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Plugin {
    Count,
    Large,
    Torn,
}

#[derive(Serialize)]
struct Sample {
    status: Status,
    samples: u32,
    since_start: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'static str,
}

/// Fits no line.
const LARGE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\
    1234567890123456789012345678901234567890123456789012345678901234567890123456789";

impl Board for Counter {
    type Plugin = Plugin;
    type Baseline = u32;
    type Sample = Sample;

    const NO_BASELINE: u32 = 0;

    fn plugin(name: &str) -> Option<Plugin> {
        match name {
            "get_count" => Some(Plugin::Count),
            "get_large" => Some(Plugin::Large),
            "get_torn" => Some(Plugin::Torn),
            _ => None,
        }
    }

    fn start(&mut self, _plugin: Plugin, now: Uptime) -> u32 {
        now.as_millis() as u32
    }

    fn sample(
        &mut self,
        plugin: Plugin,
        baseline: &mut u32,
        context: &Context,
    ) -> Result<Sample, Failed> {
        self.samples += 1;
        let text = match plugin {
            Plugin::Count => "",
            Plugin::Large => LARGE,
            Plugin::Torn => return Err(Failed("the \"wire\" is torn")),
        };
        Ok(Sample {
            status: Status::OK,
            samples: self.samples,
            since_start: (context.now.as_millis() as u32).wrapping_sub(*baseline),
            text,
        })
    }
}
