//! A way between an agent and its server that can be cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes connections on, unless it is cut.
pub struct Forwarder {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Forwarder {
    /// To a server at this address.
    pub fn to(server: SocketAddr) -> Forwarder {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let forwarder = Forwarder {
            address: listener.local_addr().expect("its address"),
            is_cut: Arc::default(),
            open: Arc::default(),
        };
        let (is_cut, open) = (Arc::clone(&forwarder.is_cut), Arc::clone(&forwarder.open));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who is cut off is hung up on.
                if !is_cut.load(Ordering::SeqCst) {
                    let _ = join(stream, server, &open);
                }
            }
        });
        forwarder
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and takes no new ones until [`Forwarder::mend`].
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn join(client: TcpStream, server: SocketAddr, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let mut all = open.lock().unwrap_or_else(PoisonError::into_inner);
    all.extend([client.try_clone()?, server.try_clone()?]);
    drop(all);
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
