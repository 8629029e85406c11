//! Wakers make an interrupt pending that is never served.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

/// How this module's executor learns that there are tasks to poll: by an interrupt of this number.
#[derive(Clone, Copy)]
pub struct Woken(u16);

// SAFETY: the number is that of an interrupt, and stays.
unsafe impl InterruptNumber for Woken {
    fn number(self) -> u16 {
        self.0
    }
}

impl Woken {
    pub fn by(interrupt: u16) -> Self {
        Woken(interrupt)
    }

    pub fn context(&self) -> *mut () {
        core::ptr::without_provenance_mut(self.0.into())
    }

    pub fn clear(&self) {
        NVIC::unpend(*self);
    }

    pub fn is_set(&self) -> bool {
        NVIC::is_pending(*self)
    }
}
