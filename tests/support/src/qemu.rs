//! Emulated machines, and images to run on them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::root;

/// No emulation here takes a tenth of it; it only ends a test whose machine hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Builds a package for a target and gives its image, which has its name.
pub fn image(package: &str, target: &str) -> Result<PathBuf, String> {
    image_named(package, target, package)
}

/// Builds a package for a target and gives the image of this name: never one that was built of something else.
pub fn image_named(package: &str, target: &str, name: &str) -> Result<PathBuf, String> {
    let build = root().join("ci/build-firmware");
    named(Command::new(build).args([package, target]), name)
}

/// The image of this name for the Raspberry Pi Pico, without a client id: a board takes its own unique id.
pub fn pico_of_own_id(name: &str) -> Result<PathBuf, String> {
    let mut build = Command::new(root().join("ci/build-firmware"));
    build
        .args(["mote-pico", "thumbv6m-none-eabi"])
        .env("MOTE_CLIENT_ID", "")
        .env("CARGO_TARGET_DIR", root().join("firmware/target/own-id"));
    named(&mut build, name)
}

fn named(build: &mut Command, name: &str) -> Result<PathBuf, String> {
    let output = output(build)?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(folder.trim_end()).join(name))
}

/// A machine of QEMU: the same image runs alike each time, instruction by instruction.
pub fn qemu(system: &str, machine: &str, image: &Path) -> Command {
    let mut command = Command::new(format!("qemu-system-{system}"));
    command
        .args(["-M", machine, "-nographic", "-monitor", "none"])
        .args(["-serial", "stdio", "-no-reboot"])
        // Time is counted in instructions, 8 ns each, and jumps where the machine sleeps.
        .args(["-icount", "shift=3,sleep=off"])
        .arg("-kernel")
        .arg(image);
    command
}

/// A Raspberry Pi Pico; its first serial port is on standard input and output.
pub fn pico(image: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg(root().join("tests/boards/emulator/pico.mjs"))
        .arg("--fast")
        .arg(image);
    command
}

/// Runs a machine until `done` with what it wrote, and gives all of that.
pub fn run(machine: Command, done: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, String> {
    converse(machine, |written, _| done(written))
}

/// As [`run`]; `done` may also write to the machine, each time that it has written something itself.
pub fn converse(
    mut machine: Command,
    mut done: impl FnMut(&[u8], &mut ChildStdin) -> bool,
) -> Result<Vec<u8>, String> {
    let program = machine.get_program().to_string_lossy().into_owned();
    machine.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = machine
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}; ci/install/tools installs it"))?;
    let mut stdin = child.stdin.take().unwrap();
    let pieces = pieces(&mut child);
    let deadline = Instant::now() + DEADLINE;
    let mut written = Vec::new();
    let finished = loop {
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => written.extend(piece),
            Err(_) => break false,
        }
        if done(&written, &mut stdin) {
            break true;
        }
    };
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let text = String::from_utf8_lossy(&written);
    assert!(finished, "{program} ended, or hangs, after it wrote {text}");
    Ok(written)
}

fn output(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(output),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("cannot run {program}: {error}")),
    }
}

fn pieces(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let mut stdout = child.stdout.take().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
