//! 500 kills of an agent under load, and some of its collector. Which reports are there in the end?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use mote_test_support::collector::Program;
use mote_test_support::dice::Dice;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::strace::strace;
use mote_test_support::{DEADLINE, Running, free_port, wait_for};

const KILLS: usize = 500;

/// After this many kills of the agent the collector is killed too; every second time it stays away for as many
/// kills.
const COLLECTOR_EVERY: usize = 20;

/// In the last of this many runs the disk is slow, so that a report is sent while others are being written, and the
/// agent is killed then.
const SLOW_EVERY: usize = 20;
const SLOW: &str = "write:delay_enter=150000";

const SERVICES: &str = r#"
    Cpu = ["get_linux_cpu", 0.1]
    Memory = ["get_memory_info", 0.1]
    Load = ["get_linux_load", 0.1]
    Network = ["get_network_info", 0.1]
    Alive = ["host_alive_check", 0.1]
    Health = ["get_agent_health", 0.1]
"#;

#[test]
fn after_500_kills_no_number_is_missing() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    order(folder.path(), port, SERVICES);
    let mut collector = Some(Program::start(folder));
    let mut collector_left: Option<TempDir> = None;
    let mut collector_kills = 0;
    let site = Site::new(&server_settings(&format!("http://127.0.0.1:{port}"), ""));
    // With the services in its folder each later run samples from its first moment on.
    let mut first = site.run_until_up();
    site.wait_for_status("the orders", |status| {
        (status["services"].as_array()?.len() == 6).then_some(())
    });
    kill(&mut first);

    let mut dice = Dice(0x6d6f_7465);
    let mut kills = 1;
    while kills < KILLS {
        match kills % COLLECTOR_EVERY {
            0 => {
                collector_left = collector.take().map(Program::kill);
                collector_kills += 1;
            }
            // It comes back at once, or after some more runs of the agent, in turns.
            turn if turn == 8 * (collector_kills % 2) + 1 => {
                collector = collector.or(collector_left.take().map(Program::start));
            }
            _ => {}
        }
        // The first samples are taken after 0.1 s, so half of the runs have that much longer.
        let rest_ms = if kills % 2 == 0 { 100 } else { 0 };
        let rest_ms = rest_ms + 10 + dice.below(101);
        if kills % SLOW_EVERY == SLOW_EVERY - 1 {
            if !kill_with_slow_disk(&site, 150 + rest_ms) {
                return;
            }
        } else {
            let log = site.path("agent.log");
            let said = || fs::metadata(&log).map_or(0, |file| file.len());
            let before = said();
            let mut agent = site.run();
            sleep(Duration::from_millis(rest_ms));
            // A busy machine takes its time to start one: half of them are killed only once they run.
            while kills % 2 == 0 && said() == before {
                agent.assert_running();
                sleep(Duration::from_millis(5));
            }
            kill(&mut agent);
        }
        kills += 1;
    }

    // Without kills, and then without new samples, everything left is delivered.
    let mut collector =
        collector.unwrap_or_else(|| Program::start(collector_left.take().expect("its folder")));
    let mut agent = site.run_until_up();
    site.wait_for_status("a delivery", |status| {
        status["server"]["healthy"].as_bool()?.then_some(())
    });
    let folder = collector.terminate();
    order(folder.path(), port, "");
    collector = Program::start(folder);
    let status = site.wait_for_status("an empty queue", |status| {
        agent.assert_running();
        let is_idle = status["services"].as_array()?.is_empty();
        let is_empty = status["reports"]["queued"] == 0;
        (is_idle && is_empty).then(|| status.clone())
    });

    let account = collector.get("/api/accounting?client_id=1", "").json()["clients"][0].clone();
    let runs = account["runs"].as_array().unwrap();
    let (mut seqs, came) = collected(&collector);
    println!(
        "{kills} kills of the agent and {collector_kills} of the collector: {} runs, {} reports, {} of them more \
         than once; {}",
        runs.len(),
        account["received"],
        account["duplicates"],
        status["reports"]
    );
    assert_eq!(kills, KILLS);
    assert_eq!(collector_kills, (KILLS - 1) / COLLECTOR_EVERY);
    assert_eq!(account["runs_left_out"], 0);
    // A busy machine takes its time to start one.
    assert!(runs.len() > KILLS / 10, "{} runs", runs.len());
    let with_gaps: Vec<&Value> = runs.iter().filter(|run| run["gaps"] != 0).collect();
    assert!(with_gaps.is_empty(), "{with_gaps:?}");
    // The same, computed from the reports.
    for run in runs {
        let seqs = seqs.remove(run["boot"].as_str().unwrap()).unwrap();
        let expected: BTreeSet<u64> = (0..seqs.len() as u64).collect();
        assert_eq!(seqs, expected, "{run}");
    }
    assert_eq!(account["received"], came);

    let reports = &status["reports"];
    assert_eq!(reports["acknowledged"], came);
    let damaged = reports["dropped"]["damaged"].as_u64().unwrap();
    assert!(damaged <= KILLS as u64, "{reports}");
    assert_eq!(reports["sampled"].as_u64().unwrap(), came + damaged);
    assert!(agent.terminate().success());
}

fn kill(agent: &mut Running) {
    agent.assert_running();
    agent.signal(Signal::SIGKILL);
    assert_eq!(agent.wait().signal(), Some(Signal::SIGKILL as i32));
}

/// Returns whether there is a strace.
fn kill_with_slow_disk(site: &Site, rest_ms: u64) -> bool {
    let queue = site.path("state/queue");
    let Some(mut command) = strace("after_500_kills_no_number_is_missing", SLOW, &queue) else {
        return false;
    };
    let agent = site.command(&["run"]);
    command.arg(agent.get_program()).args(agent.get_args());
    let mut tracer = Running::start("strace", &mut command, site.folder());
    let pid = wait_for("the agent to be traced", DEADLINE, || {
        tracer.assert_running();
        // Until the agent is there, strace tries things with children of its own.
        let is_agent = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name == "mote\n")
        };
        site.processes().into_iter().find(is_agent)
    });
    sleep(Duration::from_millis(rest_ms));
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    signal::kill(pid, Signal::SIGKILL).unwrap();
    // strace ends as the process that it traced.
    assert_eq!(tracer.wait().signal(), Some(Signal::SIGKILL as i32));
    true
}

fn order(folder: &Path, port: u16, services: &str) {
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\n{services}"
    );
    fs::write(folder.join("server.toml"), text).unwrap();
}

/// The numbers of each run, and how many reports there are.
fn collected(collector: &Program) -> (BTreeMap<String, BTreeSet<u64>>, u64) {
    let mut runs: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let (mut count, mut after) = (0, 0);
    loop {
        let path = format!("/api/reports?client_id=1&after={after}&limit=1000");
        let page = wait_for("a page", DEADLINE, || Some(collector.get(&path, ""))).json();
        let reports = page["reports"].as_array().unwrap();
        if reports.is_empty() {
            return (runs, count);
        }
        for report in reports {
            let boot = report["boot"].as_str().unwrap().to_owned();
            let seq = report["seq"].as_u64().unwrap();
            runs.entry(boot).or_default().insert(seq);
            count += 1;
        }
        after = page["next"].as_u64().unwrap();
    }
}
