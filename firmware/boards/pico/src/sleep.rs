//! Sleep of a given length, by the third alarm of the timer; embassy has the first.

use embassy_rp::interrupt::InterruptExt;
use mote_firmware::Sleeper;

use crate::LOAD;
use crate::chip::{SLEEP, TIMER};

const ALARM: usize = 2;

/// Waits in the load meter, for drivers that block. It is the same for all who ask.
pub fn sleeper() -> Sleeper {
    TIMER.inte().modify(|it| it.set_alarm(ALARM, true));
    // SAFETY: the handler shares nothing with the code that it interrupts.
    unsafe { SLEEP.enable() };
    Sleeper::with_alarm(&LOAD, 1000, |at| {
        TIMER.alarm(ALARM).write_value(at);
    })
}

/// In the interrupt of the alarm.
pub(crate) fn on_alarm() {
    TIMER.intr().write(|it| it.set_alarm(ALARM, true));
}
