//! Sleep of a given length, by the third alarm of the timer; embassy has the first.

use embassy_rp::interrupt;
use embassy_rp::interrupt::InterruptExt;
use embassy_rp::pac;
use mote_firmware::Sleeper;

use crate::LOAD;

const ALARM: usize = 2;

/// Waits in the load meter, for drivers that block. It is the same for all who ask.
pub fn sleeper() -> Sleeper {
    pac::TIMER.inte().modify(|it| it.set_alarm(ALARM, true));
    // SAFETY: the handler shares nothing with the code that it interrupts.
    unsafe { interrupt::TIMER_IRQ_2.enable() };
    Sleeper::with_alarm(&LOAD, 1000, |at| {
        pac::TIMER.alarm(ALARM).write_value(at);
    })
}

#[interrupt]
fn TIMER_IRQ_2() {
    pac::TIMER.intr().write(|it| it.set_alarm(ALARM, true));
}
