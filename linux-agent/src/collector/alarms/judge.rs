//! Alarms of the settings: figures in reports, and what the collector itself knows of hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarm::Sight;
use super::engine::Engine;
use super::figures::News;
use super::machine::Judgement;
use super::moment::Now;
use super::words;
use crate::client_name::ClientName;
use crate::collector::report::Report;
use crate::collector::settings::alarms::{AlarmRule, Figure, Limit};
use crate::collector::span;
use crate::collector::store::history::samples;

/// A forecast that is good again leaves this much room, so that it does not flap.
const FORECAST_ROOM: i64 = 4;

impl Engine {
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
                if self.figures.of(client).may_say(now.steady_ms) {
                    let boot = report.boot.as_deref().unwrap_or_default();
                    let text = format!("a new run of it began, {boot:?}");
                    self.event(Some(client), "run", text, now);
                }
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
                if before.is_some_and(|before| value < before) && known.may_say(now.steady_ms) {
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
                Limit::Above(level) if *value > level => (Judgement::Bad, level),
                Limit::Above(level) if *value <= rule.clear => (Judgement::Good, level),
                Limit::Below(level) if *value < level => (Judgement::Bad, level),
                Limit::Below(level) if *value >= rule.clear => (Judgement::Good, level),
                Limit::Above(level) | Limit::Below(level) => (Judgement::Between, level),
                Limit::Reaches { .. } => return,
            };
            let text = || words::of_value(rule, &self.label(Some(client)), item, *value, level);
            let sight = Sight {
                verdict,
                value: Some(*value),
                level: Some(level),
                text: if verdict == Judgement::Good {
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
                Some(left_ms) if *left_ms <= within_ms => Judgement::Bad,
                Some(left_ms) if *left_ms <= within_ms + within_ms / FORECAST_ROOM => {
                    Judgement::Between
                }
                _ => Judgement::Good,
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
}
