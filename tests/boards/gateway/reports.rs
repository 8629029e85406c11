//! From the board into the store.

use serde_json::{Value, json};

use super::bench::{Collector, Wire, board, of_board, report, unix_s, wait_for_field};
use mote_test_support::site::{Site, server_settings};

fn site_of(collector: &Collector, site: Site, keys: &str, wires: &[(&Wire, u32)]) -> Site {
    let boards: String = wires.iter().map(|(wire, id)| board(wire, *id)).collect();
    site.write_settings(&format!(
        "{}\n{boards}",
        server_settings(collector.url(), keys)
    ));
    site
}

fn time(report: &Value) -> f64 {
    report["time"].as_f64().unwrap()
}

#[test]
fn reports_arrive_under_the_board_s_id_with_their_time() {
    for encoding in ["json", "form"] {
        let site = Site::new("services = {}");
        let collector = Collector::new(site.folder());
        let (wire, other) = (Wire::new(&site, "pico"), Wire::new(&site, "other"));
        let keys = format!("service_report = {{ encoding = \"{encoding}\" }}");
        let site = site_of(&collector, site, &keys, &[(&wire, 7), (&other, 8)]);
        site.start();
        let began = unix_s();
        for seq in 0..3 {
            wire.say(&report(seq, 3600, None, 10 + seq));
        }
        other.say(
            &report(5, 9, None, 1)
                .replace(":7,", ":8,")
                .replace("\"seq\"", "\"boot\":\"r1\",\"seq\""),
        );
        assert_eq!(wire.wait_for_acknowledged(3), [0, 1, 2]);
        assert_eq!(other.wait_for_acknowledged(1), [5]);

        let boot = of_board(&site.status(), 7)["boot"].clone();
        let stored = collector.wait_for(7, 3);
        for (seq, it) in stored.iter().enumerate() {
            assert_eq!(it["service_name"], "Load");
            assert_eq!(it["data"], json!({"status": 0, "load": 10 + seq}));
            assert_eq!((&it["seq"], &it["uptime"]), (&json!(seq), &json!(3600.0)));
            assert_eq!(it["boot"], boot);
            assert!((began - 2.0..=unix_s()).contains(&time(it)), "{it}");
        }
        let stored = collector.wait_for(8, 1);
        assert_eq!(
            (&stored[0]["boot"], &stored[0]["seq"]),
            (&json!("r1"), &json!(5))
        );
        // The agent's own service of the same name.
        assert!(collector.wait_for(1, 1)[0]["data"]["load1"].is_number());
        assert_eq!(collector.reports(7).len(), 3);
        let board = of_board(&site.status(), 7);
        for (field, count) in [
            ("reports", 3),
            ("duplicates", 0),
            ("bad_frames", 0),
            ("gaps", 0),
        ] {
            assert_eq!(board[field], count, "{field}");
        }
        let text = site.call(&["status"]).out;
        let line = format!("board 7: {} is open, last frame ", wire.device().display());
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn what_claims_to_be_another_client_is_refused_and_counted() {
    let site = Site::new("services = {}");
    let collector = Collector::new(site.folder());
    let wire = Wire::new(&site, "pico");
    let site = site_of(&collector, site, "", &[(&wire, 7)]);
    site.start();
    for foreign in [":8,", ":1,", ":\"7\","] {
        wire.say(&report(0, 1, None, 1).replace(":7,", foreign));
    }
    wire.say(r#"{"client_id":8,"get":"services"}"#);
    wire.say(r#"{"client_id":7,"get":"more"}"#);
    wire.say(r#"[7,"Load",{"status":0},9,0,"b",17]"#);
    wire.say(&report(1, 1, None, 1));
    assert_eq!(wire.wait_for_acknowledged(1), [1]);
    let board = of_board(&site.status(), 7);
    assert_eq!(
        (&board["refused"], &board["unknown"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(board["reports"], 1);
    assert_eq!(collector.wait_for(7, 1).len(), 1);
    assert_eq!(collector.reports(8), Vec::<Value>::new());
    assert_eq!(wire.heard().len(), 1);
}

/// They tell their age; without it, see the model in `runs.rs`.
#[test]
fn reports_that_waited_in_the_board_have_the_time_of_their_sample() {
    let site = Site::new("services = {}");
    let collector = Collector::new(site.folder());
    let wire = Wire::new(&site, "pico");
    let site = site_of(&collector, site, "", &[(&wire, 7)]);
    site.start();
    let now = 100_000;
    // The first that this agent hears of is old already, and others are from before it too.
    let mut expected = Vec::new();
    for (seq, ago) in [(40, 3000), (100, 0), (41, 2000), (99, 60)] {
        wire.say(&report(seq, now - ago, (ago > 0).then_some(ago), 0));
        expected.push((seq, -f64::from(ago)));
    }
    assert_eq!(wire.wait_for_acknowledged(4), [40, 100, 41, 99]);
    let stored = collector.wait_for(7, 4);
    let at_now = time(stored.iter().find(|it| it["seq"] == 100).unwrap());
    for it in stored {
        let (_, offset) = expected.iter().find(|(seq, _)| it["seq"] == *seq).unwrap();
        let error = time(&it) - at_now - offset;
        // A second is the step of the board's uptime.
        assert!(error.abs() <= 1.0, "{it}: {error} s");
    }
    let board = of_board(&site.status(), 7);
    assert_eq!((&board["reports"], &board["gaps"]), (&json!(4), &json!(57)));
}

#[test]
fn a_board_that_was_reset_begins_a_new_run() {
    let site = Site::new("services = {}");
    let collector = Collector::new(site.folder());
    let wire = Wire::new(&site, "pico");
    let site = site_of(&collector, site, "", &[(&wire, 7)]);
    site.start();
    // By its ask, and by a number that is used again.
    wire.say(&report(0, 500, None, 1));
    wire.say(r#"{"client_id":7,"get":"services","uptime":0}"#);
    wire.say(&report(0, 0, None, 2));
    wire.say(&report(0, 1, None, 3));
    wire.wait_for_acknowledged(3);
    let stored = collector.wait_for(7, 3);
    let boots: std::collections::BTreeSet<_> = stored
        .iter()
        .map(|it| it["boot"].as_str().unwrap())
        .collect();
    assert_eq!(boots.len(), 3, "{stored:?}");
    assert_eq!(of_board(&site.status(), 7)["gaps"], 0);
}

#[test]
fn what_comes_again_is_acknowledged_again_and_queued_once() {
    let site = Site::new("services = {}");
    let collector = Collector::new(site.folder());
    let wire = Wire::new(&site, "pico");
    let site = site_of(&collector, site, "", &[(&wire, 7)]);
    site.start();
    for seq in [0, 1, 3] {
        wire.say(&report(seq, seq, None, seq));
    }
    assert_eq!(wait_for_field(&site, 7, "gaps", 1)["reports"], 3);
    for (seq, age) in [(0, Some(1)), (1, None), (2, None), (2, None), (3, None)] {
        wire.say(&report(seq, seq, age, seq));
    }
    let acknowledged = wire.wait_for_acknowledged(8);
    assert_eq!(acknowledged, [0, 1, 3, 0, 1, 2, 2, 3]);
    let board = of_board(&site.status(), 7);
    assert_eq!(
        (&board["duplicates"], &board["gaps"]),
        (&json!(4), &json!(0))
    );
    let mut seqs: Vec<_> = collector
        .wait_for(7, 4)
        .iter()
        .map(|it| it["seq"].as_u64().unwrap())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, [0, 1, 2, 3]);
}

#[test]
fn a_board_goes_on_when_the_agent_starts_anew() {
    let site = Site::new("services = {}");
    let collector = Collector::new(site.folder());
    let wire = Wire::new(&site, "pico");
    let site = site_of(&collector, site, "", &[(&wire, 7)]);
    site.start();
    wire.say(&report(10, 50, None, 1));
    wire.wait_for_acknowledged(1);
    assert_eq!(site.call(&["stop"]).code, 0);
    // It waits in the port.
    wire.say(&report(11, 55, None, 2));
    site.start();
    wire.wait_for_acknowledged(2);
    let stored = collector.wait_for(7, 2);
    assert_ne!(stored[0]["boot"], stored[1]["boot"]);
    assert_eq!(of_board(&site.status(), 7)["gaps"], 0);
}
