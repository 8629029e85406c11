//! `[[board]]`: the microcontrollers on serial ports whose reports this agent passes on.

use std::path::{Path, PathBuf};

use super::rules::{self, below, path};
use super::source::{Given, Place, Table, Values};
use super::{ClientName, SettingsError};
use crate::gateway::port::BAUD_RATES;

/// Boards at most.
pub const MAX_BOARDS: usize = 16;

const DEFAULT_BAUD: u32 = 115_200;

/// One `[[board]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// `device`: the serial port, possibly a symbolic link that is made anew when the board is plugged in.
    pub device: PathBuf,
    /// `client_id`: how the server knows the board, and the board itself.
    pub client_id: ClientName,
    /// `baud`: bits a second, one of [`BAUD_RATES`].
    pub baud: u32,
}

/// The boards in the order of the settings; none has the id of the agent, its `own`.
pub(super) fn read(
    folder: &Path,
    values: &Values<'_>,
    own: &ClientName,
) -> Result<Vec<Board>, SettingsError> {
    let mut boards: Vec<Board> = Vec::new();
    for (place, table) in values.boards()? {
        if boards.len() == MAX_BOARDS {
            let rule = format!("is one more than the {MAX_BOARDS} that there may be");
            let key = "board";
            return Err(SettingsError::Invalid { place, key, rule });
        }
        let (device_given, device) = required(
            &place,
            &table,
            "board.device",
            "needs a device, like `device = \"/dev/serial/by-id/…\"`",
            |value| Ok(below(folder, &path(value)?)),
        )?;
        let (id_given, client_id) = required(
            &place,
            &table,
            "board.client_id",
            "needs a client id, like `client_id = 7`",
            rules::client_id,
        )?;
        // In an address a number and its digits as a name are the same.
        let is_same = |other: &ClientName| other.to_string() == client_id.to_string();
        if is_same(own) {
            let rule = "must not be the agent's own".to_owned();
            return Err(id_given.breaks("board.client_id", rule));
        }
        if boards.iter().any(|it| is_same(&it.client_id)) {
            let rule = "must not be that of another board".to_owned();
            return Err(id_given.breaks("board.client_id", rule));
        }
        if boards.iter().any(|it| it.device == device) {
            let rule = "must not be that of another board".to_owned();
            return Err(device_given.breaks("board.device", rule));
        }
        let baud = match table.get("board.baud") {
            Some(given) => given.read("board.baud", baud)?,
            None => DEFAULT_BAUD,
        };
        boards.push(Board {
            device,
            client_id,
            baud,
        });
    }
    Ok(boards)
}

