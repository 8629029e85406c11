//! The program `mote serve` in a process of its own.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Client};
use crate::{DEADLINE, Running, mote, wait_for};

pub const REPORT: &str = "/api/client/service/report/";

/// A collector that runs. Dropped, it is killed.
pub struct Program {
    pub process: Running,
    pub address: SocketAddr,
    pub folder: TempDir,
}

impl Program {
    /// With these settings in a folder of its own.
    pub fn new(toml: &str) -> Program {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server.toml"), toml).unwrap();
        Program::start(folder)
    }

    pub fn start(folder: TempDir) -> Program {
        let mut command = mote();
        command.arg("serve").arg("--config");
        command.arg(folder.path().join("server.toml"));
        Program::started_by(&mut command, folder)
    }

    /// The same with a limit of open files, whatever this environment allows.
    pub fn with_files(limit: u32, folder: TempDir) -> Program {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"ulimit -n "$0" && exec "$@""#])
            .arg(limit.to_string())
            .arg(mote().get_program())
            .args(["serve", "--config"])
            .arg(folder.path().join("server.toml"));
        Program::started_by(&mut command, folder)
    }

    fn started_by(command: &mut Command, folder: TempDir) -> Program {
        let _ = fs::remove_file(folder.path().join("serve.log"));
        let mut process = Running::start("serve", command, folder.path());
        let address = wait_for("the address of the collector", DEADLINE, || {
            process.assert_running();
            let output = process.output();
            let line = output.lines().find(|line| line.contains("://"))?;
            let (_, address) = line.split_once("://")?;
            address.strip_suffix('/')?.parse().ok()
        });
        Program {
            process,
            address,
            folder,
        }
    }

    pub fn output(&self) -> String {
        self.process.output()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it at once; gives what it leaves.
    pub fn kill(mut self) -> TempDir {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
        self.folder
    }

    /// Tells it to end; gives what it leaves.
    pub fn terminate(mut self) -> TempDir {
        assert!(self.process.terminate().success());
        self.folder
    }

    pub fn get(&self, path: &str, authorization: &str) -> Answer {
        let line = match authorization {
            "" => String::new(),
            value => format!("Authorization: {value}\r\n"),
        };
        let mut client = Client::connect(self.address);
        client.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n"
        ));
        client.answer().unwrap()
    }

    /// Asks for the services of `id`.
    pub fn services(&self, id: &str, token: &str) -> Answer {
        self.get(&format!("/api/client/config/{id}"), &bearer(token))
    }

    pub fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        post(self.address, path, token, body)
    }

    pub fn report(&self, token: &str, body: &Value) -> Answer {
        self.post(REPORT, token, body)
    }

    /// How many reports are kept of a client.
    pub fn count(&self, id: &str) -> usize {
        let page = self.get(&format!("/api/reports?client_id={id}"), "").json();
        page["reports"].as_array().unwrap().len()
    }

    /// `mote invite` with these arguments.
    pub fn invite(&self, arguments: &[&str]) -> Output {
        mote()
            .arg("invite")
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("server.toml"))
            .output()
            .unwrap()
    }

    /// A new code.
    pub fn code(&self, host: &str) -> String {
        let output = self.invite(&[host]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let line = String::from_utf8(output.stdout).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }
}

pub fn post(address: SocketAddr, path: &str, token: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let mut client = Client::connect(address);
    client.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{authorization}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.answer().unwrap()
}

pub fn bearer(token: &str) -> String {
    match token {
        "" => String::new(),
        token => format!("Bearer {token}"),
    }
}

/// Writes a file that only this user may read.
pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// What a collector that does not start says; it must be its settings.
pub fn refusal(folder: &Path) -> String {
    let log = folder.join("refused.log");
    let _ = fs::remove_file(&log);
    let mut command = mote();
    command
        .arg("serve")
        .arg("--config")
        .arg(folder.join("server.toml"));
    let mut process = Running::start("refused", &mut command, folder);
    assert_eq!(process.wait().code(), Some(78));
    process.output()
}
