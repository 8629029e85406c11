//! The reference server, driven through its management commands.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{DEADLINE, Running, free_port, http_get, mote, need, python, root, run, wait_for};

/// A server of its own for one test: settings, database and port.
pub struct Django {
    python: PathBuf,
    folder: TempDir,
    port: u16,
    encoding: String,
    /// Where its Redis listens, if it keeps reports in one.
    redis_port: Option<u16>,
}

impl Django {
    /// Makes the database with host 1 in it; `None` if the test is skipped.
    pub fn prepare(encoding: &str) -> Option<Django> {
        Django::make(encoding, None)
    }

    /// The same, with reports and triggers in [`Django::serve_redis`].
    pub fn prepare_with_redis(encoding: &str) -> Option<Django> {
        let found = run(Command::new("redis-server").arg("--version"));
        let found =
            found.map_err(|it| format!("redis-server: {it}; Debian's package redis-server has it"));
        need("reference_server", found)?;
        Django::make(encoding, Some(free_port()))
    }

    fn make(encoding: &str, redis_port: Option<u16>) -> Option<Django> {
        let django = Django {
            python: need_python()?,
            folder: TempDir::new().unwrap(),
            port: free_port(),
            encoding: encoding.to_owned(),
            redis_port,
        };
        django.manage(&["migrate", "--run-syncdb", "--verbosity", "0"]);
        django.manage(&["create_fixture"]);
        Some(django)
    }

    /// The address of `path` on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(project().join("manage.py"))
            .env("REFERENCE_DATABASE", self.folder.path().join("db.sqlite3"))
            .env("REFERENCE_ENCODING", &self.encoding)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .env_remove("DJANGO_SETTINGS_MODULE");
        if let Some(port) = self.redis_port {
            command.env("REFERENCE_REDIS", port.to_string());
        }
        command
    }

    /// Starts its Redis, with what it had before, and waits until it listens. Dropped, it is killed. What it has
    /// acknowledged is on disk.
    pub fn serve_redis(&self) -> Running {
        let port = self
            .redis_port
            .expect("a server that was prepared with Redis");
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(self.folder.path())
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ]);
        let mut redis = Running::start("redis", &mut command, self.folder.path());
        wait_for("Redis", DEADLINE, || {
            redis.assert_running();
            pings(port).ok()
        });
        redis
    }

    /// Runs one of its management commands and gives what it prints.
    pub fn manage(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments)).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Starts the server as a small installation does and waits until it answers.
    pub fn serve(&self) -> Running {
        let address = format!("127.0.0.1:{}", self.port);
        let mut command = self.command();
        command.args(["runserver", "--noreload", &address]);
        let mut server = Running::start("django", &mut command, self.folder.path());
        wait_for("the Django server", DEADLINE, || {
            server.assert_running();
            http_get(&self.url("")).ok()
        });
        server
    }

    /// Starts the agent as host 1 of this server.
    pub fn start_agent(&self) -> Running {
        let text = format!(
            r#"
            client_id = 1
            state_dir = "state"
            first_sample_spread_s = 0

            [server]
            url = "http://127.0.0.1:{port}"
            get_configs = {{ path = "api/client/config", method = "GET" }}
            service_report = {{ path = "api/client/service/report/", method = "POST", encoding = "{encoding}" }}
            config_update_interval_s = 1
            "#,
            port = self.port,
            encoding = self.encoding,
        );
        fs::write(self.settings(), text).unwrap();
        Running::start("agent", &mut self.mote(&["run"]), self.folder.path())
    }

    /// `mote` with the settings of [`Django::start_agent`].
    pub fn mote(&self, arguments: &[&str]) -> Command {
        let mut command = mote();
        command.arg("--config").arg(self.settings()).args(arguments);
        command
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    /// Every report that the server has stored, in the order in which they were sampled.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports = self.stored();
        reports.sort_by_key(|report| report.seq);
        reports
    }

    /// Every report that the server has stored, in the order in which it was.
    pub fn stored(&self) -> Vec<Report> {
        let lines = self.manage(&["dump_reports"]);
        let reports = lines.lines();
        reports
            .map(|it| Report::parse(it, &self.encoding))
            .collect()
    }
}

/// Whether a Redis has read what is on disk, and answers.
fn pings(port: u16) -> io::Result<()> {
    let mut redis = TcpStream::connect(("127.0.0.1", port))?;
    redis.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    redis.read_exact(&mut answer)?;
    if &answer == b"+PONG" {
        return Ok(());
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// One line of `dump_reports`.
#[derive(Clone, Debug)]
pub struct Report {
    /// The primary key of its host.
    pub client_id: u64,
    /// As the agent said.
    pub service_name: String,
    /// As the agent said.
    pub data: Value,
    /// Unix time of the sample.
    pub time_s: f64,
    /// The run of the agent.
    pub boot: String,
    /// Counts up over that run.
    pub seq: u64,
}

impl Report {
    fn parse(line: &str, encoding: &str) -> Report {
        let stored: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| -> f64 {
            let value = &stored["extra"][name];
            let number = match encoding {
                "form" => value.as_str().and_then(|text| text.parse().ok()),
                _ => value.as_f64(),
            };
            number.unwrap_or_else(|| panic!("`{name}` is no number: {line}"))
        };
        let text = |value: &Value| match value.as_str() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => panic!("a text is missing: {line}"),
        };
        Report {
            client_id: stored["client_id"].as_u64().unwrap(),
            service_name: text(&stored["service_name"]),
            data: stored["data"].clone(),
            time_s: number("time"),
            boot: text(&stored["extra"]["boot"]),
            seq: number("seq") as u64,
        }
    }
}

/// A Python with what the project needs; `None` if the test is skipped.
pub fn need_python() -> Option<PathBuf> {
    let requirements = project().join("requirements.txt");
    let made = python::environment("reference_server_python", &requirements);
    need("reference_server", made)
}

/// The folder of the Django project.
pub fn project() -> PathBuf {
    root().join("tests/reference_server")
}
