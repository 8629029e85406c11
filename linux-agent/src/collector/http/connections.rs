//! Connections: how many there are, how long each may idle, and what is spoken on them.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::collector::tls::HANDSHAKE_TIMEOUT;

/// Most connections at a time; more of them wait to be accepted. Together with the database this
/// stays below 1024, the usual limit of open files.
pub const MAX_CONNECTIONS: usize = 960;

/// How long a connection may lie idle, and how long the head of a request may take. Agents that
/// report once a minute keep theirs.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may leave its answer lying before its connection is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests under way may take to end once the collector is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest head of a request, in bytes; hyper takes at most 100 headers.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// How long to wait before accepting again after the system refused, for want of memory or of
/// files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Takes connections and answers on each until `stop` is done, then lets requests under way end.
pub async fn accept_until(
    stop: impl Future<Output = ()>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
) {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        // What it reads ahead counts with no body.
        .max_buf_size(2 * MAX_HEAD_BYTES);
    let mut stop = pin!(stop);
    loop {
        let (stream, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let (http, tls, watcher) = (http.clone(), tls.clone(), connections.watcher());
        tokio::spawn(async move {
            // Whatever ends a connection is the client's affair; it has its answer or asks again.
            match tls {
                None => {
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    let _ = watcher.watch(connection).await;
                }
                Some(tls) => {
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        let connection = http.serve_connection(TokioIo::new(stream), service);
                        let _ = watcher.watch(connection).await;
                    }
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_TIMEOUT, connections.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // None only if somebody closes the semaphore, which nobody does.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Should one of these fail, the connection works nevertheless.
                let _ = stream.set_nodelay(true);
                let timeout_ms = WRITE_TIMEOUT.as_millis() as u32;
                let _ = setsockopt(&stream, TcpUserTimeout, &timeout_ms);
                return (stream, slot);
            }
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(cause) => {
                log::warn!("cannot accept connections: {cause}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
