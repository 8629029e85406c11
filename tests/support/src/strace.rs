//! Calls on files that fail or take long, by strace.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{need, run};

/// strace that does `inject` to calls on `folder` and the files in it, such as `write:error=EIO`. Whom it does that to
/// is to be added: `-p` and a pid, or a program with its arguments. `None` needs strace and may be skipped.
pub fn strace(test: &str, inject: &str, folder: &Path) -> Option<Command> {
    let found = run(Command::new("strace").arg("-V"));
    need(test, found)?;
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-o", "/dev/null"]);
    tracer.args(["-e", &format!("inject={inject}")]);
    tracer.arg("-P").arg(folder);
    for file in fs::read_dir(folder).expect("the folder") {
        tracer.arg("-P").arg(file.expect("a file").path());
    }
    Some(tracer)
}
