//! The messages between an agent and its runner, one a packet.
//!
//! A request is a JSON object. An answer is one too, on a line of its own, and after it come the bytes that the plugin
//! printed.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::MAX_OUTPUT_BYTES;
use super::listed::{Format, PluginCommand};
use super::output::{Ended, RunOutcome};

/// No request is longer: a path of Linux has 4096 bytes at most.
pub const MAX_REQUEST_BYTES: usize = 8 << 10;

/// No answer is longer: a sentence may name a path twice, and JSON may take six bytes for one.
pub const MAX_ANSWER_BYTES: usize = MAX_OUTPUT_BYTES + (64 << 10);

/// A runner's first message if it can run plugins. Otherwise its first message is a sentence that says why not.
pub const READY: &[u8] = b"ready";

/// What an agent wants.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A run. Exactly one answer comes, unless it is stopped.
    Run {
        /// The agent's id for it. No other open run has it.
        id: usize,
        /// See [`Plugins`](super::Plugins).
        folder: PathBuf,
        /// Of the plugin.
        name: String,
        /// What the name stands for, if that is no file in the folder.
        command: Option<PluginCommand>,
        /// See [`Plugins`](super::Plugins).
        time_limit: Duration,
    },
    /// Its end. No answer comes from now on.
    Stop {
        /// The id of the run.
        id: usize,
    },
}

impl Request {
    /// Its bytes. `None` if they are too many, or the path is not UTF-8.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let message = serde_json::to_vec(self).ok()?;
        (message.len() <= MAX_REQUEST_BYTES).then_some(message)
    }

    /// What `message` says, if it is a request.
    pub fn decode(message: &[u8]) -> Option<Self> {
        serde_json::from_slice(message).ok()
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: usize,
    ended: Ended,
    complaint: String,
}

/// The answer to the run whose id is the outcome's slot.
pub fn encode_answer(outcome: RunOutcome) -> Vec<u8> {
    // The output counts only for these.
    let counts = matches!(outcome.ended, Ended::Exited(_) | Ended::Killed(_));
    let head = Head {
        id: outcome.slot,
        ended: outcome.ended,
        complaint: outcome.complaint,
    };
    // Cannot fail: only maps with keys other than strings do.
    let mut message = serde_json::to_vec(&head).unwrap_or_default();
    message.push(b'\n');
    if counts {
        message.extend(outcome.output);
    }
    message
}

/// The outcome of a run, with its id as the slot.
pub fn decode_answer(message: &[u8]) -> Option<RunOutcome> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let (head, output) = message.split_at_checked(end)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    Some(RunOutcome {
        format: Format::default(),
        slot: head.id,
        ended: head.ended,
        output: output.strip_prefix(b"\n")?.to_owned(),
        complaint: head.complaint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let run = Request::Run {
            id: 3,
            folder: "/etc/mote/plugins \"\u{e4}\n".into(),
            name: "check".to_owned(),
            command: Some(PluginCommand {
                name: "check".to_owned(),
                path: "/usr/lib/check".into(),
                arguments: vec!["-w".to_owned(), "10%".to_owned()],
                format: Format::Nagios,
            }),
            time_limit: Duration::from_millis(2500),
        };
        assert_eq!(Request::decode(&run.encode().unwrap()), Some(run));
        let stop = Request::Stop { id: usize::MAX };
        assert_eq!(Request::decode(&stop.encode().unwrap()), Some(stop));

        for ended in [
            Ended::Exited(3),
            Ended::Killed(9),
            Ended::TimedOut(Duration::from_millis(500)),
            Ended::TooMuchOutput(MAX_OUTPUT_BYTES),
            Ended::Failed("no such\nfile".to_owned()),
        ] {
            let outcome = || RunOutcome {
                format: Format::default(),
                slot: 5,
                ended: ended.clone(),
                output: b"{\"n\": 1}\n\xff\0\n".to_vec(),
                complaint: "no \"disk\"".to_owned(),
            };
            let understood = decode_answer(&encode_answer(outcome())).unwrap();
            assert_eq!(understood.slot, 5);
            assert_eq!(understood.data(), outcome().data(), "{ended:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_none() {
        let long = Request::Run {
            id: 0,
            folder: "/".repeat(MAX_REQUEST_BYTES).into(),
            name: String::new(),
            command: None,
            time_limit: Duration::ZERO,
        };
        assert_eq!(long.encode(), None);
        for bytes in [&b""[..], b"\n", b"{}", b"{}\n", b"\xff\n", b"{\"Run\":{}}"] {
            assert_eq!(Request::decode(bytes), None);
            assert!(decode_answer(bytes).is_none());
        }
    }

    #[test]
    fn the_longest_answer_fits() {
        let outcome = RunOutcome {
            format: Format::default(),
            slot: usize::MAX,
            ended: Ended::Failed("\u{1}".repeat(2 * 4096)),
            output: Vec::new(),
            complaint: "\u{fffd}".repeat(crate::plugin::MAX_ERROR_BYTES),
        };
        assert!(encode_answer(outcome).len() <= MAX_ANSWER_BYTES);
        let outcome = RunOutcome {
            format: Format::default(),
            slot: usize::MAX,
            ended: Ended::Exited(i32::MIN),
            output: vec![b' '; MAX_OUTPUT_BYTES],
            complaint: "\u{fffd}".repeat(crate::plugin::MAX_ERROR_BYTES),
        };
        assert!(encode_answer(outcome).len() <= MAX_ANSWER_BYTES);
    }
}
