//! How a run ends that cannot go on: it is put on record, and the watchdog resets the board at once, so that it is
//! counted as such a reset.

use core::panic::PanicInfo;

mote_firmware::crash_resets_by!(crate::reset::force);

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    mote_firmware::crash::panicked()
}
