//! TLS for the collector's connections.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use super::settings::TlsFiles;
use crate::system::files;
use crate::system::secret::{SecretError, SecretFile};

/// How long a handshake may take. Meanwhile it counts as a connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest file of certificates, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why there can be no TLS.
#[derive(Debug, Error)]
pub enum TlsFilesError {
    /// The key cannot be read, or others can read it.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// A file of certificates cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// A file does not hold what it should.
    #[error("{} {problem}", path.display())]
    Content { path: PathBuf, problem: String },
}

/// Reads the files.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsFilesError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificates)?;
    let key = SecretFile::for_this_process(&files.key).read()?;
    // Without the cause, which might quote a line of the key.
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| content(&files.key, "holds no private key in PEM"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| unusable(&files.certificates, cause))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|cause| unfit(files, &cause))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsFilesError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities
            .add(certificate)
            .map_err(|cause| unusable(path, cause))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|cause| unusable(path, cause))
}

/// At least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let bytes = files::read_bounded(path, MAX_FILE_BYTES).map_err(|cause| {
        let path = path.to_owned();
        TlsFilesError::Read { path, cause }
    })?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| content(path, "holds no certificate in PEM"))
}

/// Why a certificate and a key cannot be used together.
fn unfit(files: &TlsFiles, cause: &rustls::Error) -> TlsFilesError {
    use rustls::{Error, InconsistentKeys::KeyMismatch};
    let certificates = files.certificates.display();
    match cause {
        Error::InconsistentKeys(KeyMismatch) => content(
            &files.key,
            format_args!("does not hold the key of the certificate in {certificates}"),
        ),
        Error::General(_) => content(
            &files.key,
            "holds a key that is damaged or of a kind that is not supported; use RSA, or ECDSA over P-256 or P-384",
        ),
        Error::InvalidCertificate(_) => content(
            &files.certificates,
            "holds a certificate that is damaged or of a kind that is not supported",
        ),
        cause => unusable(&files.certificates, cause),
    }
}

fn unusable(path: &Path, cause: impl fmt::Display) -> TlsFilesError {
    content(path, format_args!("cannot be used: {cause}"))
}

fn content(path: &Path, problem: impl fmt::Display) -> TlsFilesError {
    TlsFilesError::Content {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}
