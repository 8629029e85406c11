//! Executors for embassy's tasks: of the main program, which sleeps in a [`LoadMeter`], so that the load of all tasks and
//! all interrupts is seen; and of an interrupt.
//!
//! Embassy's own executor for thread mode sleeps with interrupts open: handlers run before it could read a clock,
//! so their time would count as sleep. Its `wfe` cannot become a masked `wfi`, which does not end for an event that
//! a waker has latched. Here wakers set a flag, which is checked with interrupts masked.
//!
//! Tasks are woken from one core only. The application must not enable a platform of `embassy-executor` itself: each
//! brings a function for wakers to call, and so does this module, for both executors.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::{Spawner, raw};

use crate::load::LoadMeter;

#[cfg(target_arch = "arm")]
pub use in_interrupt::InterruptExecutor;

/// There are tasks of [`Executor`] to poll.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// The context of [`Executor`]; no interrupt has this number.
const MAIN_PROGRAM: usize = usize::MAX;

/// Embassy's executors call it when a task of theirs is woken.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    match context.addr() {
        MAIN_PROGRAM => WOKEN.store(true, Ordering::Release),
        #[cfg(target_arch = "arm")]
        interrupt => in_interrupt::pend(interrupt),
        #[cfg(not(target_arch = "arm"))]
        _ => {}
    }
}

/// Runs tasks in thread mode. There can be one.
pub struct Executor {
    raw: raw::Executor,
}

impl Executor {
    /// An executor that does not run yet.
    #[expect(clippy::new_without_default, reason = "there is no default executor")]
    pub fn new() -> Self {
        let context = core::ptr::without_provenance_mut(MAIN_PROGRAM);
        Executor {
            raw: raw::Executor::new(context),
        }
    }

    /// Spawns the first tasks with `init` and runs for ever.
    pub fn run(&'static mut self, meter: &'static LoadMeter, init: impl FnOnce(Spawner)) -> ! {
        #[cfg(all(feature = "tasks", target_os = "none"))]
        crate::tasks::start(meter, self.raw.id());
        init(self.raw.spawner());
        loop {
            WOKEN.store(false, Ordering::Relaxed);
            // SAFETY: nothing else polls the executor, and tasks cannot reach it.
            unsafe { self.raw.poll() };
            meter.sleep_unless(|| WOKEN.load(Ordering::Acquire));
        }
    }
}

#[cfg(target_arch = "arm")]
mod in_interrupt {
    use core::cell::OnceCell;

    use cortex_m::interrupt::InterruptNumber;
    use cortex_m::peripheral::NVIC;
    use embassy_executor::{SendSpawner, raw};

    /// Runs tasks in an interrupt that nothing else uses, above the main program and below interrupts of a higher
    /// priority. It is a static; there may be one for each interrupt.
    pub struct InterruptExecutor(OnceCell<raw::Executor>);

    // SAFETY: the cell is filled once, with interrupts masked, and what is in it is polled in one interrupt only, which
    // the caller of `on_interrupt` sees to. All else on it is made for several contexts.
    unsafe impl Sync for InterruptExecutor {}

    impl InterruptExecutor {
        /// An executor that does not run yet.
        #[expect(clippy::new_without_default, reason = "there is no default executor")]
        pub const fn new() -> Self {
            InterruptExecutor(OnceCell::new())
        }

        /// Lets `interrupt` come, whose handler calls [`InterruptExecutor::on_interrupt`], and gives what spawns its
        /// tasks; nothing if it has been started before.
        pub fn start(&'static self, interrupt: impl InterruptNumber) -> Option<SendSpawner> {
            let context = core::ptr::without_provenance_mut(interrupt.number().into());
            let executor = raw::Executor::new(context);
            critical_section::with(|_| self.0.set(executor)).ok()?;
            // SAFETY: the handler touches nothing but this executor, which is there now.
            unsafe { NVIC::unmask(interrupt) };
            Some(self.0.get()?.spawner().make_send())
        }

        /// Polls its tasks.
        ///
        /// # Safety
        ///
        /// Only the handler of the interrupt that it was started with may call this.
        pub unsafe fn on_interrupt(&'static self) {
            if let Some(executor) = self.0.get() {
                // SAFETY: this handler does not interrupt itself, and nothing else polls the executor.
                unsafe { executor.poll() };
            }
        }
    }

    /// The context of such an executor is the interrupt that it runs in.
    pub fn pend(interrupt: usize) {
        // SAFETY: the registers are there on every Cortex-M, and writing sets bits; none more than the one is touched.
        let registers = unsafe { &(*NVIC::PTR).ispr };
        if let Some(register) = registers.get(interrupt / 32) {
            // SAFETY: whoever made an executor with this context runs it in that interrupt.
            unsafe { register.write(1 << (interrupt % 32)) };
        }
    }
}
