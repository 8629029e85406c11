//! A server that takes whatever is posted and remembers it, as one that is told of alarms.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::{DEADLINE, wait_for};

/// Takes requests until the test ends.
pub struct Receiver {
    port: u16,
    status: Arc<AtomicU16>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Method and path.
    pub line: String,
    /// Its headers, their names in small letters.
    pub head: Vec<(String, String)>,
    pub body: String,
    /// What it was answered with.
    pub status: u16,
}

impl Taken {
    pub fn header(&self, name: &str) -> &str {
        let found = self.head.iter().find(|(it, _)| it == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Receiver::on(0)
    }
}

impl Receiver {
    /// On a port that was chosen before; 0: on any.
    pub fn on(port: u16) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let receiver = Receiver {
            port: listener.local_addr().expect("its address").port(),
            status: Arc::new(AtomicU16::new(200)),
            taken: Arc::default(),
        };
        let (status, taken) = (Arc::clone(&receiver.status), Arc::clone(&receiver.taken));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (status, taken) = (Arc::clone(&status), Arc::clone(&taken));
                // The peer may go away whenever it likes.
                thread::spawn(move || serve(&stream, &status, &taken));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// From now on answers so.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// All requests so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was posted as JSON and taken.
    pub fn messages(&self) -> Vec<Value> {
        let taken = self.taken().into_iter().filter(|it| it.status == 200);
        taken.map(|it| it.json()).collect()
    }

    /// Waits until `count` messages were taken, and gives all.
    pub fn wait_for(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} messages"), DEADLINE, || {
            Some(self.messages()).filter(|it| it.len() >= count)
        })
    }
}

fn serve(stream: &TcpStream, status: &AtomicU16, taken: &Mutex<Vec<Taken>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut next = || {
            let mut line = String::new();
            let count = reader.read_line(&mut line).ok()?;
            (count > 0).then(|| line.trim_end().to_owned())
        };
        let line = next()?;
        let mut head = Vec::new();
        loop {
            let line = next()?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            head.push((name.to_lowercase(), value.to_owned()));
        }
        let length = head.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
        let mut body = String::new();
        reader
            .by_ref()
            .take(length)
            .read_to_string(&mut body)
            .ok()?;
        let status = status.load(Ordering::SeqCst);
        taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Taken {
                line,
                head,
                body,
                status,
            });
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok");
        (&mut &*stream).write_all(answer.as_bytes()).ok()?;
    }
}
