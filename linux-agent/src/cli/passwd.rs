//! `mote passwd`: a user of the collector, with the hash of a password.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::outcome::{Failed, exit, failed, say};
use crate::collector::{PASSWORD_BYTES, PasswordHash, Role, is_user_name};
use crate::system::signals;

/// Those that would leave the terminal without its echo.
const ENDS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Reads a password from the terminal without showing it, or a line of standard input. Prints the table of the settings
/// for the user.
pub fn passwd(name: &str, role: Role) -> Result<(), Failed> {
    if !is_user_name(name) {
        let sentence = "a name has 1 to 64 bytes without control characters";
        return Err(failed(exit::USAGE, sentence));
    }
    let input = |error| failed(exit::FAILED, format!("standard input: {error}"));
    let password = if io::stdin().is_terminal() {
        let hidden = Hidden::begin().map_err(input)?;
        let password = hidden.ask("Password: ")?;
        if hidden.ask("Again: ")? != password {
            return Err(failed(exit::USAGE, "the two are not the same"));
        }
        password
    } else {
        line().map_err(input)?
    };
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        let sentence = format!("a password has {least} to {most} bytes of UTF-8 text in one line");
        return Err(failed(exit::USAGE, sentence));
    }
    let hash = PasswordHash::of(&password).map_err(|error| failed(exit::FAILED, error))?;
    let table = format!(
        "[users.{}]\nrole = \"{}\"\npassword = \"{hash}\"",
        quoted(name),
        match role {
            Role::Admin => "admin",
            Role::Viewer => "viewer",
        }
    );
    say(&table)
}

/// A key of TOML.
fn quoted(name: &str) -> String {
    let is_bare = |it: char| it.is_ascii_alphanumeric() || "-_".contains(it);
    match name.chars().all(is_bare) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// The first line of standard input, without its end. What is no text has no valid length either.
fn line() -> io::Result<String> {
    let limit = *PASSWORD_BYTES.end() as u64 + 3;
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(limit)
        .read_until(b'\n', &mut bytes)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden {
    before: Termios,
    ends: nix::sys::signalfd::SignalFd,
}

impl Hidden {
    fn begin() -> io::Result<Hidden> {
        let ends = signals::watch_signals(&ENDS)?;
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden { before, ends })
    }

    fn ask(&self, question: &str) -> Result<String, Failed> {
        let fail = |error| failed(exit::FAILED, format!("the terminal: {error}"));
        // Whoever takes the output into a file still sees the question.
        let mut terminal = io::stderr().lock();
        let _ = terminal.write_all(question.as_bytes());
        let stdin = io::stdin();
        let mut ready = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE).map_err(|error| fail(error.into()))?;
        if ready[1].any().unwrap_or(false) {
            return Err(failed(exit::FAILED, "nothing was made"));
        }
        line().map_err(fail)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // If the terminal is gone, nobody sees it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_key_of_toml() {
        for (name, key) in [
            ("ada", "ada"),
            ("ada-1_B", "ada-1_B"),
            ("ada lovelace", "\"ada lovelace\""),
            ("a.b", "\"a.b\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
        ] {
            assert_eq!(quoted(name), key);
        }
    }
}
