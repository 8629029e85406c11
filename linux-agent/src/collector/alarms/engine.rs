//! What is seen of hosts, and which alarms follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alarm::{Alarm, Change, Key, Sight};
use super::figures::{Figures, News};
use super::losses::{Losses, RunGaps};
use super::machine::{FLAP_WINDOW_MS, Phase, Verdict};
use super::moment::Now;
use super::records::{Event, Left, Record};
use super::silences::Silences;
use super::words;
use crate::client_name::ClientName;
use crate::collector::lateness::{HostLateness, ReportState};
use crate::collector::report::Report;
use crate::collector::settings::alarms::{AlarmRule, Figure, Limit, Severity};
use crate::collector::settings::host::Host;
use crate::collector::span;
use crate::collector::store::history::samples;

/// Every host of the settings.
pub type Hosts = Arc<BTreeMap<ClientName, Host>>;

/// What fired lately is remembered, so that flapping is seen over a restart.
pub const RECENT_MS: i64 = FLAP_WINDOW_MS;

/// A forecast that is good again leaves this much room, so that it does not flap.
const FORECAST_ROOM: i64 = 4;

/// All alarms.
pub struct Engine {
    pub(super) hosts: Hosts,
    pub(super) alarms: BTreeMap<Key, Alarm>,
    pub(super) silences: Silences,
    pub(super) next_silence: i64,
    next_alarm: i64,
    figures: Figures,
    losses: BTreeMap<ClientName, Losses>,
    records: Vec<Record>,
    /// Nobody is late before this, by the steady clock: agents come back within some time.
    grace_end_ms: i64,
    /// How many hosts have ever reported.
    pub(super) reporting: usize,
}

impl Engine {
    /// With what the database remembers.
    pub fn new(hosts: Hosts, grace_ms: i64, repeat_ms: i64, left: Left, now: Now) -> Engine {
        let mut engine = Engine {
            hosts,
            alarms: BTreeMap::new(),
            silences: Silences::default(),
            next_silence: left.next_silence.max(1),
            next_alarm: left.next_alarm.max(1),
            figures: Figures::default(),
            losses: BTreeMap::new(),
            records: Vec::new(),
            grace_end_ms: now.steady_ms + grace_ms,
            reporting: 0,
        };
        for silence in left.silences {
            engine.silences.add(silence, now);
        }
        let mut firings: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
        for row in left.alarms {
            let key = Alarm::new_key(&row);
            let fired = firings.entry(key.clone()).or_default();
            fired.extend(row.fired_ms);
            let mut alarm = Alarm::restored(row, fired, now);
            // As if it had been said again each time that was due.
            alarm.told_ms += (now.steady_ms - alarm.told_ms) / repeat_ms.max(1) * repeat_ms.max(1);
            engine.alarms.insert(key, alarm);
        }
        engine.give_rules();
        engine.drop_unknown(now);
        engine
    }

    /// From now on these hosts count. What changed is an event.
    pub fn follow(&mut self, hosts: Hosts, now: Now) {
        let before = std::mem::replace(&mut self.hosts, hosts);
        for (client, host) in &*Arc::clone(&self.hosts) {
            let changes = before.get(client).map(|it| words::order_changes(it, host));
            if let Some(changes) = changes.filter(|it| !it.is_empty()) {
                self.event(Some(client), "orders", changes, now);
            }
        }
        let hosts = &self.hosts;
        self.figures.retain(|client| hosts.contains_key(client));
        self.losses.retain(|client, _| hosts.contains_key(client));
        self.give_rules();
        self.drop_unknown(now);
    }

    /// Counts anew who is late: this collector stood still.
    pub fn begin_again(&mut self, grace_ms: i64, now: Now) {
        self.grace_end_ms = now.steady_ms + grace_ms;
    }

    /// The runs of a host that the database knows, the newest first.
    pub fn remember_runs(&mut self, client: &ClientName, runs: impl Iterator<Item = String>) {
        self.figures.of(client).remember(runs);
    }

    /// What is to be written.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Notes that something is to be written.
    pub fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Notes that something happened.
    pub fn event(
        &mut self,
        client: Option<&ClientName>,
        kind: &'static str,
        text: String,
        now: Now,
    ) {
        self.records.push(Record::Event(Event {
            at_ms: now.unix_ms,
            client: client.cloned(),
            kind,
            text,
        }));
    }

