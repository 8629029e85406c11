//! The two instructions that the processors name differently.

#[cfg(all(target_arch = "arm", target_os = "none"))]
pub use cortex_m::asm::wfi as wait_for_interrupt;

#[cfg(all(target_arch = "riscv32", target_os = "none"))]
pub use riscv::asm::wfi as wait_for_interrupt;

/// Runs `f` with interrupts masked on this core. Not a critical section: with two cores that is a lock, and the
/// other core would wait for it as long as this one sleeps.
#[cfg(all(target_arch = "arm", target_os = "none"))]
pub fn masked(f: impl FnOnce()) {
    cortex_m::interrupt::free(|_| f());
}

#[cfg(all(target_arch = "riscv32", target_os = "none"))]
pub fn masked(f: impl FnOnce()) {
    riscv::interrupt::free(f);
}

/// On a host there are no interrupts and nothing to measure. Tests run here.
#[cfg(not(target_os = "none"))]
pub fn masked(f: impl FnOnce()) {
    f();
}

#[cfg(not(target_os = "none"))]
pub fn wait_for_interrupt() {}
