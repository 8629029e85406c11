//! How a running agent is: the document behind `mote status`.

mod server;

use std::fmt::Write;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::agent::sampling::Sampling;
use crate::delivery::Courier;
use crate::gateway::{Gateway, View};
use crate::orders::Plugin;
use crate::queue::Whose;
use crate::settings::Settings;
use crate::system::clock;

use server::seconds;
pub use server::{ServerStatus, UntakenStatus};

/// The state of an agent at one instant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// mote's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it runs, in seconds.
    pub uptime_s: u64,
    /// Who it is to the server, as text.
    pub client_id: String,
    /// The id of this run, as reports carry it.
    pub boot: String,
    /// The server; none if the services come from the settings.
    pub server: Option<ServerStatus>,
    /// Where all reports are.
    pub reports: Reports,
    /// The services in force.
    pub services: Vec<ServiceStatus>,
    /// The boards on serial ports.
    #[serde(default)]
    pub boards: Vec<BoardStatus>,
}

/// `sampled = acknowledged + queued + dropped`, over all runs since the queue began.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reports {
    /// Reports that were made.
    pub sampled: u64,
    /// Reports that the server has.
    pub acknowledged: u64,
    /// Reports that wait or are on their way.
    pub queued: u64,
    /// What they take, in bytes.
    pub queued_bytes: u64,
    /// Reports that were given up, by reason.
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// How many of the reports that the server would not take are kept in `dead`.
    #[serde(default)]
    pub dead_letters: u64,
    /// Why the queue is not on disk.
    #[serde(default)]
    pub disk_error: Option<String>,
    /// How often it failed to be written or read.
    #[serde(default)]
    pub disk_failures: u64,
}

/// One service.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The server's name for it.
    pub name: String,
    /// The plugin that samples it.
    pub plugin: String,
    /// In seconds.
    pub interval_s: f64,
    /// When it was sampled last, in Unix seconds. None: never, as where the plugin is unknown.
    pub last: Option<f64>,
    /// In how many seconds it is sampled next.
    pub next_in_s: Option<f64>,
    /// The status of its last report; 0 is good.
    pub status: Option<i32>,
    /// Samples that were due and not taken.
    pub missed: u32,
    /// Why its last sample failed, if it did.
    #[serde(default)]
    pub error: Option<String>,
}

/// One board. Its reports are among those of [`Reports`] once they are queued.
#[derive(Debug, Serialize, Deserialize)]
pub struct BoardStatus {
    /// Its port.
    pub device: String,
    /// Who it is to the server, as text.
    pub client_id: String,
    /// The id of its run, unless its reports name it themselves.
    pub boot: String,
    /// Whether the port is open.
    pub open: bool,
    /// Why the port is not open.
    pub link_error: Option<String>,
    /// When a report or an ask came last, in Unix seconds.
    pub last_frame: Option<f64>,
    /// Reports that were queued.
    pub reports: u64,
    /// Reports that came again.
    pub duplicates: u64,
    /// Lines without a valid seal, such as damaged ones and the board's log.
    pub bad_frames: u64,
    /// Sealed lines that are neither a report nor an ask.
    pub unknown: u64,
    /// Lines that claim to come from another client.
    pub refused: u64,
    /// Numbers of reports that never came.
    pub gaps: u64,
    /// When its services came from the server last, in Unix seconds.
    pub services_came: Option<f64>,
    /// Why no services come.
    pub services_error: Option<String>,
}

