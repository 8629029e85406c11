//! Texts as C has them.

use core::ffi::c_char;

/// A text of 1 to `max` bytes. `None` if it is null, empty, longer or not UTF-8. Of a longer one no byte is read
/// behind the first that is too much.
///
/// # Safety
///
/// `text` is null or points at bytes that end with a 0, and stay for ever and unchanged.
pub unsafe fn read(text: *const c_char, max: usize) -> Option<&'static str> {
    if text.is_null() {
        return None;
    }
    let bytes = text.cast::<u8>();
    let mut length = 0;
    // SAFETY: all bytes before this one belong to the text and are not its end, so this one belongs to it too.
    while unsafe { bytes.add(length).read() } != 0 {
        length += 1;
        if length > max {
            return None;
        }
    }
    if length == 0 {
        return None;
    }
    // SAFETY: so many bytes were read just now, and the caller says that they stay.
    str::from_utf8(unsafe { core::slice::from_raw_parts(bytes, length) }).ok()
}
