//! Tests that mount something: nobody else on this machine sees it.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{need, wait_for};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "MOTE_TEST_IN_MOUNT_NAMESPACE";

/// Only what hangs takes longer than this.
const FOREVER: Duration = Duration::from_secs(240);

/// Runs the test `name` of this binary in another process, with a mount namespace of its own; what is mounted there
/// is gone with it. `None` needs root and may be skipped.
pub fn run_in_namespace(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(arguments).stdin(Stdio::null());
        command
    };
    let probe = unshare(&["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let able = match probe {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("cannot mount, run as root: {}", why.trim()))
        }
        Err(cause) => Err(format!("unshare: {cause}; apt-get install util-linux")),
    };
    let Some(()) = need(name, able) else { return };
    let this_program = std::env::current_exe().expect("this program");
    let this_program = this_program.to_str().expect("a path");
    let mut child = unshare(&[this_program, "--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .spawn()
        .expect("unshare");
    let status = wait_for(&format!("the end of {name}"), FOREVER, || {
        child.try_wait().expect("its state")
    });
    assert!(status.success(), "{name}: see above");
}
