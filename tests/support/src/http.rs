//! An HTTP client that can misbehave, and one for a single question.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::DEADLINE;

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
        if status == 304 {
            return Some(answer);
        }
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

/// One GET on a connection of its own: whatever the status is, and not beyond a redirect.
pub fn http_get(url: &str) -> std::io::Result<Answer> {
    let rest = url.strip_prefix("http://").expect("an address of HTTP");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let ask = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, text.clone());
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let head: Vec<String> = head.lines().map(str::to_owned).collect();
    let status = head[0].split(' ').nth(1).and_then(|it| it.parse().ok());
    let answer = Answer {
        status: status.ok_or_else(invalid)?,
        head,
        body: body.to_owned(),
    };
    match answer.header("content-length").parse::<usize>() {
        Ok(length) if body.len() != length => Err(invalid()),
        _ => Ok(answer),
    }
}
