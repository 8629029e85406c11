//! Names of runs: of an agent's, and of the kernel's.

use std::fs::{self, File};
use std::io::Read;

use super::clock;

/// 64 random bits in hexadecimal, for a run that begins now.
pub fn new_boot_id() -> String {
    let mut bytes = [0; 8];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if random.is_err() {
        // Time and pid are still different from those of the run before.
        bytes = (clock::unix_ms() << 20 ^ u64::from(std::process::id())).to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Linux's id of its run. Uptimes can be compared only within one.
pub fn kernel_run() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        "" => "unknown".to_owned(),
        id => id.to_owned(),
    }
}
