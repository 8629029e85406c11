//! `[[board]]`: the microcontrollers on serial ports whose reports this agent passes on.

use std::path::PathBuf;

use crate::client_name::ClientName;
use crate::toml_reader::Value;

/// Boards at most.
pub const MAX_BOARDS: usize = 16;

pub(super) const DEFAULT_BAUD: u32 = 115_200;

/// One `[[board]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// `device`: the serial port, possibly a symbolic link that is made anew when the board is plugged in.
    pub device: PathBuf,
    /// `client_id`: how the server knows the board, and the board itself.
    pub client_id: ClientName,
    /// `baud`: bits a second, one of `BAUD_RATES`.
    pub baud: u32,
}

/// The speeds of serial ports, in bits a second.
pub(crate) const BAUD_RATES: [u32; 21] = [
    1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000, 576_000,
    921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

pub(super) fn baud(value: &Value) -> Result<u32, String> {
    let number = value.as_integer();
    number
        .filter(|rate| BAUD_RATES.contains(rate))
        .ok_or_else(|| {
            let rates: Vec<_> = BAUD_RATES.iter().map(u32::to_string).collect();
            format!("must be one of {}", rates.join(", "))
        })
}
