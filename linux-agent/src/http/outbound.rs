//! Calls to others than the server of the protocol: whoever the collector tells of alarms, and the collector that a
//! command asks. Nothing of the protocol is in them, and no redirect is followed.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderValue, Method, Request, StatusCode, Uri, header};

use super::connect::Addresses;
use super::error::{CallError, CallFault};
use super::requester::agent_over;
use super::tls;
use super::transport::TcpConnector;
use super::words;
use crate::settings::Server;
use crate::system::secret::Token;

/// Calls one address.
pub(crate) struct Outbound {
    agent: Agent,
    uri: Uri,
    timeout: Duration,
    authorization: Option<HeaderValue>,
}

/// What came back.
pub(crate) struct Reply {
    /// Of the answer.
    pub status: StatusCode,
    /// As much of its body as was wanted.
    pub body: Vec<u8>,
}

impl Reply {
    /// The other's own words, if it has some.
    pub fn words(&self) -> Option<String> {
        words::of(&self.body)
    }
}

impl Outbound {
    /// For calls of `url`, each within `timeout`. Trusts the authorities in `ca_file`, or else those that the system
    /// trusts.
    pub fn new(
        url: &str,
        ca_file: Option<&Path>,
        token: Option<&Token>,
        timeout: Duration,
    ) -> Result<Outbound, CallError> {
        let uri: Uri = url.parse().unwrap_or_default();
        if uri.host().is_none_or(str::is_empty) {
            return Err(CallFault::BadUrl.of(&uri));
        }
        let server = Server::at(url, ca_file.map(Path::to_owned));
        let tls = server.is_https().then(|| tls::TlsConfig::read(&server));
        let tls = tls.transpose();
        let tls = tls.map_err(|error| CallFault::NoAccess(error.to_string()).of(&uri))?;
        let connector = TcpConnector {
            timeout,
            tls,
            addresses: Addresses::default(),
            tells_address: false,
        };
        Ok(Outbound {
            agent: agent_over(connector),
            uri,
            timeout,
            authorization: token.and_then(Token::header),
        })
    }

    /// Makes a call. Of the answer, whatever it is, at most `most` bytes are read.
    pub fn call(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: &[u8],
        most: u64,
    ) -> Result<Reply, CallError> {
        let mut request = Request::builder().method(&method).uri(self.uri.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let bad = |_| CallFault::BadUrl.of(&self.uri);
        let response = if [Method::POST, Method::PUT].contains(&method) {
            let request = self
                .agent
                .configure_request(request.body(body).map_err(bad)?);
            self.agent
                .run(request.timeout_global(Some(self.timeout)).build())
        } else {
            let request = self.agent.configure_request(request.body(()).map_err(bad)?);
            self.agent
                .run(request.timeout_global(Some(self.timeout)).build())
        };
        let failed = |error| CallFault::Unreachable(error).of(&self.uri);
        let mut response = response.map_err(failed)?;
        let mut answer = Vec::new();
        let mut reader = response.body_mut().as_reader().take(most);
        let read = reader.read_to_end(&mut answer);
        // The head alone says what became of the call. Where the body is wanted, too, half of it is an error.
        if let Err(cause) = read
            && most > words::MAX_LOOKED_AT
        {
            return Err(failed(ureq::Error::Io(cause)));
        }
        Ok(Reply {
            status: response.status(),
            body: answer,
        })
    }
}
