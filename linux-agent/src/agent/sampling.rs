//! From the timetable to reports: the samplers of all services and the plugins that are running.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use mote_core::{Action, Envelope, Failure, Interval, SlotId, Uptime};
use nix::poll::PollFlags;

use crate::agent::reporter::Reporter;
use crate::delivery::Courier;
use crate::delivery::uplink::Uplink;
use crate::orders::{HostMonitor, Orders, Plugin};
use crate::plugin::{Begun, MAX_RUNNING, PluginRuns, Plugins, RunOutcome};
use crate::probes::{AgentCounters, Context, ProbeError, Roots, Sampler, agent_health};
use crate::protocol::UNKNOWN_PLUGIN;
use crate::settings::Settings;
use crate::system::clock;
use crate::system::fault::Fault;

/// A sample is late if it is taken this long after it was due, in milliseconds.
const LATE_MS: u64 = 100;

/// The timetable, what samples it, and where reports are made.
pub struct Sampling {
    /// Boxed, since it is large and this is moved.
    monitor: Box<HostMonitor>,
    slots: Vec<Slot>,
    runs: PluginRuns,
    context: Context,
    reporter: Reporter,
    roots: Roots,
    plugins: Plugins,
    late: u64,
    missed: u64,
}

/// What is known of the service in a slot of the timetable.
#[derive(Default)]
pub struct Slot {
    sampler: Option<Box<dyn Sampler>>,
    /// When it was sampled last, in Unix milliseconds.
    pub last_unix_ms: Option<u64>,
    /// The status of its last report.
    pub last_status: Option<i32>,
    fault: Fault,
}

impl Slot {
    /// Why its last sample failed, if it did.
    pub fn error(&self) -> Option<&str> {
        self.fault.reason()
    }

    /// Notes the status of a report and, unless that is 0, why.
    fn sampled(&mut self, unix_ms: u64, status: i32, error: Option<&str>, service: &str) {
        self.last_unix_ms = Some(unix_ms);
        self.last_status = Some(status);
        if status == 0 {
            self.fault
                .worked(&format!("service {service:?} is well again"));
        } else {
            let why = error.map(in_short).unwrap_or_default();
            let reason = format!("service {service:?} failed with status {status}: {why}");
            self.fault.failed(reason, Instant::now());
        }
    }
}

/// Characters of a plugin's words that are shown.
const MAX_SHOWN: usize = 200;

/// The beginning of a sentence of a plugin, fit for a log and a terminal.
fn in_short(words: &str) -> String {
    let shown = words.chars().filter(|it| !it.is_control());
    shown.take(MAX_SHOWN).collect()
}

impl Sampling {
    /// Begins without services. Executables run in `runs`, reports go to `courier`.
    pub fn new(settings: &Settings, runs: PluginRuns, courier: Courier, now: Uptime) -> Self {
        Sampling {
            monitor: Box::new(HostMonitor::new(monitor_settings(settings), now)),
            slots: Vec::new(),
            runs,
            context: Context::new(),
            reporter: Reporter::new(settings.client_id.clone(), courier),
            roots: settings.roots.clone(),
            plugins: settings.plugins.clone(),
            late: 0,
            missed: 0,
        }
    }

    /// The timetable.
    pub fn monitor(&self) -> &HostMonitor {
        &self.monitor
    }

    /// The timetable.
    pub fn monitor_mut(&mut self) -> &mut HostMonitor {
        &mut self.monitor
    }

    /// What is known of a slot.
    pub fn slot(&self, slot: SlotId) -> Option<&Slot> {
        self.slots.get(slot.index())
    }

    /// The id of this run of the agent.
    pub fn boot(&self) -> &str {
        self.reporter.boot()
    }

    /// Applies new settings. The caller has checked that none needs a restart.
    pub fn set(&mut self, settings: &Settings, now: Uptime) {
        self.plugins = settings.plugins.clone();
        self.monitor.set(monitor_settings(settings), now);
    }

