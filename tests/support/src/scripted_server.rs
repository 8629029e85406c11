//! An HTTP server that answers as the test says, well or badly, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{DEADLINE, wait_for};

/// A server on a port of loopback. It is gone once this is dropped, and so are its connections.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

/// What an agent asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// The names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An answer in order, and the connection stays.
    Http {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These pieces, each written by itself, and the connection stays.
    Pieces(Vec<Vec<u8>>),
    /// These bytes, again and again.
    Repeated(Vec<u8>),
    /// These bytes, then for ever one space a pause.
    Dribble(Vec<u8>, Duration),
    /// An answer in order whose body is that many spaces.
    Flood(usize),
    /// Nothing, until the agent has enough of it.
    Silence,
}

/// What is between the server and a connection, such as TLS.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

type Wrap = dyn Fn(TcpStream) -> std::io::Result<Box<dyn Wire>> + Send + Sync;

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    script: Mutex<Arc<Script>>,
    wrap: Box<Wrap>,
    seen: Mutex<Seen>,
    closing: AtomicBool,
}

#[derive(Default)]
struct Seen {
    connections: Vec<TcpStream>,
    orders_asked: usize,
    reports: Vec<Value>,
    acknowledged: Vec<Value>,
}

impl Request {
    /// Whether it asks for the services document.
    pub fn asks_for_orders(&self) -> bool {
        self.path.starts_with("/api/client/config/")
    }

    /// The report that it brings; of a form, null.
    pub fn report(&self) -> Value {
        if self.values("content-type") == ["application/x-www-form-urlencoded"] {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Whether it brings several reports.
    pub fn is_of_many(&self) -> bool {
        self.path == "/api/client/service/reports"
    }

    /// All reports that it brings.
    pub fn reports(&self) -> Vec<Value> {
        if !self.is_of_many() {
            return vec![self.report()];
        }
        let lines = self.body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let read = |line| serde_json::from_slice(line);
        lines
            .map(|line| read(line).unwrap_or_else(|error| panic!("{self:?}: {error}")))
            .collect()
    }

    /// The values of a header, whose name is in small letters.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(it, _)| it == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The service whose report it brings.
    pub fn is_report_of(&self, service: &str) -> bool {
        !self.asks_for_orders() && !self.is_of_many() && self.report()["service_name"] == service
    }
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer::status(200, body)
    }

    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer::Http {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The lines that it says were not taken, of several reports.
    fn exceptions(&self) -> Vec<u64> {
        let Answer::Http { body, .. } = self else {
            return Vec::new();
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let exceptions = body["exceptions"].as_array().cloned().unwrap_or_default();
        exceptions
            .iter()
            .filter_map(|it| it["line"].as_u64())
            .collect()
    }

    pub fn with_header(self, name: &'static str, value: impl Into<String>) -> Answer {
        match self {
            Answer::Http {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.into()));
                Answer::Http {
                    status,
                    headers,
                    body,
                }
            }
            other => panic!("{other:?} has no headers"),
        }
    }

    fn acknowledges(&self) -> bool {
        matches!(self, Answer::Http { status, .. } if (200..300).contains(status))
            || matches!(self, Answer::Flood(_))
            || matches!(self, Answer::Pieces(pieces) if pieces[0].starts_with(b"HTTP/1.1 2"))
    }
}

impl Server {
    /// A server that orders `services` (the object) and takes every report.
    pub fn new(services: &str) -> Server {
        Server::on(0, services)
    }

    /// The same on a port that was chosen before.
    pub fn on(port: u16, services: &str) -> Server {
        Server::wrapped(port, services, |stream| Ok(Box::new(stream)))
    }

    /// The same with something between it and its connections.
    pub fn wrapped(
        port: u16,
        services: &str,
        wrap: impl Fn(TcpStream) -> std::io::Result<Box<dyn Wire>> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let services = services.to_owned();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(move |request: &Request| good(&services, request))),
            wrap: Box::new(wrap),
            seen: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Server { port, shared }
    }

