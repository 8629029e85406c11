//! Limits what a process or thread may do or pass on. Uses system calls that allocate nothing, since some are made
//! between fork and exec.

use nix::libc::{self, c_int, c_uint};
use nix::sys::signal::SigSet;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
};

/// Without `close_range`, descriptors up to this one are closed. An agent has fewer.
const MAX_INHERITED: c_int = 1024;

/// Marks all descriptors but the standard ones to be closed on exec. Allocates nothing.
pub fn close_on_exec() {
    // Not closed now: std reports a failed exec through one of them.
    if close_range(3, libc::CLOSE_RANGE_CLOEXEC) {
        return;
    }
    // Before Linux 5.11.
    for descriptor in 3..MAX_INHERITED {
        // SAFETY: a flag of a descriptor is set; where there is no such descriptor the call fails.
        let _ = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Gives this thread a file table of its own, with nothing in it but `kept`. In the shared one a thread that a disk or a
/// file server holds would keep every file open, locks and listening sockets too, after the process has ended.
///
/// The thread takes no signals from then on: a handler would find descriptors gone, or other files behind their
/// numbers. Kernels before 5.9 do not have this and leave the table as it is.
pub fn give_up_files(kept: Option<c_int>) {
    // Fails only for arguments that are wrong.
    let _ = SigSet::all().thread_block();
    let unshare = libc::CLOSE_RANGE_UNSHARE;
    match kept.and_then(|it| c_uint::try_from(it).ok()) {
        None => {
            close_range(0, unshare);
        }
        // With the first call the table is this thread's own, so the second one closes nothing of others.
        Some(0) => {
            close_range(1, unshare);
        }
        Some(kept) => {
            if close_between(0, kept - 1, unshare) {
                close_range(kept.saturating_add(1), 0);
            }
        }
    }
}

/// Drops every capability of this thread but `kept`, and passes on none. Allocates nothing.
pub fn limit_capabilities(kept: CapabilitySet) -> rustix::io::Result<()> {
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there is no such set.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}

fn close_range(first: c_uint, flags: c_uint) -> bool {
    close_between(first, c_uint::MAX, flags)
}

/// Returns whether the kernel has close_range(2) with these flags.
fn close_between(first: c_uint, last: c_uint, flags: c_uint) -> bool {
    // SAFETY: the functions above either set a flag of descriptors, or close descriptors in a table that has become
    // this thread's own, whose files it does not use.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}