impl Status {
    /// Collects the state of the agent from its parts.
    pub fn of(
        settings: &Settings,
        sampling: &Sampling,
        gateway: &Gateway,
        courier: &Courier,
        began: Instant,
    ) -> Status {
        let (account, queued_bytes) =
            courier.with_uplink(|uplink| (uplink.account(), uplink.queue_bytes()));
        let now = clock::uptime();
        let dropped = account.dropped;
        let id = settings.client_id.id();
        let is_ordered = |key| {
            let mut names = sampling.monitor().entries().map(|(_, it)| &it.service.name);
            names.any(|name| Whose::of(&id, name).key == key)
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: began.elapsed().as_secs(),
            client_id: settings.client_id.to_string(),
            boot: sampling.boot().to_owned(),
            server: settings.server().map(|server| {
                courier.with_health(|health| ServerStatus::of(&server.url, health, is_ordered))
            }),
            reports: Reports {
                sampled: account.sampled,
                acknowledged: account.acknowledged,
                queued: account.queued,
                queued_bytes,
                dropped: dropped
                    .reasons()
                    .map(|(reason, n)| (reason.to_owned(), n))
                    .collect(),
                dead_letters: courier.dead_letters(),
                disk_error: courier.disk_error(),
                disk_failures: courier.disk_failures(),
            },
            services: sampling
                .monitor()
                .entries()
                .map(|(id, entry)| {
                    let slot = sampling.slot(id);
                    let is_unknown = matches!(entry.service.plugin, Plugin::Unknown(_));
                    ServiceStatus {
                        name: entry.service.name.as_str().to_owned(),
                        plugin: entry.service.plugin.name().to_owned(),
                        interval_s: seconds(u64::from(entry.service.interval.as_millis())),
                        last: slot
                            .and_then(|slot| slot.last_unix_ms)
                            .filter(|_| !is_unknown)
                            .map(seconds),
                        next_in_s: entry.due().map(|due| seconds(due.millis_since(now))),
                        status: slot.and_then(|slot| slot.last_status),
                        missed: entry.missed(),
                        error: slot.and_then(|slot| slot.error()).map(str::to_owned),
                    }
                })
                .collect(),
            boards: gateway.views().map(|view| BoardStatus::of(&view)).collect(),
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "mote {} runs for {} s as client {}, pid {}",
            self.version, self.uptime_s, self.client_id, self.pid
        )?;
        match &self.server {
            None => writeln!(out, "server: none, the services are in the settings")?,
            Some(server) => server.write(out)?,
        }
        let reports = &self.reports;
        let dropped: u64 = reports.dropped.values().sum();
        write!(
            out,
            "reports: {} sampled = {} acknowledged + {} queued + {} dropped",
            reports.sampled, reports.acknowledged, reports.queued, dropped
        )?;
        for (reason, count) in reports.dropped.iter().filter(|(_, count)| **count > 0) {
            write!(out, ", {count} {reason}")?;
        }
        writeln!(out)?;
        if reports.dead_letters > 0 {
            writeln!(out, "dead letters: {}", reports.dead_letters)?;
        }
        if let Some(error) = &reports.disk_error {
            writeln!(out, "{error}")?;
        }
        let now = seconds(clock::unix_ms());
        for board in &self.boards {
            board.write(now, out)?;
        }
        if self.services.is_empty() {
            return writeln!(out, "no services");
        }
        let width = self.services.iter().map(|it| it.name.chars().count()).max();
        let width = width.unwrap_or(0).clamp(7, 40);
        writeln!(
            out,
            "{:width$} {:20} {:>9} {:>9} {:>9} {:>6} {:>6}",
            "service", "plugin", "interval", "last", "next", "status", "missed"
        )?;
        for service in &self.services {
            let last = service
                .last
                .map_or("-".to_owned(), |last| format!("-{:.1} s", now - last));
            let next = service
                .next_in_s
                .map_or("-".to_owned(), |next| format!("+{next:.1} s"));
            let status = service
                .status
                .map_or("-".to_owned(), |status| status.to_string());
            writeln!(
                out,
                "{:width$} {:20} {:>7} s {:>9} {:>9} {:>6} {:>6}",
                service.name,
                service.plugin,
                service.interval_s,
                last,
                next,
                status,
                service.missed
            )?;
        }
        for error in self.services.iter().filter_map(|it| it.error.as_ref()) {
            writeln!(out, "{error}")?;
        }
        Ok(())
    }
}

impl BoardStatus {
    fn of(view: &View<'_>) -> Self {
        let counts = view.counts;
        BoardStatus {
            device: view.settings.device.display().to_string(),
            client_id: view.settings.client_id.to_string(),
            boot: view.boot.to_owned(),
            open: view.is_open,
            link_error: view.link_error.map(str::to_owned),
            last_frame: counts.last_unix_ms.map(seconds),
            reports: counts.reports,
            duplicates: counts.duplicates,
            bad_frames: counts.bad,
            unknown: counts.unknown,
            refused: counts.refused,
            gaps: view.missing,
            services_came: view.services_unix_ms.map(seconds),
            services_error: view.services_error.map(str::to_owned),
        }
    }

    fn write(&self, now: f64, out: &mut String) -> std::fmt::Result {
        match &self.link_error {
            Some(error) => write!(out, "{error}")?,
            None => write!(out, "board {}: {} is open", self.client_id, self.device)?,
        }
        match self.last_frame {
            Some(last) => write!(out, ", last frame {:.1} s ago", now - last)?,
            None => write!(out, ", no frame yet")?,
        }
        write!(
            out,
            ", {} reports, {} duplicates, {} bad frames, {} refused, {} unknown, {} gaps",
            self.reports, self.duplicates, self.bad_frames, self.refused, self.unknown, self.gaps
        )?;
        match self.services_came {
            Some(came) => write!(out, ", services came {:.1} s ago", now - came)?,
            None => write!(out, ", no services yet")?,
        }
        match &self.services_error {
            Some(error) => writeln!(out, " - {error}"),
            None => writeln!(out),
        }
    }
}
