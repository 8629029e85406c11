//! What the images have in common. They do what a board does with the core, on inputs that the compiler
//! cannot know, so that it leaves nothing out.

#![no_std]

use core::hint::black_box;
use core::panic::PanicInfo;

use mote_core::frame::{self, Receiver};
use mote_core::{
    Action, ClientId, Config, Envelope, Fields, Interval, Monitor, MonitorSettings, Service, Stamp,
    Status, Uptime, Value, client_hash,
};

/// A client for 8 services with names of at most 23 bytes, as is a board's default.
pub type Board = Monitor<Option<u8>, 8, 23>;

/// The services of a [`Board`].
pub type Orders = Config<Option<u8>, 8, 23>;

/// Begins, with a service that is compiled in.
pub fn start(monitor: &mut Board) {
    let settings = MonitorSettings {
        client: client_hash(ClientId::Number(black_box(7))),
        first_sample_spread_ms: black_box(10_000),
        refresh: Interval::from_secs(black_box(300)),
    };
    monitor.set(settings, now());
    let mut orders = Orders::new();
    if let (Ok(name), Some(interval)) = (
        black_box("McuLoad").parse(),
        Interval::from_secs(black_box(5)),
    ) {
        let service = Service {
            name,
            plugin: black_box(Some(1)),
            interval,
        };
        black_box(orders.push(service).is_ok());
    }
    monitor.apply(&orders);
}

/// Does what is due, and says what there is to report, sealed as a line.
pub fn poll(monitor: &mut Board) {
    while let Some(action) = monitor.poll(now()) {
        match action {
            Action::FetchConfig => monitor.fetch_failed(now()),
            Action::Start(slot) => {
                if black_box(false) {
                    monitor.park(slot);
                }
            }
            Action::Sample { slot, .. } => {
                let seq = monitor.next_seq();
                if let Some(entry) = monitor.entry(slot) {
                    report(&entry.service.name, seq);
                }
            }
        }
    }
    black_box(monitor.poll_at());
}

fn report(service_name: &str, seq: u32) {
    let mut buffer = [0; 256];
    let envelope = Envelope {
        client_id: ClientId::Number(black_box(7)),
        service_name,
        stamp: Stamp::Uptime {
            seconds: black_box(6),
            millis: black_box(None),
            age: black_box(0),
            boot: black_box(None),
        },
        seq,
    };
    // Data of usual size.
    let numbers = black_box([123, 1000]);
    let error = [Value::Text(black_box("failed"))];
    let data = match black_box(true) {
        true => Fields::ok("load_permille wakeups", &[], &numbers),
        false => Fields {
            status: Some(Status::FAILED),
            ..Fields::ok("error", &error, &[])
        },
    };
    let encoded = envelope.encode(&data, &mut buffer);
    if let Ok(length) = encoded {
        black_box(frame::seal(&mut buffer, length).is_ok());
    }
    black_box(&buffer);
}

/// Takes a byte from the line, and gives the text that it ends.
pub fn receive<const N: usize>(receiver: &mut Receiver<N>) -> Option<&[u8]> {
    receiver.push(black_box(b'x'))
}

/// An opaque instant.
pub fn now() -> Uptime {
    Uptime::from_millis(black_box(1))
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
