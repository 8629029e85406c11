//! What a server answers. The input is `f` (the agent fetches its orders) or `p` (it posts a report), a byte for how
//! much of the answer comes at a time, and the answer, or several where one redirects.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::http::outcome::Outcome;
use mote_agent::http::{Client, JoinedBuffers};
use mote_agent::protocol::MAX_DOCUMENT;
use mote_agent::settings::Settings;
use mote_fuzz::assert_is_sentence;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

const SETTINGS: &str = "client_id = 1\n[server]\nurl = \"http://192.0.2.1\"";

fuzz_target!(|input: &[u8]| -> Corpus {
    let [call, piece, answer @ ..] = input else {
        return Corpus::Reject;
    };
    let path = Path::new("/agent.toml");
    let settings = Settings::parse(path, Path::new("/"), SETTINGS, &[]).unwrap();
    let answers = Answers {
        bytes: answer.into(),
        piece: 1 + 8 * usize::from(*piece),
    };
    let client = Client::over(answers, settings.server().unwrap(), "1");
    let error = match call {
        b'f' => match client.fetch_config() {
            Ok(document) => {
                assert!(document.len() <= MAX_DOCUMENT.min(answer.len()));
                None
            }
            Err(error) => Some(error),
        },
        b'p' => {
            let (outcome, error) = client.post_report(b"{}");
            assert_eq!(outcome == Outcome::Acknowledged, error.is_none());
            let is_2xx = |answer: &[u8]| {
                matches!(
                    answer,
                    [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', b'2', ..]
                )
            };
            // Nothing is acknowledged but by a 2xx of the server.
            assert!(outcome != Outcome::Acknowledged || answer.windows(10).any(is_2xx));
            if let Outcome::Busy { retry_after } = outcome {
                assert!(retry_after.is_none_or(|it| it.as_secs() <= 3600));
            }
            error
        }
        _ => return Corpus::Reject,
    };
    if let Some(error) = error {
        assert_is_sentence(&error);
    }
    Corpus::Keep
});

/// Connections that all bring these bytes.
#[derive(Debug)]
struct Answers {
    bytes: Arc<[u8]>,
    piece: usize,
}

struct Connection {
    bytes: Arc<[u8]>,
    read: usize,
    piece: usize,
    buffers: JoinedBuffers,
}

impl Connector<()> for Answers {
    type Out = Connection;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        Ok(Some(Connection {
            bytes: self.bytes.clone(),
            read: 0,
            piece: self.piece,
            buffers: JoinedBuffers::new(),
        }))
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let free = self.buffers.input_append_buf();
        if free.is_empty() {
            return Err(Error::LargeResponseHeader(0, 0));
        }
        let rest = &self.bytes[self.read..];
        let count = rest.len().min(free.len()).min(self.piece);
        free[..count].copy_from_slice(&rest[..count]);
        self.buffers.input_appended(count);
        self.read += count;
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.read < self.bytes.len()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} bytes read)", self.read)
    }
}
