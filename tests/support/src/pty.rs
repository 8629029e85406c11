//! Pseudo-terminals.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

/// Both ends of a pseudo-terminal. No process of another test gets them, or it would stay open beyond this one.
pub struct Pty {
    pub master: PtyMaster,
    pub slave: File,
    /// The device of the slave.
    pub name: PathBuf,
}

impl Pty {
    pub fn open() -> Pty {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("its right");
        unlockpt(&master).expect("its lock");
        let name = ptsname_r(&master).expect("its name");
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let slave = options.custom_flags(OFlag::O_NOCTTY.bits()).open(&name);
        Pty {
            master,
            slave: slave.expect("its other end"),
            name: name.into(),
        }
    }
}
