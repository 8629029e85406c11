//! What a board says. The input are the texts of its lines, which are sealed here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_agent::gateway::board::{Arrival, Board};
use mote_agent::gateway::line::MAX_LINE;
use mote_agent::settings::ClientName;
use mote_core::Uptime;
use mote_core::frame::{self, SEAL};
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let mut board = Board::new(ClientName::Number(7));
    let mut queued = 0;
    let mut lines = 0;
    for text in input.split(|byte| *byte == b'\n') {
        let mut line = [text, &[0; SEAL]].concat();
        frame::seal(&mut line, text.len()).unwrap();
        lines += 1;
        let at = Arrival {
            now: Uptime::from_millis(lines * 700),
            unix_ms: 1_795_339_484_886 + lines * 700,
            lain_ms: 0,
        };
        board.receive(&line, at, |report, _| {
            queued += 1;
            let report: Value = serde_json::from_slice(report).unwrap();
            assert_eq!(report["client_id"], 7);
            assert!(report["data"]["status"].is_i64());
            assert!(report["boot"].is_string() && report["seq"].is_u64());
            assert!(report["time"].as_f64().unwrap() * 1000.0 <= at.unix_ms as f64 + 0.5);
        });
        assert!(board.outgoing().len() <= 2 * MAX_LINE);
        board.written(usize::MAX);
    }
    let counts = board.counts;
    assert_eq!(counts.reports, queued);
    assert!(
        counts.reports + counts.duplicates + counts.bad + counts.unknown + counts.refused <= lines
    );
});
