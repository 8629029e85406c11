//! TLS 1.2 and 1.3 to the server, over rustls. There is no way to leave out the check of a certificate.

mod error;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::socket::Socket;
use crate::settings::Server;
use crate::system::files;

pub use error::{TlsConfigError, TlsError};

/// A file of certificates may have this many bytes; that of all authorities of a system has about 220 KiB.
pub const MAX_CERTIFICATES: u64 = 1 << 20;

/// Whom to trust, and who the agent is to a server that asks.
#[derive(Clone, Debug)]
pub struct TlsConfig(Arc<ClientConfig>);

/// An encrypted connection.
pub struct TlsStream(Box<StreamOwned<ClientConnection, Socket>>);

impl TlsConfig {
    /// Reads the files that the settings name, or else the authorities that the system trusts (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` come before those).
    pub fn read(server: &Server) -> Result<TlsConfig, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        match &server.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    // One that is no authority is as good as none.
                    let added = roots.add(certificate);
                    added.map_err(|_| TlsConfigError::NoCertificate(file.clone()))?;
                }
            }
            None => {
                // Systems hold some that are of no use here; what counts is that there are any.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TlsConfigError::NoAuthorities);
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Rustls)?
            .with_root_certificates(roots);
        let mut config = match &server.client_cert {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = certificates(&own.cert_file)?;
                let key = own.key_file.read().map_err(TlsConfigError::Key)?;
                let key_path = &own.key_file.path;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|_| TlsConfigError::NoKey(key_path.clone()))?;
                builder.with_client_auth_cert(chain, key).map_err(|cause| {
                    TlsConfigError::Pair(own.cert_file.clone(), key_path.clone(), cause)
                })?
            }
        };
        // There is one server; the usual store has room for 256.
        config.resumption = Resumption::in_memory_sessions(2);
        Ok(TlsConfig(Arc::new(config)))
    }

    /// Shakes hands with `host`, whose certificate must be for that name or address.
    pub fn connect(&self, host: &str, mut socket: Socket) -> Result<TlsStream, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::BadName)?;
        let config = Arc::clone(&self.0);
        let mut connection = ClientConnection::new(config, name).map_err(TlsError::Refused)?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| match error.downcast() {
                    Ok(refused) => TlsError::Refused(refused),
                    Err(broken) => TlsError::Broken(broken),
                })?;
        }
        Ok(TlsStream(Box::new(StreamOwned::new(connection, socket))))
    }
}

impl TlsStream {
    /// The connection below.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.0.sock
    }

    /// Reads what the server says.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    /// Writes all of it, in as few records as may be.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Whether nothing has come that was not asked for, such as the server's goodbye.
    pub fn is_quiet(&self) -> bool {
        self.0.conn.wants_read()
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let pem = files::read_bounded(file, MAX_CERTIFICATES)
        .map_err(|cause| TlsConfigError::Read(file.to_owned(), cause))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsConfigError::NoCertificate(file.to_owned())),
    }
}
