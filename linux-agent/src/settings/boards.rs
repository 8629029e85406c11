//! `[[board]]`: the microcontrollers on serial ports whose reports this agent passes on.

use std::path::PathBuf;

use crate::client_name::ClientName;
use crate::toml_reader::Value;

/// Boards at most.
pub const MAX_BOARDS: usize = 16;

pub(super) const DEFAULT_BAUD: u32 = 115_200;

/// One `[[board]]`. With a `*` in both it is a rule: each port whose name fits is a board, and its client id has in
/// place of the `*` what the port has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSettings {
    /// `device`: the serial port, possibly a symbolic link that is made anew when the board is plugged in.
    pub device: PathBuf,
    /// `client_id`: how the server knows the board, and the board itself.
    pub client_id: ClientName,
    /// `baud`: bits a second, one of `BAUD_RATES`.
    pub baud: u32,
}

impl BoardSettings {
    /// Whether it is a rule for boards.
    pub(crate) fn is_rule(&self) -> bool {
        matches!(&self.client_id, ClientName::Name(name) if name.contains('*'))
    }

    /// The boards that a rule finds now, in the order of their names.
    pub(crate) fn found(&self) -> Vec<BoardSettings> {
        // A folder that is not there has no ports: the first board that is plugged in makes it.
        let entries = self.device.parent().map(std::fs::read_dir);
        let entries = entries.into_iter().flatten().flatten().flatten();
        let names = entries.filter_map(|it| it.file_name().into_string().ok());
        let mut boards: Vec<BoardSettings> = names.filter_map(|it| self.fits(&it)).collect();
        boards.sort_unstable_by(|a, b| a.device.cmp(&b.device));
        boards
    }

    /// The board at the port of this name, if the rule is for it.
    fn fits(&self, port: &str) -> Option<BoardSettings> {
        let pattern = self.device.file_name()?.to_str()?;
        let (before, after) = pattern.split_once('*')?;
        let part = port.strip_prefix(before)?.strip_suffix(after)?;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        let ClientName::Name(client_id) = &self.client_id else {
            return None;
        };
        let client_id = client_id.replacen('*', part, 1);
        let is_id = !part.is_empty() && part.chars().all(is_plain) && client_id.len() <= MAX_ID;
        is_id.then(|| BoardSettings {
            device: self.device.with_file_name(port),
            client_id: ClientName::Name(client_id),
            baud: self.baud,
        })
    }

    /// Why it is no rule, if it has a `*`.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let name = self.device.file_name().unwrap_or_default();
        let device_stars = stars(self.device.as_os_str().as_encoded_bytes());
        let client_stars = match &self.client_id {
            ClientName::Number(_) => 0,
            ClientName::Name(name) => stars(name.as_bytes()),
        };
        match (device_stars, client_stars, stars(name.as_encoded_bytes())) {
            (0, 0, 0) | (1, 1, 1) => None,
            _ => Some("must have one `*` if the last part of `device` has one, and none otherwise"),
        }
    }
}

fn stars(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'*').count()
}

/// A client id has at most so many bytes.
const MAX_ID: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(device: &str, client_id: &str) -> BoardSettings {
        BoardSettings {
            device: PathBuf::from(device),
            client_id: ClientName::Name(client_id.to_owned()),
            baud: DEFAULT_BAUD,
        }
    }

    #[test]
    fn a_rule_finds_the_ports_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let device = path("usb-mote_Pico_*-if00");
        let rule = rule(device.to_str().unwrap(), "pico-*");
        assert!(rule.is_rule());
        assert_eq!(rule.found(), []);
        for name in [
            "usb-mote_Pico_e6-if00",
            "usb-mote_Pico_a1-if00",
            "usb-mote_Pico_-if00",
            "usb-mote_Pico_e6-if01",
            "usb-mote_Pico_e 6-if00",
            "usb-other_Pico_e6-if00",
        ] {
            std::fs::write(path(name), "").unwrap();
        }
        let found: Vec<_> = rule
            .found()
            .iter()
            .map(|it| it.client_id.to_string())
            .collect();
        assert_eq!(found, ["pico-a1", "pico-e6"]);
        assert_eq!(rule.found()[1].device, path("usb-mote_Pico_e6-if00"));
        let nowhere = BoardSettings {
            device: path("no/such-*"),
            ..rule
        };
        assert_eq!(nowhere.found(), []);
    }

    #[test]
    fn a_star_stands_in_both_or_in_none() {
        for (device, client_id, is_right) in [
            ("/dev/a", "pico", true),
            ("/dev/a*", "pico-*", true),
            ("/dev/a*", "pico", false),
            ("/dev/a", "pico-*", false),
            ("/dev/a**", "pico-*", false),
            ("/dev/*/a", "pico-*", false),
        ] {
            assert_eq!(
                rule(device, client_id).fault().is_none(),
                is_right,
                "{device}"
            );
        }
    }
}
