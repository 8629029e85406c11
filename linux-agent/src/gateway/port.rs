//! A serial port: raw, 8 data bits, no parity, one stop bit; termios(3). Nothing here waits.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NONBLOCK};
use nix::sys::termios::{
    BaudRate, ControlFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, cfsetspeed,
    tcgetattr, tcsetattr,
};
use rustix::fs::FlockOperation;
use thiserror::Error;

/// The kernel's constant for each rate that the settings allow.
const SPEEDS: &[(u32, BaudRate)] = &[
    (1200, BaudRate::B1200),
    (2400, BaudRate::B2400),
    (4800, BaudRate::B4800),
    (9600, BaudRate::B9600),
    (19_200, BaudRate::B19200),
    (38_400, BaudRate::B38400),
    (57_600, BaudRate::B57600),
    (115_200, BaudRate::B115200),
    (230_400, BaudRate::B230400),
    (460_800, BaudRate::B460800),
    (500_000, BaudRate::B500000),
    (576_000, BaudRate::B576000),
    (921_600, BaudRate::B921600),
    (1_000_000, BaudRate::B1000000),
    (1_152_000, BaudRate::B1152000),
    (1_500_000, BaudRate::B1500000),
    (2_000_000, BaudRate::B2000000),
    (2_500_000, BaudRate::B2500000),
    (3_000_000, BaudRate::B3000000),
    (3_500_000, BaudRate::B3500000),
    (4_000_000, BaudRate::B4000000),
];

/// An open port. Meanwhile no other program can open it, unless it is privileged.
#[derive(Debug)]
pub struct Port {
    file: File,
}

/// Why a port is not open. It displays as the end of a sentence that names it.
#[derive(Debug, Error)]
pub enum PortError {
    /// It does not exist.
    #[error("is not there")]
    Missing,
    /// It is no serial port.
    #[error("is no serial port")]
    NoTerminal,
    /// Another program has it.
    #[error("is in use by another program")]
    InUse,
    /// The device is gone.
    #[error("has been unplugged or hung up")]
    HungUp,
    /// The system refuses.
    #[error("cannot be used: {0}")]
    System(io::Error),
}

impl Port {
    /// Opens the port that `device` leads to now. Bytes that wait there stay.
    pub fn open(device: &Path, baud: u32) -> Result<Port, PortError> {
        // Opening some devices has effects, so check first whether it can be a port.
        if !fs::metadata(device)?.file_type().is_char_device() {
            return Err(PortError::NoTerminal);
        }
        let mut options = File::options();
        options.read(true).write(true);
        let file = options
            .custom_flags(O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
            .open(device)?;
        let mut termios = tcgetattr(&file)?;
        // Exclusive use keeps out programs that come later; the lock those that are there already and lock it too.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(PortError::InUse),
            result => result?,
        }
        rustix::termios::ioctl_tiocexcl(&file)?;
        let port = Port { file };
        set_up(&mut termios, baud)?;
        tcsetattr(&port.file, SetArg::TCSANOW, &termios)?;
        Ok(port)
    }

    /// Reads what is there, at most a buffer full. 0: nothing for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        match self.file.read(buffer) {
            Ok(0) => Err(PortError::HungUp),
            Ok(count) => Ok(count),
            Err(error) if is_for_now(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what there is room for and gives its length.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, PortError> {
        match self.file.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if is_for_now(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The exclusive flag would stay on a port that another program has open, such as a pseudo-terminal.
        let _ = rustix::termios::ioctl_tiocnxcl(&self.file);
    }
}

fn set_up(termios: &mut Termios, baud: u32) -> Result<(), PortError> {
    cfmakeraw(termios);
    let flags = &mut termios.control_flags;
    // HUPCL would drop DTR on closing, which resets many boards.
    flags.remove(
        ControlFlags::HUPCL
            | ControlFlags::CSTOPB
            | ControlFlags::PARENB
            | ControlFlags::CRTSCTS
            | ControlFlags::CSIZE,
    );
    flags.insert(ControlFlags::CS8 | ControlFlags::CREAD | ControlFlags::CLOCAL);
    // With these, nothing to read is an error of its own and 0 bytes are the end.
    for (index, value) in [
        (SpecialCharacterIndices::VMIN, 1),
        (SpecialCharacterIndices::VTIME, 0),
    ] {
        if let Some(place) = termios.control_chars.get_mut(index as usize) {
            *place = value;
        }
    }
    let rate = SPEEDS.iter().find(|(rate, _)| *rate == baud);
    let (_, rate) = rate.ok_or(Errno::EINVAL)?;
    Ok(cfsetspeed(termios, *rate)?)
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl From<io::Error> for PortError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => PortError::Missing,
            Some(Errno::ENOTTY) => PortError::NoTerminal,
            Some(Errno::EBUSY) => PortError::InUse,
            // The error of a device that is being pulled out.
            Some(Errno::EIO | Errno::ENXIO | Errno::ENODEV) => PortError::HungUp,
            _ => PortError::System(error),
        }
    }
}

