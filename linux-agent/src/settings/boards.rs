//! `[[board]]`: the microcontrollers on serial ports whose reports this agent passes on.

use std::path::{Path, PathBuf};

use super::SettingsError;
use super::document::BoardTable;
use super::rules::below;
use crate::client_name::ClientName;
use crate::toml_reader::{Given, Value};

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

/// The speeds of serial ports, in bits a second.
pub(crate) const BAUD_RATES: [u32; 21] = [
    1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000, 576_000,
    921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

/// The boards in the order of the settings; none has the id of the agent, its `own`.
pub(super) fn interpret(
    folder: &Path,
    tables: Vec<BoardTable>,
    given: &Given,
    own: &ClientName,
) -> Result<Vec<Board>, SettingsError> {
    let mut boards: Vec<Board> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let key = |name: &str| format!("board.{index}{name}");
        let breaks = |name: &str, rule: &str| Err(given.invalid(&key(name), rule).into());
        if boards.len() == MAX_BOARDS {
            let rule = format!("is one more than the {MAX_BOARDS} that there may be");
            return breaks("", &rule);
        }
        let Some(device) = table.device else {
            let rule = "needs a device, like `device = \"/dev/serial/by-id/…\"`";
            return breaks("", rule);
        };
        let device = below(folder, &device);
        let Some(client_id) = table.client_id else {
            return breaks("", "needs a client id, like `client_id = 7`");
        };
        // In an address a number and its digits as a name are the same.
        let is_same = |other: &ClientName| other.to_string() == client_id.to_string();
        if is_same(own) {
            return breaks(".client_id", "must not be the agent's own");
        }
        if boards.iter().any(|it| is_same(&it.client_id)) {
            return breaks(".client_id", "must not be that of another board");
        }
        if boards.iter().any(|it| it.device == device) {
            return breaks(".device", "must not be that of another board");
        }
        boards.push(Board {
            device,
            client_id,
            baud: table.baud.unwrap_or(DEFAULT_BAUD),
        });
    }
    Ok(boards)
}

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
    use super::super::document::{Document, SCHEMA};
    use super::*;
    use crate::toml_reader::{self, Variable};

    fn variable(name: &str, text: &str) -> [Variable; 1] {
        let (name, text) = (name.to_owned(), text.to_owned());
        [Variable { name, text }]
    }

    fn read_text(text: &str, variables: &[Variable]) -> Result<Vec<Board>, String> {
        let file = Path::new("a.toml");
        let (document, given): (Document, _) = toml_reader::parse(file, text, &SCHEMA, variables)
            .map_err(|error| error.to_string())?;
        let own = ClientName::Number(1);
        interpret(Path::new("/etc"), document.board, &given, &own)
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
        assert_eq!(read_text("", &variable("MOTE_BOARD", value)), Ok(expected));
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
                "a.toml:1: `board` must be a list of tables: give each of them under [[board]]",
            ),
            (
                "board = [1]",
                "a.toml:1: `board` must be a list of tables: give each of them under [[board]]",
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
            assert_eq!(read_text("", &variable(name, value)), Err(error.to_owned()));
        }
    }
}
