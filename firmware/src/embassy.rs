//! An executor for embassy's tasks that sleeps in a [`LoadMeter`], so that the load of all tasks and all
//! interrupts is seen.
//!
//! Embassy's own executor for thread mode sleeps with interrupts open: handlers run before it could read a clock,
//! so their time would count as sleep. Its `wfe` cannot become a masked `wfi`, which does not end for an event that
//! a waker has latched. Here wakers set a flag, which is checked with interrupts masked.
//!
//! Tasks are woken from one core only. The application must not enable a platform of `embassy-executor` itself: each
//! brings a function for wakers to call, and so does this module. For tasks in interrupts there is the feature
//! `embassy-interrupt`: it brings embassy's `InterruptExecutor`, whose function then serves both. It knows nothing of
//! a flag, but makes an interrupt pending, for which [`Executor::woken_by`] takes one that the application has no other
//! use for.

#[cfg(not(feature = "embassy-interrupt"))]
#[path = "embassy/flag.rs"]
mod woken;
#[cfg(feature = "embassy-interrupt")]
#[path = "embassy/spare.rs"]
mod woken;

use embassy_executor::{Spawner, raw};

use crate::load::LoadMeter;
use woken::Woken;

/// Runs tasks in thread mode. There can be one.
pub struct Executor {
    raw: raw::Executor,
    woken: Woken,
}

impl Executor {
    /// An executor that does not run yet.
    #[cfg(not(feature = "embassy-interrupt"))]
    #[expect(clippy::new_without_default, reason = "there is no default executor")]
    pub fn new() -> Self {
        Self::with(Woken::Flag)
    }

    /// An executor that does not run yet. `spare` is an interrupt that nothing else uses and nobody enables: being
    /// pending, it tells that there are tasks to poll.
    #[cfg(feature = "embassy-interrupt")]
    pub fn woken_by(spare: impl cortex_m::interrupt::InterruptNumber) -> Self {
        Self::with(Woken::by(spare.number()))
    }

    fn with(woken: Woken) -> Self {
        Executor {
            raw: raw::Executor::new(woken.context()),
            woken,
        }
    }

    /// Spawns the first tasks with `init` and runs for ever.
    pub fn run(&'static mut self, meter: &'static LoadMeter, init: impl FnOnce(Spawner)) -> ! {
        #[cfg(all(feature = "tasks", target_os = "none"))]
        crate::tasks::start(meter, self.raw.id());
        init(self.raw.spawner());
        loop {
            self.woken.clear();
            // SAFETY: nothing else polls the executor, and tasks cannot reach it.
            unsafe { self.raw.poll() };
            meter.sleep_unless(|| self.woken.is_set());
        }
    }
}
