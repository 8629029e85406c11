//! What a call meant for the report that it brought.

use std::time::Duration;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Acknowledged,
    /// The server will never take it.
    Refused,
    /// The server answered, but cannot take it now.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// There is no connection to the server.
    Unreachable,
    /// There was a connection, but no valid answer. The report may be the cause or not.
    Unanswered,
}
