//! `[server]`: where the orders come from and the reports go, and how the agent is let in there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Uri;

use super::document::ServerTable;
use super::rules::below;
use super::{SettingsError, required};
use crate::system::secret::{Keeper, SecretFile};
use crate::toml_reader::Given;

/// The name of the token among systemd's credentials.
const CREDENTIAL: &str = "mote.token";

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `url`: `http://` or `https://`, host, port if it is not 80 or 443, perhaps a path; no slash at its end.
    pub url: String,
    /// `token_file`, or else the credential `mote.token` of systemd.
    pub token: Option<SecretFile>,
    /// `ca_file`: who is trusted to say who the server is; none: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// `client_cert_file` and `client_key_file`
    pub client_cert: Option<ClientCert>,
    /// `get_configs.path`, without a slash at either end.
    pub config_path: String,
    /// `get_configs.method`
    pub config_method: Method,
    /// `service_report.path`, without a slash at its start. Reports are always POSTed.
    pub report_path: String,
    /// `service_report.encoding`
    pub report_encoding: Encoding,
    /// `request_timeout_s`: how long one request may take.
    pub request_timeout: Duration,
    /// `config_update_interval_s`: how old the services document may become.
    pub config_update_interval: Duration,
}

/// Who the agent is to a server that asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// `client_cert_file`: its certificate in PEM, then those that lead from it to an authority.
    pub cert_file: PathBuf,
    /// `client_key_file`: its private key in PEM.
    pub key_file: SecretFile,
}

/// How the services document is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `"GET"`
    Get,
    /// `"POST"`
    Post,
}

/// What a report looks like on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `"json"`: the body is one JSON object.
    Json,
    /// `"form"`: the body is form fields, `data` being JSON text.
    Form,
}

impl Server {
    /// Has its secrets kept by the user that the agent becomes.
    pub fn set_agent_uid(&mut self, uid: u32) {
        let key = self.client_cert.as_mut().map(|it| &mut it.key_file);
        for secret in self.token.as_mut().into_iter().chain(key) {
            match &mut secret.keeper {
                Keeper::Owner { uid: of } | Keeper::Systemd { uid: of } => *of = uid,
            }
        }
    }

    /// A server at a valid address with defaults for the rest, to enrol at.
    pub fn at(url: &str, ca_file: Option<PathBuf>) -> Server {
        Server {
            url: url.to_owned(),
            token: None,
            ca_file,
            client_cert: None,
            config_path: "api/client/config".to_owned(),
            config_method: Method::Get,
            report_path: "api/client/service/report/".to_owned(),
            report_encoding: Encoding::Json,
            request_timeout: Duration::from_secs(30),
            config_update_interval: Duration::from_secs(300),
        }
    }

