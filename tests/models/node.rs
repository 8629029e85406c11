//! A board's node at one end of a simulated serial line, a gateway that is written anew here at the other.

use std::collections::{BTreeMap, BTreeSet};

use mote_firmware::mote_core::frame::{Receiver, SEAL, seal};
use mote_firmware::{Board, ClientId, Context, Failed, MAX_LINE, Node, Settings, Status, Uptime};
use serde::Serialize;
use serde_json::{Value, json};

/// Samples are numbered, so that a report shows which one it is.
#[derive(Default)]
struct Counter {
    samples: u32,
    fed: u32,
    /// Bytes of padding in a sample of `padded`, and 60.
    padding: usize,
}

const PADDING: &str = "0123456789012345678901234567890123456789012345678901234567890123456789\
    01234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[derive(Clone, Copy, PartialEq)]
enum Plugin {
    Count,
    Fail,
    Huge,
    Padded,
}

#[derive(Serialize)]
struct Sample {
    status: Status,
    sample: u32,
    padding: &'static str,
}

impl Board for Counter {
    type Plugin = Plugin;
    type Baseline = ();
    type Sample = Sample;

    const NO_BASELINE: () = ();

    fn plugin(name: &str) -> Option<Plugin> {
        match name {
            "count" => Some(Plugin::Count),
            "fail" => Some(Plugin::Fail),
            "huge" => Some(Plugin::Huge),
            "padded" => Some(Plugin::Padded),
            _ => None,
        }
    }

    fn start(&mut self, _: Plugin, _: Uptime) {}

    fn sample(&mut self, plugin: Plugin, _: &mut (), _: &Context) -> Result<Sample, Failed> {
        self.samples += 1;
        let padding = match plugin {
            Plugin::Count => "",
            Plugin::Fail => return Err(Failed("the sensor does not answer")),
            Plugin::Huge => PADDING,
            Plugin::Padded => &PADDING[..60 + self.padding],
        };
        Ok(Sample {
            status: Status::OK,
            sample: self.samples,
            padding,
        })
    }

    fn feed(&mut self) {
        self.fed += 1;
    }
}

/// A node, its board and their time.
struct Bench {
    node: Node<Counter>,
    board: Counter,
    now_ms: u64,
}

impl Bench {
    fn new(services: &[(&str, &str, u32)]) -> Self {
        let mut bench = Bench {
            node: Node::new(),
            board: Counter::default(),
            now_ms: 0,
        };
        let settings = Settings {
            first_sample_spread_ms: 0,
            ..Settings::of(ClientId::Number(7))
        };
        bench.node.start(settings, services, bench.now());
        bench
    }

    fn now(&self) -> Uptime {
        Uptime::from_millis(self.now_ms)
    }

    fn poll(&mut self) {
        let now = self.now();
        self.node.poll(now, &mut self.board);
    }

    /// Sends `text` down.
    fn tell(&mut self, text: &str) {
        let now = self.now();
        self.node.receive(&line(text), now);
    }

    /// All lines that the node has to send now, unsealed.
    fn lines(&mut self) -> Vec<Value> {
        let now = self.now();
        let mut gateway = Receiver::<1024>::new();
        let mut lines = Vec::new();
        loop {
            let byte = match self.node.outgoing(now) {
                [] => return lines,
                [byte, ..] => *byte,
            };
            self.node.sent(1, now);
            lines.extend(gateway.push(byte).map(parsed));
        }
    }

    /// Lets time pass until `until_ms`, and gives what is sent with its time.
    fn run(&mut self, until_ms: u64) -> Vec<(u64, Value)> {
        let mut sent = Vec::new();
        loop {
            self.poll();
            let lines = self.lines();
            sent.extend(lines.into_iter().map(|line| (self.now_ms, line)));
            let next_ms = self.node.poll_at().as_millis();
            if next_ms > until_ms {
                self.now_ms = until_ms;
                return sent;
            }
            assert!(
                next_ms > self.now_ms,
                "the node does not get on at {next_ms}"
            );
            self.now_ms = next_ms;
        }
    }
}