    /// Takes a report of a host.
    pub fn note_report(&mut self, report: &Report, now: Now) {
        let hosts = Arc::clone(&self.hosts);
        let client = &report.client_id;
        let Some(host) = hosts.get(client) else {
            return;
        };
        match self.figures.of(client).note(report) {
            News::Old => return,
            News::Fresh => {}
            News::NewRun => {
                let boot = report.boot.as_deref().unwrap_or_default();
                self.event(
                    Some(client),
                    "run",
                    format!("a new run of it began, {boot:?}"),
                    now,
                );
            }
        }
        if report.error.is_some() {
            return;
        }
        let ordered = host.services.get(&report.service_name);
        self.note_what_it_is(report, ordered.map_or("", |it| &it.plugin), now);
        for rule in &host.alarms {
            if let Figure::Field { service, .. } = &rule.figure
                && *service == report.service_name
            {
                self.judge_report(rule, report, now);
            }
        }
    }

    /// Some probes say what other figures need.
    fn note_what_it_is(&mut self, report: &Report, plugin: &str, now: Now) {
        let field = match plugin {
            "LinuxSysInfo" => "cpu_count",
            "get_agent_health" => "queued",
            "host_alive_check" => "uptime",
            _ => return,
        };
        let mut found = None;
        samples::each(&report.data, &mut |item, name, value| {
            if item.is_empty() && name == field {
                found = Some(value);
            }
        });
        let Some(value) = found else { return };
        let known = self.figures.of(&report.client_id);
        match plugin {
            "LinuxSysInfo" => known.cpus = Some(value).filter(|it| *it >= 1.0),
            "get_agent_health" => known.waiting = Some(value),
            _ => {
                let before = known.uptime_s.replace(value);
                if before.is_some_and(|before| value < before) {
                    let up = span::in_words((value * 1000.0) as i64);
                    let text = format!("the host was started anew, {up} before this report");
                    self.event(Some(&report.client_id), "boot", text, now);
                }
            }
        }
    }

    fn judge_report(&mut self, rule: &AlarmRule, report: &Report, now: Now) {
        let Figure::Field {
            field,
            item: pattern,
            per_cpu,
            ..
        } = &rule.figure
        else {
            return;
        };
        if matches!(rule.limit, Limit::Reaches { .. }) {
            return;
        }
        let divisor = match (per_cpu, self.figures.of(&report.client_id).cpus) {
            (false, _) => 1.0,
            (true, Some(cpus)) => cpus,
            // Not known yet.
            (true, None) => return,
        };
        let mut values = BTreeMap::new();
        samples::each(&report.data, &mut |item, name, value| {
            if name == field && pattern.matches(item) {
                values.insert(item.to_owned(), value / divisor);
            }
        });
        self.judge(rule, &report.client_id, &values, now);
    }

    /// Judges a figure by items. An item that is no more ends its alarm.
    fn judge(
        &mut self,
        rule: &AlarmRule,
        client: &ClientName,
        values: &BTreeMap<String, f64>,
        now: Now,
    ) {
        if values.is_empty() {
            return;
        }
        for (item, value) in values {
            let (verdict, level) = match rule.limit {
                Limit::Above(level) if *value > level => (Verdict::Bad, level),
                Limit::Above(level) if *value <= rule.clear => (Verdict::Good, level),
                Limit::Below(level) if *value < level => (Verdict::Bad, level),
                Limit::Below(level) if *value >= rule.clear => (Verdict::Good, level),
                Limit::Above(level) | Limit::Below(level) => (Verdict::Between, level),
                Limit::Reaches { .. } => return,
            };
            let text = || words::of_value(rule, &self.label(Some(client)), item, *value, level);
            let sight = Sight {
                verdict,
                value: Some(*value),
                level: Some(level),
                text: if verdict == Verdict::Good {
                    String::new()
                } else {
                    text()
                },
            };
            self.look(Some(client), rule, item, sight, now);
        }
        self.end_items(rule, client, |item| !values.contains_key(item), now);
    }

    /// Takes what is left until a level is reached, in milliseconds, by item.
    pub fn note_forecast(
        &mut self,
        client: &ClientName,
        rule: &AlarmRule,
        left: &BTreeMap<String, (f64, Option<i64>)>,
        now: Now,
    ) {
        let Limit::Reaches { level, within_ms } = rule.limit else {
            return;
        };
        if left.is_empty() {
            return;
        }
        for (item, (value, left_ms)) in left {
            let verdict = match left_ms {
                Some(left_ms) if *left_ms <= within_ms => Verdict::Bad,
                Some(left_ms) if *left_ms <= within_ms + within_ms / FORECAST_ROOM => {
                    Verdict::Between
                }
                _ => Verdict::Good,
            };
            let text = left_ms.map(|left_ms| {
                words::of_forecast(
                    rule,
                    &self.label(Some(client)),
                    item,
                    (*value, level),
                    left_ms,
                )
            });
            let sight = Sight {
                verdict,
                value: Some(*value),
                level: Some(level),
                text: text.unwrap_or_default(),
            };
            self.look(Some(client), rule, item, sight, now);
        }
        self.end_items(rule, client, |item| !left.contains_key(item), now);
    }

