//! Two services over half a minute, whose time goes as fast as it is written: what a platform does around the core.

use mote_core::{
    Action, ClientId, Config, Envelope, Monitor, MonitorSettings, Stamp, Status, Uptime,
};

/// What the board can be asked for.
#[derive(Clone, Copy, PartialEq)]
enum Probe {
    Temperature,
    Uptime,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Data {
    Temperature { status: Status, millicelsius: i32 },
    Uptime { status: Status, uptime: u32 },
}

const CLIENT: ClientId<'_> = ClientId::Number(7);

const ORDERS: &[u8] =
    br#"{"services": {"Room": ["get_temperature", 5], "Up": ["get_uptime", 10]}}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = MonitorSettings {
        client: mote_core::client_hash(CLIENT),
        first_sample_spread_ms: 10_000,
        refresh: None,
    };
    let mut monitor = Monitor::<Option<Probe>, 8, 31>::new(settings, Uptime::from_millis(0));
    monitor.apply(&Config::parse(ORDERS, |plugin| match plugin {
        "get_temperature" => Some(Probe::Temperature),
        "get_uptime" => Some(Probe::Uptime),
        _ => None,
    })?);

    let end = Uptime::from_millis(30_000);
    loop {
        // A platform sleeps until then.
        let now = monitor.poll_at();
        if now > end {
            return Ok(());
        }
        while let Some(action) = monitor.poll(now) {
            let Action::Sample { slot, .. } = action else {
                // Others are for rates, and to ask for orders anew.
                continue;
            };
            let seq = monitor.next_seq();
            let Some(service) = monitor.entry(slot).map(|it| &it.service) else {
                continue;
            };
            let Some(probe) = service.plugin else {
                continue;
            };
            let seconds = (now.as_millis() / 1000) as u32;
            let envelope = Envelope {
                client_id: CLIENT,
                service_name: &service.name,
                stamp: Stamp::Uptime {
                    seconds,
                    millis: None,
                    age: 0,
                    boot: None,
                },
                seq,
            };
            let mut buffer = [0; 256];
            let length = envelope.encode(&sample(probe, seconds), &mut buffer)?;
            println!("{}", str::from_utf8(&buffer[..length])?);
        }
    }
}

fn sample(probe: Probe, seconds: u32) -> Data {
    let status = Status::OK;
    match probe {
        Probe::Temperature => Data::Temperature {
            status,
            millicelsius: 21_500 + 10 * seconds as i32,
        },
        Probe::Uptime => Data::Uptime {
            status,
            uptime: seconds,
        },
    }
}
