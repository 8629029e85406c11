//! Schedules: what a monitor does at which instant.

use mote_core::{Action, ClientId, Interval, Monitor, MonitorSettings, Name, Uptime, client_hash};

use crate::{Out, documents};

struct Script {
    client_id: ClientId<'static>,
    spread_ms: u32,
    refresh_s: u32,
    start_ms: u64,
    steps: &'static [Step],
}

enum Step {
    /// A document comes from the server.
    Orders(&'static str),
    /// The server does not answer.
    NoAnswer,
    /// Polls at once for so many instants that the monitor asked for.
    Wakes(u32),
    /// Polls so many milliseconds after the last time.
    After(u64),
}
use Step::{After, NoAnswer, Orders, Wakes};

const THREE: &str = r#"{"services":{"Load":["l",5],"Ram":["r",0.7],"Alive":["a",60]}}"#;

const SCRIPTS: [Script; 6] = [
    Script {
        client_id: ClientId::Number(7),
        spread_ms: 10_000,
        refresh_s: 300,
        start_ms: 0,
        steps: &[Wakes(1), Orders(THREE), Wakes(30)],
    },
    Script {
        client_id: ClientId::Name("pump-3"),
        spread_ms: 10_000,
        refresh_s: 300,
        start_ms: 0,
        steps: &[Wakes(1), Orders(THREE), Wakes(10)],
    },
    // Late polls: lost instants are counted, and the grid stays.
    Script {
        client_id: ClientId::Number(0),
        spread_ms: 0,
        refresh_s: 0,
        start_ms: 123,
        steps: &[
            Orders(THREE),
            After(0),
            After(699),
            After(1),
            After(5000),
            After(700),
            After(86_400_000),
            Wakes(4),
        ],
    },
    // Services that change, leave, come and stay.
    Script {
        client_id: ClientId::Number(7),
        spread_ms: 0,
        refresh_s: 0,
        start_ms: 0,
        steps: &[
            Orders(THREE),
            Wakes(4),
            Orders(r#"{"services":{"New":["n",2],"Ram":["r",0.7],"Load":["l",2]}}"#),
            Wakes(8),
            Orders(r#"{"services":{"Load":["other",2]}}"#),
            Wakes(3),
            Orders("not a document"),
            Wakes(3),
            Orders(r#"{"services":{}}"#),
            Wakes(1),
        ],
    },
    // A server that is away: delays that grow, then the regular time.
    Script {
        client_id: ClientId::Number(u32::MAX),
        spread_ms: 500,
        refresh_s: 20,
        start_ms: 0,
        steps: &[
            Wakes(1),
            NoAnswer,
            Wakes(1),
            NoAnswer,
            Wakes(1),
            NoAnswer,
            Wakes(1),
            NoAnswer,
            Wakes(1),
            NoAnswer,
            Wakes(1),
            NoAnswer,
            Wakes(1),
            Orders(r#"{"services":{"Alive":["a",604800]}}"#),
            Wakes(1),
            After(3),
            Orders(r#"{"services":{"Alive":["a",604800]}}"#),
            Wakes(2),
        ],
    },
    // Where 32 bits of milliseconds end.
    Script {
        client_id: ClientId::Number(1),
        spread_ms: u32::MAX,
        refresh_s: 1,
        start_ms: 0xFFFF_F000,
        steps: &[Wakes(1), Orders(THREE), Wakes(12)],
    },
];

pub fn transcribe(out: &mut Out<'_>) {
    out.text("# schedules: milliseconds, and what happens then")
        .end();
    for script in &SCRIPTS {
        out.text("monitor").end();
        Run::new(script).run(script.steps, out);
    }
}

struct Run {
    monitor: Monitor<Name<23>, 8, 23>,
    now: Uptime,
}

impl Run {
    fn new(script: &Script) -> Self {
        let now = Uptime::from_millis(script.start_ms);
        let settings = MonitorSettings {
            client: client_hash(script.client_id),
            first_sample_spread_ms: script.spread_ms,
            refresh: Interval::from_secs(script.refresh_s),
        };
        Run {
            monitor: Monitor::new(settings, now),
            now,
        }
    }

    fn run(&mut self, steps: &[Step], out: &mut Out<'_>) {
        for step in steps {
            match step {
                Orders(document) => match documents::parse(document.as_bytes()) {
                    Ok(orders) => {
                        self.monitor.apply(&orders);
                        self.monitor.fetched(self.now);
                    }
                    Err(_) => self.monitor.fetch_failed(self.now),
                },
                NoAnswer => self.monitor.fetch_failed(self.now),
                After(ms) => {
                    self.now = self.now.after_millis(*ms);
                    self.poll(out);
                }
                Wakes(count) => {
                    for _ in 0..*count {
                        if self.monitor.poll_at() == Uptime::NEVER {
                            out.text("nothing more").end();
                            break;
                        }
                        self.now = self.now.max(self.monitor.poll_at());
                        self.poll(out);
                    }
                }
            }
        }
    }

    fn poll(&mut self, out: &mut Out<'_>) {
        while let Some(action) = self.monitor.poll(self.now) {
            out.number(self.now.as_millis());
            match action {
                Action::FetchConfig => {
                    out.text(" fetch").end();
                }
                Action::Start(slot) => {
                    let entry = self.monitor.entry(slot);
                    out.text(" start ");
                    out.text(entry.map_or("", |it| &it.service.name)).end();
                }
                Action::Sample { slot, due, missed } => {
                    let seq = self.monitor.next_seq();
                    let entry = self.monitor.entry(slot);
                    out.text(" sample ");
                    out.text(entry.map_or("", |it| &it.service.name));
                    out.text(" due ").number(due.as_millis());
                    out.text(" missed ").number(missed.into());
                    out.text(" seq ").number(seq.into()).end();
                }
            }
        }
    }
}
