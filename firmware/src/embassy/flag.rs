//! Wakers set a flag.

use core::sync::atomic::{AtomicBool, Ordering};

/// There are tasks to poll.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// No interrupt has this number.
const CONTEXT: usize = usize::MAX;

/// Embassy's executors call it when a task of theirs is woken.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    match context.addr() {
        CONTEXT => WOKEN.store(true, Ordering::Release),
        interrupt => pend(interrupt),
    }
}

/// The context of another executor of the application is the interrupt that it runs in.
#[cfg(target_arch = "arm")]
fn pend(interrupt: usize) {
    use cortex_m::peripheral::NVIC;

    // SAFETY: the registers are there on every Cortex-M, and writing sets bits; none more than the one is touched.
    let registers = unsafe { &(*NVIC::PTR).ispr };
    if let Some(register) = registers.get(interrupt / 32) {
        // SAFETY: whoever made an executor with this context runs it in that interrupt.
        unsafe { register.write(1 << (interrupt % 32)) };
    }
}

#[cfg(not(target_arch = "arm"))]
fn pend(_: usize) {}

/// How this module's executor learns that there are tasks to poll.
pub enum Woken {
    Flag,
}

impl Woken {
    pub fn context(&self) -> *mut () {
        core::ptr::without_provenance_mut(CONTEXT)
    }

    pub fn clear(&self) {
        WOKEN.store(false, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        WOKEN.load(Ordering::Acquire)
    }
}
