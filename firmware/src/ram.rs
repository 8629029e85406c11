//! RAM: how much is static, and how deep the stack has been.

/// What the stack is painted with before `main`, as by the feature `paint-stack` of cortex-m-rt.
const PAINT: u32 = 0xCCCC_CCCC;

/// The RAM of a board: static data from the bottom, then the stack, which grows down from the top; between
/// the two may lie a heap. Or the stack from the bottom, where it cannot grow into anything, then the data: as flip-link
/// does it, or a `memory.x` with a region of its own for the stack.
///
/// The stack must have been painted between its end and its start when the board was reset. Without that its
/// peak reads as all of it.
pub struct Ram {
    start: *const u32,
    data_end: *const u32,
    end: *const u32,
    stack_end: *const u32,
    stack_start: *const u32,
    heap: Option<fn() -> HeapUse>,
}

/// What an allocator has handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUse {
    /// All that it manages.
    pub size_bytes: u32,
    /// How much of it is in use.
    pub used_bytes: u32,
}

// SAFETY: the pointers are addresses that never change; what they point at is read as volatile words.
unsafe impl Sync for Ram {}

impl Ram {
    /// RAM as the linker script of cortex-m-rt lays it out.
    #[cfg(all(target_arch = "arm", target_os = "none"))]
    pub const fn linked() -> Self {
        unsafe extern "C" {
            static _ram_start: u32;
            static __sheap: u32;
            static _ram_end: u32;
            static _stack_end: u32;
            static _stack_start: u32;
        }
        Ram {
            start: &raw const _ram_start,
            data_end: &raw const __sheap,
            end: &raw const _ram_end,
            stack_end: &raw const _stack_end,
            stack_start: &raw const _stack_start,
            heap: None,
        }
    }

    /// RAM from `start`, with a stack that grows down from `stack_start` to `stack_end` at most.
    ///
    /// # Safety
    ///
    /// The pointers are aligned, ascend in the order of the arguments, and all words from `stack_end` to
    /// `stack_start` may be read at any time.
    pub const unsafe fn new(
        start: *const u32,
        stack_end: *const u32,
        stack_start: *const u32,
    ) -> Self {
        Ram {
            start,
            data_end: stack_end,
            end: stack_start,
            stack_end,
            stack_start,
            heap: None,
        }
    }

    /// With an allocator, which says what it has handed out.
    pub const fn with_heap(self, heap: fn() -> HeapUse) -> Self {
        Ram {
            heap: Some(heap),
            ..self
        }
    }

    /// All RAM, in bytes.
    pub fn total_bytes(&self) -> u32 {
        bytes(
            self.start.min(self.stack_end),
            self.end.max(self.stack_start),
        )
    }

    /// Static data, in bytes; with what else lies between it and the stack, if the linker script says nothing of that.
    pub fn static_bytes(&self) -> u32 {
        bytes(self.start, self.data_end)
    }

    /// What the stack has at most, in bytes.
    pub fn stack_bytes(&self) -> u32 {
        bytes(self.stack_end, self.stack_start)
    }

    /// The most that the stack has used, in bytes: it looks at the words from its end on, up to the first that is not
    /// as it was painted. A word that was never used takes some 8 cycles: a quarter of a millisecond for 16 KiB at
    /// 125 MHz.
    pub fn stack_peak_bytes(&self) -> u32 {
        let end = self.stack_start.addr();
        let mut address = self.stack_end.addr();
        // SAFETY: whoever made this promised that the words between the ends of the stack may be read.
        while address < end && unsafe { self.word(address).read_volatile() } == PAINT {
            address += size_of::<u32>();
        }
        end.saturating_sub(address) as u32
    }

    /// What the allocator says, if there is one.
    pub fn heap(&self) -> Option<HeapUse> {
        self.heap.map(|heap| heap())
    }
}

impl Ram {
    /// No Rust object lies in what the stack has not used: there the address is all that there is of a pointer.
    #[cfg(target_os = "none")]
    fn word(&self, address: usize) -> *const u32 {
        core::ptr::without_provenance(address)
    }

    /// A test's stack is an array, of which the pointers are.
    #[cfg(not(target_os = "none"))]
    fn word(&self, address: usize) -> *const u32 {
        self.stack_end.with_addr(address)
    }
}

fn bytes(from: *const u32, to: *const u32) -> u32 {
    to.addr().saturating_sub(from.addr()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_the_paint_shows() {
        let mut words = [PAINT; 64];
        words[40] = 1; // and above it the stack left some paint as it was
        words[60] = 2;
        let at = |index: usize| words.as_ptr().wrapping_add(index);
        // SAFETY: all within `words`.
        let ram = unsafe { Ram::new(at(0), at(16), at(64)) };
        assert_eq!((ram.total_bytes(), ram.static_bytes()), (256, 64));
        assert_eq!((ram.stack_bytes(), ram.stack_peak_bytes()), (192, 24 * 4));
    }

    #[test]
    fn the_stack_may_lie_below_the_data() {
        let words = [PAINT; 64];
        let at = |index: usize| words.as_ptr().wrapping_add(index);
        let ram = Ram {
            start: at(16),
            data_end: at(40),
            end: at(64),
            stack_end: at(0),
            stack_start: at(16),
            heap: None,
        };
        assert_eq!((ram.total_bytes(), ram.static_bytes()), (256, 96));
        assert_eq!((ram.stack_bytes(), ram.stack_peak_bytes()), (64, 0));
    }

    #[test]
    fn a_stack_is_unused_or_full_at_its_ends() {
        for (word, peak) in [(PAINT, 0), (0, 32)] {
            let words = [word; 8];
            let at = |index: usize| words.as_ptr().wrapping_add(index);
            // SAFETY: all within `words`.
            let ram = unsafe { Ram::new(at(0), at(0), at(8)) };
            assert_eq!(ram.stack_peak_bytes(), peak);
        }
    }

    #[test]
    fn a_heap_speaks_for_itself() {
        let heap = HeapUse {
            size_bytes: 1024,
            used_bytes: 96,
        };
        // SAFETY: there are no words between equal pointers.
        let ram = unsafe { Ram::new(core::ptr::null(), core::ptr::null(), core::ptr::null()) };
        assert_eq!(ram.heap(), None);
        let with_heap = ram.with_heap(|| HeapUse {
            size_bytes: 1024,
            used_bytes: 96,
        });
        assert_eq!(with_heap.heap(), Some(heap));
    }
}
