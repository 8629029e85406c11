//! Engine and teller together: what is seen goes in, and messages come out. Time passes as the tests say.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::alarm::Alarm;
use super::engine::{Engine, MAX_REMEMBERED};
use super::losses::RunGaps;
use super::machine::{Phase, Told};
use super::message::{Message, MessageKind};
use super::moment::Now;
use super::outbox::Letter;
use super::records::{self, AlarmRecord, Left};
use super::silences::Silence;
use super::tell::Teller;
use crate::client_name::ClientName;
use crate::collector::lateness::{Lateness, ReportState};
use crate::collector::report::Report;
use crate::collector::settings::host::Host;
use crate::collector::settings::tests::read;
use crate::collector::store::schema;

mod figures;

const S: i64 = 1000;
const MIN: i64 = 60 * S;
const HOUR: i64 = 60 * MIN;

/// The wall's clock when the steady one is 0.
const EPOCH: i64 = 1_795_000_000_000;

/// A collector without a clock, a network or a disk.
struct Scene {
    engine: Engine,
    teller: Teller,
    lateness: Lateness,
    hosts: Arc<BTreeMap<ClientName, Host>>,
    /// The number of the last report of each host.
    last: BTreeMap<ClientName, i64>,
    now_ms: i64,
    /// By how much the wall's clock was set.
    set_ms: i64,
    repeat_ms: i64,
    records: Vec<AlarmRecord>,
}

fn hosts(toml: &str) -> Arc<BTreeMap<ClientName, Host>> {
    Arc::new(read(toml).unwrap().hosts)
}

/// So many hosts with one service every ten seconds.
fn fleet(count: usize) -> String {
    let hosts = (1..=count).map(|n| format!("[hosts.h{n}]\nid = {n}\ntemplates = [\"t\"]\n"));
    format!(
        "[templates.t.services]\nA = [\"p\", 10]\n{}",
        hosts.collect::<String>()
    )
}

impl Scene {
    fn new(toml: &str) -> Scene {
        let hosts = hosts(toml);
        let now = Now {
            steady_ms: 0,
            unix_ms: EPOCH,
        };
        Scene {
            engine: Engine::new(Arc::clone(&hosts), 0, 24 * HOUR, Left::default(), now),
            teller: Teller::default(),
            lateness: Lateness::new(0),
            last: BTreeMap::new(),
            now_ms: 0,
            set_ms: 0,
            repeat_ms: 24 * HOUR,
            records: Vec::new(),
            hosts,
        }
    }

    fn now(&self) -> Now {
        Now {
            steady_ms: self.now_ms,
            unix_ms: EPOCH + self.now_ms + self.set_ms,
        }
    }

    /// Seconds pass, in which `reports` says of each host whether it reports. Gives the messages.
    fn pass(&mut self, seconds: i64, reports: impl Fn(u32) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..seconds {
            self.now_ms += S;
            if self.now_ms % (10 * S) == 0 {
                for client in self.hosts.keys() {
                    let number = match client {
                        ClientName::Number(number) => *number,
                        ClientName::Name(_) => 0,
                    };
                    if reports(number) {
                        *self.last.entry(client.clone()).or_default() += 1;
                    }
                }
            }
            let now = self.now();
            let lateness = self.hosts.iter().map(|(client, host)| {
                let last = |_: &str| self.last.get(client).copied();
                (
                    client.clone(),
                    self.lateness.of(client, host, last, now.steady_ms),
                )
            });
            let lateness = lateness.collect();
            self.engine.note_lateness(&lateness, now);
            for client in self.hosts.keys() {
                self.engine.note_own_figures(client, None, now);
            }
            messages.extend(self.tell());
        }
        messages
    }

    fn tell(&mut self) -> Vec<Message> {
        let now = self.now();
        let engine = &mut self.engine;
        let messages = self.teller.tell(engine, self.repeat_ms, now);
        self.records.extend(engine.take_records());
        messages
    }

