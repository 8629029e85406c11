//! Authorities, the certificates that they issue, and servers that show them.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use mote_test_support::scripted_server::{Server, Wire};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
}

/// What a server shows and demands.
#[derive(Clone)]
pub struct Shown {
    pub identity: Identity,
    /// In PEM: who must have issued the client's certificate.
    pub client_authority: Option<String>,
    pub versions: &'static [&'static SupportedProtocolVersion],
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        Authority::with_key(name, KeyPair::generate().expect("a key"))
    }

    pub fn with_key(name: &str, key: KeyPair) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The authority's own certificate, as a server would show it.
    pub fn itself(&self) -> Identity {
        Identity {
            cert: self.0.pem(),
            key: self.0.key().serialize_pem(),
        }
    }

    /// A certificate for `name`, a host or an address.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| {})
    }

    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Shown {
    pub fn only(identity: Identity) -> Shown {
        Shown {
            identity,
            client_authority: None,
            versions: rustls::ALL_VERSIONS,
        }
    }

    /// A scripted server behind TLS, and its address.
    pub fn serve(&self, services: &str) -> (Server, String) {
        let config = self.config();
        let wrap = move |stream: TcpStream| -> io::Result<Box<dyn Wire>> {
            let connection =
                ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, stream)))
        };
        let server = Server::wrapped(0, services, wrap);
        let url = format!("https://127.0.0.1:{}", server.port());
        (server, url)
    }

    fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .expect("versions");
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                let authority = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
                roots.add(authority).expect("an authority");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let cert = CertificateDer::from_pem_slice(self.identity.cert.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).expect("PEM");
        let config = builder.with_single_cert(vec![cert], key);
        Arc::new(config.expect("a certificate with its key"))
    }
}
