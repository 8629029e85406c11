//! Bounds that agents and the collector hold each other to.

/// Services that one agent monitors at most.
pub const MAX_SERVICES: usize = 256;

/// The longest name of a service or plugin, in bytes: 64 characters of any script and some.
pub const MAX_NAME: usize = 200;

/// The longest name that is a client's id, in bytes.
pub const MAX_CLIENT_NAME: usize = 64;

/// The largest services document, in bytes.
pub const MAX_DOCUMENT: usize = 64 << 10;

/// The most bytes of the reports of one request, unpacked, and the most reports.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// See [`MAX_BATCH_BYTES`].
pub const MAX_BATCH_REPORTS: usize = 1000;

/// The header with which a server says, with the services document, that it takes many reports in one request.
pub const BATCH: &str = "mote-batch";

/// The header of the collector's answer that none of its hosts has the client's id: like a token, that can be mended, and no
/// report is lost for it.
pub(crate) const UNKNOWN_CLIENT: &str = "mote-unknown-client";

/// The probe of what an agent counts of its own reports; the collector reads its `queued`.
pub const AGENT_HEALTH: &str = "get_agent_health";

/// How the `error` ends that an agent reports for a plugin which it does not have.
pub(crate) const UNKNOWN_PLUGIN: &str =
    "is neither a probe of this agent nor listed in its setting `plugins`";

/// Whether `text` has at most `max_bytes` bytes and none of its characters is a control character.
pub fn is_text(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.contains(char::is_control)
}
