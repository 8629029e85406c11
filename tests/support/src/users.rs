//! People who log in to the collector.

use std::io::Write;
use std::process::Stdio;

use crate::mote;

/// The table of a user with this password, as `mote passwd` prints it.
pub fn user(name: &str, role: &str, password: &str) -> String {
    let mut process = mote()
        .args(["passwd", name, "--role", role])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    input.write_all(password.as_bytes()).unwrap();
    drop(input);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
