//! A board on a pseudo-terminal, and the collector that keeps its reports.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use mote_test_support::pty::Pty;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, free_port, http_get, mote, wait_for};

/// A serial port: a link in the site's folder to a pseudo-terminal whose other end is the board.
pub struct Wire {
    device: PathBuf,
    end: Option<End>,
    heard: RefCell<Vec<u8>>,
}

struct End {
    board: File,
    /// Kept open, so that what the board says waits for the agent.
    _port: File,
}

impl Wire {
    /// The device `name`, with a board at it.
    pub fn new(site: &Site, name: &str) -> Wire {
        let mut wire = Wire::without_board(site, name);
        wire.plug();
        wire
    }

    pub fn without_board(site: &Site, name: &str) -> Wire {
        Wire {
            device: site.path(name),
            end: None,
            heard: RefCell::default(),
        }
    }

    /// A new pseudo-terminal, as after each time that a board is plugged in.
    pub fn plug(&mut self) {
        let pty = Pty::open();
        let mut raw = tcgetattr(&pty.slave).expect("its settings");
        cfmakeraw(&mut raw);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).expect("raw");
        let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        fcntl(&pty.master, flags).expect("no waiting");
        let _ = fs::remove_file(&self.device);
        symlink(pty.name, &self.device).expect("a link");
        self.end = Some(End {
            board: OwnedFd::from(pty.master).into(),
            _port: pty.slave,
        });
        self.heard.borrow_mut().clear();
    }

    /// The pseudo-terminal and the link are gone.
    pub fn unplug(&mut self) {
        self.end = None;
        let _ = fs::remove_file(&self.device);
    }

    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Sends bytes as they are, as fast as the agent takes them.
    pub fn send(&self, bytes: &[u8]) {
        let mut board = &self.end.as_ref().expect("a board").board;
        let mut left = bytes;
        while !left.is_empty() {
            let mut writable = [PollFd::new(board.as_fd(), PollFlags::POLLOUT)];
            let timeout = PollTimeout::try_from(DEADLINE).expect("a timeout");
            let ready = poll(&mut writable, timeout).expect("an answer");
            assert_eq!(ready, 1, "the agent does not read");
            if let Ok(count) = board.write(&left[..left.len().min(4096)]) {
                left = &left[count..];
            }
        }
    }

    /// Sends a text with its seal.
    pub fn say(&self, text: &str) {
        self.send(&sealed(text.as_bytes()));
    }

    /// The board's end, which waits for bytes.
    pub fn board_end(&self) -> File {
        let end = &self.end.as_ref().expect("a board").board;
        fcntl(end, FcntlArg::F_SETFL(OFlag::empty())).expect("waiting");
        end.try_clone().expect("a second handle")
    }

    /// The sealed lines that came so far.
    pub fn heard(&self) -> Vec<Value> {
        let mut heard = self.heard.borrow_mut();
        if let Some(end) = &self.end {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = (&end.board).read(&mut piece) {
                heard.extend_from_slice(&piece[..count]);
            }
        }
        let whole = heard.split_inclusive(|byte| *byte == b'\n');
        let whole = whole.filter_map(|line| line.strip_suffix(b"\n"));
        whole
            .map(|line| {
                let (text, seal) = line.split_at(line.len() - 9);
                let expected = format!("*{:08X}", crc32(text));
                assert_eq!(String::from_utf8_lossy(seal), expected);
                serde_json::from_slice(text).expect("JSON")
            })
            .collect()
    }

    /// The numbers that were acknowledged so far, in their order.
    pub fn acknowledged(&self) -> Vec<u64> {
        let acknowledged = |line: &Value| line["ack"].as_u64();
        self.heard().iter().filter_map(acknowledged).collect()
    }

    /// Waits until so many reports have been acknowledged.
    pub fn wait_for_acknowledged(&self, count: usize) -> Vec<u64> {
        wait_for(&format!("{count} acknowledgements"), DEADLINE, || {
            let all = self.acknowledged();
            (all.len() >= count).then_some(all)
        })
    }

    /// The services documents that came so far.
    pub fn documents(&self) -> Vec<Value> {
        let lines = self.heard().into_iter();
        lines
            .filter(|line| line.get("services").is_some())
            .collect()
    }

    pub fn wait_for_documents(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} documents"), DEADLINE, || {
            let all = self.documents();
            (all.len() >= count).then_some(all)
        })
    }
}

/// An agent that runs and follows `server`, and the board 7 at its port.
pub fn site_of(server: &Server) -> (Site, Wire) {
    let site = Site::new("");
    let wire = Wire::new(&site, "pico");
    let settings = server_settings(&server.url(), "");
    site.write_settings(&format!("{settings}\n{}", board(&wire, 7)));
    site.start();
    (site, wire)
}

