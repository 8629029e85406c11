//! Tests that mount something: nobody else on this machine sees it.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::{need, wait_for};

/// In the process that runs inside the namespace: the file by which it says that the test has begun.
const INSIDE: &str = "MOTE_TEST_IN_MOUNT_NAMESPACE";

/// Only what hangs takes longer than this.
const FOREVER: Duration = Duration::from_secs(600);

/// Runs the test `name` of this binary in another process, with a mount namespace of its own; what is mounted there
/// is gone with it. `None` needs root and may be skipped.
pub fn run_in_namespace(name: &str, test: impl FnOnce()) {
    run(name, &[], test);
}

/// The same for who is not root, where the kernel lets anybody have such a namespace.
pub fn run_in_user_namespace(name: &str, test: impl FnOnce()) {
    let mapped: &[&str] = match geteuid().is_root() {
        true => &[],
        false => &["--map-root-user"],
    };
    run(name, mapped, test);
}

fn run(name: &str, options: &[&str], test: impl FnOnce()) {
    if let Some(begun) = std::env::var_os(INSIDE) {
        fs::write(begun, "").expect("a file");
        return test();
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(options).stdin(Stdio::null());
        command
    };
    let mount = ["mount", "-t", "tmpfs", "none", "/mnt"];
    let able = match unshare().args(mount).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("cannot mount, run as root: {}", why.trim()))
        }
        Err(cause) => Err(format!("unshare: {cause}; apt-get install util-linux")),
    };
    let Some(()) = need(name, able) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let begun = folder.path().join("begun");
    let this_program = std::env::current_exe().expect("this program");
    let alone: [&OsStr; 4] = [
        this_program.as_os_str(),
        "--exact".as_ref(),
        name.as_ref(),
        "--nocapture".as_ref(),
    ];
    let mut child = unshare()
        .args(alone)
        .env(INSIDE, &begun)
        .spawn()
        .expect("unshare");
    let status = wait_for(&format!("the end of {name}"), FOREVER, || {
        child.try_wait().expect("its state")
    });
    assert!(status.success(), "{name}: see above");
    assert!(begun.exists(), "there is no test {name}");
}
