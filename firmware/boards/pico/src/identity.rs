//! Who the board is: the client id that the image was built with, or the unique id of its flash chip (Pico) or
//! of its own chip (Pico 2), so that one image
//! serves many boards.

use embassy_rp::Peri;
use embassy_rp::peripherals::FLASH;
use mote_firmware::ClientId;

use crate::chip::{UNIQUE_BYTES, unique_id};

/// As the server knows the board, and as a host names its port.
#[derive(Clone, Copy)]
pub struct Identity {
    /// The number that `MOTE_CLIENT_ID` gave when the image was built, or a name like `pico-e66138528335a72f`.
    pub client_id: ClientId<'static>,
    /// The same without `pico-`: the serial number of a USB device.
    pub serial: &'static str,
}

/// Empty is none, too.
const BUILT_IN: &str = match option_env!("MOTE_CLIENT_ID") {
    Some(digits) => digits,
    None => "",
};

const PREFIX: &str = "pico-";
const NAME_BYTES: usize = PREFIX.len() + 2 * UNIQUE_BYTES;

/// Finds out who the board is.
pub fn identity(flash: Peri<'static, FLASH>) -> Identity {
    if const { !BUILT_IN.is_empty() } {
        return Identity {
            client_id: ClientId::Number(const { number(BUILT_IN) }),
            serial: BUILT_IN,
        };
    }
    let name = name(unique_id(flash));
    Identity {
        client_id: ClientId::Name(name),
        serial: name.strip_prefix(PREFIX).unwrap_or(name),
    }
}

/// `pico-` and the id in hexadecimal digits.
fn name(unique: [u8; UNIQUE_BYTES]) -> &'static str {
    let Some(name) = cortex_m::singleton!(: [u8; NAME_BYTES] = [0; NAME_BYTES]) else {
        return PREFIX;
    };
    let digits = unique.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    });
    for (place, byte) in name.iter_mut().zip(PREFIX.bytes().chain(digits)) {
        *place = byte;
    }
    str::from_utf8(name).unwrap_or(PREFIX)
}

/// Reads a decimal number while the image is built.
#[expect(clippy::panic, reason = "it fails the build")]
const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) if digits.is_empty() => 0,
        Err(_) => panic!("MOTE_CLIENT_ID is not a number from 0 to 4294967295"),
    }
}
