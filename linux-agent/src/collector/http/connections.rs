//! Connections: how many there are, how long each may idle, and what is spoken on them.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use axum::http::{Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::app::{App, Peer};
use super::heads::WatchedHeads;
use super::idle::{Closing, Idle, Visit};
use super::places::{ACCEPT_PAUSE, Places};
use super::refusal::{Refusal, Refusals, Refused, no_such_host};
use super::way::Way;
use crate::client_name::ClientName;
use crate::collector::now::now_ms;
use crate::collector::tls::HANDSHAKE_TIMEOUT;

/// At most this many over the collector's own socket, beside those to the port.
pub const MAX_OWN_CONNECTIONS: usize = 16;

/// How long a connection may be idle, and how long the head of a request may take. Agents that report once a minute
/// keep their connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long requests under way may take to end once the collector is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest head of a request, in bytes; hyper takes at most 100 headers.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// Of a longer path the log shows the beginning, in characters.
const MAX_PATH_SHOWN: usize = 100;

/// Where connections come in.
pub struct Listeners {
    /// From agents and people.
    pub port: TcpListener,
    /// From commands on this machine.
    pub socket: Option<UnixListener>,
}

/// Takes connections, at most `max` at a time, and answers on each until `stop` is done, then lets requests under way
/// end. A new connection to the port is encrypted as `tls` says at that time.
pub async fn accept_until(
    stop: impl Future<Output = ()>,
    max: u32,
    listeners: Listeners,
    tls: watch::Receiver<Option<TlsAcceptor>>,
    router: Router,
    app: Arc<App>,
) {
    let places = Places::new(max);
    // Nothing is sent: the channel closes with the last connection.
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    let (end, ending) = watch::channel(false);
    let own_slots = Arc::new(Semaphore::new(MAX_OWN_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        // Bytes that are read ahead count for no body.
        .max_buf_size(2 * MAX_HEAD_BYTES);
    let mut stop = pin!(stop);
    let mut next = Box::pin(places.accept(&listeners.port, &app.notices));
    let connection = |peer, is_owner| Connection {
        http: http.clone(),
        router: TowerToHyperService::new(router.clone()),
        app: Arc::clone(&app),
        peer,
        is_owner,
        // Those of this machine's commands take no place at the port, so they free none.
        visit: match is_owner {
            true => Idle::default().visit(),
            false => places.idle.visit(),
        },
        ending: ending.clone(),
        _alive: alive.clone(),
    };
    loop {
        let (stream, peer, slot) = tokio::select! {
            accepted = &mut next => accepted,
            (stream, slot) = accept_owner(listeners.socket.as_ref(), &own_slots) => {
                let connection = connection(IpAddr::from(Ipv4Addr::LOCALHOST), true);
                tokio::spawn(async move {
                    connection.serve(stream).await;
                    drop(slot);
                });
                continue;
            }
            () = &mut stop => break,
        };
        next.set(places.accept(&listeners.port, &app.notices));
        let connection = connection(peer, false);
        let tls = tls.borrow().clone();
        tokio::spawn(async move {
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => connection.serve_encrypted(stream, tls).await,
            }
            drop(slot);
        });
    }
    drop(next);
    drop(listeners);
    end.send_replace(true);
    drop(alive);
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended.recv()).await;
}

