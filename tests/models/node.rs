//! A board's node at one end of a simulated serial line, a gateway that is written anew here at the other.

use std::collections::{BTreeMap, BTreeSet};

use mote_firmware::mote_core::frame::{Receiver, SEAL, seal};
use mote_firmware::{Board, ClientId, Context, Failed, MAX_LINE, Node, Settings, Status, Uptime};
use mote_test_support::dice::Dice;
use serde::Serialize;
use serde_json::{Value, json};

/// Samples are numbered, so that a report shows which one it is.
#[derive(Default)]
struct Counter {
    samples: u32,
    fed: u32,
    /// Bytes of padding in a sample of `padded`, and 60.
    padding: usize,
    /// Bytes of the reason of `explain`.
    reason: usize,
}

const PADDING: &str = "0123456789012345678901234567890123456789012345678901234567890123456789\
    01234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// Why a sensor does not answer, at length.
const REASON: &str = {
    const BYTES: [u8; 400] = [b'r'; 400];
    match str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

#[derive(Clone, Copy, PartialEq)]
enum Plugin {
    Count,
    Fail,
    Huge,
    Padded,
    Explain,
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
            "explain" => Some(Plugin::Explain),
            _ => None,
        }
    }

    fn start(&mut self, _: Plugin, _: Uptime) {}

    fn sample(&mut self, plugin: Plugin, _: &mut (), _: &Context) -> Result<Sample, Failed> {
        self.samples += 1;
        let padding = match plugin {
            Plugin::Count => "",
            Plugin::Fail => return Err(Failed("the sensor does not answer")),
            Plugin::Explain => return Err(Failed(&REASON[..self.reason])),
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
fn a_probe_that_fails_stops_no_other_report() {
    for reason in (0..400).step_by(3) {
        let mut bench = Bench::new(&[("Bad", "explain", 1), ("Good", "count", 1)]);
        bench.board.reason = reason;
        let mut lines = vec![];
        for second in 0..=10 {
            let new = bench.run(second * 1000);
            acknowledge_all(&mut bench, &new);
            lines.extend(new);
        }
        let of = |name| {
            let reports = lines
                .iter()
                .filter(move |(_, it)| it["service_name"] == name);
            reports.map(|(at, it)| (*at, it["data"].clone()))
        };
        let instants: Vec<u64> = of("Good").map(|(at, _)| at).collect();
        let every_second: Vec<u64> = (1..=10).map(|it| it * 1000).collect();
        assert_eq!(instants, every_second, "a reason of {reason} bytes");
        let too_long = "the report is larger than a line";
        let reasons = [&REASON[..reason], too_long];
        let told = of("Bad").filter(|(_, it)| reasons.contains(&it["error"].as_str().unwrap()));
        assert_eq!(told.count(), 10, "a reason of {reason} bytes");
        let stats = bench.node.statistics();
        assert_eq!((bench.node.waiting(), stats.dropped), (0, 0));
    }
}

#[test]
fn what_can_never_be_sent_holds_nothing_up() {
    let name: &'static str = "c".repeat(240).leak();
    let settings = Settings {
        first_sample_spread_ms: 0,
        ..Settings::of(ClientId::Name(name))
    };
    let mut bench = Bench::new(&[]);
    bench
        .node
        .start(settings, &[("A", "count", 1)], bench.now());
    assert_eq!(bench.run(10_000), []);
    let stats = bench.node.statistics();
    assert_eq!((bench.node.waiting(), stats.dropped), (0, 10));
}

#[test]
fn what_is_acknowledged_makes_room_and_is_not_lost() {
    let mut bench = Bench::new(&[("A", "count", 1)]);
    bench.run(32_000);
    assert_eq!(bench.node.waiting(), 32);
    // All but the oldest arrive.
    for seq in 1..32 {
        bench.tell(&format!(r#"{{"ack":{seq}}}"#));
    }
    assert_eq!(bench.node.waiting(), 1);
    bench.run(63_000);
    let stats = bench.node.statistics();
    assert_eq!((bench.node.waiting(), stats.dropped), (32, 0));
    bench.run(64_000);
    assert_eq!(bench.node.statistics().dropped, 1);
    // Nor is what was on its way when it had to make room.
    bench.tell(r#"{"ack":0}"#);
    assert_eq!(bench.node.statistics().dropped, 0);
    bench.tell(r#"{"ack":0}"#);
    assert_eq!(bench.node.statistics().dropped, 0);
}

#[test]
fn a_service_that_leaves_takes_no_more_than_its_own() {
    let mut bench = Bench::new(&[("A", "count", 1), ("B", "count", 1)]);
    let lines = bench.run(5_500);
    for (_, line) in &lines {
        if line["service_name"] == "B" {
            bench.tell(&format!(r#"{{"ack":{}}}"#, line["seq"]));
        }
    }
    bench.tell(r#"{"services":{"B":["count",5]}}"#);
    let stats = bench.node.statistics();
    assert_eq!((bench.node.waiting(), stats.dropped), (0, 5));
    // The newest of it was on its way.
    let newest = lines.iter().rfind(|(_, it)| it["service_name"] == "A");
    bench.tell(&format!(r#"{{"ack":{}}}"#, newest.unwrap().1["seq"]));
    assert_eq!(bench.node.statistics().dropped, 4);
}

#[test]
fn a_second_start_takes_no_samples_along() {
    let mut bench = Bench::new(&[("Old", "count", 1)]);
    bench.run(3_000);
    assert_eq!(bench.node.waiting(), 3);
    // In the midst of a line.
    bench.now_ms = 4_000;
    bench.poll();
    let now = bench.now();
    assert!(bench.node.outgoing(now).len() > 30);
    bench.node.sent(30, now);
    let settings = Settings {
        first_sample_spread_ms: 0,
        ..Settings::of(ClientId::Number(7))
    };
    bench
        .node
        .start(settings, &[("New", "fail", 60), ("Same", "count", 9)], now);
    let stats = bench.node.statistics();
    assert_eq!((bench.node.waiting(), stats.dropped), (0, 4));
    let mut lines = bench.run(14_000);
    let errors = lines
        .iter()
        .filter(|(_, it)| it["service_name"] == "New" && it["seq"].is_u64());
    for (at, report) in errors {
        let error = "the sensor does not answer";
        assert_eq!(report["data"]["error"], error, "{at}");
    }
    // What stays is kept, unless it is another client's.
    let same = [("Same", "count", 9)];
    let now = bench.now();
    let before = bench.node.waiting();
    bench.node.start(settings, &same, now);
    assert_eq!(bench.node.waiting(), before - 1);
    lines = bench.run(24_000);
    assert!(lines.iter().any(|(_, it)| it["service_name"] == "Same"));
    let other = Settings::of(ClientId::Number(8));
    let now = bench.now();
    bench.node.start(other, &same, now);
    assert_eq!(bench.node.waiting(), 0);
}

#[test]
fn half_a_line_before_a_reset_swallows_nothing() {
    let mut gateway = Receiver::<1024>::new();
    for byte in br#"{"client_id":7,"service_name":"A","data":{"sta"# {
        assert_eq!(gateway.push(*byte), None);
    }
    for byte in b"A line may also have ended just before.\n" {
        gateway.push(*byte);
    }
    for start in 0..2 {
        let mut bench = Bench::new(&[("A", "count", 1)]);
        // Nobody takes the first of it for long.
        bench.now_ms = 5000 * start;
        bench.poll();
        let mut texts = vec![];
        while let now = bench.now()
            && let Some(byte) = bench.node.outgoing(now).first().copied()
        {
            bench.node.sent(1, now);
            texts.extend(gateway.push(byte).map(parsed));
        }
        assert_eq!(texts[0]["get"], "services");
        for byte in br#"{"client_id":7,"serv"# {
            gateway.push(*byte);
        }
    }
    // Of the gateway's, only what was cut was none; an empty line is no bad one.
    assert_eq!(gateway.rejected(), 2);
}

#[test]
fn where_an_interval_asks_for_it_uptime_has_milliseconds() {
    let mut bench = Bench::new(&[("A", "count", 1)]);
    bench.run(0);
    bench.tell(r#"{"services":{"A":["count",1],"B":["count",0.25],"C":["count",1.5]}}"#);
    let lines = bench.run(4_000);
    let of = |name| {
        let reports = lines
            .iter()
            .filter(move |(_, it)| it["service_name"] == name && it["age"].is_null());
        reports.map(|(at, it)| {
            (
                *at,
                it["uptime"].as_u64().unwrap(),
                it["uptime_ms"].as_u64(),
            )
        })
    };
    assert!(of("A").count() >= 3 && of("B").count() >= 12 && of("C").count() >= 2);
    assert!(of("A").all(|(at, uptime, ms)| uptime == at / 1000 && ms.is_none()));
    for (at, uptime, ms) in of("B").chain(of("C")) {
        assert_eq!((uptime, ms), (at / 1000, Some(at)));
    }
    // They go through 32 bits after 50 days.
    bench.now_ms = 50 * 86_400_000 + 123;
    bench.poll();
    let lines = bench.lines();
    let newest = lines.iter().rfind(|it| it["service_name"] == "B").unwrap();
    let uptime_ms = newest["uptime_ms"].as_u64().unwrap();
    assert_eq!(uptime_ms, bench.now_ms % (1 << 32));
    assert_eq!(newest["uptime"], bench.now_ms / 1000);
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
    let mut dice = Dice(seed.into());
    let mut bench = Bench::new(&[("A", "count", 1), ("B", "count", 3), ("C", "fail", 7)]);
    let (mut up, mut gateway) = (Receiver::<1024>::new(), BTreeMap::new());
    let loss_permille = dice.pick(&[0, 1, 5, 20]);
    let (cut_at, cut_for) = (dice.below(100_000) as u32, dice.below(25_000) as u32);
    for step in 0..1800 {
        bench.now_ms = step * 100 + dice.below(100);
        bench.poll();
        let healed = step >= 1200;
        let cut = !healed && (cut_at..cut_at + cut_for).contains(&(bench.now_ms as u32));
        let mut garble = |byte: u8| match dice.below(1000) {
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
