//! `mote demo`.

use std::fs;

use super::LOCAL;
use mote_test_support::site::{Site, said};
use mote_test_support::{DEADLINE, Running, mote, wait_for};

#[test]
fn a_second_demo_leaves_the_first_alone() {
    let site = Site::new(LOCAL);
    let state = site.path("demo");
    let demo = || {
        let mut command = mote();
        command.args(["demo", "--state"]).arg(&state);
        command
    };
    let first = Running::start("demo", &mut demo(), site.folder());
    let settings = state.join("agent.toml");
    wait_for("the first demo", DEADLINE, || {
        first.output().contains("LinuxCPU").then_some(())
    });
    let before = fs::read_to_string(&settings).unwrap();
    let second = said(&mut demo());
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("already"), "{second:?}");
    assert_eq!(fs::read_to_string(&settings).unwrap(), before);
}