    /// Takes how a host stands.
    pub fn note_lateness(&mut self, lateness: &BTreeMap<ClientName, HostLateness>, now: Now) {
        self.reporting = lateness
            .values()
            .filter(|it| it.state != ReportState::Never)
            .count();
        let in_grace = now.steady_ms < self.grace_end_ms;
        let hosts = Arc::clone(&self.hosts);
        let mut carriers = BTreeMap::new();
        for (id, host) in &*hosts {
            carriers.extend(host.reports_for.iter().map(|board| (board, id)));
        }
        for (client, host) in &*hosts {
            let Some(late) = lateness.get(client) else {
                continue;
            };
            let verdict = match late.state {
                ReportState::Late | ReportState::Silent if !in_grace => Verdict::Bad,
                // Of a host that was late before a restart, one report has to come.
                ReportState::Reporting if late.is_heard => Verdict::Good,
                _ => Verdict::Between,
            };
            let is_silent = |id: &&&ClientName| {
                let state = lateness.get(**id).map(|it| it.state);
                matches!(state, Some(ReportState::Silent | ReportState::Never))
            };
            let gateway = carriers.get(client).filter(is_silent);
            let cause = gateway.map(|id| format!("its gateway {} is silent", self.label(Some(id))));
            let key = self.built_in(Some(client), "late");
            if verdict != Verdict::Bad && !self.alarms.contains_key(&key) {
                continue;
            }
            let sight = Sight {
                verdict,
                value: late.late_ms.map(|it| it as f64 / 1000.0),
                level: None,
                text: words::of_lateness(host, late, cause.as_deref()),
            };
            let change = self.look_at(key.clone(), Severity::Critical, &[], 0, sight, now);
            if let Some(alarm) = self.alarms.get_mut(&key) {
                alarm.cause = cause;
                if change == Some(Change::Cleared) {
                    let gone_ms = now.unix_ms - alarm.row.began_ms;
                    let text = format!("reports were missing for {}", span::in_words(gone_ms));
                    self.event(Some(client), "gap", text, now);
                }
            }
        }
    }

    /// Takes the newest runs of a host.
    pub fn note_gaps(&mut self, client: &ClientName, runs: &[RunGaps], now: Now) {
        let waiting = self.figures.of(client).waiting.unwrap_or(0.0).max(0.0) as u64;
        let losses = self.losses.entry(client.clone()).or_default();
        let lost = losses.note(runs, waiting, now.steady_ms);
        let key = self.built_in(Some(client), "lost");
        if lost == 0 && !self.alarms.contains_key(&key) {
            return;
        }
        let sight = Sight {
            verdict: if lost > 0 {
                Verdict::Bad
            } else {
                Verdict::Good
            },
            value: Some(lost as f64),
            level: Some(0.0),
            text: format!("{lost} reports never came, and nothing says that they wait"),
        };
        self.look_at(key, Severity::Warning, &[], 0, sight, now);
    }

    /// Takes for how long no report could be stored, in milliseconds.
    pub fn note_own_trouble(&mut self, trouble_ms: Option<i64>, now: Now) {
        const HOLD_MS: i64 = 10_000;
        let key = self.built_in(None, "collector");
        if trouble_ms.is_none() && !self.alarms.contains_key(&key) {
            return;
        }
        let sight = Sight {
            verdict: if trouble_ms.is_some() {
                Verdict::Bad
            } else {
                Verdict::Good
            },
            value: trouble_ms.map(|it| it as f64 / 1000.0),
            level: None,
            text: "the collector cannot store reports, and hosts keep them; its log says why"
                .to_owned(),
        };
        self.look_at(key, Severity::Critical, &[], HOLD_MS, sight, now);
    }

    /// Takes what the collector knows of a host: by how much its clock is off, in milliseconds.
    pub fn note_own_figures(&mut self, client: &ClientName, clock_off_ms: Option<i64>, now: Now) {
        let hosts = Arc::clone(&self.hosts);
        let Some(host) = hosts.get(client) else {
            return;
        };
        for rule in &host.alarms {
            let value = match rule.figure {
                Figure::ClockOff => clock_off_ms.map(|it| it.unsigned_abs() as f64 / 1000.0),
                Figure::Services => Some(host.services.len() as f64),
                Figure::Field { .. } => None,
            };
            if let Some(value) = value {
                self.judge(rule, client, &BTreeMap::from([(String::new(), value)]), now);
            }
        }
    }

