//! What can fail on this host before the code is spent.

use std::path::Path;

use crate::cli::outcome::{ANSWER_TIME, Failed, exit, failed};
use crate::system::attempt;

/// What is said as long as another attempt costs nothing.
pub const UNSPENT: &str = "the code is not used yet";

/// Looks at `path`, unless the file system that it is on hangs.
pub fn in_time<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failed> {
    attempt::within(ANSWER_TIME, look).ok_or_else(|| {
        let path = path.display();
        let sentence = format!("{path} is on a file system that does not answer; {UNSPENT}");
        failed(exit::FAILED, sentence)
    })
}

/// Says that a file is not replaced unasked.
pub fn already_there(path: &Path) -> Failed {
    let path = path.display();
    failed(
        exit::FAILED,
        format!("{path} is there already; with --force it is replaced"),
    )
}