/// What one connection needs.
struct Connection {
    http: http1::Builder,
    router: TowerToHyperService<Router>,
    app: Arc<App>,
    peer: IpAddr,
    is_owner: bool,
    visit: Arc<Visit>,
    ending: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let Connection {
            http,
            router,
            app,
            peer,
            is_owner,
            visit,
            mut ending,
            _alive,
        } = self;
        let (stream, two_lengths) = WatchedHeads::new(stream, Arc::clone(&visit));
        let requests = AtomicU64::new(0);
        let service = service_fn(|mut request: Request<Incoming>| {
            let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
            let has_two_lengths = two_lengths.found(number);
            let rules = app.rules();
            let way = match is_owner {
                true => Way::of_owner(),
                false => Way::of(request.headers(), peer, &rules.access, rules.has_tls),
            };
            let checked = way.check(&request, &rules.access);
            let client = way.client;
            request.extensions_mut().insert(Peer(client));
            request.extensions_mut().insert(way);
            let busy = visit.begin();
            let request = request.map(|body| Body::new(visit.upload(body)));
            let answer = answer(&router, &app, client, has_two_lengths, checked, request);
            async {
                let answer = answer.await?;
                Ok::<_, Infallible>(answer.map(|body| busy.until_the_end_of(body)))
            }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut is_ending = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                told = visit.told_to_close() => match told {
                    Closing::WhenDone => connection.as_mut().graceful_shutdown(),
                    Closing::AtOnce => return,
                },
                () = end_of(&mut ending), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        // Whatever else ends a connection is the client's affair; it has its answer or asks again.
        if let Err(error) = ended
            && error.is_parse()
        {
            let line = format!(
                "refused {peer}: what it sends is no HTTP/1.1 ({error}); a client that speaks TLS needs http:// in its \
                 address, or this collector a certificate"
            );
            app.notices.say(format!("no HTTP {peer}"), line);
        }
    }

    async fn serve_encrypted(self, mut stream: TcpStream, tls: TlsAcceptor) {
        let peer = self.peer;
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        // Requests begin with a letter, handshakes with the byte 22 (RFC 8446, 5.1).
        let mut first = [0];
        let peeked = tokio::select! {
            peeked = timeout_at(deadline, stream.peek(&mut first)) => peeked,
            _ = self.visit.told_to_close() => return,
        };
        if let Ok(Ok(1)) = peeked
            && first[0].is_ascii_uppercase()
        {
            let line = format!("refused {peer}: {PLAIN_HTTP}");
            self.app.notices.say(format!("plain {peer}"), line);
            let _ = timeout_at(deadline, refuse_plain(&mut stream)).await;
            return;
        }
        let accepted = tokio::select! {
            accepted = timeout_at(deadline, tls.accept(stream)) => accepted,
            _ = self.visit.told_to_close() => return,
        };
        match accepted {
            Ok(Ok(encrypted)) => self.serve(encrypted).await,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let line = format!("refused {peer}: there is no TLS with it: {error}");
                self.app.notices.say(format!("TLS {peer}"), line);
            }
            // Others end without a word, as those that only look whether the port is open.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Done once all connections are to end.
async fn end_of(ending: &mut watch::Receiver<bool>) {
    // The sender stays as long as connections do.
    let _ = ending.wait_for(|it| *it).await;
}

const PLAIN_HTTP: &str = "this port speaks TLS; use https:// in the address";

/// Says so to a client without TLS, which would otherwise hear nothing but the end of its connection.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    let body = json!({ "error": PLAIN_HTTP }).to_string();
    let answer = format!(
        "HTTP/1.1 421 Misdirected Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // The kernel takes the answer back where something unread is thrown away.
    let mut thrown_away = [0; 4096];
    for _ in 0..MAX_HEAD_BYTES / thrown_away.len() {
        if stream.read(&mut thrown_away).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Answers one request, and tells the log if it was refused.
async fn answer(
    router: &TowerToHyperService<Router>,
    app: &App,
    peer: IpAddr,
    has_two_lengths: bool,
    checked: Result<(), Refusal>,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let claimed = request.headers().get("Mote-Client").cloned();
    // What stood before may have chosen the other of two (RFC 9112, 3.2 and 6.1).
    let mut response = if !has_one_host(&request) {
        Refusal::bad("a request needs one Host").into_response()
    } else if has_two_lengths {
        Refusal::bad("a request has one Content-Length or a Transfer-Encoding").into_response()
    } else if let Err(refusal) = checked {
        refusal.into_response()
    } else {
        router.call(request).await?
    };
    if is_chunked || has_two_lengths {
        // So nothing is behind it that could be taken for a request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    let Some(refusals) = response.extensions().get::<Refusals>() else {
        return Ok(response);
    };
    let path: String = uri.path().chars().take(MAX_PATH_SHOWN).collect();
    let claimed = claimed.as_ref().and_then(|id| id.to_str().ok());
    // Of what fails here the log hears from who fails.
    for refused in refusals.iter().filter(|it| it.status.is_client_error()) {
        let Refused {
            status,
            sentence,
            client,
        } = refused;
        let is_denied = matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let id = client.as_deref().cloned();
        let id = id.or_else(|| claimed.map(ClientName::from_text));
        let mut unknown = None;
        if let Some(id) = id.filter(|_| is_denied) {
            match app.rules().hosts.contains_key(&id) {
                true => app.watch.note_refused(&id, now_ms()),
                // A token would not help. The answer must not tell that to a stranger.
                false => unknown = Some(no_such_host(&id)),
            }
        }
        let client = client.as_ref().map(|id| format!("client {id}"));
        let claimed = || claimed.map(|id| format!("who says to be client {id}"));
        let client = client.or_else(claimed);
        let comma = if client.is_some() { ", " } else { "" };
        let client = client.unwrap_or_default();
        app.notices.say(
            format!("{peer} {client} {status}"),
            format_args!(
                "refused {method} {path} of {peer}{comma}{client}: {} {}",
                status.as_u16(),
                unknown.as_ref().unwrap_or(sentence)
            ),
        );
    }
    Ok(response)
}

fn has_one_host(request: &Request<Body>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        count => count == 1,
    }
}

/// Never done without a socket.
async fn accept_owner(
    listener: Option<&UnixListener>,
    slots: &Arc<Semaphore>,
) -> (UnixStream, Option<OwnedSemaphorePermit>) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(cause) => {
                log::warn!("cannot accept connections of this machine's commands: {cause}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
