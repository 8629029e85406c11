//! Why there is no TLS, in one sentence each: what is wrong and who can mend it. rustls's own errors use names of
//! its code, which say little to whoever reads a log.

use std::io;
use std::path::{Path, PathBuf};

use rustls::{
    AlertDescription as Alert, CertificateError as Bad, InconsistentKeys, OtherError,
    PeerIncompatible,
};
use thiserror::Error;

use crate::system::secret::SecretError;

/// Why there is no [`super::TlsConfig`]; displays as one sentence.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// A file of certificates cannot be read.
    #[error("{}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    /// A file holds no certificate in PEM.
    #[error("{} holds no valid certificates in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The client's key is not kept from others.
    #[error(transparent)]
    Key(SecretError),
    /// A file holds no private key in PEM.
    #[error("{} holds no private key in PEM, or one that needs a password; write it there without one", .0.display())]
    NoKey(PathBuf),
    /// The certificate and the key in these files cannot be used together.
    #[error("{}", mismatch(.0, .1, .2))]
    Pair(PathBuf, PathBuf, rustls::Error),
    /// The system trusts nobody.
    #[error(
        "this system trusts no authorities; install its package ca-certificates, or name some in `server.ca_file`"
    )]
    NoAuthorities,
    /// What rustls says of its own settings.
    #[error("TLS cannot be set up: {0}")]
    Rustls(rustls::Error),
}

/// Why there is no connection, or none any more; displays as what follows an address and a colon.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The address names no host that a certificate could be for.
    #[error("the host is no name that a certificate can be for")]
    BadName,
    /// The server, its certificate or its opinion of ours.
    #[error("{}", refused(.0))]
    Refused(rustls::Error),
    /// The connection ended in the handshake.
    #[error("{}", break_off(.0))]
    Broken(io::Error),
    /// Damage to a connection that was in use.
    #[error("the TLS connection broke: {0}")]
    Damaged(rustls::Error),
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

/// Why certificate and key cannot be used together.
fn mismatch(cert: &Path, key: &Path, cause: &rustls::Error) -> String {
    let (cert, key) = (cert.display(), key.display());
    match cause {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "{key} does not hold the key of the certificate in {cert}; put the two there that belong together"
        ),
        rustls::Error::InvalidCertificate(_) => format!(
            "the certificate in {cert} is damaged or of a kind that is not supported; have another one issued"
        ),
        // What rustls says of a key of its general kind is which kinds it has tried.
        rustls::Error::General(_) => format!(
            "the key in {key} is damaged or of a kind that is not supported; use RSA, or ECDSA over P-256 or P-384"
        ),
        cause => format!("the key in {key} and the certificate in {cert} cannot be used: {cause}"),
    }
}

/// What the server, or we, did not like.
fn refused(cause: &rustls::Error) -> String {
    match refusal(cause) {
        Some(sentence) => sentence.to_owned(),
        None => format!("the TLS handshake failed: {cause}"),
    }
}

/// Why a handshake did not come to its end.
fn break_off(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => {
            "it closed the connection in the TLS handshake; perhaps it does not speak TLS at this port".to_owned()
        }
        io::ErrorKind::TimedOut => "the TLS handshake took too long".to_owned(),
        _ => format!("the TLS handshake failed: {cause}"),
    }
}

const NO_VERSION: &str = "it speaks neither TLS 1.2 nor TLS 1.3; have it offer one of them";
const NO_CIPHER: &str = "it has no cipher in common with this agent; have it offer those that are usual in TLS 1.2 or 1.3";

/// What is wrong with the server, or with us in its eyes.
fn refusal(error: &rustls::Error) -> Option<&'static str> {
    Some(match error {
        rustls::Error::InvalidCertificate(bad) => return bad_certificate(bad),
        rustls::Error::AlertReceived(alert) => return complaint(*alert),
        rustls::Error::NoCertificatesPresented => "it shows no certificate; give it one",
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; perhaps the port in `server.url` is another one's"
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => NO_VERSION,
        rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoEcPointFormatsInCommon,
        ) => NO_CIPHER,
        _ => return None,
    })
}

/// What this agent has against the certificate of the server.
fn bad_certificate(bad: &Bad) -> Option<&'static str> {
    Some(match bad {
        Bad::UnknownIssuer => {
            "its certificate is from an authority that is not trusted here; name that authority's in `server.ca_file`"
        }
        Bad::BadSignature => {
            "its certificate is not signed by the authority that is trusted here under that name; name the right one's in `server.ca_file`"
        }
        Bad::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "its certificate is for another name: it has no subjectAltName, which alone counts; have one issued with it"
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "its certificate is for another name than that in `server.url`; write the one that it is for, or have one issued for this one"
        }
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "its certificate has expired; have it renewed, unless the clock of this host is wrong"
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this host is wrong"
        }
        Bad::Revoked => "its certificate has been revoked; have another one issued",
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            "its certificate is not for servers; have one issued that is (extended key usage serverAuth)"
        }
        Bad::UnsupportedSignatureAlgorithmContext { .. } => {
            "its certificate is signed in a way that is too weak or not known; have one issued with RSA and SHA-256 or more, or with ECDSA over P-256 or P-384"
        }
        // The signature is of another kind than the key that should have made it.
        Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is not signed by the authority that is trusted here under that name, or that one's key is not RSA, P-256, P-384 or Ed25519; name the right one's in `server.ca_file`"
        }
        Bad::UnhandledCriticalExtension => {
            "its certificate has a critical extension that this agent does not know; have one issued without"
        }
        Bad::BadEncoding => "its certificate is damaged; have another one issued",
        Bad::Other(OtherError(cause)) => return rare_fault(cause.downcast_ref()?),
        _ => return None,
    })
}

