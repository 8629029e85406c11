//! The places for connections to the port, and who gives way where all are taken.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle::Idle;
use crate::collector::notices::Notices;

/// A client that does not read its answer for this long is cut off.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause before accepting again after the system was out of memory or files.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Pause before looking again for a connection that could give way, while all are busy.
const PLACE_PAUSE: Duration = Duration::from_millis(20);

/// Who is told to close has this long before another one is told.
const CLOSE_PAUSE: Duration = Duration::from_secs(1);

/// The places for connections to the port.
pub struct Places {
    pub max: u32,
    pub free: Arc<Semaphore>,
    pub idle: Idle,
}

impl Places {
    pub fn new(max: u32) -> Places {
        Places {
            max,
            free: Arc::new(Semaphore::new(max as usize)),
            idle: Idle::default(),
        }
    }

    /// The next connection, once there is a place for it.
    pub async fn accept(
        &self,
        listener: &TcpListener,
        notices: &Notices,
    ) -> (TcpStream, IpAddr, Option<OwnedSemaphorePermit>) {
        let (stream, peer) = accept(listener).await;
        (stream, peer, self.place(notices).await)
    }

    async fn place(&self, notices: &Notices) -> Option<OwnedSemaphorePermit> {
        let mut is_said = false;
        loop {
            let free = Arc::clone(&self.free);
            if let Ok(place) = Arc::clone(&free).try_acquire_owned() {
                return Some(place);
            }
            let is_told = self.idle.close_one();
            if !is_told && !is_said {
                is_said = true;
                let line = format!(
                    "all {} connections are taken and none is idle, so new ones wait: if the clients are yours, raise \
                     `max_connections` in the collector's settings",
                    self.max
                );
                notices.say("connections".to_owned(), line);
            }
            // Another one may become idle before one ends.
            let pause = if is_told { CLOSE_PAUSE } else { PLACE_PAUSE };
            if let Ok(place) = timeout(pause, free.acquire_owned()).await {
                // Fails only if the semaphore is closed, and nobody closes it.
                return place.ok();
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without these the connection still works.
                let _ = stream.set_nodelay(true);
                let timeout_ms = WRITE_TIMEOUT.as_millis() as u32;
                let _ = setsockopt(&stream, TcpUserTimeout, &timeout_ms);
                return (stream, peer.ip().to_canonical());
            }
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(cause) => {
                log::warn!("cannot accept connections: {cause}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
