//! The load meter alone, without a node or a line: here in a program of this machine, which works for three tenths of the
//! time. In firmware the counter is a hardware timer, and `LOAD.sleep_unless(|| there_is_work())` sleeps.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use mote_firmware::LoadMeter;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Its counter is of microseconds, and may wrap.
static LOAD: LoadMeter = LoadMeter::new(|| START.elapsed().as_micros() as u32);

fn main() {
    let mut window = LOAD.mark();
    for _ in 0..3 {
        for _ in 0..10 {
            work(Duration::from_millis(3));
            let sleep = LOAD.enter();
            thread::sleep(Duration::from_millis(7));
            LOAD.leave(sleep);
        }
        // It also begins the next window.
        if let Some(load) = LOAD.since(&mut window) {
            println!("load {} ‰, woke {} times", load.permille, load.wakeups);
        }
    }
}

fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}
