//! TLS, with a client that is rustls too.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use super::running::report;
use mote_test_support::collector::{Program, refusal, write_secret};
use mote_test_support::http::Client;
use mote_test_support::{DEADLINE, wait_for};

const TOML: &str = r#"
    listen = "127.0.0.1:0"
    database = "reports.db"
    tls_cert_file = "server.pem"
    tls_key_file = "server.key"
    client_ca_file = "clients.pem"
    [hosts.web]
    id = 1
"#;

type Authority = CertifiedIssuer<'static, KeyPair>;
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, each in PEM, and for rustls.
fn certificate(
    authority: &Authority,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String, Identity) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (
        certificate.pem(),
        key.serialize_pem(),
        (certificate.der().clone(), der),
    )
}

struct Site {
    folder: TempDir,
    servers: Authority,
    clients: Authority,
}

impl Site {
    fn new(toml: &str) -> Site {
        let site = Site {
            folder: tempfile::tempdir().unwrap(),
            servers: authority(),
            clients: authority(),
        };
        let (certificate, key, _) = certificate(&site.servers, ExtendedKeyUsagePurpose::ServerAuth);
        site.write("server.toml", toml);
        site.write("server.pem", &certificate);
        write_secret(&site.folder.path().join("server.key"), &key);
        site.write("clients.pem", &site.clients.pem());
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn client(&self) -> Identity {
        certificate(&self.clients, ExtendedKeyUsagePurpose::ClientAuth).2
    }
}

/// One POST of a report; gives the status.
fn post(
    address: SocketAddr,
    servers: &CertificateDer<'_>,
    client: Option<Identity>,
) -> io::Result<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(servers.clone().into_owned()).unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => builder
            .with_client_auth_cert(vec![certificate], key)
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    let body = report(json!({})).to_string();
    write!(
        stream,
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap())
}

#[test]
fn only_clients_with_a_certificate_come_in() {
    let site = Site::new(TOML);
    let (trusted, mallory) = (site.client(), Site::new(TOML).client());
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let wrong_usage = certificate(&site.clients, usage).2;
    let servers = site.servers.der().clone();
    let collector = Program::start(site.folder);
    assert!(
        collector
            .output()
            .contains("mote serve: https://127.0.0.1:")
    );
    for intruder in [None, Some(mallory), Some(wrong_usage)] {
        assert!(post(collector.address, &servers, intruder).is_err());
    }
    assert_eq!(
        post(collector.address, &servers, Some(trusted)).unwrap(),
        200
    );
    let reports = rusqlite::Connection::open(collector.folder.path().join("reports.db")).unwrap();
    let count = reports.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 1);
}

#[test]
fn plain_text_and_handshakes_that_hang_disturb_nobody() {
    let site = Site::new(&TOML.replace("client_ca_file", "# client_ca_file"));
    let servers = site.servers.der().clone();
    let collector = Program::start(site.folder);
    let address = collector.address;
    let mut hanging: Vec<Client> = (0..50).map(|_| Client::connect(address)).collect();
    for client in hanging.iter_mut().skip(25) {
        // The beginning of a handshake, of which no more comes.
        client.send("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0");
    }
    // Who speaks HTTP hears what is wrong, in HTTP.
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 421);
    let error = "this port speaks TLS; use https:// in the address";
    assert_eq!(answer.json(), serde_json::json!({ "error": error }));
    assert!(client.answer().is_none());
    let line = format!("refused 127.0.0.1: {error}");
    wait_for(&line, DEADLINE, || {
        collector.output().contains(&line).then_some(())
    });
    for text in ["\0\0\0\0", "x"] {
        let mut client = Client::connect(address);
        client.send(text);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // However it ends, it is not with an answer in HTTP.
        let _ = client.stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{text}");
    }
    for _ in 0..3 {
        assert_eq!(post(address, &servers, None).unwrap(), 200);
    }
    // Those that hang are let go of, and nobody waits for them at the end.
    let mut first = hanging.swap_remove(0);
    first
        .stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(first.stream.read(&mut [0; 1]).unwrap(), 0);
    collector.terminate();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let site = Site::new(TOML);
    let path = site.folder.path();
    let key = path.join("server.key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(path).contains("server.key may be read or changed by others"));
    write_secret(&key, "no key");
    assert!(refusal(path).contains("server.key holds no private key"));
    write_secret(&key, &KeyPair::generate().unwrap().serialize_pem());
    let sentence = "server.key does not hold the key of the certificate in ";
    assert!(refusal(path).contains(sentence));
    site.write("clients.pem", "");
    assert!(refusal(path).contains("clients.pem holds no certificate"));
}

#[test]
fn new_certificates_are_shown_without_a_restart_and_none_that_cannot_be_used() {
    let site = Site::new(TOML);
    let (old_client, old) = (site.client(), site.servers.der().clone());
    let collector = Program::start(site.folder);
    let folder = collector.folder.path();
    let asks = |servers: &CertificateDer<'_>, client: &Identity| {
        let client = (client.0.clone(), client.1.clone_key());
        post(collector.address, servers, Some(client)).ok()
    };
    let said = |text: &str| {
        wait_for(text, DEADLINE, || {
            collector.output().contains(text).then_some(())
        });
    };
    assert_eq!(asks(&old, &old_client), Some(200));

    // Until the key is there too, they do not fit together.
    let others = Site::new(TOML);
    let new_client = others.client();
    let given = |name: &str| fs::read(others.folder.path().join(name)).unwrap();
    fs::write(folder.join("server.pem"), given("server.pem")).unwrap();
    said("server.key does not hold the key of the certificate in ");
    assert_eq!(asks(&old, &old_client), Some(200));
    fs::write(folder.join("server.key"), given("server.key")).unwrap();
    let new = others.servers.der();
    wait_for("the new certificate", DEADLINE, || asks(new, &old_client));
    assert_eq!(asks(&old, &old_client), None);

    // So it is with those who may come in.
    fs::write(folder.join("clients.pem"), "none").unwrap();
    said("clients.pem holds no certificate");
    assert_eq!(asks(new, &old_client), Some(200));
    fs::write(folder.join("clients.pem"), given("clients.pem")).unwrap();
    wait_for("the new authority", DEADLINE, || asks(new, &new_client));
    assert_eq!(asks(new, &old_client), None);
}
