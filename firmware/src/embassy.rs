//! An executor for embassy's tasks that sleeps in a [`LoadMeter`], so that the load of all tasks and all
//! interrupts is seen.
//!
//! Embassy's own executor for thread mode sleeps with interrupts open: their handlers run before it could look
//! at a clock, and their time counts as sleep. Nor can its `wfe` be made a masked `wfi`, since an event that a
//! waker has latched does not end that one. Here wakers set a flag, which is looked at with interrupts masked.
//!
//! The application must not enable a platform of `embassy-executor`, and wakes tasks from one core only.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::{Spawner, raw};

use crate::load::LoadMeter;

/// There are tasks to poll.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// Embassy's executor calls it when a task of it is woken.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Runs tasks in thread mode. There can be one.
pub struct Executor {
    raw: raw::Executor,
}

impl Executor {
    /// Not running yet.
    #[expect(clippy::new_without_default, reason = "there is no default executor")]
    pub fn new() -> Self {
        Executor {
            raw: raw::Executor::new(core::ptr::null_mut()),
        }
    }

    /// Spawns the first tasks with `init` and runs for ever.
    pub fn run(&'static mut self, meter: &LoadMeter, init: impl FnOnce(Spawner)) -> ! {
        init(self.raw.spawner());
        loop {
            WOKEN.store(false, Ordering::Relaxed);
            // SAFETY: nothing else polls it, and tasks cannot reach it.
            unsafe { self.raw.poll() };
            meter.sleep_unless(|| WOKEN.load(Ordering::Acquire));
        }
    }
}
