//! What is seen of hosts, and which alarms follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alarm::{Alarm, AlarmKey, Change, Sight};
use super::figures::HostFigures;
use super::losses::Losses;
use super::machine::{FLAP_WINDOW_MS, Judgement, Phase};
use super::moment::Now;
use super::records::{AlarmRecord, Event, Left};
use super::silences::Silences;
use super::words;
use crate::client_name::ClientName;
use crate::collector::settings::alarms::{AlarmRule, Severity};
use crate::collector::settings::host::Host;

/// Every host of the settings.
pub type Hosts = Arc<BTreeMap<ClientName, Host>>;

/// What fired lately is remembered, so that flapping is seen over a restart.
pub const RECENT_MS: i64 = FLAP_WINDOW_MS;

/// At most this many alarms of a host, each with its item, in an hour. Further ones are not raised.
pub const MAX_REMEMBERED: usize = 1024;

/// All alarms.
pub struct Engine {
    pub(super) hosts: Hosts,
    pub(super) alarms: BTreeMap<AlarmKey, Alarm>,
    pub(super) silences: Silences,
    pub(super) next_silence: i64,
    next_alarm: i64,
    pub(super) figures: HostFigures,
    pub(super) losses: BTreeMap<ClientName, Losses>,
    records: Vec<AlarmRecord>,
    /// Nobody is late before this, by the steady clock: agents come back within some time.
    pub(super) grace_end_ms: i64,
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
            figures: HostFigures::default(),
            losses: BTreeMap::new(),
            records: Vec::new(),
            grace_end_ms: now.steady_ms + grace_ms,
            reporting: 0,
        };
        for silence in left.silences {
            engine.silences.add(silence, now);
        }
        let mut firings: BTreeMap<AlarmKey, Vec<i64>> = BTreeMap::new();
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
    pub fn take_records(&mut self) -> Vec<AlarmRecord> {
        std::mem::take(&mut self.records)
    }

    /// What is to be written.
    pub fn records(&self) -> impl Iterator<Item = &AlarmRecord> {
        self.records.iter()
    }

    /// Notes that something is to be written.
    pub fn record(&mut self, record: AlarmRecord) {
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
        self.records.push(AlarmRecord::Event(Event {
            at_ms: now.unix_ms,
            client: client.cloned(),
            kind,
            text,
        }));
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

    pub(super) fn built_in(&self, client: Option<&ClientName>, name: &str) -> AlarmKey {
        AlarmKey {
            client: client.cloned(),
            name: name.to_owned(),
            item: String::new(),
        }
    }

    pub(super) fn look(
        &mut self,
        client: Option<&ClientName>,
        rule: &AlarmRule,
        item: &str,
        sight: Sight,
        now: Now,
    ) {
        let key = AlarmKey {
            client: client.cloned(),
            name: rule.name.clone(),
            item: item.to_owned(),
        };
        // Of what is well there is nothing to remember.
        let is_new = !self.alarms.contains_key(&key);
        if is_new && (sight.verdict != Judgement::Bad || self.remembered(&key) >= MAX_REMEMBERED) {
            return;
        }
        self.look_at(key, rule.severity, &rule.notify, rule.hold_ms, sight, now);
    }

    /// How many alarms of the same host there are.
    fn remembered(&self, key: &AlarmKey) -> usize {
        let first = AlarmKey {
            client: key.client.clone(),
            name: String::new(),
            item: String::new(),
        };
        let of_host = self.alarms.range(first..);
        of_host
            .take_while(|(it, _)| it.client == key.client)
            .count()
    }

    pub(super) fn look_at(
        &mut self,
        key: AlarmKey,
        severity: Severity,
        notify: &[String],
        hold_ms: i64,
        sight: Sight,
        now: Now,
    ) -> Option<Change> {
        let new = || Alarm::new(&key, severity, notify, now);
        let alarm = self.alarms.entry(key.clone()).or_insert_with(new);
        let flaps = alarm.flaps();
        let change = alarm.look(sight, hold_ms, now, &mut self.next_alarm);
        // Its row is written once people hear how it ended.
        if flaps && alarm.flaps() {
            return change;
        }
        let row = alarm.row.clone();
        let what = match row.item.as_str() {
            "" => format!("{}: {}", row.name, row.text),
            item => format!("{} {item}: {}", row.name, row.text),
        };
        let client = row.client.clone();
        let record = match change {
            Some(Change::Withdrawn) => AlarmRecord::Gone(row.id),
            Some(_) => AlarmRecord::Alarm(row),
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
    pub(super) fn end_items(
        &mut self,
        rule: &AlarmRule,
        client: &ClientName,
        is_gone: impl Fn(&str) -> bool,
        now: Now,
    ) {
        let is_it = |key: &&AlarmKey| {
            key.client.as_ref() == Some(client) && key.name == rule.name && is_gone(&key.item)
        };
        let gone: Vec<AlarmKey> = self.alarms.keys().filter(is_it).cloned().collect();
        for key in gone {
            self.end(key, now);
        }
    }

    fn end(&mut self, key: AlarmKey, now: Now) {
        let Some(alarm) = self
            .alarms
            .get(&key)
            .filter(|it| it.machine.phase() != Phase::Good)
        else {
            return;
        };
        let (severity, notify) = (alarm.row.severity, alarm.notify.clone());
        let sight = Sight {
            verdict: Judgement::Good,
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
        let is_unknown =
            |key: &&AlarmKey| !known.contains(&(key.client.as_ref(), key.name.as_str()));
        let unknown: Vec<AlarmKey> = self.alarms.keys().filter(is_unknown).cloned().collect();
        for key in unknown {
            self.end(key, now);
        }
    }
}
