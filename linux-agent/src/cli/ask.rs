//! Commands that ask the collector on this machine, over the socket beside its database.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Method, Request};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

use super::collector::server_settings;
use super::outcome::{Failed, exit, failed};
use super::source::Source;
use crate::collector::socket;
use crate::http::words;

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: u64 = 256 << 20;

/// An answer comes within this time; the collector ends its own queries sooner.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// The running collector.
pub struct RunningCollector {
    agent: Agent,
    database: PathBuf,
}

impl RunningCollector {
    /// That of the settings that `source` names.
    pub fn of(source: &Source) -> Result<RunningCollector, Failed> {
        Ok(RunningCollector::with(server_settings(source)?.database))
    }

    fn with(database: PathBuf) -> RunningCollector {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(ANSWER_TIME))
            .build();
        let connector = SocketConnector(database.clone());
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        RunningCollector { agent, database }
    }

    /// The answer to `GET path`, as text.
    pub fn get_text(&self, path: &str) -> Result<String, Failed> {
        self.call(Method::GET, path, "")
    }

    /// The answer to `GET path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let text = self.get_text(path)?;
        serde_json::from_str(&text).map_err(|cause| {
            let sentence =
                format!("the collector's answer is not one that this version knows: {cause}");
            failed(exit::UNAVAILABLE, sentence)
        })
    }

    /// Sends `body`, a JSON document, and gives the answer.
    pub fn call(&self, method: Method, path: &str, body: &str) -> Result<String, Failed> {
        // The host's name is not looked up: there is one socket.
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1{path}"))
            .header("Content-Type", "application/json");
        let request = request
            .body(body)
            .map_err(|cause| failed(exit::USAGE, cause))?;
        let mut response = self
            .agent
            .run(request)
            .map_err(|error| self.explained(&error))?;
        let mut answer = Vec::new();
        let status = response.status();
        let reader = response.body_mut().as_reader();
        let read = reader.take(MAX_ANSWER + 1).read_to_end(&mut answer);
        read.map_err(|cause| {
            failed(
                exit::UNAVAILABLE,
                format!("the collector's answer ended early: {cause}"),
            )
        })?;
        if answer.len() as u64 > MAX_ANSWER {
            return Err(failed(
                exit::UNAVAILABLE,
                "the answer is too long; ask for less",
            ));
        }
        if !status.is_success() {
            let words = words::of(&answer).unwrap_or_else(|| status.to_string());
            let code = match status.is_client_error() {
                true => exit::USAGE,
                false => exit::UNAVAILABLE,
            };
            return Err(failed(code, words));
        }
        String::from_utf8(answer)
            .map_err(|_| failed(exit::UNAVAILABLE, "the collector's answer is no text"))
    }

    fn explained(&self, error: &Error) -> Failed {
        let socket = socket::path_of(&self.database);
        let socket = socket.display();
        let sentence = match error {
            Error::Io(cause) if cause.kind() == io::ErrorKind::PermissionDenied => format!(
                "{socket} is for the collector's user and root only: run this as one of them"
            ),
            Error::Io(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                format!(
                    "the collector does not run: nobody answers at {socket}; `mote serve` starts it"
                )
            }
            error => format!("the collector does not answer at {socket}: {error}"),
        };
        failed(exit::UNAVAILABLE, sentence)
    }
}

/// Connects to the socket beside this database, whatever the address says.
#[derive(Debug)]
struct SocketConnector(PathBuf);

struct SocketTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Connector<()> for SocketConnector {
    type Out = SocketTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<SocketTransport>, Error> {
        let stream = socket::connect(&self.0)?;
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let buffers = LazyBuffers::new(input, output);
        Ok(Some(SocketTransport { stream, buffers }))
    }
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(left(&timeout)?)?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream
            .write_all(output)
            .map_err(|error| in_time(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(left(&timeout)?)?;
        let free = self.buffers.input_append_buf();
        let count = loop {
            match self.stream.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| in_time(error, &timeout))?,
            }
        };
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // A command asks too seldom to need what it has.
        false
    }
}

fn left(timeout: &NextTimeout) -> Result<Option<Duration>, Error> {
    match timeout.after.is_zero() {
        true => Err(Error::Timeout(timeout.reason)),
        false => Ok(timeout.not_zero().map(|it| *it)),
    }
}

fn in_time(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

impl fmt::Debug for SocketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketTransport")
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::thread;

    use super::*;

    /// What `call` makes of an answer with this head and a body that does not end.
    fn answered(head: &'static str) -> Failed {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("reports.db");
        let listener = socket::listen(&database).unwrap().unwrap();
        listener.set_nonblocking(false).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = io::BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.unwrap() != "") {}
            stream.write_all(head.as_bytes()).unwrap();
            while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
        });
        let failed = RunningCollector::with(database).get_text("/").unwrap_err();
        server.join().unwrap();
        failed
    }

    #[test]
    fn an_answer_without_an_end_is_not_read_for_ever() {
        let failed = answered("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        assert_eq!(
            (failed.code, failed.sentence.contains("too long")),
            (69, true),
            "{failed:?}"
        );
    }
}
