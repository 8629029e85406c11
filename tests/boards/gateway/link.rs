//! Ports that come and go, and settings that change.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::bench::{Wire, board, of_board, report, sealed, wait_for_field};
use mote_test_support::site::Site;

/// Without a server, what comes stays in the queue.
const NO_SERVICES: &str = "services = {}\n";

fn start(site: &Site, boards: &str) {
    site.write_settings(&format!("{NO_SERVICES}{boards}"));
    // What is wrong with a port is said to who starts the agent.
    let said = site.call(&["start"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_port_that_comes_back_is_used_again() {
    let site = Site::new(NO_SERVICES);
    let mut wire = Wire::without_board(&site, "pico");
    start(&site, &board(&wire, 7));
    let device = wire.device().display().to_string();
    let is_not_there = format!("board 7: {device} is not there");
    let away = wait_for_field(&site, 7, "link_error", is_not_there.clone());
    assert_eq!(
        (&away["open"], &away["last_frame"]),
        (&json!(false), &Value::Null)
    );
    for reports in 0..3 {
        wire.plug();
        wait_for_field(&site, 7, "open", true);
        wire.say(&report(reports, reports, None, 1));
        wire.wait_for_acknowledged(1);
        // The half of a line that was under way is not the beginning of the next one.
        wire.send(b"{\"client_id\":7,");
        wire.unplug();
        wait_for_field(&site, 7, "link_error", is_not_there.clone());
    }
    let board = of_board(&site.status(), 7);
    assert_eq!((&board["reports"], &board["gaps"]), (&json!(3), &json!(0)));
    // Each change is said once in a while, not each try.
    let said = site.log().matches("pico").count();
    assert!((2..=10).contains(&said), "{}", site.log());
}

#[test]
fn a_device_that_leads_elsewhere_is_followed() {
    let site = Site::new(NO_SERVICES);
    let mut wire = Wire::new(&site, "pico");
    start(&site, &board(&wire, 7));
    wire.say(&report(0, 0, None, 1));
    wire.wait_for_acknowledged(1);
    // Another pseudo-terminal, at the same name.
    wire.plug();
    wire.say(&report(1, 1, None, 1));
    assert_eq!(wire.wait_for_acknowledged(1), [1]);
}

#[test]
fn what_is_no_port_says_so_and_is_used_once_it_is_one() {
    let site = Site::new(NO_SERVICES);
    let mut wire = Wire::without_board(&site, "pico");
    fs::write(wire.device(), "x").unwrap();
    start(&site, &board(&wire, 7));
    let device = wire.device().display().to_string();
    let is_none = format!("board 7: {device} is no serial port");
    wait_for_field(&site, 7, "link_error", is_none.clone());
    fs::remove_file(wire.device()).unwrap();
    symlink("/dev/null", wire.device()).unwrap();
    assert_eq!(of_board(&site.status(), 7)["link_error"], is_none);
    wire.plug();
    wire.say(&report(0, 0, None, 1));
    wire.wait_for_acknowledged(1);
    assert_eq!(of_board(&site.status(), 7)["link_error"], Value::Null);
}

#[test]
fn a_board_that_says_nothing_disturbs_nobody() {
    let site = Site::new(NO_SERVICES);
    let (silent, half, good) = (
        Wire::new(&site, "silent"),
        Wire::new(&site, "half"),
        Wire::new(&site, "good"),
    );
    start(
        &site,
        &(board(&silent, 8) + &board(&half, 9) + &board(&good, 7)),
    );
    half.send(b"{\"client_id\":9,\"service_name\":");
    for seq in 0..20 {
        good.say(&report(seq, seq, None, 1));
    }
    good.wait_for_acknowledged(20);
    // The rest of half a line, and the next one.
    half.send(b"oops\n");
    half.say(&report(0, 0, None, 1).replace(":7,", ":9,"));
    half.wait_for_acknowledged(1);
    let status = site.status();
    assert_eq!(of_board(&status, 9)["bad_frames"], 1);
    assert_eq!(of_board(&status, 8)["last_frame"], Value::Null);
    assert_eq!(silent.heard(), Vec::<Value>::new());
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let site = Site::new(NO_SERVICES);
    let wire = Wire::new(&site, "pico");
    start(&site, &board(&wire, 7));
    for byte in sealed(report(0, 0, None, 1).as_bytes()) {
        wire.send(&[byte]);
    }
    wire.wait_for_acknowledged(1);
}

#[test]
fn reload_adds_and_removes_boards_and_leaves_the_others_alone() {
    let site = Site::new(NO_SERVICES);
    let (first, second) = (Wire::new(&site, "first"), Wire::new(&site, "second"));
    start(&site, &board(&first, 7));
    first.say(&report(5, 50, None, 1));
    first.wait_for_acknowledged(1);
    let before = of_board(&site.status(), 7);
    let reload = |boards: &str| {
        site.write_settings(&format!("{NO_SERVICES}{boards}"));
        let said = site.call(&["reload"]);
        assert_eq!(said.code, 0, "{said:?}");
    };

    // The first half of a line before, the other after: the port was not closed.
    let line = sealed(report(6, 55, None, 1).as_bytes());
    let (head, tail) = line.split_at(40);
    first.send(head);
    reload(&(board(&second, 8) + &board(&first, 7)));
    first.send(tail);
    assert_eq!(first.wait_for_acknowledged(2), [5, 6]);
    second.say(&report(0, 0, None, 1).replace(":7,", ":8,"));
    second.wait_for_acknowledged(1);

    // Another rate for one, its run goes on; the other goes.
    reload(&(board(&first, 7) + "baud = 9600\n"));
    first.say(&report(6, 55, None, 1));
    first.wait_for_acknowledged(3);
    let after = site.status();
    assert_eq!(after["boards"].as_array().unwrap().len(), 1);
    let after = of_board(&after, 7);
    assert_eq!(after["boot"], before["boot"]);
    assert_eq!(
        (&after["reports"], &after["duplicates"]),
        (&json!(2), &json!(1))
    );

    // They exchange their ports.
    let exchanged = board(&first, 8) + &board(&second, 7);
    reload(&(board(&first, 7) + &board(&second, 8)));
    reload(&exchanged);
    second.say(&report(7, 60, None, 1));
    second.wait_for_acknowledged(1);
    assert_eq!(of_board(&site.status(), 7)["boot"], before["boot"]);

    // Wrong settings change nothing.
    site.write_settings(&format!("{NO_SERVICES}{}", board(&first, 1)));
    let said = site.call(&["reload"]);
    assert_eq!(said.code, 78);
    assert!(
        said.err
            .ends_with("`board.client_id` must not be the agent's own\n"),
        "{said:?}"
    );
    site.write_settings(&format!("{NO_SERVICES}{exchanged}"));
    assert_eq!(site.status()["boards"].as_array().unwrap().len(), 2);
}

#[test]
fn what_lay_unread_while_the_agent_was_stopped_is_no_reset() {
    let site = Site::new("");
    let wire = Wire::new(&site, "pico");
    site.write_settings(&format!("services = {{}}\n{}", board(&wire, 7)));
    let agent = Pid::from_raw(site.start().try_into().unwrap());
    for seq in 1000..1010 {
        wire.say(&report(seq, seq, Some(0), 1));
    }
    wire.wait_for_acknowledged(10);
    let before = of_board(&site.status(), 7);
    kill(agent, Signal::SIGSTOP).unwrap();
    wire.say(r#"{"client_id":7,"get":"services","uptime":1010}"#);
    wire.say(&report(1010, 1009, Some(1), 1));
    // Longer than whole seconds make up for.
    thread::sleep(Duration::from_secs(6));
    kill(agent, Signal::SIGCONT).unwrap();
    wire.wait_for_acknowledged(11);
    // What it was told already comes again.
    wire.say(&report(1009, 1009, Some(7), 1));
    wire.wait_for_acknowledged(12);
    let after = of_board(&site.status(), 7);
    for field in ["boot", "gaps"] {
        assert_eq!(before[field], after[field], "{after}");
    }
    assert_eq!(
        (&after["reports"], &after["duplicates"]),
        (&json!(11), &json!(1))
    );
}

#[test]
fn a_rule_takes_in_each_board_whose_port_fits() {
    let site = Site::new(NO_SERVICES);
    let first = Wire::new(&site, "usb-mote_Pico_e6-if00");
    let mut second = Wire::without_board(&site, "usb-mote_Pico_a1-if00");
    let other = Wire::new(&site, "usb-other_Pico_e6-if00");
    let device = site.path("usb-mote_Pico_*-if00");
    let rule = format!(
        "[[board]]\ndevice = {device:?}\nclient_id = \"pico-*\"\n{}",
        board(&other, 9)
    );
    start(&site, &rule);
    let say = |wire: &Wire, client: &str| {
        let report = report(0, 3, None, 1).replace("\"client_id\":7", client);
        wire.say(&report);
        wire.wait_for_acknowledged(1);
    };
    say(&first, "\"client_id\":\"pico-e6\"");
    // One that is plugged in later is found, too, and each keeps its own name.
    second.plug();
    say(&second, "\"client_id\":\"pico-a1\"");
    say(&other, "\"client_id\":9");
    let status = site.status();
    let boards = status["boards"].as_array().unwrap();
    let ids: Vec<_> = boards.iter().map(|it| it["client_id"].clone()).collect();
    assert_eq!(ids, ["9", "pico-e6", "pico-a1"]);
    assert!(
        boards
            .iter()
            .all(|it| it["reports"] == 1 && it["refused"] == 0),
        "{status}"
    );
    // Settings that are read anew keep them.
    site.call(&["reload"]);
    let after = site.status()["boards"].as_array().unwrap().len();
    assert_eq!(after, 3);
}
