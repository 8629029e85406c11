//! What a call meant for the report that it brought.

use std::time::Duration;

use ureq::http::StatusCode;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Acknowledged,
    /// The server will never take it: in the same answer it takes others.
    Refused,
    /// The server refuses it, but perhaps whatever else it gets, too: a wrong address, a gate on the way, a server that
    /// was set up wrongly.
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
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => None,
        // So is the id that mote's collector does not know.
        _ if is_unknown_client => None,
        // One answer does not show whether all would get it.
        _ if status.is_client_error() => Some(Outcome::Doubtful),
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED => Some(Outcome::Failed),
        // Whoever is in between, or the server for all.
        _ => None,
    }
}

/// Whether a status judges the report, in an answer that tells of several and takes one of them at least.
pub(super) fn judges_one(status: StatusCode, is_unknown_client: bool) -> bool {
    let is_of_the_way = matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_EARLY
    );
    !is_of_the_way && of_status(status, is_unknown_client) == Some(Outcome::Doubtful)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_alone_refuses_a_report() {
        for status in (300..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let expected = match status.as_u16() {
                401 | 403 | 407 | 408 | 429 => None,
                400..500 => Some(Outcome::Doubtful),
                500 | 501 => Some(Outcome::Failed),
                _ => None,
            };
            assert_eq!(of_status(status, false), expected, "{status}");
            let is_judged = expected == Some(Outcome::Doubtful)
                && ![404, 405, 413, 421, 425].contains(&status.as_u16());
            assert_eq!(judges_one(status, false), is_judged, "{status}");
        }
        assert_eq!(of_status(StatusCode::NOT_FOUND, true), None);
        assert!(!judges_one(StatusCode::BAD_REQUEST, true));
    }
}
