//! `mote demo`: a collector and an agent on this machine, in one process, with nothing to configure.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::outcome::{Failed, exit, failed, say_aside};
use super::process::run_agent;
use super::source::Source;
use crate::collector::{Collector, ServerSettings};
use crate::system::lock::{self, Holder};
use crate::system::signals;

/// The port to use if it is free.
const PORT: u16 = 9000;

/// After so many looks without a new service there is none.
const QUIET: u32 = 6;

/// What a terminal line shows of a report's data, in characters.
const SHOWN: usize = 100;

/// Runs both until SIGTERM or SIGINT. `state` is where settings and reports are kept; by default a new folder.
pub fn demo(source: &Source, state: Option<&Path>) -> Result<(), Failed> {
    let state = state_dir(state)?;
    let agent_dir = state.join("agent");
    if let Ok(holder @ (Holder::Running(_) | Holder::Hidden)) = lock::holder(&agent_dir) {
        let sentence = format!("a demo runs in {} already ({holder})", state.display());
        return Err(failed(exit::FAILED, sentence));
    }
    signals::block_signals(signals::OF_THE_LOOP).map_err(|error| failed(exit::FAILED, error))?;
    let bind = |port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Collector::bind(ServerSettings::demo(&state, address))
    };
    let collector = bind(PORT)
        .or_else(|_| bind(0))
        .and_then(Collector::spawn)
        .map_err(|error| failed(exit::FAILED, error))?;
    let url = format!("http://{}", collector.local_addr());

    let file = state.join("agent.toml");
    let text = format!(
        "client_id = 1\nstate_dir = \"agent\"\nfirst_sample_spread_s = 0\n\n[server]\nurl = \"{url}\"\n"
    );
    fs::write(&file, text)
        .map_err(|error| failed(exit::FAILED, format!("{}: {error}", file.display())))?;
    let agent_source = Source {
        file: Some(file.clone()),
        ..source.clone()
    };
    let settings = agent_source.settings()?;

    let lines = vec![
        format!("This machine reports to the collector on {url}/ - open it in a browser, or"),
        format!("  curl '{url}/api/reports?client_id=1&service=LinuxCPU'"),
        format!("  mote --config {} status", file.display()),
        format!("Settings and reports are in {}.", state.display()),
    ];
    say_aside(lines, move || show_reports(&url))?;
    let result = run_agent(settings, &agent_source, false);
    collector.stop();
    result
}

fn state_dir(state: Option<&Path>) -> Result<PathBuf, Failed> {
    let default = || std::env::temp_dir().join(format!("mote-demo-{}", std::process::id()));
    let folder = state.map_or_else(default, Path::to_owned);
    fs::DirBuilder::new()
        .mode(0o700)
        // In a place that everybody may write, the folder must be new.
        .recursive(state.is_some())
        .create(&folder)
        .and_then(|()| fs::canonicalize(&folder))
        .map_err(|error| failed(exit::FAILED, format!("{}: {error}", folder.display())))
}

#[derive(Deserialize)]
struct Page {
    reports: Vec<Report>,
    /// Where the next page begins.
    next: i64,
}

#[derive(Deserialize)]
struct Report {
    service_name: String,
    data: Box<RawValue>,
}

/// Prints what arrives first of each service, a line a report, and in the end where all of it is seen: what comes later
/// would carry that off the screen.
fn show_reports(url: &str) {
    let mut after = 0;
    let mut shown = BTreeSet::new();
    let mut quiet = 0;
    while quiet < QUIET {
        thread::sleep(Duration::from_millis(500));
        let page = ureq::get(format!("{url}/api/reports?client_id=1&after={after}"))
            .call()
            .ok()
            .and_then(|mut answer| answer.body_mut().read_to_vec().ok())
            .and_then(|body| serde_json::from_slice::<Page>(&body).ok());
        let Some(page) = page else {
            continue;
        };
        after = page.next;
        if !shown.is_empty() {
            quiet += 1;
        }
        for report in page.reports {
            if !shown.insert(report.service_name.clone()) {
                continue;
            }
            quiet = 0;
            let data = report.data.get();
            let shown: String = data.chars().take(SHOWN).collect();
            let more = if shown.len() < data.len() { "…" } else { "" };
            if writeln!(io::stdout(), "{:14} {shown}{more}", report.service_name).is_err() {
                return;
            }
        }
    }
    // Who does not read it has the first line.
    let _ = writeln!(
        io::stdout(),
        "Open {url}/ in a browser to see all of it, as it arrives. Ctrl-C ends it."
    );
}
