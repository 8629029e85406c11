//! An HTTP client that can misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// A connection that sends exactly what it is told to.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

pub struct Answer {
    pub status: u16,
    head: Vec<String>,
    pub body: String,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends it, unless the other end is gone.
    pub fn send_if_open(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// The next answer; none if the connection ends first.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let bytes: u64 = answer.header("content-length").parse().unwrap();
        let mut body = self.reader.by_ref().take(bytes);
        body.read_to_string(&mut answer.body).unwrap();
        assert_eq!(answer.body.len() as u64, bytes, "a whole body");
        Some(answer)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.head
            .iter()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