/// A text with its seal.
pub fn sealed(text: &[u8]) -> Vec<u8> {
    [text, format!("*{:08X}\n", crc32(text)).as_bytes()].concat()
}

/// CRC-32 with a table, as zlib has it.
pub fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: std::sync::LazyLock<[u32; 256]> = std::sync::LazyLock::new(|| {
        std::array::from_fn(|byte| {
            let mut value = u32::try_from(byte).unwrap();
            for _ in 0..8 {
                value = if value % 2 == 1 {
                    value >> 1 ^ 0xEDB8_8320
                } else {
                    value >> 1
                };
            }
            value
        })
    });
    let mut crc = u32::MAX;
    for byte in bytes {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        crc = crc >> 8 ^ TABLE[index as usize];
    }
    !crc
}

/// A report of the board 7, as it writes it.
pub fn report(seq: u32, uptime_s: u32, age_s: Option<u32>, load: u32) -> String {
    let age = age_s.map_or(String::new(), |age| format!("\"age\":{age},"));
    format!(
        "{{\"client_id\":7,\"service_name\":\"Load\",\"data\":{{\"status\":0,\"load\":{load}}},\
         \"uptime\":{uptime_s},{age}\"seq\":{seq}}}"
    )
}

/// The setting of a board.
pub fn board(wire: &Wire, client_id: u32) -> String {
    let device = wire.device().display();
    format!("[[board]]\ndevice = \"{device}\"\nclient_id = {client_id}\n")
}

/// What the agent says of a board.
pub fn of_board(status: &Value, client_id: u32) -> Value {
    let boards = status["boards"].as_array().expect("boards");
    let id = client_id.to_string();
    let found = boards.iter().find(|it| it["client_id"] == id);
    found
        .unwrap_or_else(|| panic!("no board {id}: {status}"))
        .clone()
}

/// Waits until a field of the board's status is this.
pub fn wait_for_field(site: &Site, client_id: u32, field: &str, value: impl Into<Value>) -> Value {
    let value = value.into();
    site.wait_for_status(&format!("{field} = {value}"), |status| {
        let board = of_board(status, client_id);
        (board[field] == value).then_some(board)
    })
}

/// `mote serve` for the clients 1, 7 and 8.
pub struct Collector {
    running: Running,
    settings: PathBuf,
    address: String,
    url: String,
}

impl Collector {
    pub fn new(folder: &Path) -> Collector {
        let address = format!("127.0.0.1:{}", free_port());
        let settings = folder.join("server.toml");
        write_orders(&settings, &address, "");
        Collector {
            running: serve(&settings),
            settings,
            url: format!("http://{address}"),
            address,
        }
        .answering()
    }

    /// The same, which orders these services of client 7, as lines of TOML. It has to be started anew for it.
    pub fn ordering(mut self, services: &str) -> Collector {
        self.running.terminate();
        write_orders(&self.settings, &self.address, services);
        self.running = serve(&self.settings);
        self.answering()
    }

    fn answering(self) -> Collector {
        wait_for("the collector", DEADLINE, || http_get(&self.url).ok());
        self
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The reports of a client, oldest first.
    pub fn reports(&self, client_id: u32) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), json!(0));
        loop {
            let url = format!(
                "{}/api/reports?client_id={client_id}&after={after}&limit=1000",
                self.url
            );
            let answer = http_get(&url).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            let mut page: Value = serde_json::from_str(&answer.body).expect("JSON");
            let reports = page["reports"].as_array_mut().expect("reports");
            if reports.is_empty() {
                return all;
            }
            all.append(reports);
            after = page["next"].clone();
        }
    }

    pub fn wait_for(&self, client_id: u32, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} reports of {client_id}"), DEADLINE, || {
            let reports = self.reports(client_id);
            (reports.len() >= count).then_some(reports)
        })
    }
}

fn write_orders(settings: &Path, address: &str, services: &str) {
    let hosts = "[hosts.a]\nid = 1\ntemplates = [\"host\"]\n\
                 [hosts.b]\nid = 7\ntemplates = [\"board\"]\n[hosts.c]\nid = 8\n\
                 [templates.host.services]\nLoad = [\"get_linux_load\", 0.1]\n\
                 [templates.board.services]\n";
    let text = format!("listen = \"{address}\"\ndatabase = \"r.db\"\n{hosts}{services}");
    fs::write(settings, text).unwrap();
}

fn serve(settings: &Path) -> Running {
    let mut command = mote();
    command.args(["serve", "--config"]).arg(settings);
    Running::start("collector", &mut command, settings.parent().unwrap())
}

pub fn unix_s() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
