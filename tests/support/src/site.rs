//! A folder with settings, from which the commands of one agent are called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::marked;
use crate::scripted_server::Server;
use crate::{DEADLINE, Running, mote, wait_for};

/// A settings file `agent.toml` and what the agent makes of it, in `state`. Whatever agent still
/// runs from it when this is dropped is stopped.
pub struct Site {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Exit codes of `status` for an agent that runs: its token is taken, or is not.
const RUNS: [i32; 2] = [0, 150];

impl Site {
    /// Settings that begin with a client, the state folder and no spread; `rest` follows.
    pub fn new(rest: &str) -> Site {
        let site = Site {
            folder: TempDir::new().expect("a folder"),
        };
        site.write_settings(rest);
        // With these it can be stopped whatever a test does to the others.
        fs::write(site.path("stop.toml"), settings("services = {}")).expect("a file");
        site
    }

    /// An agent that takes its orders from `server`, every second.
    pub fn of(server: &Server) -> Site {
        Site::new(&server_settings(&server.url(), ""))
    }

    pub fn write_settings(&self, rest: &str) {
        fs::write(self.path("agent.toml"), settings(rest)).expect("a file");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `mote` with the settings of this site.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = mote();
        command
            .arg("--config")
            .arg(self.path("agent.toml"))
            .args(arguments);
        command
    }

    /// Runs `mote` with the settings of this site to its end.
    pub fn call(&self, arguments: &[&str]) -> Said {
        said(&mut self.command(arguments))
    }

    /// Calls `mote start` and gives the pid that it says.
    pub fn start(&self) -> u32 {
        let said = self.call(&["start"]);
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
        said.pid("mote runs, pid ")
    }

    /// Starts `mote run`.
    pub fn run(&self) -> Running {
        Running::start("agent", &mut self.command(&["run"]), self.folder())
    }

    /// Starts `mote run` and waits until it answers.
    pub fn run_until_up(&self) -> Running {
        let mut agent = self.run();
        wait_for("the agent to answer", DEADLINE, || {
            agent.assert_running();
            RUNS.contains(&self.call(&["status"]).code).then_some(())
        });
        agent
    }

    /// What `mote status --json` says of the agent that runs.
    pub fn status(&self) -> Value {
        let said = self.call(&["status", "--json"]);
        assert!(RUNS.contains(&said.code) && said.err.is_empty(), "{said:?}");
        let status = serde_json::from_str(&said.out);
        let status = status.unwrap_or_else(|error| panic!("{error}: {said:?}"));
        assert_balanced(&status);
        status
    }

    /// Asks for the status until `wanted` gives something.
    pub fn wait_for_status<T>(&self, what: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        wait_for(what, DEADLINE, || {
            let status = self.status();
            wanted(&status)
        })
    }

    /// The log of the detached agent.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("state/agent.log")).unwrap_or_default()
    }

    /// The same once `words` are in it: a line comes a moment after what it tells of.
    pub fn wait_for_log(&self, words: &str) -> String {
        wait_for(&format!("{words:?} in the log"), DEADLINE, || {
            Some(self.log()).filter(|log| log.contains(words))
        })
    }

    /// The processes whose command line names this site's folder, but for those that have ended.
    pub fn processes(&self) -> Vec<u32> {
        marked(&self.folder().display().to_string())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        let call = |arguments: &[&str]| {
            let settings = self.path("stop.toml");
            let mut command = mote();
            command.arg("--config").arg(settings).args(arguments);
            command.stdin(Stdio::null()).output()
        };
        // Whatever a test was about, its agent accounts for each report in the end.
        let last = call(&["status", "--json"]);
        let stopped = call(&["stop", "--timeout", "1"]);
        if is_failing {
            eprintln!("--- log of the agent, {stopped:?}:\n{}---", self.log());
            return;
        }
        if let Ok(last) = last
            && last.status.success()
        {
            assert_balanced(&serde_json::from_slice(&last.stdout).expect("JSON"));
        }
        assert_final_accounts(&self.log());
    }
}

impl Said {
    /// The number after `words`, which stand in what it printed.
    pub fn pid(&self, words: &str) -> u32 {
        let rest = self.out.split_once(words).map(|(_, rest)| rest.trim_end());
        rest.and_then(|pid| pid.parse().ok())
            .unwrap_or_else(|| panic!("no {words:?} and a number: {self:?}"))
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    Said {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Settings for [`Site::write_settings`]: a server, and other keys of its table.
pub fn server_settings(url: &str, keys: &str) -> String {
    format!("[server]\nurl = \"{url}\"\nconfig_update_interval_s = 1\n{keys}")
}

/// `sampled = acknowledged + queued + dropped`
pub fn assert_balanced(status: &Value) {
    let reports = &status["reports"];
    let count = |name: &str| reports[name].as_u64().expect("a number");
    let dropped = reports["dropped"].as_object().expect("reasons").values();
    let dropped: u64 = dropped.map(|count| count.as_u64().expect("a number")).sum();
    let found = count("acknowledged") + count("queued") + dropped;
    assert_eq!(count("sampled"), found, "{reports}");
}

/// The same in the last line of each agent that said something in this log.
pub fn assert_final_accounts(log: &str) {
    let _ = final_accounts(log);
}

/// What the last line of each agent says: its four sums, and each reason for which something was dropped.
pub fn final_accounts(log: &str) -> Vec<BTreeMap<String, u64>> {
    let accounts = log.lines().filter_map(|line| line.split_once(" stops: "));
    accounts
        .map(|(_, account)| final_account(account))
        .collect()
}

fn final_account(line: &str) -> BTreeMap<String, u64> {
    let (account, _) = line.split_once("; ").unwrap_or((line, ""));
    let (sums, reasons) = account.split_once(", ").unwrap_or((account, ""));
    let count = |part: &str| {
        let (count, what) = part.split_once(' ').expect("a count and what it is of");
        (what.to_owned(), count.parse::<u64>().expect("a number"))
    };
    let reasons = reasons.split(", ").filter(|part| !part.is_empty());
    let reasons: BTreeMap<String, u64> = reasons.map(count).collect();
    let (sampled, rest) = sums.split_once(" = ").expect("a sum");
    let parts: BTreeMap<String, u64> = rest.split(" + ").map(count).collect();
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["acknowledged", "dropped", "queued"], "{line}");
    assert_eq!(
        count(sampled),
        ("sampled".to_owned(), parts.values().sum()),
        "{line}"
    );
    assert_eq!(parts["dropped"], reasons.values().sum::<u64>(), "{line}");
    parts
        .into_iter()
        .chain(reasons)
        .chain([count(sampled)])
        .collect()
}

/// The entry of a service in a status.
pub fn service<'s>(status: &'s Value, name: &str) -> &'s Value {
    let services = status["services"].as_array().expect("services");
    let found = services.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn settings(rest: &str) -> String {
    format!("client_id = 1\nstate_dir = \"state\"\nfirst_sample_spread_s = 0\n{rest}\n")
}