impl From<Errno> for PortError {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<rustix::io::Errno> for PortError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BAUD_RATES;
    use nix::pty::openpty;
    use nix::sys::termios::{LocalFlags, OutputFlags, cfgetospeed};
    use nix::unistd::ttyname;
    use std::path::PathBuf;

    fn pair() -> (File, PathBuf) {
        let pair = openpty(None, None).unwrap();
        let name = ttyname(&pair.slave).unwrap();
        (File::from(pair.master), name)
    }

    #[test]
    fn each_rate_of_the_settings_has_its_speed() {
        let rates: Vec<u32> = SPEEDS.iter().map(|(rate, _)| *rate).collect();
        assert_eq!(rates, BAUD_RATES);
    }

    #[test]
    fn bytes_pass_as_they_are_both_ways() {
        let (mut master, name) = pair();
        let mut port = Port::open(&name, 9600).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let mut buffer = [0; 512];
        assert_eq!(port.read(&mut buffer).unwrap(), 0);
        master.write_all(&all).unwrap();
        assert_eq!(port.read(&mut buffer).unwrap(), 256);
        assert_eq!(buffer[..256], all);
        assert_eq!(port.write(&all).unwrap(), 256);
        let mut back = [0; 256];
        master.read_exact(&mut back).unwrap();
        assert_eq!(back, all[..]);
    }

    #[test]
    fn the_port_is_raw_and_closing_it_resets_no_board() {
        let (_master, name) = pair();
        let port = Port::open(&name, 57_600).unwrap();
        let termios = tcgetattr(&port).unwrap();
        assert_eq!(cfgetospeed(&termios), BaudRate::B57600);
        let control = termios.control_flags;
        assert!(!control.intersects(ControlFlags::HUPCL | ControlFlags::PARENB));
        assert_eq!(control & ControlFlags::CSIZE, ControlFlags::CS8);
        let local = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        assert!(!termios.local_flags.intersects(local));
        assert!(!termios.output_flags.contains(OutputFlags::OPOST));
    }

    #[test]
    fn what_was_received_before_is_read() {
        let (mut master, name) = pair();
        drop(Port::open(&name, 115_200).unwrap());
        let keep = File::options()
            .read(true)
            .custom_flags(O_NOCTTY)
            .open(&name)
            .unwrap();
        master.write_all(b"early\n").unwrap();
        let mut port = Port::open(&name, 115_200).unwrap();
        drop(keep);
        let mut buffer = [0; 16];
        assert_eq!(port.read(&mut buffer).unwrap(), 6);
    }

    #[test]
    fn a_port_is_had_by_one_at_a_time() {
        let (_master, name) = pair();
        let port = Port::open(&name, 115_200).unwrap();
        let second = Port::open(&name, 115_200).unwrap_err();
        assert_eq!(second.to_string(), "is in use by another program");
        drop(port);
        Port::open(&name, 115_200).unwrap();
    }

    #[test]
    fn a_write_into_a_port_that_is_full_does_not_wait() {
        let (_master, name) = pair();
        let mut port = Port::open(&name, 115_200).unwrap();
        let mut written = 0;
        // Nobody reads at the other end.
        while let Ok(count @ 1..) = port.write(&[b'x'; 1000]) {
            written += count;
        }
        assert!((1..1 << 20).contains(&written), "{written}");
        assert_eq!(port.write(b"x").unwrap(), 0);
    }

    #[test]
    fn the_end_of_the_other_side_is_seen() {
        let (master, name) = pair();
        let mut port = Port::open(&name, 115_200).unwrap();
        drop(master);
        let error = port.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.to_string(), "has been unplugged or hung up");
    }

    #[test]
    fn what_is_no_port_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| Port::open(path, 115_200).unwrap_err().to_string();
        let file = folder.path().join("file");
        assert_eq!(open(&file), "is not there");
        fs::write(&file, "x").unwrap();
        for path in [&file, folder.path(), Path::new("/dev/null")] {
            assert_eq!(open(path), "is no serial port", "{path:?}");
        }
    }
}
