//! The timer that every Cortex-M has, as counter of a [`LoadMeter`](crate::LoadMeter) and as the beat of a loop.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::{SYST, syst::SystClkSource};

use crate::arch;

/// SysTick, which counts down and interrupts at 0, as a counter that runs up through 32 bits.
///
/// The interrupt wakes the firmware once a period, so that it checks what is due. To wake less often, a board uses
/// a timer of its own.
pub struct SysTick {
    period: u32,
    periods: AtomicU32,
}

impl SysTick {
    /// A period of this many ticks of the processor's clock, at most 2²⁴.
    pub const fn new(period: u32) -> Self {
        assert!(period > 1 && period <= 1 << 24);
        SysTick {
            period,
            periods: AtomicU32::new(0),
        }
    }

    /// Starts it. The application's exception handler for SysTick calls [`SysTick::tick`].
    pub fn start(&self, mut timer: SYST) {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(self.period - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
    }

    /// Counts the period that has begun, unless [`SysTick::count`] has done so already.
    pub fn tick(&self) {
        self.count();
    }

    /// Ticks of the processor's clock since the start, modulo 2³². It may be called at any priority, also at one above
    /// that of the handler.
    pub fn count(&self) -> u32 {
        let mut count = 0;
        arch::masked(|| {
            let mut current = SYST::get_current();
            let mut periods = self.periods.load(Ordering::Relaxed);
            if has_wrapped() {
                // A period began before this reading of the timer, or right after it.
                current = SYST::get_current();
                periods = periods.wrapping_add(1);
                self.periods.store(periods, Ordering::Relaxed);
            }
            // It wraps on reaching 0, which so is the first tick of a period.
            let elapsed = if current == 0 {
                0
            } else {
                self.period.wrapping_sub(current)
            };
            count = periods.wrapping_mul(self.period).wrapping_add(elapsed);
        });
        count
    }
}

/// Whether the timer has reached 0 since the last call. Unlike the pending bit of its interrupt, this does not
/// depend on how far the handler has got.
fn has_wrapped() -> bool {
    const COUNTFLAG: u32 = 1 << 16;
    // SAFETY: the timer is there on every Cortex-M; reading the register clears this flag, which nobody else reads.
    let status = unsafe { (*SYST::PTR).csr.read() };
    status & COUNTFLAG != 0
}