    /// Follows new orders.
    pub fn apply(&mut self, orders: &Orders) {
        self.monitor.apply(orders);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if !self.monitor.entries().any(|(it, _)| it.index() == index) {
                *slot = Slot::default();
                self.runs.stop(index);
            }
        }
        let rate = self
            .monitor
            .entries()
            .map(|(_, entry)| per_second(entry.service.interval))
            .sum();
        let courier = self.reporter.courier();
        courier.with_uplink(|uplink| uplink.set_rate(rate));
    }

    /// Takes every sample that is due by now. Returns whether to fetch the orders.
    ///
    /// What becomes due meanwhile waits for the next turn: each service has one sample a turn. So even too many
    /// services leave time for the agent's other duties.
    pub fn work(&mut self) -> bool {
        let mut fetch = false;
        let mut queued = false;
        let now = clock::uptime();
        while let Some(action) = self.monitor.poll(now) {
            match action {
                Action::FetchConfig => fetch = true,
                Action::Start(slot) => queued |= self.start(slot),
                Action::Sample { slot, due, missed } => {
                    self.missed += u64::from(missed);
                    self.late += u64::from(clock::uptime().millis_since(due) > LATE_MS);
                    queued |= self.sample(slot);
                }
            }
        }
        if queued {
            self.reporter.courier().wake();
        }
        fetch
    }

    /// Descriptors to poll: the pipes of running plugins, or the runner's socket.
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.runs.interests()
    }

    /// When the next time limit of a plugin is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.runs.deadline()
    }

    /// Reads from the running plugins, ends those whose time is up, and reports those that have ended.
    pub fn attend_plugins(&mut self) {
        for outcome in self.runs.attend(&self.plugins, Instant::now()) {
            self.finished(&outcome);
        }
    }

    /// Ends the running plugins and what they left behind, within `limit`. Called when the agent ends.
    pub fn end(self, limit: Duration) {
        self.runs.end(limit);
    }

    fn start(&mut self, id: SlotId) -> bool {
        while self.slots.len() <= id.index() {
            self.slots.push(Slot::default());
        }
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return false;
        };
        *slot = Slot::default();
        self.runs.stop(id.index());
        let Some(entry) = self.monitor.entry(id) else {
            return false;
        };
        match &entry.service.plugin {
            Plugin::Probe(probe, _) => {
                self.context.now = Instant::now();
                match probe.open(&self.roots, &mut self.context) {
                    Ok(sampler) => slot.sampler = Some(sampler),
                    // Its first sample opens it again, and says why that failed.
                    Err(error) => log::debug!("service {:?}: {error}", entry.service.name),
                }
                false
            }
            Plugin::Executable(_) => false,
            Plugin::Unknown(name) => {
                let error = format!("{name:?} {UNKNOWN_PLUGIN}");
                self.monitor.park(id);
                self.report_failure(id, &error);
                true
            }
        }
    }

    /// Samples a service, or starts its plugin. Returns whether a report was queued.
    fn sample(&mut self, id: SlotId) -> bool {
        let (Some(entry), Some(slot)) = (self.monitor.entry(id), self.slots.get_mut(id.index()))
        else {
            return false;
        };
        let error = match &entry.service.plugin {
            Plugin::Probe(probe, _) => {
                self.context.now = Instant::now();
                if probe.name() == agent_health::NAME {
                    let courier = self.reporter.courier();
                    self.context.agent = AgentCounters {
                        late_ticks: self.late,
                        missed_ticks: self.missed,
                        uplink_latency_ms: courier.latency_ms().unwrap_or(0),
                        ..courier.with_uplink(|uplink| counters_of(uplink))
                    };
                }
                let sampler = match slot.sampler.take() {
                    Some(sampler) => Ok(sampler),
                    // It could not be opened before, or it failed. Try again: a device may have come back.
                    None => probe.open(&self.roots, &mut self.context),
                };
                match sampler {
                    Ok(sampler) => return self.sample_probe(id, sampler),
                    Err(error) => error.to_string(),
                }
            }
            Plugin::Executable(name) => {
                let now = Instant::now();
                if self.runs.is_running(id.index()) {
                    self.count_missed(id);
                    return false;
                }
                // It keeps its turn, for this tick.
                let missed_turn = self.runs.is_waiting(id.index());
                match self.runs.start(&self.plugins, name, id.index(), now) {
                    Ok(Begun::Waits) if missed_turn => {
                        self.missed_turn(id);
                        return false;
                    }
                    Ok(_) => return false,
                    Err(sentence) => sentence,
                }
            }
            Plugin::Unknown(_) => return false,
        };
        self.report_failure(id, &error);
        true
    }

    fn sample_probe(&mut self, id: SlotId, mut sampler: Box<dyn Sampler>) -> bool {
        let result = self.report(id, 0, None, |context, envelope, buffer| {
            sampler.report(context, envelope, buffer)
        });
        match result {
            Ok(()) => {
                if let Some(slot) = self.slots.get_mut(id.index()) {
                    slot.sampler = Some(sampler);
                }
            }
            Err(ProbeError::NothingKnown) => {
                self.count_missed(id);
                if let Some(slot) = self.slots.get_mut(id.index()) {
                    slot.sampler = Some(sampler);
                }
                return false;
            }
            // Without a sampler the probe is opened again next time.
            Err(error) => self.report_failure(id, &error.to_string()),
        }
        true
    }

    /// Counts a sample that was due and that there is no report of.
    fn count_missed(&mut self, id: SlotId) {
        self.missed += 1;
        self.monitor.missed(id);
    }

    /// Counts a sample whose plugin got no place until the next one was due.
    fn missed_turn(&mut self, id: SlotId) {
        self.count_missed(id);
        if let (Some(entry), Some(slot)) = (self.monitor.entry(id), self.slots.get_mut(id.index()))
        {
            let reason = format!(
                "service {:?} missed a sample: {MAX_RUNNING} other plugins ran all the time",
                entry.service.name
            );
            slot.fault.failed(reason, Instant::now());
        }
    }

    fn finished(&mut self, outcome: &RunOutcome) {
        let index = outcome.slot;
        let Some(id) = self
            .monitor
            .entries()
            .map(|(id, _)| id)
            .find(|id| id.index() == index)
        else {
            return;
        };
        let data = outcome.data();
        let status = data.status().0;
        let result = self.report(id, status, data.error(), |_, envelope, buffer| {
            Ok(envelope.encode(&data, buffer)?)
        });
        if let Err(error) = result {
            self.report_failure(id, &error.to_string());
        }
        self.reporter.courier().wake();
    }

    fn report_failure(&mut self, id: SlotId, error: &str) {
        let failure = Failure::new(error);
        let result = self.report(id, failure.status.0, Some(error), |_, envelope, buffer| {
            Ok(envelope.encode(&failure, buffer)?)
        });
        // A sentence always fits the buffer.
        debug_assert!(result.is_ok());
    }

    /// Encodes one report and queues it. A number is used only for what is queued.
    fn report(
        &mut self,
        id: SlotId,
        status: i32,
        error: Option<&str>,
        encode: impl FnOnce(&mut Context, &Envelope<'_>, &mut [u8]) -> Result<usize, ProbeError>,
    ) -> Result<(), ProbeError> {
        let Some(entry) = self.monitor.entry(id) else {
            return Ok(());
        };
        let context = &mut self.context;
        let encode = |envelope: &Envelope<'_>, buffer: &mut [u8]| encode(context, envelope, buffer);
        let (service, seq) = (&entry.service.name, self.monitor.seq());
        let unix_ms = self.reporter.report(service, seq, encode)?;
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.sampled(unix_ms, status, error, service);
        }
        self.monitor.next_seq();
        if self.monitor.seq() == 0 {
            self.reporter.begin_numbers_anew();
        }
        Ok(())
    }
}

/// What the uplink knows; the rest is 0.
fn counters_of(uplink: &Uplink) -> AgentCounters {
    let account = uplink.account();
    AgentCounters {
        sampled: account.sampled,
        acknowledged: account.acknowledged,
        queued: account.queued,
        queue_bytes: uplink.queue_bytes(),
        dropped_overflow: account.dropped.overflow,
        dropped_expired: account.dropped.expired,
        dropped_refused: account.dropped.refused,
        dropped_gave_up: account.dropped.gave_up,
        dropped_damaged: account.dropped.damaged,
        dropped_forgotten: account.dropped.forgotten,
        ..AgentCounters::default()
    }
}

/// The part of the settings that the monitor needs.
pub fn monitor_settings(settings: &Settings) -> mote_core::MonitorSettings {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    mote_core::MonitorSettings {
        client: mote_core::client_hash(settings.client_id.id()),
        first_sample_spread_ms: millis(settings.first_sample_spread),
        refresh: settings
            .server()
            .and_then(|server| Interval::from_millis(millis(server.config_update_interval))),
    }
}

fn per_second(interval: Interval) -> f64 {
    1000.0 / f64::from(interval.as_millis())
}
