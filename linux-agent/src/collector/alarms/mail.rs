//! Messages as mail, over SMTP.

use std::path::Path;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailboxes, Message as Letter};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

use super::outbox::OutboxEntry;
use crate::collector::settings::notify::{Mail, Security};
use crate::system::files;
use crate::system::secret::SecretFile;

/// Each step of the exchange may take this long.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A file of authorities may have this many bytes.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// Delivers a message. The error is a sentence.
pub fn deliver(mail: &Mail, entry: &OutboxEntry) -> Result<(), String> {
    let letter = letter(mail, entry)?;
    let transport = transport(mail)?;
    transport
        .send(&letter)
        .map(drop)
        .map_err(|error| match error.status() {
            Some(code) => format!("{} answers {code}: {error}", mail.server),
            None => format!("{}: {error}", mail.server),
        })
}

fn letter(mail: &Mail, entry: &OutboxEntry) -> Result<Letter, String> {
    let receivers = Mailboxes::from_iter(mail.to.iter().cloned());
    let letter = Letter::builder()
        .from(mail.from.clone())
        .mailbox(lettre::message::header::To::from(receivers))
        .subject(entry.letter.title.clone())
        .header(ContentType::TEXT_PLAIN)
        .body(format!("{}\n", entry.letter.text));
    letter.map_err(|error| format!("the mail cannot be written: {error}"))
}

fn transport(mail: &Mail) -> Result<SmtpTransport, String> {
    let tls = match mail.security {
        Security::None => Tls::None,
        Security::StartTls => Tls::Required(parameters(mail)?),
        Security::Tls => Tls::Wrapper(parameters(mail)?),
    };
    let mut transport = SmtpTransport::builder_dangerous(&mail.server)
        .port(mail.port)
        .timeout(Some(TIMEOUT))
        .tls(tls);
    if let Some((user, file)) = &mail.login {
        let password = SecretFile::for_this_process(file).read();
        let password = password.map_err(|error| error.to_string())?;
        let password = String::from_utf8(password).unwrap_or_default();
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        transport = transport.credentials(Credentials::new(user.clone(), password));
    }
    Ok(transport.build())
}

/// Whom to trust, and that the server is who it should be.
fn parameters(mail: &Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(mail.server.clone());
    if let Some(file) = &mail.authorities {
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authorities(file)?);
    }
    builder
        .build_rustls()
        .map_err(|error| format!("TLS to {}: {error}", mail.server))
}

fn authorities(file: &Path) -> Result<Certificate, String> {
    let pem = files::read_bounded(file, MAX_AUTHORITIES);
    let pem = pem.map_err(|error| format!("{}: {error}", file.display()))?;
    let all = Certificate::from_pem(&pem);
    all.map_err(|_| format!("{} holds no certificate in PEM", file.display()))
}