    /// Takes a report of host 1 and gives the messages.
    fn report(&mut self, seq: i64, data: &str) -> Vec<Message> {
        let body =
            format!(r#"{{"client_id":1,"service_name":"A","boot":"b","seq":{seq},"data":{data}}}"#);
        let report = Report::parse(body.as_bytes()).unwrap();
        self.engine.note_report(&report, self.now());
        self.tell()
    }

    /// The same collector after a restart, with what its database has.
    fn restarted(mut self) -> Scene {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut connection).unwrap());
        self.records.extend(self.engine.take_records());
        records::write(&connection, &self.records).unwrap();
        let now = self.now();
        let left = records::read_left(&connection, now.unix_ms, now.unix_ms - HOUR).unwrap();
        self.lateness = Lateness::new(self.now_ms);
        self.engine = Engine::new(Arc::clone(&self.hosts), 0, self.repeat_ms, left, now);
        self.teller = Teller::default();
        self
    }
}

fn kinds(messages: &[Message]) -> Vec<MessageKind> {
    messages.iter().map(|it| it.kind).collect()
}

const ALL: fn(u32) -> bool = |_| true;
const NONE: fn(u32) -> bool = |_| false;

#[test]
fn a_host_that_stops_is_told_once_again_after_the_repeat_and_when_it_is_back() {
    let mut scene = Scene::new(&fleet(1));
    scene.repeat_ms = HOUR;
    assert_eq!(scene.pass(600, ALL), []);
    // 2.5 intervals and 10 seconds after its last report.
    assert_eq!(scene.pass(35, NONE), []);
    assert_eq!(kinds(&scene.pass(1, NONE)), [MessageKind::Fired]);
    assert_eq!(scene.pass(3599, NONE), []);
    assert_eq!(kinds(&scene.pass(1, NONE)), [MessageKind::Repeat]);
    let back = scene.pass(60, ALL);
    assert_eq!(kinds(&back), [MessageKind::Cleared]);
    assert_eq!(back[0].title, "[cleared] h1: late");
}

#[test]
fn a_gap_lasts_from_the_last_report_to_the_next_one() {
    let gaps = |scene: &Scene| {
        let events = scene.records.iter().filter_map(|it| match it {
            AlarmRecord::Event(event) if event.kind == "gap" => Some(event.text.clone()),
            _ => None,
        });
        events.collect::<Vec<_>>()
    };
    let mut scene = Scene::new(&fleet(1));
    scene.pass(60, ALL);
    scene.pass(300, NONE);
    scene.pass(10, ALL);
    assert_eq!(gaps(&scene), ["reports were missing for 5 min 10 s"]);
    // Nobody knows any more when the last one came before the restart: it is as long as an interval allows.
    scene.pass(50, ALL);
    scene.pass(100, NONE);
    let mut scene = scene.restarted();
    scene.pass(200, NONE);
    scene.pass(10, ALL);
    assert_eq!(gaps(&scene)[1..], ["reports were missing for 5 min 9 s"]);
}

#[test]
fn one_message_says_that_many_hosts_went_at_once() {
    let mut scene = Scene::new(&fleet(10));
    assert_eq!(scene.pass(60, ALL), []);
    // Three of ten are no more than 30 %.
    let three = scene.pass(120, |host| host > 3);
    assert_eq!(kinds(&three), [MessageKind::Fired; 3]);
    assert_eq!(kinds(&scene.pass(60, ALL)), [MessageKind::Cleared; 3]);
    scene.pass(600, ALL);
    let storm = scene.pass(120, |host| host > 8);
    assert_eq!(kinds(&storm), [MessageKind::Storm]);
    assert_eq!(storm[0].alarms.len(), 8);
    assert!(
        storm[0].title.contains("8 of 10 hosts"),
        "{}",
        storm[0].title
    );
    // The last two go too: that is no news. All come back but one, which is named.
    assert_eq!(scene.pass(600, NONE), []);
    let over = scene.pass(60, |host| host != 4);
    assert_eq!(kinds(&over), [MessageKind::Over]);
    assert!(
        over[0].text.contains("Still late") && over[0].text.contains("h4: late"),
        "{}",
        over[0].text
    );
    assert_eq!(kinds(&scene.pass(60, ALL)), [MessageKind::Cleared]);
}

