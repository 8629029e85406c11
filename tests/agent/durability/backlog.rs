//! A queue of 1 GiB, and one that is sent whole.

use std::fs::{self, DirBuilder, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Instant;

use crc32fast::Hasher;

use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, free_port, wait_for};

/// The size of a segment, roughly.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The backlog goes out at 1.6 times the rate of these services.
const SERVICES: &str = r#"{"A": ["host_alive_check", 0.1], "B": ["host_alive_check", 0.1],
    "C": ["host_alive_check", 0.1], "D": ["host_alive_check", 0.1], "E": ["host_alive_check", 0.1],
    "F": ["host_alive_check", 0.1], "G": ["host_alive_check", 0.1], "H": ["host_alive_check", 0.1]}"#;

#[test]
fn a_queue_of_1_gib_costs_no_more_at_the_start_than_an_empty_one() {
    // There is no server yet. The agent follows the orders that it kept.
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let settings = server_settings(&url, "");
    let settings = format!("{settings}\n[queue]\nmax_bytes = 1073741824\nmax_age_s = 31536000");

    let empty = Site::new(&settings);
    remember_orders(&empty);
    let mut agent = empty.run();
    let (empty_ms, empty_cost) = started(&empty, &mut agent);
    agent.terminate();
    let site = Site::new(&settings);
    remember_orders(&site);
    let backlog = Backlog {
        segments: 1023,
        reports_a_segment: 256,
    };
    backlog.fill(&site.path("state/queue"));
    let began = Instant::now();
    let mut agent = site.run();
    let (full_ms, full_cost) = started(&site, &mut agent);
    println!(
        "started in {full_ms} ms with 1 GiB, in {empty_ms} ms without; read {} and {} KiB, resident {} and {} KiB",
        full_cost.read_bytes >> 10,
        empty_cost.read_bytes >> 10,
        full_cost.resident_kib,
        empty_cost.resident_kib
    );
    assert!(full_cost.read_bytes <= empty_cost.read_bytes + (3 << 20));
    assert!(full_cost.resident_kib <= empty_cost.resident_kib + 1024);
    let reports = &site.status()["reports"];
    assert!(
        reports["queued"].as_u64().unwrap() >= backlog.reports(),
        "{reports}"
    );
    assert!(
        reports["queued_bytes"].as_u64().unwrap() > 1000 << 20,
        "{reports}"
    );

    let server = Server::on(port, SERVICES);
    // Memory holds a quarter of a segment at a time.
    let sent = wait_for("two segments and some", DEADLINE, || {
        let sent = server.acknowledged("Old");
        (sent.len() >= 600).then_some(sent)
    });
    for (report, expected) in sent.iter().zip(0u64..) {
        assert_eq!(report["seq"], expected);
    }
    println!(
        "{} reports in order after {:.1} s",
        sent.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(agent.terminate().success());
}

/// Each report comes once and in order, and the agent's memory does not grow with their number.
#[test]
fn a_backlog_of_64_mib_goes_out_whole_through_a_window() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    // What is sampled until the server's word is followed has room beside it.
    let settings = server_settings(&url, "");
    let site = Site::new(&format!("{settings}\n[queue]\nmax_bytes = 268435456"));
    // Reports that came 800 times a second are sent as fast as the server takes them. The server orders nothing to
    // be sampled, so that only the backlog is measured.
    let many: Vec<String> = (0..80)
        .map(|n| format!("\"S{n}\": [\"host_alive_check\", 0.1]"))
        .collect();
    remember(&site, &format!("{{{}}}", many.join(",")));
    let backlog = Backlog {
        segments: 63,
        reports_a_segment: 256,
    };
    backlog.fill(&site.path("state/queue"));
    let began = Instant::now();
    let server = Server::on(port, "{}");
    let mut agent = site.run_until_up();
    let status = site.wait_for_status("an empty queue", |status| {
        let is_idle = status["services"].as_array()?.is_empty();
        (is_idle && status["reports"]["queued"] == 0).then(|| status.clone())
    });
    // What is mapped of the program's file is a matter of how it was compiled.
    let peak_kib = number(&agent, "status", "VmHWM:") - number(&agent, "status", "RssFile:");
    let sent = server.acknowledged("Old");
    println!(
        "{} reports in {:.1} s, at most {peak_kib} KiB of its own",
        sent.len(),
        began.elapsed().as_secs_f64()
    );
    let seqs: Vec<u64> = sent.iter().map(|it| it["seq"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..backlog.reports()).collect();
    assert!(seqs == expected, "{seqs:?}");
    assert!(
        status["reports"]["dropped"]
            .as_object()
            .unwrap()
            .values()
            .all(|it| *it == 0)
    );
    // A backlog of this size is four times that.
    assert!(peak_kib < 16 << 10, "{peak_kib} KiB");
    assert!(agent.terminate().success());
}

fn remember_orders(site: &Site) {
    remember(site, SERVICES);
}

fn remember(site: &Site, services: &str) {
    DirBuilder::new()
        .mode(0o700)
        .create(site.path("state"))
        .unwrap();
    let document = format!("{{\"services\": {services}}}");
    fs::write(site.path("state/services.json"), document).unwrap();
}

struct Cost {
    read_bytes: u64,
    resident_kib: u64,
}

/// How long it took until the agent said that it runs, and what it cost by then.
fn started(site: &Site, agent: &mut Running) -> (u128, Cost) {
    let began = Instant::now();
    while !agent.output().contains("client 1 runs") {
        agent.assert_running();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let took_ms = began.elapsed().as_millis();

    wait_for("an answer", DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
    site.wait_for_status("a failure", |status| {
        status["server"]["error"].as_str().map(drop)
    });
    let cost = Cost {
        read_bytes: number(agent, "io", "rchar:"),
        resident_kib: number(agent, "status", "VmRSS:"),
    };
    (took_ms, cost)
}

/// What Linux says of a process.
fn number(agent: &Running, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", agent.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A queue as a long outage of the server leaves it.
struct Backlog {
    segments: u64,
    reports_a_segment: u64,
}

impl Backlog {
    fn reports(&self) -> u64 {
        self.segments * self.reports_a_segment
    }

    /// The format of the lines is in `queue/line.rs`.
    fn fill(&self, folder: &Path) {
        DirBuilder::new().mode(0o700).create(folder).unwrap();
        let kernel = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        // A report's line has 200 more bytes.
        let filler_bytes = usize::try_from(SEGMENT_BYTES / self.reports_a_segment).unwrap() - 200;
        let tail = format!(
            "\"data\":{{\"status\":0,\"filler\":\"{}\"}}}}",
            "x".repeat(filler_bytes)
        );
        let mut tail_sum = Hasher::new();
        tail_sum.update(tail.as_bytes());
        for segment in 0..self.segments {
            let first = segment * self.reports_a_segment;
            let file = File::create(folder.join(format!("{first:020}.reports"))).unwrap();
            let mut file = BufWriter::new(file);
            let head = format!(
                "= {} 1700000000000 {{\"unstored\":0,\"dropped\":{{}}}}",
                kernel.trim()
            );
            writeln!(file, "{head}*{:08X}", crc32fast::hash(head.as_bytes())).unwrap();
            for number in first..first + self.reports_a_segment {
                let start = format!(
                    "{number} 1700000000000 {{\"client_id\":1,\"service_name\":\"Old\",\"boot\":\"old\",\"seq\":{number},"
                );
                let mut sum = Hasher::new();
                sum.update(start.as_bytes());
                sum.combine(&tail_sum);
                writeln!(file, "{start}{tail}*{:08X}", sum.finalize()).unwrap();
            }
        }
    }
}
