//! Lines that are damaged, and ports that babble.

use std::collections::BTreeMap;

use mote_agent::gateway::board::{Arrival, Board};
use mote_agent::gateway::line::MAX_LINE;
use mote_agent::settings::ClientName;
use mote_core::Uptime;
use mote_core::frame::Receiver;
use serde_json::Value;

use super::bench::{of_board, report, sealed, site_of};
use mote_test_support::dice::Dice;
use mote_test_support::scripted_server::Server;
use mote_test_support::{DEADLINE, wait_for};

#[test]
fn a_port_that_babbles_costs_neither_reports_nor_samples() {
    let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    let (site, wire) = site_of(&server);
    server.wait_for_more("Cpu", 1);
    let mut dice = Dice(1);
    let junk: Vec<u8> = (0..1 << 20).map(|_| dice.draw() as u8).collect();
    let log = "INFO boot: ok *12345678 {\"client_id\":7}\r\n".repeat(100);
    for seq in 0..8 {
        wire.send(&junk);
        // Junk may end in the middle of a line.
        wire.send(b"\n");
        wire.send(log.as_bytes());
        wire.say(&report(seq, seq, None, seq));
        wire.send(&[b'x'; 100_000]);
        wire.send(b"\n");
    }
    wire.wait_for_acknowledged(8);
    server.wait_for_more("Cpu", 2);
    let board = of_board(&site.status(), 7);
    assert_eq!(board["reports"], 8);
    assert!(board["bad_frames"].as_u64().unwrap() > 8 * 100 + 8);
    let loads = server.acknowledged("Load");
    let loads: Vec<_> = loads
        .iter()
        .map(|it| it["data"]["load"].as_u64().unwrap())
        .collect();
    assert_eq!(loads, (0..8).collect::<Vec<_>>());
}

/// Each byte of each frame is flipped with a chance of one in ten, or in a hundred so that some get through.
#[test]
fn no_damaged_report_is_taken() {
    let server = Server::new("{}");
    let (site, wire) = site_of(&server);
    let mut dice = Dice(2);
    let mut sent: BTreeMap<u64, String> = BTreeMap::new();
    let mut stream = Vec::new();
    for seq in 0..4000u32 {
        let text = report(seq, seq, None, dice.draw() as u32);
        let one_in = if seq % 2 == 0 { 10 } else { 100 };
        let mut line = sealed(text.as_bytes());
        for byte in &mut line {
            if dice.index(one_in) == 0 {
                *byte ^= 1 << dice.index(8);
            }
        }
        stream.extend_from_slice(&line);
        sent.insert(u64::from(seq), text);
    }
    wire.send(&stream);
    // So that the last of them is out of any damage, and the end of all.
    wire.send(b"\n");
    let last = report(4000, 4000, None, 0);
    wire.say(&last);
    sent.insert(4000, last);
    wait_for("the last one", DEADLINE, || {
        let all = server.acknowledged("Load");
        all.iter().any(|it| it["seq"] == 4000).then_some(())
    });
    let taken = server.acknowledged("Load");
    for it in &taken {
        let mut it = it.clone();
        let fields = it.as_object_mut().unwrap();
        assert!(fields.remove("time").is_some() && fields.remove("boot").is_some());
        let text = &sent[&it["seq"].as_u64().unwrap()];
        assert_eq!(it, serde_json::from_str::<Value>(text).unwrap());
    }
    // About e^-1 of those with one in a hundred.
    assert!((300..2000).contains(&taken.len()), "{}", taken.len());
    let board = of_board(&site.status(), 7);
    assert_eq!(board["reports"], taken.len());
    // Those before the first that came are none that the agent could know of.
    let first = taken[0]["seq"].as_u64().unwrap();
    assert_eq!(board["gaps"], 4001 - first - taken.len() as u64);
}

