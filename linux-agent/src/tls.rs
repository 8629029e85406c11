//! TLS 1.2 and 1.3 to the server, over rustls. There is no way to leave out the check of a certificate.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
};

use crate::regular_file;
use crate::secret::SecretError;
use crate::settings::Server;
use crate::transport::Socket;

/// A file of certificates may have this many bytes; that of all authorities of a system has about 220 KiB.
pub const MAX_CERTIFICATES: u64 = 1 << 20;

/// Whom to trust, and who the agent is to a server that asks.
#[derive(Clone, Debug)]
pub struct Config(Arc<ClientConfig>);

/// An encrypted connection.
pub struct Session(Box<StreamOwned<ClientConnection, Socket>>);

/// Why there is no [`Config`]; displays as one sentence.
#[derive(Debug)]
pub enum ConfigError {
    /// A file of certificates cannot be read.
    Read(PathBuf, io::Error),
    /// A file holds no certificate in PEM.
    NoCertificate(PathBuf),
    /// The client's key is not kept from others.
    Key(SecretError),
    /// A file holds no private key in PEM.
    NoKey(PathBuf),
    /// The key is not that of the certificate, or of a kind that is not known.
    Mismatch(PathBuf, PathBuf, rustls::Error),
    /// The system trusts nobody.
    NoAuthorities,
    /// What rustls says of its own settings.
    Rustls(rustls::Error),
}

/// Why there is no connection, or none any more; displays as what follows an address and a colon.
#[derive(Debug)]
pub enum TlsError {
    /// The address names no host that a certificate could be for.
    BadName,
    /// The server, its certificate or its opinion of ours.
    Refused(rustls::Error),
    /// The connection ended in the handshake.
    Broken(io::Error),
    /// Damage to a connection that was in use.
    Damaged(rustls::Error),
}

impl Config {
    /// Reads the files that the settings name, or else the authorities that the system trusts (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` come before those).
    pub fn read(server: &Server) -> Result<Config, ConfigError> {
        let mut roots = RootCertStore::empty();
        match &server.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    // One that is no authority is as good as none.
                    let added = roots.add(certificate);
                    added.map_err(|_| ConfigError::NoCertificate(file.clone()))?;
                }
            }
            None => {
                // Systems hold some that are of no use here; what counts is that there are any.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(ConfigError::NoAuthorities);
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(ConfigError::Rustls)?
            .with_root_certificates(roots);
        let mut config = match &server.client_cert {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = certificates(&own.cert_file)?;
                let key = own.key_file.read().map_err(ConfigError::Key)?;
                let key_path = &own.key_file.path;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|_| ConfigError::NoKey(key_path.clone()))?;
                builder.with_client_auth_cert(chain, key).map_err(|cause| {
                    ConfigError::Mismatch(own.cert_file.clone(), key_path.clone(), cause)
                })?
            }
        };
        // There is one server; the usual store has room for 256.
        config.resumption = Resumption::in_memory_sessions(2);
        Ok(Config(Arc::new(config)))
    }

    /// Shakes hands with `host`, whose certificate must be for that name or address.
    pub fn connect(&self, host: &str, mut socket: Socket) -> Result<Session, TlsError> {
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
        Ok(Session(Box::new(StreamOwned::new(connection, socket))))
    }
}

impl Session {
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

impl TlsError {
    /// The error of a connection in use, if it is of TLS.
    pub fn in_use(error: io::Error) -> Result<TlsError, io::Error> {
        let error: rustls::Error = error.downcast()?;
        Ok(match error {
            // In TLS 1.3 a server gives its opinion of the client after the handshake.
            rustls::Error::AlertReceived(_) => TlsError::Refused(error),
            _ => TlsError::Damaged(error),
        })
    }

    /// Whether the server can have seen no request.
    pub fn is_before_request(&self) -> bool {
        !matches!(self, TlsError::Damaged(_))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = regular_file::read_bounded(file, MAX_CERTIFICATES)
        .map_err(|cause| ConfigError::Read(file.to_owned(), cause))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ConfigError::NoCertificate(file.to_owned())),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read(file, cause) => write!(f, "{}: {cause}", file.display()),
            ConfigError::NoCertificate(file) => {
                write!(f, "{} holds no valid certificates in PEM", file.display())
            }
            ConfigError::Key(error) => error.fmt(f),
            ConfigError::NoKey(file) => {
                write!(f, "{} holds no private key in PEM", file.display())
            }
            ConfigError::Mismatch(cert, key, cause) => write!(
                f,
                "{} does not hold the key of the certificate in {}: {cause}",
                key.display(),
                cert.display()
            ),
            ConfigError::NoAuthorities => f.write_str(
                "this system trusts no authorities; install its package ca-certificates, or name some in `server.ca_file`",
            ),
            ConfigError::Rustls(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::BadName => f.write_str("the host is no name that a certificate can be for"),
            TlsError::Refused(error) => refused(error, f),
            TlsError::Broken(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the server ended the TLS handshake")
            }
            TlsError::Broken(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("the TLS handshake took too long")
            }
            TlsError::Broken(error) => write!(f, "the TLS handshake failed: {error}"),
            TlsError::Damaged(error) => write!(f, "the TLS connection broke: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

fn refused(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use AlertDescription as Alert;
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => f.write_str(
                "its certificate is from an authority that is not trusted here; name that authority's in `server.ca_file`",
            ),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                f.write_str("its certificate is for another name")
            }
            Bad::Expired | Bad::ExpiredContext { .. } => f.write_str("its certificate has expired"),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                f.write_str("its certificate is not valid yet, or the clock of this host is wrong")
            }
            bad => write!(f, "its certificate is not valid: {bad}"),
        },
        rustls::Error::AlertReceived(Alert::CertificateRequired) => f.write_str(
            "it demands a client certificate; name one in `server.client_cert_file` and `server.client_key_file`",
        ),
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => write!(f, "it does not take the client certificate: {error}"),
        rustls::Error::InvalidMessage(_) => f.write_str("it does not speak TLS"),
        error => write!(f, "the TLS handshake failed: {error}"),
    }
}
