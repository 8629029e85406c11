//! The end of a firmware whose library has a fault.

/// An instruction that there is not: the firmware's own handler of faults has the last word, as with its own faults.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(target_arch = "arm")]
    cortex_m::asm::udf();
    #[cfg(target_arch = "riscv32")]
    // SAFETY: the processor traps and executes nothing behind it.
    unsafe {
        core::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
}