/// Two million lines, each damaged in one of many ways: what is taken is what was sealed, byte by byte.
#[test]
fn of_millions_of_damaged_lines_none_is_taken_for_another() {
    const LINES: u32 = 2_000_000;
    let mut dice = Dice(3);
    let originals: Vec<Vec<u8>> = (0..16)
        .map(|n| sealed(report(n, n * 7, (n % 3 == 0).then_some(n), n).as_bytes()))
        .collect();
    let mut receiver = Receiver::<MAX_LINE>::new();
    let mut line = Vec::new();
    let mut intact = 0;
    for n in 0..LINES {
        let original = &originals[dice.index(originals.len())];
        line.clear();
        line.extend_from_slice(original);
        for _ in 0..=dice.index(4) {
            damage(&mut line, &originals, &mut dice);
        }
        // Whatever became of its end, the next line begins anew.
        line.push(b'\n');
        for byte in &line {
            if let Some(text) = receiver.push(*byte) {
                let text_of = |it: &&Vec<u8>| text == &it[..it.len() - 10];
                assert!(
                    originals.iter().any(|it| text_of(&it)),
                    "{n}: {:?}",
                    String::from_utf8_lossy(&line)
                );
                intact += 1;
            }
        }
    }
    // The damage was to the letters' case in the seal, to nothing, or beside a line.
    assert!((1..LINES / 2).contains(&intact), "{intact}");
}

fn damage(line: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let Some(last) = line.len().checked_sub(1) else {
        return;
    };
    let at = dice.index(last + 1);
    match dice.index(9) {
        0 | 1 => line[at] ^= 1 << dice.index(8),
        2 => line[at] = dice.draw() as u8,
        3 => drop(line.remove(at)),
        4 => line.insert(at, dice.draw() as u8),
        5 => line.truncate(at),
        6 => line.swap(at, last),
        7 => {
            // The beginning of one and the end of another.
            let other = &others[dice.index(others.len())];
            line.truncate(at);
            line.extend_from_slice(&other[at.min(other.len())..]);
        }
        _ => {
            let end = (at + 8).min(line.len());
            line[at..end].make_ascii_lowercase();
        }
    }
}

/// Sealed lines of junk, which a faulty board may send: nothing is queued, nothing breaks.
#[test]
fn sealed_junk_is_counted_and_nothing_else() {
    let mut dice = Dice(4);
    let good = report(1, 2, Some(3), 4).into_bytes();
    let mut board = Board::new(ClientName::Number(7));
    let (mut queued, mut lines) = (0u64, 0u64);
    for n in 0..200_000u64 {
        let mut text = good.clone();
        for _ in 0..=dice.index(3) {
            let at = dice.index(text.len());
            match dice.index(3) {
                0 => text[at] = dice.draw() as u8,
                1 => drop(text.remove(at)),
                _ => text.insert(at, b"{}[]\",:0123456789-.eE\\"[dice.index(22)]),
            }
        }
        if text.contains(&b'\n') {
            continue;
        }
        lines += 1;
        let at = Arrival {
            now: Uptime::from_millis(n * 10),
            unix_ms: 1_795_339_484_000 + n * 10,
            lain_ms: 0,
        };
        board.receive(&sealed(&text), at, |bytes, _| {
            queued += 1;
            let stamped: Value = serde_json::from_slice(bytes).unwrap();
            assert!(bytes.starts_with(text.trim_ascii_end().strip_suffix(b"}").unwrap()));
            assert!(stamped["time"].is_number() && stamped["boot"].is_string());
            assert!(stamped["data"]["status"].is_i64());
        });
        let waiting = board.outgoing().len();
        assert!(waiting <= 2 * MAX_LINE, "{waiting}");
        board.written(waiting);
    }
    let counts = board.counts;
    assert_eq!(counts.reports, queued);
    let known = counts.reports + counts.duplicates + counts.refused;
    assert_eq!(counts.unknown + counts.bad + known, lines);
    // Digits may change to other digits; most else may not.
    assert!(counts.unknown > lines / 2 && known > 0, "{counts:?}");
}