/// What rustls passes on without a name of its own.
fn rare_fault(bad: &webpki::Error) -> Option<&'static str> {
    Some(match bad {
        webpki::Error::CaUsedAsEndEntity => {
            "its certificate is that of an authority; give the server one that the authority issues, with `CA:FALSE`"
        }
        webpki::Error::EndEntityUsedAsCa => {
            "its certificate is issued by one that is no authority; have one issued by an authority"
        }
        webpki::Error::UnsupportedCertVersion => {
            "its certificate is not of version 3; have one issued with a subjectAltName, which makes it so"
        }
        webpki::Error::NameConstraintViolation => {
            "its certificate is for a name that its authority may not issue any for; have one issued by another authority"
        }
        webpki::Error::PathLenConstraintViolated => {
            "its certificate is issued by an authority that another one has not allowed to issue any; have one issued by another authority"
        }
        _ => return None,
    })
}

/// What the server has against this agent.
fn complaint(alert: Alert) -> Option<&'static str> {
    Some(match alert {
        Alert::CertificateRequired => {
            "it demands a client certificate; name one in `server.client_cert_file` and `server.client_key_file`"
        }
        // Also what many servers say when they are shown none.
        Alert::BadCertificate => {
            "it does not take the client certificate in `server.client_cert_file`, or misses one there"
        }
        Alert::UnsupportedCertificate => {
            "it does not take the client certificate, whose kind it does not support; put another one into `server.client_cert_file`"
        }
        Alert::CertificateRevoked => {
            "it does not take the client certificate, which has been revoked; put another one into `server.client_cert_file`"
        }
        Alert::CertificateExpired => {
            "it does not take the client certificate, which has expired; put another one into `server.client_cert_file`"
        }
        Alert::UnknownCA => {
            "it does not take the client certificate, whose authority it does not trust; put one into `server.client_cert_file` from an authority that it does"
        }
        Alert::CertificateUnknown | Alert::DecryptError => {
            "it does not take the client certificate and does not say why; its log may"
        }
        Alert::AccessDenied => {
            "it does not take the client certificate: it is valid, but its owner may not come in; have the server let it in"
        }
        Alert::ProtocolVersion => NO_VERSION,
        Alert::InsufficientSecurity => NO_CIPHER,
        Alert::HandshakeFailure => {
            "it refuses the TLS handshake; it demands a client certificate (`server.client_cert_file`), or has no cipher in common with this agent"
        }
        Alert::UnrecognisedName => {
            "it does not know the host name in `server.url`; write the one that it is for"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_no_server_of_the_tests_says_has_its_sentence_too() {
        let rare = |error| Bad::Other(OtherError(Arc::new(error))).into();
        let cases: [(rustls::Error, &str); 10] = [
            (Bad::Revoked.into(), "has been revoked"),
            (Bad::BadEncoding.into(), "is damaged"),
            (rare(webpki::Error::EndEntityUsedAsCa), "no authority"),
            (rare(webpki::Error::UnsupportedCertVersion), "version 3"),
            (
                rustls::Error::NoCertificatesPresented,
                "shows no certificate",
            ),
            (
                rustls::Error::AlertReceived(Alert::BadCertificate),
                "or misses one",
            ),
            (
                rustls::Error::AlertReceived(Alert::CertificateRevoked),
                "been revoked",
            ),
            (
                rustls::Error::AlertReceived(Alert::CertificateExpired),
                "has expired",
            ),
            (
                rustls::Error::AlertReceived(Alert::UnknownCA),
                "does not trust",
            ),
            (
                rustls::Error::AlertReceived(Alert::AccessDenied),
                "may not come in",
            ),
        ];
        for (error, part) in cases {
            let name = error.to_string();
            let sentence = TlsError::Refused(error).to_string();
            assert!(sentence.contains(part), "{name}: {sentence}");
            assert!(!sentence.contains("handshake failed"), "{sentence}");
        }
    }

    #[test]
    fn the_rest_is_said_as_rustls_says_it() {
        let error = rustls::Error::AlertReceived(Alert::InternalError);
        let expected = format!("the TLS handshake failed: {error}");
        assert_eq!(TlsError::Refused(error).to_string(), expected);
    }
}