    /// What a host is called.
    pub fn label(&self, client: Option<&ClientName>) -> String {
        match client {
            None => "collector".to_owned(),
            Some(client) => match self.hosts.get(client) {
                Some(host) => host.label.clone(),
                None => client.to_string(),
            },
        }
    }

    fn built_in(&self, client: Option<&ClientName>, name: &str) -> Key {
        Key {
            client: client.cloned(),
            name: name.to_owned(),
            item: String::new(),
        }
    }

    fn look(
        &mut self,
        client: Option<&ClientName>,
        rule: &AlarmRule,
        item: &str,
        sight: Sight,
        now: Now,
    ) {
        let key = Key {
            client: client.cloned(),
            name: rule.name.clone(),
            item: item.to_owned(),
        };
        // Of what is well there is nothing to remember.
        if sight.verdict == Verdict::Bad || self.alarms.contains_key(&key) {
            self.look_at(key, rule.severity, &rule.notify, rule.hold_ms, sight, now);
        }
    }

    fn look_at(
        &mut self,
        key: Key,
        severity: Severity,
        notify: &[String],
        hold_ms: i64,
        sight: Sight,
        now: Now,
    ) -> Option<Change> {
        let new = || Alarm::new(&key, severity, notify, now);
        let alarm = self.alarms.entry(key.clone()).or_insert_with(new);
        let change = alarm.look(sight, hold_ms, now, &mut self.next_alarm);
        let row = alarm.row.clone();
        let what = match row.item.as_str() {
            "" => format!("{}: {}", row.name, row.text),
            item => format!("{} {item}: {}", row.name, row.text),
        };
        let client = row.client.clone();
        let record = match change {
            Some(Change::Withdrawn) => Record::Gone(row.id),
            Some(_) => Record::Alarm(row),
            None => return None,
        };
        self.records.push(record);
        match change {
            Some(Change::Fired) => self.event(client.as_ref(), "alarm", what, now),
            Some(Change::Cleared) => self.event(client.as_ref(), "cleared", what, now),
            _ => {}
        }
        change
    }

    /// Ends alarms of items that `is_gone` says are no more.
    fn end_items(
        &mut self,
        rule: &AlarmRule,
        client: &ClientName,
        is_gone: impl Fn(&str) -> bool,
        now: Now,
    ) {
        let is_it = |key: &&Key| {
            key.client.as_ref() == Some(client) && key.name == rule.name && is_gone(&key.item)
        };
        let gone: Vec<Key> = self.alarms.keys().filter(is_it).cloned().collect();
        for key in gone {
            self.end(key, now);
        }
    }

    fn end(&mut self, key: Key, now: Now) {
        let Some(alarm) = self
            .alarms
            .get(&key)
            .filter(|it| it.machine.phase() != Phase::Good)
        else {
            return;
        };
        let (severity, notify) = (alarm.row.severity, alarm.notify.clone());
        let sight = Sight {
            verdict: Verdict::Good,
            value: None,
            level: None,
            text: String::new(),
        };
        self.look_at(key, severity, &notify, 0, sight, now);
    }

    /// Alarms that were restored learn who is to hear of them.
    fn give_rules(&mut self) {
        for (key, alarm) in &mut self.alarms {
            let host = key.client.as_ref().and_then(|it| self.hosts.get(it));
            let rule = host.and_then(|it| it.alarms.iter().find(|rule| rule.name == key.name));
            if let Some(rule) = rule {
                (alarm.notify, alarm.row.severity) = (rule.notify.clone(), rule.severity);
            }
        }
    }

    /// Ends what the settings do not have any more.
    fn drop_unknown(&mut self, now: Now) {
        let mut known = BTreeSet::new();
        for (client, host) in &*self.hosts {
            let own = host.alarms.iter().map(|rule| rule.name.as_str());
            known.extend(own.chain(["late", "lost"]).map(|name| (Some(client), name)));
        }
        known.insert((None, "collector"));
        let is_unknown = |key: &&Key| !known.contains(&(key.client.as_ref(), key.name.as_str()));
        let unknown: Vec<Key> = self.alarms.keys().filter(is_unknown).cloned().collect();
        for key in unknown {
            self.end(key, now);
        }
    }
}
