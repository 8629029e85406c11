//! What a call meant for the report that it brought.

use std::time::Duration;

use ureq::http::StatusCode;

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

/// What a status other than 2xx means for a report. `None`: it is about the token, the time or the way.
pub(super) fn of_status(status: StatusCode, is_unknown_client: bool) -> Option<Outcome> {
    match status {
        // These are about the token or the time, not the report.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => None,
        // So is the id that mote's collector does not know.
        _ if is_unknown_client => None,
        // A wrong address, a server that was set up wrongly, a limit on the way.
        StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY => Some(Outcome::Doubtful),
        _ if status.is_client_error() => Some(Outcome::Refused),
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED => Some(Outcome::Failed),
        // Whoever is in between, or the server for all.
        _ => None,
    }
}