#[test]
fn a_board_behind_a_gateway_that_is_away_has_no_message_of_its_own() {
    let toml = "[hosts.gw]\nid = 1\nreports_for = [2]\ntemplates = [\"t\"]\n[hosts.pump]\nid = 2\ntemplates = [\"t\"]\n\
                [templates.t.services]\nA = [\"p\", 10]\n";
    let mut scene = Scene::new(toml);
    scene.pass(60, ALL);
    let away = scene.pass(600, NONE);
    assert_eq!(away.len(), 1, "{away:?}");
    assert_eq!(away[0].title, "[critical] gw: late");
    assert!(
        away[0].text.ends_with("behind it: pump"),
        "{}",
        away[0].text
    );
    let pump = scene
        .engine
        .alarms
        .values()
        .find(|it| it.row.client == Some(ClientName::Number(2)));
    assert_eq!(
        pump.unwrap().cause.as_deref(),
        Some("its gateway gw is silent")
    );
    // The gateway is back, its board is not: after two minutes that is told.
    let back = scene.pass(100, |host| host == 1);
    assert_eq!(kinds(&back), [MessageKind::Cleared]);
    let board = scene.pass(60, |host| host == 1);
    assert_eq!(
        (kinds(&board), board[0].title.as_str()),
        (vec![MessageKind::Fired], "[critical] pump: late")
    );
}

#[test]
fn a_silence_holds_messages_back_and_forgets_none() {
    let mut scene = Scene::new(&fleet(1));
    scene.pass(60, ALL);
    let now = scene.now();
    let silence = |until_ms| Silence {
        id: 1,
        client: ClientName::Number(1),
        alarm: None,
        since_ms: now.unix_ms,
        until_ms,
        reason: "r".to_owned(),
        by: "ada".to_owned(),
        ended_ms: None,
    };
    assert!(scene.engine.silences.add(silence(now.unix_ms + HOUR), now));
    assert_eq!(scene.pass(3599, NONE), []);
    assert_eq!(kinds(&scene.pass(1, NONE)), [MessageKind::Fired]);
    // What ended within a silence is told at its end.
    let now = scene.now();
    assert!(scene.engine.silences.add(silence(now.unix_ms + HOUR), now));
    assert_eq!(scene.pass(3599, ALL), []);
    assert_eq!(kinds(&scene.pass(1, ALL)), [MessageKind::Cleared]);
}

#[test]
fn flapping_is_said_and_not_repeated() {
    let mut scene = Scene::new(&fleet(1));
    scene.pass(60, ALL);
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(kinds(&scene.pass(60, NONE)));
        told.extend(kinds(&scene.pass(60, ALL)));
    }
    let (fired, cleared) = (MessageKind::Fired, MessageKind::Cleared);
    assert_eq!(
        told,
        [
            fired,
            cleared,
            fired,
            cleared,
            fired,
            cleared,
            MessageKind::Flapping
        ]
    );
    // Half an hour after it settled.
    assert_eq!(kinds(&scene.pass(1800, ALL)), [MessageKind::Cleared]);
    assert_eq!(scene.pass(7200, ALL), []);
}