    /// Whether what is said to it is encrypted.
    pub fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// Whether nobody else can read what is said to it: it is encrypted, or does not leave this machine.
    pub fn is_private(&self) -> bool {
        self.is_https() || self.url.parse().is_ok_and(|url| is_loopback(&url))
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = bare.parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

/// `agent_uid`: the user that secrets may belong to, beside root. `credentials`: systemd's folder of them.
pub(super) fn interpret(
    folder: &Path,
    table: ServerTable,
    given: &Given,
    agent_uid: u32,
    credentials: Option<&Path>,
) -> Result<Server, SettingsError> {
    let example = r#"url = "http://127.0.0.1:9000""#;
    let url = required(table.url, given, "server.url", example)?;
    let path = |path: Option<String>| path.map(|path| below(folder, &path));
    let own = |path| SecretFile {
        path,
        keeper: Keeper::Owner { uid: agent_uid },
    };
    let token = path(table.token_file).map(own);
    let server = Server::at(&url, path(table.ca_file));
    let server = Server {
        token: token.or_else(|| credential(credentials?, agent_uid)),
        client_cert: client_cert(
            path(table.client_cert_file),
            path(table.client_key_file).map(own),
            given,
        )?,
        config_path: match table.get_configs.path {
            Some(path) => path.trim_matches('/').to_owned(),
            None => server.config_path,
        },
        config_method: table.get_configs.method.unwrap_or(server.config_method),
        report_path: match table.service_report.path {
            Some(path) => path.trim_start_matches('/').to_owned(),
            None => server.report_path,
        },
        report_encoding: table
            .service_report
            .encoding
            .unwrap_or(server.report_encoding),
        request_timeout: table.request_timeout_s.unwrap_or(server.request_timeout),
        config_update_interval: table
            .config_update_interval_s
            .unwrap_or(server.config_update_interval),
        ..server
    };
    check_privacy(&server, given)?;
    Ok(server)
}

/// The token among systemd's credentials, if it is there.
fn credential(folder: &Path, agent_uid: u32) -> Option<SecretFile> {
    let path = folder.join(CREDENTIAL);
    let keeper = Keeper::Systemd { uid: agent_uid };
    path.exists().then_some(SecretFile { path, keeper })
}

fn client_cert(
    cert_file: Option<PathBuf>,
    key_file: Option<SecretFile>,
    given: &Given,
) -> Result<Option<ClientCert>, SettingsError> {
    let breaks = |key, rule| Err(given.invalid(key, rule).into());
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Ok(Some(ClientCert {
            cert_file,
            key_file,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => breaks(
            "server.client_cert_file",
            "needs its key in `server.client_key_file`",
        ),
        (None, Some(_)) => breaks(
            "server.client_key_file",
            "needs its certificate in `server.client_cert_file`",
        ),
    }
}

/// A token goes only where others cannot read it, and certificates are for `https://`.
fn check_privacy(server: &Server, given: &Given) -> Result<(), SettingsError> {
    if server.token.is_some() && !server.is_private() {
        let rule = "must start with https://, since a token goes there and others could read it";
        return Err(given.invalid("server.url", rule).into());
    }
    let https_keys = [
        ("server.ca_file", server.ca_file.is_some()),
        ("server.client_cert_file", server.client_cert.is_some()),
    ];
    for (key, is_set) in https_keys {
        if is_set && !server.is_https() {
            let rule = "is of use only with an https:// `server.url`";
            return Err(given.invalid(key, rule).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::document::{Document, SCHEMA};
    use super::*;
    use crate::toml_reader;

    fn read_text(text: &str, credentials: Option<&Path>) -> Result<Server, String> {
        let file = Path::new("a.toml");
        let (document, given): (Document, _) =
            toml_reader::parse(file, text, &SCHEMA, &[]).map_err(|error| error.to_string())?;
        let table = document.server.unwrap_or_default();
        interpret(Path::new("/etc/mote"), table, &given, 7, credentials)
            .map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        read_text(text, None).unwrap_err()
    }

    #[test]
    fn files_start_at_the_folder_and_an_empty_name_is_none() {
        let text = "[server]\nurl = 'http://localhost'\ntoken_file = 'token'\nca_file = ''\nclient_key_file = ''";
        let server = read_text(text, None).unwrap();
        let keeper = Keeper::Owner { uid: 7 };
        let path = PathBuf::from("/etc/mote/token");
        assert_eq!(server.token, Some(SecretFile { path, keeper }));
        assert_eq!((server.ca_file, server.client_cert), (None, None));
    }

    #[test]
    fn a_credential_of_systemd_stands_in_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let token = |text: &str| read_text(text, Some(folder.path())).map(|it| it.token);
        let url = "server.url = 'http://127.0.0.1'\n";
        assert_eq!(token(url), Ok(None));
        let path = folder.path().join("mote.token");
        std::fs::write(&path, "").unwrap();
        let keeper = Keeper::Systemd { uid: 7 };
        assert_eq!(token(url), Ok(Some(SecretFile { path, keeper })));
        let named = token(&format!("{url}server.token_file = '/t'")).unwrap();
        assert_eq!(named.unwrap().path, Path::new("/t"));
        let error = token("[server]\nurl = 'http://h'").unwrap_err();
        assert_eq!(
            error,
            "a.toml:2: `server.url` must start with https://, since a token goes there and others could read it"
        );
    }

    #[test]
    fn a_token_leaves_the_machine_encrypted_only() {
        let taken = |url: &str| {
            read_text(
                &format!("server.url = '{url}'\nserver.token_file = 't'"),
                None,
            )
        };
        for url in [
            "http://127.0.0.1:9000",
            "http://127.8.9.1",
            "http://[::1]:9",
            "http://LocalHost/a",
        ] {
            assert!(taken(url).is_ok(), "{url}");
        }
        for url in [
            "http://h",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::2]",
            "http://[::ffff:10.0.0.1]",
        ] {
            let says = "a.toml:1: `server.url` must start with https://, since a token goes there and others could read it";
            assert_eq!(taken(url), Err(says.to_owned()), "{url}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_certificate_and_its_key_come_together() {
        let https = "[server]\nurl = 'https://h'\n";
        assert_eq!(
            refusal(&format!("{https}client_cert_file = 'c'")),
            "a.toml:3: `server.client_cert_file` needs its key in `server.client_key_file`"
        );
        assert_eq!(
            refusal(&format!("{https}client_key_file = 'k'")),
            "a.toml:3: `server.client_key_file` needs its certificate in `server.client_cert_file`"
        );
        let both = format!("{https}client_cert_file = 'c'\nclient_key_file = 'k'");
        let own = read_text(&both, None).unwrap().client_cert.unwrap();
        assert_eq!(own.cert_file, Path::new("/etc/mote/c"));
        assert_eq!(own.key_file.path, Path::new("/etc/mote/k"));
    }

    #[test]
    fn certificates_without_https_are_a_mistake() {
        for (key, other) in [
            ("ca_file", ""),
            ("client_cert_file", "client_key_file = 'k'"),
        ] {
            let text = format!("[server]\nurl = 'http://localhost'\n{key} = 'x'\n{other}");
            let error = "is of use only with an https:// `server.url`";
            assert_eq!(refusal(&text), format!("a.toml:3: `server.{key}` {error}"));
        }
    }
}
