//! Load: the share of time that the processor does not sleep.

use core::cell::Cell;

use critical_section::Mutex;
use mote_core::time::Extender;

use crate::arch;

/// Measures how long the processor sleeps, by a counter that runs on in sleep.
///
/// The firmware must sleep nowhere else. Interrupts are masked from the reading of the counter before sleep to the
/// one after it: a processor wakes for a masked interrupt too, and the handler then runs when its time counts as
/// load. (A cycle counter does not work: Cortex-M0 has none, and others stop it in sleep.)
pub struct LoadMeter {
    count: fn() -> u32,
    totals: Mutex<Cell<Totals>>,
}

#[derive(Clone, Copy)]
struct Totals {
    clock: Extender,
    slept: u64,
    sleeps: u32,
}

/// A reading of the meter, to measure from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadMark {
    at: u64,
    slept: u64,
    sleeps: u32,
}

/// The load of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The share of time not slept, in thousandths, rounded.
    pub permille: u16,
    /// How often the processor woke up.
    pub wakeups: u32,
}

/// A sleep that [`LoadMeter::enter`] began.
#[derive(Debug)]
pub struct Sleep {
    began: u64,
}

impl LoadMark {
    /// The instant before all others.
    pub const ZERO: LoadMark = LoadMark {
        at: 0,
        slept: 0,
        sleeps: 0,
    };
}

impl LoadMark {
    /// The ticks since another mark, modulo 2³².
    #[cfg(all(feature = "tasks", target_os = "none"))]
    pub(crate) const fn ticks_since(&self, then: &LoadMark) -> u32 {
        self.at.wrapping_sub(then.at) as u32
    }
}

impl LoadMeter {
    /// A meter over `count`, a counter that runs up through all 32 bits, in sleep too. A window should have 1000
    /// ticks or more. The counter must not go half way round between two readings; each sleep and mark is one.
    pub const fn new(count: fn() -> u32) -> Self {
        LoadMeter {
            count,
            totals: Mutex::new(Cell::new(Totals {
                clock: Extender::new(),
                slept: 0,
                sleeps: 0,
            })),
        }
    }

    /// Sleeps until the next interrupt, unless `awake` says that there is something to do.
    ///
    /// `awake` runs with interrupts masked, so it sees what an interrupt brought before, and a later interrupt ends
    /// the sleep.
    pub fn sleep_unless(&self, awake: impl FnOnce() -> bool) {
        arch::masked(|| {
            if !awake() {
                self.sleep(arch::wait_for_interrupt);
            }
        });
    }

    /// Sleep begins. For firmware that cannot sleep in [`LoadMeter::sleep_unless`], as the idle task of another's
    /// kernel: it masks interrupts before this, sleeps, calls [`LoadMeter::leave`], and lets them in again.
    pub fn enter(&self) -> Sleep {
        Sleep {
            began: self.update(|_| {}).clock.last(),
        }
    }

    /// Sleep ends.
    pub fn leave(&self, sleep: Sleep) {
        self.update(|totals| {
            // A sleep of another meter's counts for nothing, or for something wrong, but overflows nothing.
            totals.slept += totals.clock.last().saturating_sub(sleep.began);
            totals.sleeps = totals.sleeps.wrapping_add(1);
        });
    }

    /// The counter, extended to 64 bits.
    pub fn now(&self) -> u64 {
        self.mark().at
    }

    /// What the processor has not slept so far, in ticks of the counter, modulo 2³².
    #[cfg(all(feature = "tasks", target_os = "none"))]
    pub(crate) fn busy(&self) -> u32 {
        let mark = self.mark();
        mark.at.wrapping_sub(mark.slept) as u32
    }

    /// The beginning of a window.
    pub fn mark(&self) -> LoadMark {
        let totals = self.update(|_| {});
        LoadMark {
            at: totals.clock.last(),
            slept: totals.slept,
            sleeps: totals.sleeps,
        }
    }

    /// The load since `mark`, which moves to now. `None` in a window without length.
    pub fn since(&self, mark: &mut LoadMark) -> Option<Load> {
        let now = self.mark();
        let then = core::mem::replace(mark, now);
        let window = now.at.checked_sub(then.at).filter(|it| *it > 0)?;
        let slept = now.slept.checked_sub(then.slept)?;
        let busy = window.checked_sub(slept)?;
        let permille = (busy.checked_mul(1000)?.checked_add(window / 2)?) / window;
        Some(Load {
            permille: u16::try_from(permille).ok()?,
            wakeups: now.sleeps.wrapping_sub(then.sleeps),
        })
    }

    fn sleep(&self, wait: impl FnOnce()) {
        let sleep = self.enter();
        wait();
        self.leave(sleep);
    }

    fn update(&self, change: impl FnOnce(&mut Totals)) -> Totals {
        critical_section::with(|cs| {
            let cell = self.totals.borrow(cs);
            let mut totals = cell.get();
            totals.clock.extend((self.count)());
            change(&mut totals);
            cell.set(totals);
            totals
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    std::thread_local! {
        /// Each test runs in a thread, and so has a counter, of its own.
        static COUNTER: Cell<u32> = const { Cell::new(0) };
    }

    fn meter(start: u32) -> LoadMeter {
        COUNTER.set(start);
        LoadMeter::new(|| COUNTER.get())
    }

    fn pass(ticks: u32) {
        COUNTER.set(COUNTER.get().wrapping_add(ticks));
    }

    #[test]
    fn what_is_not_slept_is_load() {
        let meter = meter(7);
        let mut mark = meter.mark();
        for _ in 0..10 {
            pass(300);
            meter.sleep(|| pass(700));
        }
        let load = meter.since(&mut mark);
        assert_eq!(load.map(|it| (it.permille, it.wakeups)), Some((300, 10)));
        pass(5);
        assert_eq!(meter.since(&mut mark).map(|it| it.permille), Some(1000));
    }

    #[test]
    fn a_window_without_length_has_no_load() {
        let meter = meter(0);
        let mut mark = meter.mark();
        assert_eq!(meter.since(&mut mark), None);
        pass(1);
        assert!(meter.since(&mut mark).is_some());
    }

    #[test]
    fn the_counter_may_wrap_often() {
        let meter = meter(u32::MAX - 10);
        let mut mark = meter.mark();
        for _ in 0..20 {
            pass(1 << 29);
            meter.sleep(|| pass(3 << 29));
        }
        assert_eq!(meter.since(&mut mark).map(|it| it.permille), Some(250));
    }

    #[test]
    fn shares_are_rounded() {
        let meter = meter(0);
        let mut mark = meter.mark();
        pass(1);
        meter.sleep(|| pass(1999));
        assert_eq!(meter.since(&mut mark).map(|it| it.permille), Some(1));
        pass(1);
        meter.sleep(|| pass(2000));
        assert_eq!(meter.since(&mut mark).map(|it| it.permille), Some(0));
    }
}
