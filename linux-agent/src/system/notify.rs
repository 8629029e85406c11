//! Messages to a service manager, as sd_notify(3) describes them.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started this process, if there is one.
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// Finds the manager by what it put into the environment.
    pub fn from_env() -> Self {
        let address =
            std::env::var("NOTIFY_SOCKET")
                .ok()
                .and_then(|name| match name.strip_prefix('@') {
                    Some(name) => SocketAddr::from_abstract_name(name).ok(),
                    None => SocketAddr::from_pathname(&name).ok(),
                });
        let pid = std::env::var("WATCHDOG_PID").ok();
        let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .filter(|_| ours)
            .and_then(|micros| micros.parse().ok())
            .filter(|micros| *micros > 0)
            .map(Duration::from_micros);
        let socket = || {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read its messages must not stop the agent.
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        };
        Manager {
            socket: address.and_then(|address| Some((socket()?, address))),
            watchdog,
        }
    }

    /// Sends assignments such as `READY=1`, one a line. Errors are ignored: the manager may be gone.
    pub fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}
