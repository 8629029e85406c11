//! The task that looks after alarms: once a second it sees what there is to see, writes what changed and has it sent.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::alarm::{Alarm, AlarmRow};
use super::chores::Chores;
use super::engine::{Engine, Hosts, RECENT_MS};
use super::machine::{Phase, Told};
use super::message::in_a_line;
use super::messenger::{Heartbeat, Messenger};
use super::moment::Now;
use super::outbox::{Outbox, OutboxEntry};
use super::records::{self, AlarmRecord, Left};
use super::silences::Silence;
use super::state::{AlarmState, SharedAlarms};
use super::tell::Teller;
use crate::client_name::ClientName;
use crate::collector::lateness::{HostLateness, Lateness};
use crate::collector::now::{now_ms, steady_ms};
use crate::collector::report::Report;
use crate::collector::settings::host::Host;
use crate::collector::settings::notify::NotifySettings;
use crate::collector::store::{Store, Unavailable};
use crate::collector::watch::Watch;

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(1);

/// It takes at most one in so many parts of the time.
const SHARE: u32 = 20;

/// If it did not look for so long, this collector stood still, in milliseconds: stopped, or its machine asleep.
const STOOD_STILL_MS: i64 = 30_000;

/// At most this many records wait for a database that is out of order. Beyond that the oldest go.
pub const MAX_UNWRITTEN: usize = 10_000;

/// What is wrong with hosts, and who hears of it.
pub struct Alarms {
    state: SharedAlarms,
    pub(super) store: Store,
    /// Whoever changes silences has it, so that what was looked at stays true until it is on disk.
    pub(super) silencing: tokio::sync::Mutex<()>,
    lateness: Arc<Lateness>,
    watch: Arc<Watch>,
}

/// An alarm that is open, or that people know of.
pub struct OpenAlarm {
    pub row: AlarmRow,
    pub phase: Phase,
    pub is_flapping: bool,
    pub cause: Option<String>,
    pub silence: Option<Silence>,
}

pub(super) fn now() -> Now {
    Now {
        steady_ms: steady_ms(),
        unix_ms: now_ms(),
    }
}

impl Alarms {
    /// With what the database remembers.
    pub async fn load(
        hosts: Hosts,
        notify: NotifySettings,
        store: Store,
        lateness: Arc<Lateness>,
        watch: Arc<Watch>,
    ) -> Alarms {
        let now = now();
        let read = store.look_up(move |connection| {
            records::read_left(connection, now.unix_ms, now.unix_ms - RECENT_MS)
        });
        let mut left = read.await.unwrap_or_else(|Unavailable| Left::default());
        let messages = std::mem::take(&mut left.messages);
        let outbox = Outbox::restored(messages, left.next_message.max(1), now);
        let grace_ms = whole_ms(notify.grace);
        let mut engine = Engine::new(hosts, grace_ms, whole_ms(notify.repeat), left, now);
        engine.event(
            None,
            "collector",
            "the collector began to run".to_owned(),
            now,
        );
        Alarms {
            state: SharedAlarms::new(AlarmState {
                engine,
                outbox,
                teller: Teller::default(),
                notify: Arc::new(notify),
                unwritten: Vec::new(),
            }),
            store,
            silencing: tokio::sync::Mutex::default(),
            lateness,
            watch,
        }
    }

    /// From now on these settings count.
    pub fn follow(&self, hosts: Hosts, notify: NotifySettings) {
        let mut state = self.state();
        state.engine.follow(hosts, now());
        state.notify = Arc::new(notify);
    }

    /// Takes a report of a host.
    pub fn note(&self, report: &Report) {
        self.state().engine.note_report(report, now());
    }

    /// Those that are open or flap.
    pub fn open(&self) -> Vec<OpenAlarm> {
        let state = self.state();
        let engine = &state.engine;
        let is_open =
            |it: &&Alarm| it.machine.phase() != Phase::Good || it.machine.wants() == Told::Flapping;
        let open = engine
            .alarms
            .values()
            .filter(is_open)
            .map(|alarm| OpenAlarm {
                phase: alarm.machine.phase(),
                is_flapping: alarm.machine.wants() == Told::Flapping,
                cause: alarm.cause.clone(),
                silence: engine
                    .silences
                    .of(alarm.row.client.as_ref(), &alarm.row.name)
                    .cloned(),
                row: alarm.row.clone(),
            });
        open.collect()
    }

