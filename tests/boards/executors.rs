//! An executor for tasks in an interrupt beside that of the main program: each wakes the other's tasks, and the load meter
//! sees both.

use std::process::Stdio;

use mote_test_support::need;
use mote_test_support::qemu::{image, qemu};

#[test]
fn two_executors_take_turns() {
    let image = image("mote-two-executors", "thumbv7m-none-eabi");
    let Some(image) = need("thumbv7m-none-eabi", image) else {
        return;
    };
    let mut board = qemu("arm", "lm3s6965evb", &image);
    board.args(["-semihosting-config", "enable=on,target=native"]);
    board.stdin(Stdio::null()).stdout(Stdio::null());
    // It finds out itself, and says so with its status.
    let status = board.status().unwrap();
    assert!(status.success(), "{status}");
}