#[test]
fn no_clock_that_is_set_makes_an_alarm() {
    let mut scene = Scene::new(&fleet(4));
    scene.pass(600, ALL);
    for set_ms in [HOUR, -HOUR, 366 * 24 * HOUR, 0] {
        scene.set_ms = set_ms;
        assert_eq!(scene.pass(600, ALL), [], "{set_ms}");
    }
    // One that is late is told at the same time whatever the wall says.
    scene.set_ms = -HOUR;
    assert_eq!(scene.pass(55, |host| host != 2), []);
    assert_eq!(
        kinds(&scene.pass(2, |host| host != 2)),
        [MessageKind::Fired]
    );
    scene.set_ms = HOUR;
    assert_eq!(kinds(&scene.pass(60, ALL)), [MessageKind::Cleared]);
}

#[test]
fn a_restart_remembers_what_people_know() {
    let mut scene = Scene::new(&fleet(2));
    scene.pass(60, ALL);
    assert_eq!(
        kinds(&scene.pass(60, |host| host == 1)),
        [MessageKind::Fired]
    );
    let mut scene = scene.restarted();
    // Nothing has come yet, and that is no sign of life.
    assert_eq!(scene.pass(600, |host| host == 1), []);
    assert_eq!(kinds(&scene.pass(60, ALL)), [MessageKind::Cleared]);
    // One that was told of a pending one is not: it fires after the restart, in its time.
    let toml = format!(
        "{}[alarms.high]\nservice = \"A\"\nfield = \"x\"\nabove = 5\nfor = \"5m\"\n",
        fleet(1)
    );
    let mut scene = Scene::new(&toml);
    scene.report(0, r#"{"x": 9}"#);
    scene.now_ms += 4 * MIN;
    let mut scene = scene.restarted();
    assert_eq!(scene.report(1, r#"{"x": 9}"#), []);
    scene.now_ms += MIN;
    assert_eq!(kinds(&scene.report(2, r#"{"x": 9}"#)), [MessageKind::Fired]);
}

#[test]
fn more_than_twenty_at_once_are_one_message() {
    let toml = format!(
        "{}[alarms.none]\nfigure = \"services\"\nbelow = 9\n",
        fleet(21)
    );
    let mut scene = Scene::new(&toml);
    let told = scene.pass(1, ALL);
    assert_eq!(kinds(&told), [MessageKind::Many]);
    assert_eq!(told[0].alarms.len(), 21);
    let listed = |count: usize| {
        let alarms = vec![told[0].alarms[0].clone(); count];
        let letter = Letter::of(&Message {
            alarms,
            ..told[0].clone()
        });
        let list: Vec<serde_json::Value> = serde_json::from_str(&letter.alarms).unwrap();
        (list.len(), letter.ids.len())
    };
    assert_eq!((listed(200), listed(201)), ((200, 200), (200, 201)));
    assert!(told[0].text.ends_with("and 1 more"), "{}", told[0].text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hosts do: once all has been quiet for long enough, people know how it stands, and each firing was
    /// followed by its end.
    #[test]
    fn in_the_end_people_know_how_it_stands(
        count in 1_usize..8,
        times in prop::collection::vec((0_u32..256, 1_i64..200), 0..12),
        last in 0_u32..256,
    ) {
        let mut scene = Scene::new(&fleet(count));
        scene.pass(60, ALL);
        let reports = |mask: u32| move |host: u32| mask & (1 << (host - 1)) != 0;
        for (mask, seconds) in times {
            scene.pass(seconds, reports(mask));
        }
        scene.pass(7200, reports(last));
        for (key, alarm) in &scene.engine.alarms {
            let firing = alarm.machine.phase() == Phase::Firing;
            let expected = if firing { Told::Firing } else { Told::Nothing };
            prop_assert_eq!(alarm.told, expected, "{:?}", key);
        }
        for host in 1..=count as u32 {
            let client = ClientName::Number(host);
            let late = scene.lateness.of(&client, &scene.hosts[&client], |_| scene.last.get(&client).copied(), scene.now_ms);
            let fires = scene.engine.alarms.iter().any(|(key, it)| {
                key.client == Some(client.clone()) && it.machine.phase() == Phase::Firing
            });
            prop_assert_eq!(fires, late.state != ReportState::Reporting);
        }
    }
}