fn required<'a, 't, T>(
    board: &Place,
    table: &'a Table<'t>,
    key: &'static str,
    rule: &str,
    read: impl FnOnce(&toml::de::DeValue<'t>) -> Result<T, String>,
) -> Result<(&'a Given<'t>, T), SettingsError> {
    let Some(given) = table.get(key) else {
        return Err(SettingsError::Invalid {
            place: board.clone(),
            key: "board",
            rule: rule.to_owned(),
        });
    };
    Ok((given, given.read(key, read)?))
}

fn baud(value: &toml::de::DeValue<'_>) -> Result<u32, String> {
    let number = value
        .as_integer()
        .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
    let rates = BAUD_RATES.iter().map(|(rate, _)| *rate);
    rates
        .clone()
        .find(|rate| number == Some(*rate))
        .ok_or_else(|| {
            let rates: Vec<_> = rates.map(|rate| rate.to_string()).collect();
            format!("must be one of {}", rates.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, variables: &[(String, String)]) -> Result<Vec<Board>, String> {
        let values = Values::read(Path::new("a.toml"), text, variables);
        values
            .and_then(|values| read(Path::new("/etc"), &values, &ClientName::Number(1)))
            .map_err(|error| error.to_string())
    }

    fn board(device: &str, client_id: ClientName, baud: u32) -> Board {
        Board {
            device: device.into(),
            client_id,
            baud,
        }
    }

    #[test]
    fn boards_come_from_the_file_or_from_the_environment() {
        let expected = vec![
            board("/dev/ttyACM0", ClientName::Number(7), 115_200),
            board("/dev/b", ClientName::Name("pico".to_owned()), 9600),
        ];
        let text = "[[board]]\ndevice = '/dev/ttyACM0'\nclient_id = 7\n\
                    [[board]]\nclient_id = 'pico'\nbaud = 9_600\ndevice = '../dev/b'\n";
        assert_eq!(read_text(text, &[]), Ok(expected.clone()));

        let value = "[{ device = '/dev/ttyACM0', client_id = 7 }, \
                     { device = '../dev/b', client_id = 'pico', baud = 9600 }]";
        let variable = [("MOTE_BOARD".to_owned(), value.to_owned())];
        assert_eq!(read_text("", &variable), Ok(expected));
        assert_eq!(read_text("", &[]), Ok(vec![]));
    }

    #[test]
    fn a_fault_is_named_with_its_line_and_rule() {
        let first = "[[board]]\ndevice = 'a'\nclient_id = 7\n";
        let rates = "1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, \
                     576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, \
                     4000000";
        for (text, error) in [
            (
                "[[board]]\n\nclient_id = 7",
                "a.toml:1: `board` needs a device, like `device = \"/dev/serial/by-id/…\"`",
            ),
            (
                "\n[[board]]\ndevice = 'a'",
                "a.toml:2: `board` needs a client id, like `client_id = 7`",
            ),
            (
                "[[board]]\ndevice = 7",
                "a.toml:2: `board.device` must be a path in quotes",
            ),
            (
                "[[board]]\ndevice = 'a'\nclient_id = 1",
                "a.toml:3: `board.client_id` must not be the agent's own",
            ),
            (
                "[[board]]\ndevice = 'a'\nclient_id = '1'",
                "a.toml:3: `board.client_id` must not be the agent's own",
            ),
            (
                &format!("{first}[[board]]\ndevice = 'b'\nclient_id = 7"),
                "a.toml:6: `board.client_id` must not be that of another board",
            ),
            (
                &format!("{first}[[board]]\ndevice = './a'\nclient_id = 8"),
                "a.toml:5: `board.device` must not be that of another board",
            ),
            (
                &format!("{first}baud = 115201"),
                &format!("a.toml:4: `board.baud` must be one of {rates}"),
            ),
            (
                "[[board]]\ndevise = 'a'",
                "a.toml:2: there is no setting `board.devise`; the nearest is `board.device`",
            ),
            (
                "[board]\ndevice = 'a'",
                "a.toml:1: `board` must be a list of tables like [{ device = \"/dev/ttyACM0\", client_id = 7 }]",
            ),
            (
                "board = [1]",
                "a.toml:1: `board` must be a list of tables like [{ device = \"/dev/ttyACM0\", client_id = 7 }]",
            ),
            (
                "[[boards]]\ndevice = 'a'",
                "a.toml:1: there is no setting `boards`; the nearest is `board`",
            ),
        ] {
            assert_eq!(read_text(text, &[]), Err(error.to_owned()), "{text}");
        }
        let text: String = (0..17)
            .map(|n| format!("[[board]]\ndevice = '{n}'\nclient_id = {}\n", n + 7))
            .collect();
        let error = "a.toml:49: `board` is one more than the 16 that there may be";
        assert_eq!(read_text(&text, &[]), Err(error.to_owned()));
    }

    #[test]
    fn a_variable_is_named() {
        for (name, value, error) in [
            (
                "MOTE_BOARD",
                "[{ device = 'a' }]",
                "MOTE_BOARD: `board` needs a client id, like `client_id = 7`",
            ),
            (
                "MOTE_BOARD__DEVICE",
                "a",
                "the environment variable MOTE_BOARD__DEVICE names no setting; the nearest is MOTE_BOARD",
            ),
        ] {
            let variable = [(name.to_owned(), value.to_owned())];
            assert_eq!(read_text("", &variable), Err(error.to_owned()));
        }
    }
}