    /// From now on answers like this.
    pub fn script(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// From now on orders `services` (the object) and takes every report.
    pub fn be_good(&self, services: &str) {
        let services = services.to_owned();
        self.script(move |request| good(&services, request));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Connections that were opened.
    pub fn connections(&self) -> usize {
        lock(&self.shared.seen).connections.len()
    }

    /// How often the services document was asked for.
    pub fn orders_asked(&self) -> usize {
        lock(&self.shared.seen).orders_asked
    }

    /// The reports of a service that were brought, acknowledged or not, as often as they were.
    pub fn brought(&self, service: &str) -> Vec<Value> {
        of_service(&lock(&self.shared.seen).reports, service)
    }

    /// The reports of a service that were acknowledged, in the order of their arrival.
    pub fn acknowledged(&self, service: &str) -> Vec<Value> {
        of_service(&lock(&self.shared.seen).acknowledged, service)
    }

    /// Waits until `count` more reports of a service are acknowledged, and gives those.
    pub fn wait_for_more(&self, service: &str, count: usize) -> Vec<Value> {
        let before = self.acknowledged(service).len();
        wait_for(&format!("{count} more of {service}"), DEADLINE, || {
            let reports = self.acknowledged(service).split_off(before);
            (reports.len() >= count).then_some(reports)
        })
    }

    /// Waits until the services document has been asked for `count` more times.
    pub fn wait_for_more_asked(&self, count: usize) {
        let goal = self.orders_asked() + count;
        wait_for("a request for orders", DEADLINE, || {
            (self.orders_asked() >= goal).then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; with it goes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for connection in &lock(&self.shared.seen).connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            // Looked at under the lock: a connection is either in the list of those to be closed, or comes too late.
            let mut seen = lock(&self.seen);
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            seen.connections
                .push(stream.try_clone().expect("a second handle"));
            drop(seen);
            let shared = Arc::clone(self);
            thread::spawn(move || {
                // The peer may go away whenever it likes.
                let _ = shared.serve(&stream);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new((self.wrap)(stream.try_clone()?)?);
        while let Some(request) = read_request(&mut reader)? {
            let stream = reader.get_mut();
            let script = Arc::clone(&lock(&self.script));
            let answer = script(&request);
            self.note(&request, &answer);
            match answer {
                Answer::Http {
                    status,
                    headers,
                    body,
                } => {
                    let mut head =
                        format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
                    for (name, value) in headers {
                        head += &format!("{name}: {value}\r\n");
                    }
                    stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat())?;
                }
                Answer::Raw(bytes) => return stream.write_all(&bytes),
                Answer::Pieces(pieces) => {
                    for piece in pieces {
                        stream.write_all(&piece)?;
                    }
                }
                Answer::Repeated(bytes) => loop {
                    stream.write_all(&bytes)?;
                },
                Answer::Dribble(bytes, pause) => {
                    stream.write_all(&bytes)?;
                    loop {
                        stream.write_all(b" ")?;
                        thread::sleep(pause);
                    }
                }
                Answer::Flood(size) => {
                    let head = format!("HTTP/1.1 200 x\r\nContent-Length: {size}\r\n\r\n");
                    stream.write_all(head.as_bytes())?;
                    let piece = vec![b' '; 64 << 10];
                    let mut left = size;
                    while left > 0 {
                        let count = left.min(piece.len());
                        stream.write_all(&piece[..count])?;
                        left -= count;
                    }
                }
                Answer::Silence => {
                    std::io::copy(&mut reader, &mut std::io::sink())?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Notes a request before it is answered, so that who has the answer finds it noted.
    fn note(&self, request: &Request, answer: &Answer) {
        let mut seen = lock(&self.seen);
        if request.asks_for_orders() {
            seen.orders_asked += 1;
            return;
        }
        if request.method == "GET" || request.path.starts_with("/api/enroll") {
            return;
        }
        let excepted = answer.exceptions();
        for (index, report) in request.reports().into_iter().enumerate() {
            if answer.acknowledges() && !excepted.contains(&(index as u64 + 1)) {
                seen.acknowledged.push(report.clone());
            }
            seen.reports.push(report);
        }
    }
}

/// What a server in order answers.
pub fn good(services: &str, request: &Request) -> Answer {
    match request.asks_for_orders() {
        true => Answer::ok(format!("{{\"services\": {services}}}")),
        false => Answer::ok("{}"),
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut length = 0;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').expect("a header");
        let name = name.to_ascii_lowercase();
        if name == "content-length" {
            length = value.trim().parse().expect("a length");
        }
        headers.push((name, value.trim().to_owned()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method: method.expect("a method"),
        path: path.expect("a path"),
        headers,
        body,
    }))
}

fn of_service(reports: &[Value], service: &str) -> Vec<Value> {
    let of_service = |report: &&Value| report["service_name"] == service;
    reports.iter().filter(of_service).cloned().collect()
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
