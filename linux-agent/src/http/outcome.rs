//! What a call meant for the report that it brought.

use std::time::Duration;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Acknowledged,
    /// The server will never take it.
    Refused,
    /// The server refuses it, but for a reason that may hold for all: a wrong address, or a limit on the way.
    Doubtful,
    /// The server failed on it, and it may be the report that it fails on.
    Failed,
    /// The server answered, but cannot take it now, nor others.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// There is no connection to the server.
    Unreachable,
    /// There was a connection, but no valid answer. The report may be the cause or not.
    Unanswered,
}