fn line(text: &str) -> Vec<u8> {
    let mut buffer = [text.as_bytes(), &[0; SEAL]].concat();
    seal(&mut buffer, text.len()).unwrap();
    buffer
}

fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

/// The numbers of those lines that are reports.
fn seqs<'a>(lines: impl IntoIterator<Item = &'a (u64, Value)>) -> Vec<u64> {
    let reports = lines
        .into_iter()
        .filter_map(|(_, line)| line["seq"].as_u64());
    reports.collect()
}

#[test]
fn orders_are_asked_for_until_they_come() {
    let mut bench = Bench::new(&[("Default", "count", 60)]);
    assert_eq!(
        bench.run(0),
        [(0, json!({"client_id": 7, "get": "services", "uptime": 0}))]
    );
    let asks: Vec<u64> = bench
        .run(120_000)
        .iter()
        .filter(|(_, line)| line["get"] == "services")
        .map(|(at, line)| {
            assert_eq!(line["uptime"], at / 1000);
            *at
        })
        .collect();
    // An answer may take five seconds; then the delay doubles from one second on.
    assert!(
        asks.len() >= 5 && asks[0] >= 5500 && asks[0] <= 6000,
        "{asks:?}"
    );
    for pair in asks.windows(2).skip(1) {
        assert!(pair[1] - pair[0] > 6000, "{asks:?}");
    }

    bench.tell(r#"{"services":{"A":["count",2]}}"#);
    let mut regular = vec![];
    while regular.len() < 10 {
        for (at, line) in bench.run(bench.now_ms + 1000) {
            if line["get"] == "services" {
                regular.push(at);
                bench.tell(r#"{"services":{"A":["count",2]}}"#);
            }
        }
    }
    let steady = |pair: &[u64]| (299_000..=301_000).contains(&(pair[1] - pair[0]));
    assert!(regular.windows(2).all(steady), "{regular:?}");
}

#[test]
fn a_new_document_changes_the_rhythm() {
    let mut bench = Bench::new(&[("A", "count", 10), ("B", "count", 10)]);
    let uptimes = |lines: &[(u64, Value)], name: &str| -> Vec<u64> {
        let of_service = lines
            .iter()
            .filter(|(_, line)| line["service_name"] == name);
        of_service
            .filter_map(|(_, line)| line["uptime"].as_u64())
            .collect()
    };
    let lines = bench.run(0);
    assert_eq!(lines.len(), 1);
    let mut lines = vec![];
    for second in 1..=30 {
        lines.extend(bench.run(second * 1000));
        acknowledge_all(&mut bench, &lines);
    }
    assert_eq!(uptimes(&lines, "A"), [1, 11, 21]);
    bench.tell(r#"{"services":{"A":["count",3],"B":["count",10.0],"C":["count",0.5]}}"#);
    let mut lines = vec![];
    for second in 31..=36 {
        lines.extend(bench.run(second * 1000));
        acknowledge_all(&mut bench, &lines);
    }
    assert_eq!(uptimes(&lines, "A"), [31, 34]);
    assert_eq!(uptimes(&lines, "B"), [31]);
    assert_eq!(uptimes(&lines, "C").len(), 12);
}

fn acknowledge_all(bench: &mut Bench, lines: &[(u64, Value)]) {
    for seq in seqs(lines) {
        bench.tell(&format!(r#"{{"ack":{seq}}}"#));
    }
}

#[test]
fn a_bad_document_changes_nothing_and_is_told_once() {
    let mut bench = Bench::new(&[("A", "count", 10)]);
    bench.run(0);
    for (document, refusal) in [
        (
            r#"{"services":{"A":["count",0.01]}}"#,
            json!({"client_id": 7, "refused": "interval", "service": "A"}),
        ),
        (
            r#"{"services":{"A":["count",1],"A":["count",1]}}"#,
            json!({"client_id": 7, "refused": "duplicate", "service": "A"}),
        ),
        (
            r#"{"services":{"a":["count",1],"b":["count",1],"c":["count",1],"d":["count",1],"e":["count",1],
                "f":["count",1],"g":["count",1],"h":["count",1],"i":["count",1]}}"#,
            json!({"client_id": 7, "refused": "too-many", "service": "i"}),
        ),
        (
            r#"{"services":{"A":["count",1]},"services":{}}"#,
            json!({"client_id": 7, "refused": "two-services"}),
        ),
    ] {
        // The text above is folded.
        bench.tell(&document.replace('\n', ""));
        assert_eq!(bench.lines(), [refusal]);
        assert_eq!(bench.lines(), [Value::Null; 0]);
    }
    let lines = bench.run(25_000);
    let fresh = lines.iter().filter(|(_, line)| line["age"].is_null());
    let uptimes: Vec<_> = fresh
        .filter_map(|(_, line)| line["seq"].as_u64().and(line["uptime"].as_u64()))
        .collect();
    assert_eq!(uptimes, [1, 11, 21]);
}

#[test]
fn a_board_that_hears_itself_goes_on() {
    let mut bench = Bench::new(&[("A", "count", 1)]);
    let mut reports = 0;
    for tenth in 0..600 {
        bench.now_ms = tenth * 100;
        bench.poll();
        for line in bench.lines() {
            assert!(line["refused"].is_null(), "{line}");
            reports += u32::from(line["seq"].is_u64());
            bench.tell(&line.to_string());
        }
    }
    assert!(reports >= 59, "{reports}");
}

#[test]
fn what_fits_once_fits_again() {
    let name = "n".repeat(23);
    for padding in 0..90 {
        let mut bench = Bench::new(&[(&name, "padded", 604_800)]);
        bench.board.padding = padding;
        let first = |lines: Vec<Value>| lines.into_iter().find(|line| line["seq"] == 0).unwrap();
        bench.run(0);
        bench.now_ms = 1000;
        bench.poll();
        let once = first(bench.lines());
        bench.now_ms = 600_000_000;
        bench.poll();
        let again = first(bench.lines());
        assert_eq!(
            (&once["data"], &again["age"]),
            (&again["data"], &json!(599_999))
        );
    }
}

#[test]
fn what_the_board_does_not_have_is_told_once() {
    let mut bench = Bench::new(&[
        ("X", "get_linux_cpu", 10),
        ("Y", "fail", 20),
        ("Z", "huge", 20),
    ]);
    let mut lines = Vec::new();
    for second in 0..25 {
        lines.extend(bench.run(second * 1000));
        acknowledge_all(&mut bench, &lines);
    }
    let errors: Vec<(&str, &Value)> = lines
        .iter()
        .filter(|(_, line)| line["data"]["status"] == 1)
        .map(|(_, line)| {
            (
                line["service_name"].as_str().unwrap(),
                &line["data"]["error"],
            )
        })
        .collect();
    let text = |error: &str| json!(error);
    assert_eq!(
        errors,
        [
            ("X", &text("this board has no such plugin")),
            ("Y", &text("the sensor does not answer")),
            ("Z", &text("the report is larger than a line")),
            ("Y", &text("the sensor does not answer")),
            ("Z", &text("the report is larger than a line")),
        ]
    );
}

#[test]
fn without_acknowledgements_the_newest_are_kept() {
    let mut bench = Bench::new(&[("A", "count", 1)]);
    let lines = bench.run(40_500);
    // Each was sent once as it came, and the oldest again after 1, 2, 4, 8, 8, … seconds.
    let fresh: BTreeSet<u64> = seqs(&lines).into_iter().collect();
    assert_eq!(fresh, (0..40).collect());
    let again: Vec<&Value> = lines
        .iter()
        .map(|(_, line)| line)
        .filter(|line| line["age"].is_u64())
        .collect();
    assert!((4..=8).contains(&again.len()), "{again:?}");
    assert!(again.iter().take(4).all(|line| line["seq"] == 0));
    assert_eq!(bench.node.waiting(), 32);
    assert_eq!(bench.node.statistics().dropped, 8);

    // One acknowledgement, and all that wait come again, with their age and the uptime of their sample.
    let oldest = again.last().unwrap()["seq"].as_u64().unwrap().max(8);
    bench.now_ms = 40_600;
    bench.run(bench.now_ms + 8_000);
    bench.tell(&format!(r#"{{"ack":{}}}"#, bench.board.samples - 1));
    bench.poll();
    let rest = bench.lines();
    assert!(rest.len() >= 31, "{} after {oldest}", rest.len());
    for line in &rest {
        let (uptime, seq) = (
            line["uptime"].as_u64().unwrap(),
            line["seq"].as_u64().unwrap(),
        );
        assert_eq!(uptime, seq + 1);
        assert_eq!(
            uptime + line["age"].as_u64().unwrap_or(0),
            bench.now_ms / 1000
        );
    }
}

#[test]
fn an_acknowledgement_begins_the_delays_anew() {
    let mut bench = Bench::new(&[("A", "count", 3600)]);
    bench.run(0);
    bench.tell(r#"{"services":{"B":["count",3600],"C":["count",3600]}}"#);
    let again = |lines: &[(u64, Value)]| -> Vec<u64> {
        let aged = lines.iter().filter(|(_, line)| line["age"].is_u64());
        aged.map(|(at, _)| *at).collect()
    };
    // Both are sampled after a second.
    assert_eq!(again(&bench.run(20_000)), [2000, 4000, 8000, 16_000]);
    bench.tell(r#"{"ack":0}"#);
    assert_eq!(again(&bench.run(30_000)), [20_000, 21_000, 23_000, 27_000]);
    bench.tell(r#"{"ack":1}"#);
    assert_eq!(again(&bench.run(90_000)), [0; 0]);
    assert_eq!(bench.node.waiting(), 0);
}

#[test]
fn nothing_wakes_a_board_for_a_plugin_that_it_does_not_have() {
    let mut bench = Bench::new(&[]);
    bench.run(0);
    bench.tell(r#"{"services":{"X":["get_linux_cpu",1]}}"#);
    let lines = bench.run(500);
    acknowledge_all(&mut bench, &lines);
    assert!(bench.node.poll_at().as_millis() > 10_000);
}

#[test]
fn a_line_that_nobody_takes_is_made_anew() {
    let mut bench = Bench::new(&[("A", "count", 3600)]);
    bench.run(0);
    bench.now_ms = 1000;
    bench.poll();
    let now = bench.now();
    let begun = bench.node.outgoing(now)[..30].to_vec();
    bench.node.sent(30, now);
    // Not at once: the other end may be slow.
    bench.now_ms += 900;
    let now = bench.now();
    assert_ne!(bench.node.outgoing(now).first(), Some(&b'\n'));
    bench.now_ms += 4100;
    let now = bench.now();
    assert_eq!(bench.node.outgoing(now), b"\n");
    assert!(begun.starts_with(b"{\"client_id\":7,\"service_name\""));
    let lines = bench.lines();
    assert_eq!(
        (&lines[0]["uptime"], &lines[0]["age"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_service_that_leaves_takes_its_reports_along() {
    let mut bench = Bench::new(&[("A", "count", 1), ("B", "count", 1)]);
    bench.run(5_500);
    assert_eq!(bench.node.waiting(), 10);
    bench.tell(r#"{"services":{"C":["count",5],"B":["count",5]}}"#);
    assert_eq!(
        (bench.node.waiting(), bench.node.statistics().dropped),
        (5, 5)
    );
    let lines = bench.run(20_000);
    assert!(lines.iter().all(|(_, line)| line["service_name"] != "A"));
}

#[test]
fn the_longest_names_fit_a_line() {
    let name = "\"".repeat(23);
    let mut bench = Bench::new(&[(&name, "fail", 1)]);
    bench.now_ms = 4_294_967_000_000;
    bench.poll();
    bench.now_ms += 200_000;
    bench.poll();
    let lines = bench.lines();
    let report = lines
        .iter()
        .find(|line| line["service_name"] == name)
        .unwrap();
    assert!(line(&report.to_string()).len() <= MAX_LINE);
    assert_eq!(report["data"]["error"], "the sensor does not answer");
}

#[test]
fn the_watchdog_is_fed_by_polls_alone() {
    let mut bench = Bench::new(&[("A", "count", 1)]);
    bench.tell(r#"{"services":{}}"#);
    bench.lines();
    assert_eq!(bench.board.fed, 0);
    bench.poll();
    assert_eq!(bench.board.fed, 1);
}

#[test]
fn a_bad_line_loses_nothing_that_fits() {
    let fitted = (1..=300).filter(|seed| lossy_run(*seed)).count();
    assert!(fitted > 50, "{fitted}");
}

/// A line that loses and flips bytes in both directions, and is cut for a while; then it heals. Whatever
/// was sampled has then arrived unharmed, or was counted as dropped. True if all fitted the ring.
fn lossy_run(seed: u32) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9) | 1);
    let mut bench = Bench::new(&[("A", "count", 1), ("B", "count", 3), ("C", "fail", 7)]);
    let (mut up, mut gateway) = (Receiver::<1024>::new(), BTreeMap::new());
    let loss_permille = [0, 1, 5, 20][random.below(4) as usize];
    let (cut_at, cut_for) = (random.below(100_000), random.below(25_000));
    for step in 0..1800 {
        bench.now_ms = step * 100 + u64::from(random.below(100));
        bench.poll();
        let healed = step >= 1200;
        let cut = !healed && (cut_at..cut_at + cut_for).contains(&(bench.now_ms as u32));
        let mut garble = |byte: u8| match random.below(1000) {
            _ if healed => Some(byte),
            _ if cut => None,
            draw if draw < loss_permille / 2 => None,
            draw if draw < loss_permille => Some(byte ^ (1 << (draw % 8))),
            _ => Some(byte),
        };
        // As much as goes over a line of 115200 baud in a tenth of a second.
        for _ in 0..1152 {
            let now = bench.now();
            let Some(byte) = bench.node.outgoing(now).first().copied() else {
                break;
            };
            bench.node.sent(1, now);
            let Some(text) = garble(byte).and_then(|byte| up.push(byte)) else {
                continue;
            };
            let report = parsed(text);
            let Some(seq) = report["seq"].as_u64() else {
                continue;
            };
            assert_eq!(report["client_id"], 7);
            let sampled_s = report["uptime"].as_u64().unwrap();
            let made_s = sampled_s + report["age"].as_u64().unwrap_or(0);
            // Sending it may have begun a tenth of a second ago.
            let latest_s = bench.now_ms / 1000;
            assert!((latest_s - 1..=latest_s).contains(&made_s), "seed {seed}");
            let content = (
                sampled_s,
                report["service_name"].clone(),
                report["data"].clone(),
            );
            let known = gateway.entry(seq).or_insert_with(|| content.clone());
            assert_eq!(*known, content, "seed {seed}: number {seq} twice");
            let answer: Vec<u8> = line(&format!(r#"{{"ack":{seq}}}"#))
                .into_iter()
                .filter_map(&mut garble)
                .collect();
            bench.node.receive(&answer, now);
        }
    }
    let dropped = u64::from(bench.node.statistics().dropped);
    let sampled = u64::from(bench.board.samples);
    assert_eq!(bench.node.waiting(), 0, "seed {seed}");
    // What arrived may count as dropped too, where its acknowledgement was lost.
    let arrived = gateway.len() as u64;
    assert!(arrived <= sampled && dropped <= sampled, "seed {seed}");
    assert!(arrived + dropped >= sampled, "seed {seed}");
    assert!(gateway.keys().all(|seq| *seq < sampled), "seed {seed}");
    // At 1.5 reports a second the ring holds 21 seconds.
    let fits = cut_for < 18_000 && loss_permille <= 1;
    assert!(!fits || dropped == 0, "seed {seed}: {dropped} dropped");
    fits
}

/// Xorshift32.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % bound.max(1)
    }
}
