//! What a serial port has received, taken in its interrupt.

/// Clears the interrupt, and then takes bytes as long as there is a next one. A byte that comes after the last look
/// interrupts again; cleared afterwards, its interrupt would be lost, and it would lie there.
pub fn take_received(
    clear: impl FnOnce(),
    mut next: impl FnMut() -> Option<u8>,
    mut take: impl FnMut(u8),
) {
    clear();
    while let Some(byte) = next() {
        take(byte);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_byte_that_comes_after_the_last_look_interrupts_again() {
        let port = RefCell::new(VecDeque::from([1, 2]));
        let late = Cell::new(Some(3));
        let interrupts = Cell::new(true);
        let taken = RefCell::new(Vec::new());
        let interrupt = || {
            let next = || {
                let byte = port.borrow_mut().pop_front();
                if byte.is_none()
                    && let Some(byte) = late.take()
                {
                    port.borrow_mut().push_back(byte);
                    interrupts.set(true);
                }
                byte
            };
            take_received(
                || interrupts.set(false),
                next,
                |byte| taken.borrow_mut().push(byte),
            );
        };
        while interrupts.get() {
            interrupt();
        }
        assert_eq!(*taken.borrow(), [1, 2, 3]);
    }
}