    /// The numbers of those that fire or flap.
    pub fn active(&self) -> Vec<i64> {
        let state = self.state();
        let alarms = state.engine.alarms.values().filter(|it| {
            it.machine.phase() == Phase::Firing || it.machine.wants() == Told::Flapping
        });
        alarms.map(|it| it.row.id).collect()
    }

    /// The silences that are in force.
    pub fn silences(&self) -> Vec<Silence> {
        let mut state = self.state();
        state.engine.silences.pass(now());
        state.engine.silences.all().cloned().collect()
    }

    /// The messages about any of these alarms that are not on disk as they are now.
    pub fn unwritten_messages(&self, alarms: &[i64]) -> Vec<OutboxEntry> {
        let state = self.state();
        let unwritten = state.unwritten.iter().chain(state.engine.records());
        let unwritten = unwritten.filter_map(|it| match it {
            AlarmRecord::Message(entry) => Some(entry),
            _ => None,
        });
        let all = unwritten.chain(state.outbox.waiting());
        all.filter(|it| it.letter.ids.iter().any(|id| alarms.contains(id)))
            .cloned()
            .collect()
    }

    /// Who hears of alarms.
    pub fn targets(&self) -> Vec<String> {
        self.state().notify.targets.keys().cloned().collect()
    }

    /// Works, and is never done.
    pub async fn work(self: Arc<Self>) {
        let threads = Messenger::start().and_then(|messenger| Ok((messenger, Heartbeat::start()?)));
        let (messenger, heartbeat) = match threads {
            Ok(threads) => threads,
            Err(cause) => {
                log::error!("nobody is told of alarms: no thread can be started for it: {cause}");
                return std::future::pending().await;
            }
        };
        self.remember().await;
        let mut last_ms = steady_ms();
        let mut chores = Chores::default();
        let mut heartbeat_url = None;
        loop {
            let begun = Instant::now();
            let now = now();
            if now.steady_ms - last_ms > STOOD_STILL_MS {
                self.begin_again(now.steady_ms - last_ms, now);
            }
            last_ms = now.steady_ms;
            self.look(now);
            chores.step(&self.state, &self.store, now).await;
            self.tell(&messenger, now);
            let written = self.write().await;
            // What is sent is on disk, unless that is what people have to hear of.
            self.send(&messenger, now);
            if written.is_ok() && self.store.trouble_ms().is_none() {
                heartbeat.live();
            }
            let url = self.state().notify.heartbeat.clone();
            if url != heartbeat_url {
                heartbeat.follow(url.clone());
                heartbeat_url = url;
            }
            tokio::time::sleep(PAUSE.max(SHARE * begun.elapsed())).await;
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, AlarmState> {
        self.state.lock()
    }

    /// What the database knows that figures need.
    async fn remember(&self) {
        let hosts = Arc::clone(&self.state().engine.hosts);
        let clients: Vec<ClientName> = hosts.keys().cloned().collect();
        let asked = clients.clone();
        let read = self
            .store
            .look_up(move |connection| records::read_gaps(connection, &asked));
        if let Ok(all) = read.await {
            let mut state = self.state();
            for (client, runs) in clients.iter().zip(all) {
                state
                    .engine
                    .remember_runs(client, runs.into_iter().map(|it| it.boot));
            }
        }
    }

    fn begin_again(&self, stood_ms: i64, now: Now) {
        self.lateness.begin_again(now.steady_ms);
        let mut state = self.state();
        let grace_ms = whole_ms(state.notify.grace);
        state.engine.begin_again(grace_ms, now);
        let text = format!(
            "the collector stood still for {}",
            crate::collector::span::in_words(stood_ms)
        );
        log::warn!("{text}");
        state.engine.event(None, "collector", text, now);
    }

    fn look(&self, now: Now) {
        let hosts = Arc::clone(&self.state().engine.hosts);
        let trouble_ms = self
            .store
            .trouble_ms()
            .map(|since_ms| now.steady_ms - since_ms);
        if trouble_ms.is_some() {
            // What cannot be stored says nothing of its host.
            self.lateness.begin_again(now.steady_ms);
        }
        let lateness = hosts.iter().map(|(client, host)| {
            let last = |service: &str| self.store.last(client, service).map(|it| it.id);
            let mut late = self.lateness.of(client, host, last, now.steady_ms);
            if late.quiet_ms.is_some() {
                late.quiet_ms = late.quiet_ms.max(self.quiet_ms(client, host, &late, now));
            }
            (client.clone(), late)
        });
        let lateness: BTreeMap<_, _> = lateness.collect();
        let mut state = self.state();
        let engine = &mut state.engine;
        engine.note_own_trouble(trouble_ms, now);
        engine.note_lateness(&lateness, now);
        for client in hosts.keys() {
            let off_ms = self.watch.clock_off_ms(client);
            engine.note_own_figures(client, off_ms, now);
        }
    }

    /// How long ago the newest report of those services came that are late. The database knows it of before this start.
    fn quiet_ms(
        &self,
        client: &ClientName,
        host: &Host,
        late: &HostLateness,
        now: Now,
    ) -> Option<i64> {
        let services = host.services.keys().zip(&late.services);
        let overdue = services.filter(|(_, it)| it.late_ms.is_some());
        let last = overdue.filter_map(|(name, _)| self.store.last(client, name));
        last.map(|it| now.unix_ms - it.received_ms).min()
    }

    /// Notes what became of messages, and puts new ones in the outbox.
    fn tell(&self, messenger: &Messenger, now: Now) {
        let mut state = self.state();
        let AlarmState {
            engine,
            outbox,
            teller,
            notify,
            ..
        } = &mut *state;
        for (id, result) in messenger.take_done() {
            if let Some(entry) = outbox.tried(id, result, now) {
                if let Some(error) = &entry.error
                    && entry.tries == 1
                {
                    log::warn!(
                        "a message to `{}` did not arrive, and is tried again: {error}",
                        entry.target
                    );
                }
                engine.record(AlarmRecord::Message(entry));
            }
        }
        for message in teller.tell(engine, whole_ms(notify.repeat), now) {
            log::warn!("{}: {}", message.title, in_a_line(&message.text));
            let wants = |name: &&String| message.notify.is_empty() || message.notify.contains(name);
            for entry in outbox.add(&message, notify.targets.keys().filter(wants), now) {
                engine.record(AlarmRecord::Message(entry));
            }
        }
    }

    fn send(&self, messenger: &Messenger, now: Now) {
        let mut state = self.state();
        let AlarmState {
            engine,
            outbox,
            notify,
            ..
        } = &mut *state;
        let (due, lost) = outbox.due(|name| notify.targets.contains_key(name), now);
        for entry in lost {
            let error = entry.error.clone().unwrap_or_default();
            log::error!("a message to `{}` was given up: {error}", entry.target);
            engine.record(AlarmRecord::Message(entry));
        }
        for entry in due {
            if let Some(target) = notify.targets.get(&entry.target) {
                messenger.send(target.clone(), entry);
            }
        }
    }

    /// Writes what changed. What cannot be written now is written later.
    async fn write(&self) -> Result<(), Unavailable> {
        let records = {
            let mut state = self.state();
            let new = state.engine.take_records();
            state.unwritten.extend(new);
            newest(std::mem::take(&mut state.unwritten), MAX_UNWRITTEN)
        };
        if records.is_empty() {
            return Ok(());
        }
        let records = Arc::new(records);
        let to_write = Arc::clone(&records);
        let written = self
            .store
            .change(move |connection| records::write(connection, &to_write))
            .await;
        if written.is_err() {
            // The store has said why.
            let mut state = self.state();
            let later = std::mem::take(&mut state.unwritten);
            state.unwritten = records.iter().cloned().chain(later).collect();
        }
        written
    }
}

/// At most so many of these, those at the end.
fn newest(mut records: Vec<AlarmRecord>, most: usize) -> Vec<AlarmRecord> {
    let over = records.len().saturating_sub(most);
    records.drain(..over);
    records
}

pub(super) fn whole_ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_database_is_bounded() {
        let gone = |ids: std::ops::Range<i64>| ids.map(AlarmRecord::Gone).collect::<Vec<_>>();
        assert_eq!(newest(gone(0..5), 3), gone(2..5));
        assert_eq!(newest(gone(0..3), 3), gone(0..3));
    }
}
