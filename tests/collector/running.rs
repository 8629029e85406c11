//! A collector in the process of the test, and reports for it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use mote_agent::collector::{Collector, Handle, ServerSettings};
use mote_test_support::http::{Answer, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SERVER_TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"

    [hosts.web]
    id = 1
    groups = ["servers"]
    templates = ["slow"]

    [hosts.board-7]
    templates = ["slow"]

    [hosts.bare]
    id = 3

    [groups.servers]
    templates = ["fast"]

    [templates.slow.services]
    LinuxCPU = ["get_linux_cpu", 60]
    LinuxLoad = ["get_linux_load", 0.5]

    [templates.fast.services]
    LinuxCPU = ["get_linux_cpu", 15]
"#;

/// A valid report, with these fields instead of or besides its own.
pub fn report(fields: Value) -> Value {
    let mut report = json!({"client_id": 1, "service_name": "LinuxCPU", "data": {"status": 0}});
    for (name, value) in fields.as_object().unwrap() {
        report[name] = value.clone();
    }
    report
}

pub fn numbered(seq: u64) -> Value {
    report(json!({"boot": "b", "seq": seq}))
}

pub fn new_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.toml"), SERVER_TOML).unwrap();
    folder
}

pub fn settings(folder: &Path) -> ServerSettings {
    ServerSettings::read(&folder.join("server.toml")).unwrap()
}

pub fn post_head(kind: &str, bytes: usize) -> String {
    format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
         Content-Length: {bytes}\r\n\r\n"
    )
}

/// A collector at work in a folder of its own.
pub struct Running {
    pub handle: Handle,
    pub address: SocketAddr,
    pub folder: TempDir,
}

impl Running {
    pub fn new() -> Self {
        Running::at(new_folder())
    }

    pub fn at(folder: TempDir) -> Self {
        Running::with(settings(folder.path()), folder)
    }

    pub fn with(settings: ServerSettings, folder: TempDir) -> Self {
        let collector = Collector::bind(settings).unwrap();
        let address = collector.local_addr();
        let handle = collector.spawn().unwrap();
        assert_eq!(handle.local_addr(), address);
        Running {
            handle,
            address,
            folder,
        }
    }

    pub fn stop(self) -> TempDir {
        self.handle.stop();
        assert!(TcpStream::connect(self.address).is_err(), "still listening");
        self.folder
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.answer().unwrap()
    }

    pub fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        let mut client = self.connect();
        let bytes = body.len();
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: {bytes}\r\n\r\n{body}"
        ));
        client.answer().unwrap()
    }

    pub fn post_json(&self, report: &Value) -> Answer {
        let path = "/api/client/service/report/";
        self.post(path, "application/json", &report.to_string())
    }

    /// Sends it again, as agents do, until it is acknowledged.
    pub fn deliver(&self, report: &Value) {
        loop {
            match self.post_json(report).status {
                200 => return,
                status => assert_eq!(status, 503),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn seqs(&self) -> Vec<u64> {
        let reports = self.reports("");
        let seqs = reports.iter().map(|report| report["seq"].as_u64().unwrap());
        seqs.collect()
    }

    pub fn reports(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/reports?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        answer.json()["reports"].as_array().unwrap().clone()
    }
}
